//! What the binary is: name, version and commit of the service, as its own build knows them.

use std::sync::OnceLock;

/// Name, version and commit of a service. Made by [`build_info!`](crate::build_info!).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildInfo {
    /// The name of the package.
    pub name: &'static str,
    /// The version of the package.
    pub version: &'static str,
    /// The commit that the binary was built from, or `unknown`.
    pub commit: &'static str,
    /// `debug` or `release`.
    pub profile: &'static str,
}

/// The [`BuildInfo`] of the package that this is written in. A build script sets `BUILD_COMMIT`.
#[macro_export]
macro_rules! build_info {
    () => {
        $crate::BuildInfo {
            name: ::core::env!("CARGO_PKG_NAME"),
            version: ::core::env!("CARGO_PKG_VERSION"),
            commit: match ::core::option_env!("BUILD_COMMIT") {
                Some(commit) => commit,
                None => "unknown",
            },
            profile: if ::core::cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        }
    };
}

/// That of the service that runs in this process.
static CURRENT: OnceLock<BuildInfo> = OnceLock::new();

/// This crate itself. Not `build_info!()`: the crate would be built again for each `BUILD_COMMIT`.
const MACHINERY: BuildInfo = BuildInfo {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    commit: "unknown",
    profile: if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    },
};

impl BuildInfo {
    /// That of the service in this process; in a test that starts none, that of this crate.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.get().copied().unwrap_or(MACHINERY)
    }

    /// Makes this the service of the process. The first one stays.
    pub(crate) fn set_current(self) {
        _ = CURRENT.set(self);
    }

    /// Version, commit and profile, as `--version` shows them.
    #[must_use]
    pub fn version_line(&self) -> String {
        let Self {
            version,
            commit,
            profile,
            ..
        } = self;
        format!("{version} (commit {commit}, {profile} build)")
    }
}
