//! The page with the API description, in a real browser.

use std::net::SocketAddr;

use harness::http::get;
use harness::service::Service;
use serde_json::json;

use crate::browser::Page;

const SHOWN: &str = "document.querySelector('main')?.getAttribute('aria-busy') === 'false'";

/// The page of a service, and the service's address.
async fn shown() -> (Page, SocketAddr, Service) {
    let service = crate::service().ready().await;
    let address = service.http().await;
    let mut page = Page::blank().unwrap();
    page.open(&format!("http://{address}/docs"), SHOWN).unwrap();
    (page, address, service)
}

#[tokio::test]
async fn page_shows_the_description_and_requests_nothing_else() {
    let (mut page, address, _service) = shown().await;
    let api = get(address, "/openapi.json").await.unwrap().json();

    let mut operations = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.push(format!("{} {path}", method.to_uppercase()));
            let name = operation["operationId"].as_str().unwrap();
            let text = page.run(&format!("document.getElementById('{name}').textContent"));
            let text = text.unwrap().as_str().unwrap().to_owned();
            let answers = operation["responses"].as_object().unwrap().keys();
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let parameters = parameters.map(|parameter| parameter["name"].as_str().unwrap());
            let summary = operation["summary"].as_str().unwrap();
            let said = answers
                .map(String::as_str)
                .chain(parameters)
                .chain([summary]);
            for said in said.chain(["application/problem+json"]) {
                assert!(text.contains(said), "{name}: {said} is not in {text}");
            }
        }
    }
    let listed = "[...document.querySelectorAll('summary')].map((it) => it.textContent).sort()";
    let listed: Vec<String> = serde_json::from_value(page.run(listed).unwrap()).unwrap();
    operations.sort();
    assert_eq!(listed.len(), operations.len(), "{listed:?}");
    for (shown, operation) in listed.iter().zip(&operations) {
        assert!(shown.starts_with(operation), "{listed:?}");
    }
    for schema in api["components"]["schemas"].as_object().unwrap().keys() {
        let shown = page.run(&format!(
            "document.getElementById('schema-{schema}') !== null"
        ));
        assert_eq!(shown.unwrap(), true, "{schema}");
    }
    let title = page.run("document.title").unwrap();
    assert_eq!(title, api["info"]["title"]);

    let own = ["docs", "docs/docs.css", "docs/docs.js", "openapi.json"];
    let own = own.map(|file| format!("http://{address}/{file}"));
    let mut asked = page.requests().to_vec();
    asked.retain(|url| url != "data:,");
    asked.sort();
    assert_eq!(asked, own);
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn operation_and_its_schema_open_from_the_keyboard() {
    let (mut page, _, _service) = shown().await;

    page.run("document.querySelector('#create_target > summary').focus()")
        .unwrap();
    page.press_enter().unwrap();
    page.wait("document.querySelector('#create_target').open")
        .unwrap();
    page.run("document.querySelector('#create_target a[href=\"#schema-Target\"]').focus()")
        .unwrap();
    page.press_enter().unwrap();
    page.wait("document.querySelector('#schema-Target:target') !== null")
        .unwrap();
}

#[tokio::test]
async fn controls_have_names_and_colors_follow_the_system() {
    let (mut page, _, _service) = shown().await;

    let nameless = "[...document.querySelectorAll('summary, a, [role=region]')]
        .filter((it) => !(it.ariaLabel ?? it.textContent).trim()).length";
    assert_eq!(page.run(nameless).unwrap(), 0);
    let headings = "document.querySelectorAll('h1').length === 1 && document.documentElement.lang";
    assert_eq!(page.run(headings).unwrap(), "en");

    let mut color = |colors: &str| {
        page.prefer(colors).unwrap();
        page.run("getComputedStyle(document.body).color").unwrap()
    };
    assert_ne!(color("light"), color("dark"));
}

#[tokio::test]
async fn tables_break_no_words_at_any_width() {
    const BROKEN_WORDS: &str = "[...document.querySelectorAll('th, td')].flatMap((cell) => {
        const broken = [];
        const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            for (const word of texts.currentNode.data.matchAll(/[a-z0-9_+]+/gi)) {
                const range = document.createRange();
                range.setStart(texts.currentNode, word.index);
                range.setEnd(texts.currentNode, word.index + word[0].length);
                const lines = new Set([...range.getClientRects()].map((rect) => rect.top));
                if (lines.size > 1) broken.push(word[0]);
            }
        }
        return broken;
    })";
    let (mut page, _, _service) = shown().await;
    page.run("document.querySelectorAll('details').forEach((it) => { it.open = true })")
        .unwrap();
    for width in [1200, 800, 400] {
        page.run(&format!("document.body.style.width = '{width}px'"))
            .unwrap();
        assert_eq!(page.run(BROKEN_WORDS).unwrap(), json!([]), "{width} px");
    }
}

#[tokio::test]
async fn policy_blocks_other_hosts_and_scripts() {
    let (mut page, _, _service) = shown().await;
    let other = crate::service().ready().await;
    let elsewhere = other.http().await;

    let refused = |action: &str| {
        format!(
            "new Promise((done) => {{
                addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective));
                {action}
            }})"
        )
    };
    let fetches = format!("fetch('http://{elsewhere}/livez').catch(() => {{}});");
    assert_eq!(page.run(&refused(&fetches)).unwrap(), "connect-src");
    let injects =
        "document.body.append(Object.assign(document.createElement('script'), { text: '1' }));";
    assert_eq!(page.run(&refused(injects)).unwrap(), "script-src-elem");
    // The console shows the violations.
    assert!(!page.complaints().is_empty());
}
