//! A reverse proxy in front of one node, with the habits and faults of real ones.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The treatment of each new request. By default it is passed on.
#[derive(Clone, Default)]
pub struct RelayRules {
    /// Paths below which the node is found, such as `/counter`. They are stripped.
    pub prefixes: &'static [&'static str],
    /// The Host header for the node.
    pub host: Option<&'static str>,
    /// Drops the Upgrade header, as nginx does by default.
    pub no_upgrade: bool,
    /// Requests that the proxy answers itself.
    pub answers: Vec<Canned>,
    /// Responses to this method are dropped.
    pub lost: Option<&'static str>,
}

/// A response of the proxy itself to requests of this method and path prefix.
#[derive(Clone)]
pub struct Canned {
    pub method: &'static str,
    pub path: &'static str,
    pub status: &'static str,
    pub body: &'static str,
}

impl Canned {
    /// The response of a proxy whose node is gone.
    pub fn bad_gateway(method: &'static str, path: &'static str) -> Self {
        Self { method, path, status: "502 Bad Gateway", body: "<html>502 Bad Gateway</html>" }
    }
}

pub struct Relay {
    pub address: String,
    shared: Arc<RelayState>,
}

struct RelayState {
    node: String,
    rules: Mutex<RelayRules>,
    asked: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    pub fn to(node: &str, rules: RelayRules) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = RelayState {
            node: node.to_owned(),
            rules: Mutex::new(rules),
            asked: Mutex::default(),
            open: Mutex::default(),
        };
        let shared = Arc::new(shared);
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&serving);
                // A browser may close a connection at any time.
                std::thread::spawn(move || {
                    let _ended = serve(&shared, client);
                });
            }
        });
        Self { address, shared }
    }

    /// Sets the rules for new requests.
    pub fn set(&self, rules: RelayRules) {
        *self.shared.rules.lock().unwrap() = rules;
    }

    /// Ends all open connections.
    pub fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            // It may be closed already.
            let _ended = stream.shutdown(Shutdown::Both);
        }
    }

    /// The number of requests with this prefix, such as `GET /ws`.
    pub fn asked(&self, beginning: &str) -> usize {
        let asked = self.shared.asked.lock().unwrap();
        asked.iter().filter(|line| line.starts_with(beginning)).count()
    }
}

/// Serves one request, or an upgraded connection.
fn serve(shared: &RelayState, mut client: TcpStream) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let head_len = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        let mut piece = [0; 4096];
        match client.read(&mut piece)? {
            0 => return Ok(()),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_len]).into_owned();
    shared.asked.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
    let rules = shared.rules.lock().unwrap().clone();
    let (method, rest) = head.split_once(' ').unwrap_or_default();
    let canned = |canned: &&Canned| canned.method == method && rest.starts_with(canned.path);
    if let Some(canned) = rules.answers.iter().find(canned) {
        let kind = if canned.body.starts_with('{') { "application/json" } else { "text/html" };
        let (status, body) = (canned.status, canned.body);
        return write!(
            client,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
    }
    let Some(head) = rewritten(&head, &rules) else {
        return write!(
            client,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    };
    let Ok(mut node) = TcpStream::connect(&shared.node) else {
        return write!(
            client,
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    };
    shared.open.lock().unwrap().extend([client.try_clone()?, node.try_clone()?]);
    node.write_all(head.as_bytes())?;
    node.write_all(&bytes[head_len..])?;
    let (from, to) = (client.try_clone()?, node.try_clone()?);
    std::thread::spawn(move || pass_on(from, to));
    if rules.lost == Some(method) {
        let mut answer = Vec::new();
        node.read_to_end(&mut answer)?;
        return client.shutdown(Shutdown::Both);
    }
    pass_on(node, client);
    Ok(())
}

/// The head for the node. `None` for a path that leads to no node.
fn rewritten(head: &str, rules: &RelayRules) -> Option<String> {
    let upgrades = head.to_ascii_lowercase().contains("\r\nupgrade:") && !rules.no_upgrade;
    let mut lines = head.trim_end().lines();
    let (method, rest) = lines.next()?.split_once(' ')?;
    let stripped = rules.prefixes.iter().find_map(|prefix| rest.strip_prefix(prefix));
    let rest = if rules.prefixes.is_empty() {
        rest
    } else {
        stripped.filter(|rest| rest.starts_with('/'))?
    };
    let mut out = format!("{method} {rest}\r\n");
    for line in lines {
        let name = line.split(':').next()?.to_ascii_lowercase();
        match (name.as_str(), rules.host) {
            ("host", Some(host)) => out += &format!("Host: {host}\r\n"),
            ("connection" | "upgrade", _) if !upgrades => {}
            _ => out += &format!("{line}\r\n"),
        }
    }
    if !upgrades {
        out += "Connection: close\r\n";
    }
    Some(out + "\r\n")
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let mut piece = [0; 16384];
    while let Ok(bytes @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..bytes]).is_err() {
            break;
        }
    }
    // Either may be closed already.
    let _ended = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
