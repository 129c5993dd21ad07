//! systemd: the unit.

use std::fs;
use std::process::Command;
use std::time::Duration;

use tokio::net::UnixDatagram;

use crate::container::{Container, stop};
use crate::project::{CHOICES, NAME, PAIRS, Project};

#[test]
fn unit_has_no_rights_and_waits_for_the_stop() {
    for project in Project::all() {
        let grace = project.default("shutdown.grace");
        for (directive, value) in [
            ("Description", NAME.to_owned()),
            ("Type", "notify".to_owned()),
            ("EnvironmentFile", format!("-/etc/{NAME}/environment")),
            ("TimeoutStopSec", grace),
            ("DynamicUser", "yes".to_owned()),
            ("ProtectSystem", "strict".to_owned()),
            ("NoNewPrivileges", "yes".to_owned()),
            ("CapabilityBoundingSet", String::new()),
        ] {
            assert_eq!(project.unit(directive), [value], "{directive}");
        }
    }
}

/// The directives that name a command. A test runs each of them.
pub(crate) fn commands(project: &Project) -> Vec<(String, String)> {
    let unit = project.text(&format!("deploy/systemd/{NAME}.service"));
    let directives = unit.lines().filter_map(|line| line.split_once('='));
    directives
        .filter(|(directive, _)| directive.starts_with("Exec"))
        .map(|(directive, command)| (directive.to_owned(), command.to_owned()))
        .collect()
}

#[tokio::test]
async fn unit_starts_reloads_and_stops() {
    for (database, example) in PAIRS {
        let project = Project::of(database, example, &CHOICES);
        let commands = commands(&project);
        let [(start, program), (reload, command)] = &commands[..] else {
            panic!("{commands:?}");
        };
        assert_eq!([start, reload], ["ExecStart", "ExecReload"]);
        // A machine has only the binary of the image.
        let mut machine = Container::new((database, example)).await;
        "/".clone_into(&mut machine.image.directory);
        machine.image.environment.clear();
        for variable in project.unit("Environment") {
            let (name, value) = variable.split_once('=').expect("a name and a value");
            // The values that systemd substitutes.
            let value = value.replace("%S", "/var/lib");
            let value = value.replace("%d", "/run/credentials");
            machine.image.environment.insert(name.to_owned(), value);
        }
        for directory in project.unit("StateDirectory") {
            let directory = machine.image.place(&format!("/var/lib/{directory}"));
            fs::create_dir_all(directory).expect("a directory of the machine");
        }
        let socket = machine.image.place("/notify");
        let systemd = UnixDatagram::bind(&socket).expect("a socket for systemd");

        let launch = machine.launch(std::slice::from_ref(program));
        let service = machine.start(launch.env("NOTIFY_SOCKET", socket)).await;

        hears(&systemd, "READY=1").await;
        let reloaded = Command::new("sh")
            .args(["-c", command])
            .env("MAINPID", service.pid().to_string())
            .status();
        assert!(reloaded.expect("a shell").success(), "{command}");
        service.event("reloaded").await;
        stop(service).await;
        hears(&systemd, "STOPPING=1").await;

        let wrong = machine.launch(std::slice::from_ref(program)).arg("--wrong");
        let wrong = wrong.run().await.expect("a program of the image");
        let code = wrong.code.expect("a code").to_string();
        assert_eq!(project.unit("RestartPreventExitStatus"), [code]);
    }
}

/// Waits for this notification.
async fn hears(systemd: &UnixDatagram, message: &str) {
    let mut datagram = [0; 4096];
    let deadline = Duration::from_secs(30);
    let heard = tokio::time::timeout(deadline, async {
        loop {
            let length = systemd.recv(&mut datagram).await.expect("a datagram");
            let text = String::from_utf8_lossy(&datagram[..length]);
            if text.lines().any(|line| line == message) {
                return;
            }
        }
    });
    assert!(heard.await.is_ok(), "systemd was not notified: {message}");
}
