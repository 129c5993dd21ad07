//! `[database]`, and the URL of a database: whether it can be used, and how it is shown.

use std::str::FromStr;
use std::time::Duration;

use garde::Validate;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use crate::Importance;
use crate::settings::{self, at_least, whole_number};

/// `[database]`, or another section of the same keys, which `config/database.toml` describes.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[garde(custom(Self::waits_less_than_a_request))]
#[allow(missing_docs, reason = "the keys are described beside their defaults")]
pub struct Settings {
    /// The name of the section, which names the database in the log and in metrics.
    #[serde(rename = "[section]")]
    pub name: String,
    pub url: Url,
    #[serde(deserialize_with = "whole_number::<1, 10_000, _, _>")]
    pub max_connections: u32,
    #[garde(custom(at_least("100ms")))]
    pub acquire_timeout: Duration,
    #[garde(custom(at_least("10ms")))]
    pub statement_timeout: Duration,
    #[garde(custom(at_least("1s")))]
    pub max_lifetime: Duration,
    #[garde(custom(at_least("10ms")))]
    pub hold_warning: Duration,
    pub on_start: OnStart,
    pub migrate_on_start: bool,
    #[garde(custom(at_least("10ms")))]
    pub migrate_timeout: Duration,
    pub unknown_migrations: UnknownMigrations,
    /// What a failing database means for `/readyz`. The key is `health.` and the name of this section.
    #[serde(rename = "health.[section]")]
    pub health: Importance,
    #[serde(rename = "http.request_timeout")]
    pub request_timeout: Duration,
}

/// What a start does while the database cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the type says what they mean")]
pub enum OnStart {
    Wait,
    Fail,
}

/// What a start does on a database that a newer version has migrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the type says what they mean")]
pub enum UnknownMigrations {
    Refuse,
    Tolerate,
}

impl Settings {
    fn waits_less_than_a_request(&self, &(): &()) -> garde::Result {
        settings::rule(
            self.acquire_timeout < self.request_timeout,
            &["acquire_timeout", "http.request_timeout"],
            "a request must not run out of time while it waits for a connection; \
             make the first shorter than the second",
        )
    }

    /// The time limit of a round trip that asks nothing. A connection that does not answer must leave time to try
    /// another one.
    pub(super) fn ping_timeout(&self) -> Duration {
        self.acquire_timeout / 4
    }
}

/// The URL of a database. A password in it is a secret, and is redacted.
#[derive(Debug, Clone)]
pub struct Url {
    secret: SecretString,
    pub(super) redacted: String,
}

/// Valid URLs, in words that follow "expected".
const EXPECTED: &[&str] = &[
    #[cfg(feature = "sqlite")]
    "the SQLite URL of a file that can be written, such as `sqlite:data/service.db`",
    #[cfg(feature = "postgres")]
    "a Postgres URL, such as `postgres://user:password@host:5432/database`, with `/`, `@` and `:` in a \
     password written as %2F, %40 and %3A",
];

impl Url {
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let mut redacted = None;
        #[cfg(feature = "sqlite")]
        if let Some(file) = url.strip_prefix("sqlite:") {
            let is_valid =
                is_writable_file(file) && sqlx::sqlite::SqliteConnectOptions::from_str(url).is_ok();
            redacted = is_valid.then(|| url.to_owned());
        }
        #[cfg(feature = "postgres")]
        if url.starts_with("postgres") && sqlx::postgres::PgConnectOptions::from_str(url).is_ok() {
            redacted = redact_password(url);
        }
        Some(Self {
            secret: url.into(),
            redacted: redacted?,
        })
    }

    pub(super) fn expose(&self) -> &str {
        self.secret.expose_secret()
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        settings::from_secret_text(value, &EXPECTED.join(", or "), |url| {
            Self::parse(url).inspect(|url| settings::redact_as(&url.redacted))
        })
    }
}

/// Each connection to a database in memory would see another one.
#[cfg(feature = "sqlite")]
fn is_writable_file(file: &str) -> bool {
    let (path, query) = file.split_once('?').unwrap_or((file, ""));
    let path = path.trim_start_matches("//");
    let is_usable = |key: &str, value: &str| match key {
        "immutable" => matches!(value, "false" | "0"),
        _ => value != "memory" && (key != "mode" || value != "ro"),
    };
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    !path.is_empty() && !path.contains(":memory:") && pairs.all(|(k, v)| is_usable(&k, &v))
}

/// The parameters that a URL of Postgres may have. sqlx ignores others, and logs their values.
#[cfg(feature = "postgres")]
const PARAMETERS: &str = "application_name dbname host hostaddr options password port sslcert sslkey sslmode \
     ssl-mode sslrootcert ssl-root-cert user";

/// Redacts a URL of Postgres: the user, and what comes after the last `@`. A password with a reserved character that is
/// not escaped reaches into the path: such a URL is refused. With a password, the parameters are not shown.
#[cfg(feature = "postgres")]
fn redact_password(url: &str) -> Option<String> {
    let parsed = url::Url::parse(url).ok()?;
    let is_known =
        |key: &str| key.starts_with("options[") || PARAMETERS.split(' ').any(|known| known == key);
    let is_usable = matches!(parsed.scheme(), "postgres" | "postgresql")
        && !parsed.path().contains('@')
        && parsed.fragment().is_none()
        && parsed.query_pairs().all(|(key, _)| is_known(&key));
    let shown = url.split('?').next().filter(|_| is_usable)?;
    let is_secret =
        parsed.password().is_some() || parsed.query_pairs().any(|(key, _)| key == "password");
    Some(match shown.rsplit_once('@') {
        _ if !is_secret => url.to_owned(),
        Some((_, place)) => {
            let (user, redacted) = (parsed.username(), settings::REDACTED);
            format!("postgres://{user}:{redacted}@{place}")
        }
        None => shown.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[cfg(feature = "sqlite")]
    #[test]
    fn url_must_name_a_writable_file() {
        for path in ["a.db", "//a.db", "///var/lib/a.db", "a.db?mode=rwc"] {
            let url = format!("sqlite:{path}");
            assert_eq!(Url::parse(&url).unwrap().redacted, url);
        }
        for path in [
            "",
            ":memory:",
            "//:memory:",
            "file::memory:",
            "a.db?mode=memory",
            "a.db?mode=%6demory",
            "a.db?mode=ro",
            "a.db?cache=private&immutable=true",
        ] {
            assert!(Url::parse(&format!("sqlite:{path}")).is_none(), "{path}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn password_is_redacted_in_a_url() {
        for (url, shown) in [
            ("h/db?sslmode=require", "h/db?sslmode=require"),
            ("u@h/db", "u@h/db"),
            ("u:s3cr3t@h:5433/db", "u:[redacted]@h:5433/db"),
            ("u:s%2Fcr3t@h/db?sslmode=require", "u:[redacted]@h/db"),
            ("u@h/db?pass%77ord=s3cr3t@h", "u:[redacted]@h/db"),
            ("u:a@s3cr3t@h/db", "u:[redacted]@h/db"),
        ] {
            let found = Url::parse(&format!("postgres://{url}")).unwrap();
            assert_eq!(found.redacted, format!("postgres://{shown}"), "{url}");
        }
        for url in [
            "postgres://u:/s3cr3t@h/db",
            "postgres://u:12/34s3cr3t@h/db",
            "postgres://u:1#s3cr3t@h/db",
            "postgres://u:12?34s3cr3t@h/db",
            "postgres://u@h/db?sslpassword=s3cr3t",
            "mysql://u@h/db",
            "s3cr3t",
        ] {
            assert!(Url::parse(url).is_none(), "{url}");
        }
    }
}
