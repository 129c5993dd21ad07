//! The name, version and commit of a service, taken from its own build.

use std::sync::OnceLock;

/// The name, version and commit of a service. [`build_info!`](crate::build_info!) makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildInfo {
    /// The name of the package.
    pub name: &'static str,
    /// The version of the package.
    pub version: &'static str,
    /// The commit that the binary was built from, or `unknown`.
    pub commit: &'static str,
}

/// Makes the [`BuildInfo`] of the package that calls the macro. The commit is that of the environment variable
/// `BUILD_COMMIT` at build time, which a build script may set.
#[macro_export]
macro_rules! build_info {
    () => {
        $crate::BuildInfo {
            name: ::core::env!("CARGO_PKG_NAME"),
            version: ::core::env!("CARGO_PKG_VERSION"),
            commit: ::core::option_env!("BUILD_COMMIT").unwrap_or("unknown"),
        }
    };
}

/// The service that runs in this process.
pub(crate) static CURRENT: OnceLock<BuildInfo> = OnceLock::new();

impl BuildInfo {
    /// `debug` or `release`.
    pub const PROFILE: &str = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };

    /// The service that runs in this process. In a test that starts none, it is this crate.
    #[must_use]
    pub fn current() -> Self {
        // Not `build_info!()`: this crate would be built again for each `BUILD_COMMIT`.
        CURRENT.get().copied().unwrap_or(Self {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            commit: "unknown",
        })
    }

    /// The version, commit and profile, as `--version` prints them.
    #[must_use]
    pub fn version_line(&self) -> String {
        let (version, commit, profile) = (self.version, self.commit, Self::PROFILE);
        format!("{version} (commit {commit}, {profile} build)")
    }
}
