//! A small HTTP/1.1 client: each request has a connection of its own.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longer than any test takes: only a failure waits for it.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The status line and the headers, as they came, without the empty line.
    pub head: String,
    /// The body, without the framing of its chunks.
    pub body: String,
}

impl Answer {
    /// The value of the first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut values = headers.filter(|(own, _)| own.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.trim())
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let Self { head, body, .. } = self;
        serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {head}\n\n{body}"))
    }
}

/// `GET path`.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, "")
}

/// One request. A body is JSON.
#[track_caller]
pub fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    ask_with(address, method, path, &[], body)
}

/// One request with these headers. `host`, `content-length`, `content-type` (JSON, if there is a body) and
/// `connection: close` are added, unless they are given.
#[track_caller]
pub fn ask_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Answer {
    let body = body.as_ref();
    let head = head_of(address, method, path, headers, body.len());
    exchange(address, method, &[head.as_bytes(), body].concat())
        .unwrap_or_else(|error| panic!("{method} {path} at {address}: {error}"))
}

fn head_of(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    length: usize,
) -> String {
    let (host, length) = (address.to_string(), length.to_string());
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    let mut add = |name: &str, value: &str| _ = write!(head, "{name}: {value}\r\n");
    for (name, value) in [
        ("host", &*host),
        ("connection", "close"),
        ("content-length", &length),
        ("content-type", "application/json"),
    ] {
        let is_given = headers
            .iter()
            .any(|(own, _)| own.eq_ignore_ascii_case(name));
        let is_needless = name == "content-type" && length == "0";
        if !is_given && !is_needless {
            add(name, value);
        }
    }
    for (name, value) in headers {
        add(name, value);
    }
    head + "\r\n"
}

fn exchange(address: SocketAddr, method: &str, request: &[u8]) -> io::Result<Answer> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    // A server that refuses a body may answer and close before it has read all of it.
    let written = connection.write_all(request);
    let answer = read_answer(&mut BufReader::new(connection), method);
    answer.or_else(|error| written.and(Err(error)))
}

fn read_answer(from: &mut impl BufRead, method: &str) -> io::Result<Answer> {
    let head = read_head(from)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("not HTTP/1.1: {head:?}")))?;
    let mut answer = Answer {
        status,
        head,
        body: String::new(),
    };
    let mut body = Vec::new();
    if method == "HEAD" || matches!(status, 204 | 304) {
        // No body.
    } else if answer.header("transfer-encoding") == Some("chunked") {
        read_chunks(from, &mut body)?;
    } else if let Some(length) = answer.header("content-length") {
        let length = length.parse().map_err(io::Error::other)?;
        read_bytes(from, length, &mut body)?;
    } else {
        from.read_to_end(&mut body)?;
    }
    answer.body = String::from_utf8(body).map_err(io::Error::other)?;
    Ok(answer)
}

fn read_head(from: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    loop {
        let line = read_line(from)?;
        if line.is_empty() {
            return Ok(head.trim_end().to_owned());
        }
        head.push_str(&line);
        head.push_str("\r\n");
    }
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let size = read_line(from)?;
        let size = size.split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        if size == 0 {
            read_head(from)?; // trailers
            return Ok(());
        }
        read_bytes(from, size, body)?;
        read_line(from)?;
    }
}

/// A line without its end.
fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(cut_off()),
    }
}

fn read_bytes(from: &mut impl BufRead, length: u64, to: &mut Vec<u8>) -> io::Result<()> {
    if from.take(length).read_to_end(to)? as u64 == length {
        Ok(())
    } else {
        Err(cut_off())
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is cut off")
}
