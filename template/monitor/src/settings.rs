//! All the settings of this service: the frame's, and your own beside them.

use crate::frame;
use crate::frame::settings::{Reader, Section};

use super::changes;
use super::checks;
use super::summary;
use super::targets::Monitor;

#[derive(Debug, Clone)]
pub struct Settings {
    pub frame: frame::Settings,
    pub monitor: Monitor,
    pub checks: checks::Settings,
    pub changes: changes::Settings,
    pub summary: summary::Settings,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            frame: from.part(),
            monitor: from.section("monitor"),
            checks: from.section("monitor"),
            changes: from.section("monitor"),
            summary: from.section("monitor"),
        }
    }
}
