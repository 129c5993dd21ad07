//! The settings as text.

use super::{DEFAULTS, given};
use crate::settings::{Entry, Table, changed, print};

#[test]
fn printed_settings_read_back_the_same() {
    let odd = "quotes \" and \\ and \n lines";
    let odd = given().env("APP__OPERATOR__URL", odd);
    let first = odd.set("http.ratio=a,b,c").load();

    let again = given().file("printed.toml", &print(&first.entries));
    let values = |entries: Vec<Entry>| entries.into_iter().map(|it| (it.key, it.value));
    let second = again.load();
    assert!(values(first.entries).eq(values(second.entries)));
}

#[test]
fn environment_file_lists_every_setting() {
    let text = Table::new(&[DEFAULTS]).to_environment();

    for lines in [
        "\n# Where it listens.\nAPP__HTTP__LISTEN=127.0.0.1:8080\n",
        "\n# How long a request may take,\n# at most.\nAPP__HTTP__TIMEOUT=10s\n",
        "\nAPP__HTTP__RATIO=a,b\n",
        "\nAPP__OPERATOR__TOKEN=\n",
    ] {
        assert!(text.contains(lines), "{lines} is not in {text}");
    }
}

#[test]
fn changed_names_each_changed_key_and_secret() {
    let with = |token: &str| {
        given()
            .env("APP__OPERATOR__TOKEN", token)
            .set("http.timeout=20s")
    };
    let before = with("hunter2").load().entries;

    let same = with("hunter2").load().entries;
    let other = with("hunter3").set("http.workers=5").load();

    assert_eq!(changed(&before, &same), [""; 0]);
    let told = changed(&before, &other.entries);
    assert_eq!(told, ["http.workers", "operator.token"]);
}
