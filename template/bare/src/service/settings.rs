//! All the settings of this service: the frame's, and your own beside them.

use crate::frame;
use crate::frame::settings::{Reader, Section};

use super::hello::Hello;

#[derive(Debug, Clone)]
pub struct Settings {
    pub frame: frame::Settings,
    pub hello: Hello,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            frame: from.part(),
            hello: from.section("hello"),
        }
    }
}
