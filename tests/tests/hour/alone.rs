//! A network without anybody else in it, in which every address is one of this machine: a service may
//! ask whom it likes there, with the guard on that it has out there.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::runtime::Builder;

/// Set where a test runs alone: the service that it is about.
const SERVICE: &str = "MAINSTAY_ALONE_WITH";

const NETWORK: &str = "ip link set lo up && ip route add local 0.0.0.0/0 dev lo && exec \"$@\"";

/// Runs the test of this name, which has called this, a second time in such a network.
pub(crate) fn alone<F: Future<Output = ()>>(
    name: &str,
    service: impl FnOnce() -> PathBuf,
    test: impl FnOnce(PathBuf) -> F,
) {
    match env::var_os(SERVICE) {
        Some(service) => {
            let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(test(service.into()));
        }
        // Built out here, since cargo may have to ask somebody.
        None => again(name, &service()),
    }
}

fn again(name: &str, service: &Path) {
    let mut again = Command::new("unshare");
    again
        .args(["--net", "--map-root-user", "sh", "-c", NETWORK, "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--include-ignored", "--nocapture"])
        .env(SERVICE, service);
    let output = again
        .output()
        .expect("unshare, of util-linux, is installed");
    // As of this test, so that it is shown when the others' is.
    print!("{}", String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}, alone:\n{said}");
}
