//! systemd: the unit.

use crate::project::{NAME, Project};

#[test]
fn the_unit_runs_the_binary_and_waits_for_its_stop() {
    for project in Project::all() {
        let grace = project.default("shutdown.grace");
        for (directive, value) in [
            ("Description", NAME.to_owned()),
            ("Type", "notify".to_owned()),
            ("ExecStart", format!("/usr/local/bin/{NAME}")),
            ("EnvironmentFile", format!("-/etc/{NAME}/environment")),
            ("TimeoutStopSec", grace),
        ] {
            assert_eq!(project.unit(directive), [value], "{directive}");
        }
    }
}

#[test]
fn the_unit_leaves_no_rights() {
    for project in Project::all() {
        for (directive, value) in [
            ("DynamicUser", "yes"),
            ("ProtectSystem", "strict"),
            ("NoNewPrivileges", "yes"),
            ("CapabilityBoundingSet", ""),
        ] {
            assert_eq!(project.unit(directive), [value], "{directive}");
        }
    }
}
