//! The description of the API: complete, committed as the code makes it, and served with its page.

use std::collections::BTreeSet;
use std::{env, fs};

use serde_json::Value;

use crate::running::{Running, ask_with, get};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

#[test]
fn the_description_that_is_committed_is_what_the_code_makes() {
    let service = Running::start(&[]);
    let served = get(service.http, "/openapi.json");
    assert_eq!(served.status, 200, "{}", served.body);

    if env::var_os("UPDATE").is_some() {
        fs::write(COMMITTED, served.body).unwrap();
        return;
    }
    assert!(
        fs::read_to_string(COMMITTED).unwrap_or_default() == served.body,
        "openapi.json is not what the code says; read what has changed for clients, and write it \
         anew: UPDATE=1 cargo test openapi"
    );
}

#[test]
fn every_operation_is_described_to_its_last_answer() {
    let service = Running::start(&[]);
    let api = get(service.http, "/openapi.json").json();
    let mut names = BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let at = format!("{method} {path}");
            let name = operation["operationId"].as_str().unwrap_or_default();
            assert!(names.insert(name) && !name.is_empty(), "{at}: {name:?}");
            let is_said = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
            assert!(is_said(&operation["summary"]), "{at}: no doc comment");
            assert!(is_said(&operation["tags"][0]), "{at}: no tag");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(is_said(&parameter["description"]), "{at}: {parameter}");
            }
            let holes = path.matches('{').count();
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let in_path = parameters.filter(|parameter| parameter["in"] == "path");
            assert_eq!(in_path.count(), holes, "{at}: its parameters");
            let answers = operation["responses"].as_object().unwrap();
            assert!(
                answers.keys().any(|status| status.starts_with('2')),
                "{at}: no success"
            );
            for status in ["400", "500", "503", "504"] {
                assert!(answers.contains_key(status), "{at}: no {status}");
            }
            for (status, answer) in answers {
                let answer = resolve(&api, answer);
                assert!(is_said(&answer["description"]), "{at}: {status}");
                assert!(
                    answer["headers"]["x-request-id"].is_object(),
                    "{at}: {status}"
                );
                if status.as_str() >= "400" {
                    let body = &answer["content"]["application/problem+json"]["schema"];
                    let problem = &resolve(&api, body)["properties"]["code"];
                    assert!(problem.is_object(), "{at}: {status} is no problem");
                }
            }
        }
    }
    assert!(!names.is_empty(), "nothing is described");
}

/// What is meant, if it is only referred to.
fn resolve<'a>(api: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(place) => api.pointer(place.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

#[test]
fn whoever_has_the_description_already_is_told_so() {
    let service = Running::start(&[]);
    let first = get(service.http, "/openapi.json");
    assert!(
        first.head.contains("content-type: application/json"),
        "{}",
        first.head
    );
    let tag = first
        .head
        .lines()
        .find_map(|line| line.strip_prefix("etag: "));
    let asked = format!("if-none-match: \"another\", W/{}\r\n", tag.unwrap());

    let again = ask_with(service.http, "GET", "/openapi.json", &asked, "");
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let asked = "if-none-match: \"another\"\r\n";
    let changed = ask_with(service.http, "GET", "/openapi.json", asked, "");
    assert_eq!((changed.status, changed.body), (200, first.body));
}

#[test]
fn the_page_is_held_to_this_service_and_everything_it_needs_is_there() {
    let service = Running::start(&[]);
    let page = get(service.http, "/docs");
    for header in [
        "content-type: text/html",
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "x-frame-options: DENY",
        "cross-origin-resource-policy: same-origin",
    ] {
        assert!(
            page.head.contains(header),
            "{header} is not in:\n{}",
            page.head
        );
    }
    let quoted = page.body.split('"').skip(1).step_by(2);
    let needed: Vec<_> = quoted.filter(|text| text.starts_with("docs/")).collect();
    let files = [
        ("docs/docs.css", "text/css"),
        ("docs/docs.js", "text/javascript"),
    ];
    assert_eq!(needed, files.map(|(file, _)| file));
    for (file, kind) in files {
        let answer = get(service.http, &format!("/{file}"));
        assert_eq!(answer.status, 200, "{file}");
        assert!(
            answer.head.contains(&format!("content-type: {kind}")),
            "{}",
            answer.head
        );
        assert!(!answer.body.contains("://"), "{file} points elsewhere");
    }
    assert!(!page.body.contains("://"), "the page points elsewhere");
}

#[test]
fn neither_description_nor_page_is_served_where_that_is_not_wanted() {
    let service = Running::start(&["http.documentation=false"]);
    for path in ["/openapi.json", "/docs", "/docs/docs.css", "/docs/docs.js"] {
        assert_eq!(get(service.http, path).status, 404, "{path}");
    }
}
