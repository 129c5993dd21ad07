//! An isolated network in which every address is on this machine: a service may request any address
//! there, with its guard against private addresses enabled.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use harness::fleet;
use tokio::runtime::Builder;

/// The service under test. Set in the process that runs in the network.
const SERVICE: &str = "MAINSTAY_ALONE_WITH";

const NETWORK: &str = "ip link set lo up && ip route add local 0.0.0.0/0 dev lo && exec \"$@\"";

/// Runs the calling test, by its name, a second time in such a network.
pub(crate) fn alone<F: Future<Output = ()>>(name: &str, test: impl FnOnce(PathBuf) -> F) {
    if let Some(service) = env::var_os(SERVICE) {
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(test(service.into()));
    }
    let mut again = Command::new("unshare");
    again
        .args(["--net", "--map-root-user", "sh", "-c", NETWORK, "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--include-ignored", "--nocapture"])
        // Built outside of the network, since cargo may have to download.
        .env(SERVICE, fleet::MONITOR.binary());
    let output = again.output().expect("unshare runs");
    // Printed with this test's output.
    print!("{}", String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}, alone:\n{said}");
}
