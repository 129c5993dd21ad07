//! All the settings of this service: the frame's, and your own beside them.

use crate::frame;
use crate::frame::settings::{Reader, Section};

use super::targets::Monitor;

#[derive(Debug, Clone)]
pub struct Settings {
    pub frame: frame::Settings,
    pub monitor: Monitor,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            frame: from.part(),
            monitor: from.section("monitor"),
        }
    }
}
