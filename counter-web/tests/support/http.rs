//! A small HTTP/1.1 client with one request for each connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

pub struct HttpAnswer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl HttpAnswer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.body))
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The status and code of an error, which must have the shape of errors.
    pub fn error(&self) -> (u16, String) {
        let error = self.json();
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{error}");
        (self.status, error["error"].as_str().unwrap().to_owned())
    }
}

pub fn connect(http: &str) -> TcpStream {
    try_connect(http).unwrap()
}

fn try_connect(http: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(http)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// Sends `request` as it stands and reads to the end.
pub fn raw(http: &str, request: &[u8]) -> std::io::Result<HttpAnswer> {
    let mut stream = try_connect(http)?;
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        dechunk(body)
    } else {
        body.to_owned()
    };
    Ok(HttpAnswer { status, head: head.to_owned(), body })
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

pub fn request(
    http: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> HttpAnswer {
    try_request(http, method, path, headers, body).unwrap()
}

/// The same for a node that may be gone. The status of an incomplete response is 0.
pub fn try_request(
    http: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<HttpAnswer> {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n{headers}Content-Length: \
            {}\r\n\r\n",
        body.len()
    );
    raw(http, [head.as_bytes(), body.as_bytes()].concat().as_slice())
}

pub fn get(http: &str, path: &str) -> HttpAnswer {
    request(http, "GET", path, &[], "")
}

pub fn post_json(http: &str, path: &str, body: &str) -> HttpAnswer {
    request(http, "POST", path, &[("Content-Type", "application/json")], body)
}

/// Adds to the page's counter.
pub fn add(http: &str, amount: i64) {
    let answer = post_json(http, "/api/counters/clicks/add", &format!("{{\"amount\":{amount}}}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

pub fn counter(http: &str, name: &str) -> Value {
    get(http, &format!("/api/counters/{name}")).json()
}

/// Sends one click to a node that may be gone. Returns true if it was acknowledged, and an error if
/// the node gave no response.
pub fn try_add(http: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(http)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let body = "{\"amount\":1}";
    let head = format!(
        "POST /api/counters/clicks/add HTTP/1.1\r\nHost: {http}\r\nConnection: \
            close\r\nContent-Type: application/json\r\n"
    );
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// The value of a metric without labels, if it exists.
pub fn metric(http: &str, name: &str) -> Option<f64> {
    let text = get(http, "/metrics").body;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The common total of these nodes, if their states are equal.
pub fn agreed(nodes: &[&str]) -> u64 {
    super::eventually("all nodes agree", Duration::from_secs(60), || {
        let seen: Vec<Value> = nodes.iter().map(|http| counter(http, "clicks")).collect();
        let same = seen.iter().all(|one| one["state_hash"] == seen[0]["state_hash"]);
        let total = seen[0]["total"].as_u64();
        if same { total.ok_or_else(|| format!("{seen:?}")) } else { Err(format!("{seen:?}")) }
    })
}

/// Server-sent events of one counter.
pub struct Events(BufReader<TcpStream>);

impl Events {
    pub fn open(http: &str, name: &str) -> Self {
        let mut stream = connect(http);
        stream
            .write_all(
                format!("GET /api/counters/{name}/events HTTP/1.1\r\nHost: {http}\r\n\r\n")
                    .as_bytes(),
            )
            .unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(
            head.starts_with("HTTP/1.1 200")
                && head.to_ascii_lowercase().contains("content-type: text/event-stream"),
            "{head}"
        );
        Self(reader)
    }

    /// The next event's JSON. `None` once the stream has ended. The server writes each event as one
    /// HTTP chunk after a line with its size.
    pub fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        while self.0.read_line(&mut line).unwrap() > 0 {
            if let Some(data) = line.strip_prefix("data:") {
                return Some(serde_json::from_str(data).unwrap());
            }
            line.clear();
        }
        None
    }
}

/// The clicks that a page's HTML shows for a region, with an ASCII sign.
pub fn row(html: &str, region: &str) -> Option<String> {
    let row = html.split(&format!("<tr data-region=\"{region}\"")).nth(1)?;
    Some(row.split("data-f=\"value\">").nth(1)?.split('<').next()?.replace('−', "-"))
}
