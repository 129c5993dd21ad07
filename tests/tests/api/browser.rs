//! Drives a headless Chromium over a pipe with the Chrome `DevTools` protocol.
//!
//! Every request and every console message of the page is recorded. Host names do not resolve, so a
//! page that needs another machine fails here as well.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write, pipe};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use command_fds::{CommandFdExt, FdMapping};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An upper bound: only a failing test waits this long.
const PATIENCE: Duration = Duration::from_mins(1);

/// One page in its own browser process. Dropping it ends both.
#[derive(Debug)]
pub(crate) struct Page {
    process: Child,
    orders: PipeWriter,
    news: Receiver<Value>,
    session: Value,
    asked: u64,
    requests: Vec<String>,
    complaints: Vec<String>,
    /// The browser's profile. The process must be dropped before it.
    _profile: TempDir,
}

impl Page {
    pub(crate) fn blank() -> Result<Page> {
        let profile = TempDir::with_prefix("mainstay-browser-")?;
        let (orders, news) = (pipe()?, pipe()?);
        let mut chromium = Command::new("chromium");
        chromium
            .args([
                "--headless=new",
                "--remote-debugging-pipe",
                "--no-first-run",
            ])
            .args(["--disable-gpu", "--disable-dev-shm-usage"])
            .arg("--disable-background-networking")
            .arg("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if rustix::process::getuid().is_root() {
            chromium.arg("--no-sandbox");
        }
        let ends = [(orders.0.into(), 3), (news.1.into(), 4)];
        let mappings = ends.map(|(parent_fd, child_fd)| FdMapping {
            parent_fd,
            child_fd,
        });
        chromium.fd_mappings(mappings.into())?;
        let process = chromium.spawn().context("chromium cannot be run")?;
        // The command owns the browser's pipe ends. While it lives, the pipes stay open after the
        // browser exits.
        drop(chromium);
        let mut page = Page {
            process,
            orders: orders.1,
            news: listen(news.0),
            session: Value::Null,
            asked: 0,
            requests: Vec::new(),
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = page.order("Target.createTarget", &json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        page.session = page.order("Target.attachToTarget", &attach)?["sessionId"].take();
        for domain in ["Log", "Network", "Page", "Runtime"] {
            page.order(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(page)
    }

    /// Opens a URL, and waits until the expression is true.
    pub(crate) fn open(&mut self, url: &str, until: &str) -> Result<()> {
        let gone = self.order("Page.navigate", &json!({ "url": url }))?;
        ensure!(gone["errorText"].is_null(), "{url}: {gone}");
        self.wait(until)
    }

    /// Waits until the expression is true. It is evaluated again after each change of the page.
    pub(crate) fn wait(&mut self, expression: &str) -> Result<()> {
        let holds = self.run(&format!(
            "new Promise((done) => {{
                const look = () => {{ if ({expression}) {{ done(true); }} }};
                const all = {{ attributes: true, characterData: true, childList: true, subtree: true }};
                new MutationObserver(look).observe(document, all);
                look();
            }})"
        ));
        holds
            .map(drop)
            .with_context(|| format!("never: {expression}"))
    }

    /// Evaluates an expression. A promise is awaited.
    pub(crate) fn run(&mut self, expression: &str) -> Result<Value> {
        let what = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.order("Runtime.evaluate", &what)?;
        let thrown = &answer["exceptionDetails"];
        ensure!(thrown.is_null(), "{expression}: {thrown}");
        Ok(answer["result"]["value"].take())
    }

    pub(crate) fn press_enter(&mut self) -> Result<()> {
        let mut event = json!({ "type": "keyDown", "key": "Enter", "code": "Enter" });
        event["windowsVirtualKeyCode"] = 13.into();
        event["text"] = "\r".into();
        self.order("Input.dispatchKeyEvent", &event)?;
        event["type"] = "keyUp".into();
        self.order("Input.dispatchKeyEvent", &event).map(drop)
    }

    /// Emulates `prefers-color-scheme`: `light` or `dark`.
    pub(crate) fn prefer(&mut self, colors: &str) -> Result<()> {
        let feature = json!({ "name": "prefers-color-scheme", "value": colors });
        let features = json!({ "features": [feature] });
        self.order("Emulation.setEmulatedMedia", &features)
            .map(drop)
    }

    /// The URL of each request that the page sent.
    pub(crate) fn requests(&self) -> &[String] {
        &self.requests
    }

    /// Console messages, exceptions and refused requests.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Sends a command, and returns its result. Events that arrive before it are recorded.
    fn order(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.asked += 1;
        let mut order = json!({ "id": self.asked, "method": method, "params": parameters });
        if !self.session.is_null() {
            order["sessionId"] = self.session.clone();
        }
        self.orders.write_all(format!("{order}\0").as_bytes())?;
        loop {
            let news = self.news.recv_timeout(PATIENCE);
            let mut news = news.with_context(|| format!("no answer to {method}"))?;
            if news["id"] == self.asked {
                ensure!(news["error"].is_null(), "{method}: {}", news["error"]);
                return Ok(news["result"].take());
            }
            self.note(&news);
        }
    }

    fn note(&mut self, news: &Value) {
        let parameters = &news["params"];
        match news["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                self.requests.push(url.to_owned());
            }
            Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded") => {
                self.complaints.push(parameters.to_string());
            }
            _ => {}
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Reads the browser's messages. Each one ends with a zero byte.
fn listen(pipe: PipeReader) -> Receiver<Value> {
    let (sender, news) = channel();
    thread::spawn(move || {
        for message in BufReader::new(pipe).split(0).map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice(&message) else {
                break;
            };
            // An error means that the page was dropped.
            _ = sender.send(message);
        }
    });
    news
}
