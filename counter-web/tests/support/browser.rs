//! A headless Chromium, driven through its debugging protocol.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::process::ChildGuard;

const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
];

pub struct Browser {
    child: ChildGuard,
    profile: PathBuf,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    sent: u64,
    /// The errors on the consoles of tabs with `watch_errors`.
    errors: Vec<String>,
}

/// One tab.
#[derive(Clone)]
pub struct Tab {
    session: String,
}

impl Browser {
    /// Starts a browser with a fresh profile. If Chromium is missing and not required, prints why
    /// and returns `None`.
    pub async fn start(test: &str) -> Option<Self> {
        Self::start_with(test, &[]).await
    }

    /// The same with more flags.
    pub async fn start_with(test: &str, flags: &[&str]) -> Option<Self> {
        let Some(program) = ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find(|program| is_installed(program))
        else {
            assert!(
                std::env::var("COUNTER_REQUIRE_BROWSER").is_err(),
                "COUNTER_REQUIRE_BROWSER is set, and there is no Chromium"
            );
            println!(
                "SKIPPED {test}: no chromium on this machine (Debian: apt-get install chromium)"
            );
            return None;
        };
        let profile =
            std::env::temp_dir().join(format!("counter-browser-{}-{test}", std::process::id()));
        let mut command = Command::new(program);
        command
            .args(FLAGS)
            .args(flags)
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank");
        let mut child = ChildGuard(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
        let address = lines
            .find_map(|line| {
                line.unwrap().strip_prefix("DevTools listening on ").map(str::to_owned)
            })
            .expect("a debugging address");
        // Its other output is read too, so that it does not block.
        std::thread::spawn(move || lines.for_each(drop));
        let (socket, _) = connect_async(address).await.unwrap();
        Some(Self { child, profile, socket, sent: 0, errors: Vec::new() })
    }

    /// A new tab, which loads nothing yet.
    pub async fn tab(&mut self) -> Tab {
        let target = self
            .call(None, "Target.createTarget", json!({ "url": "about:blank", "newWindow": true }))
            .await["targetId"]
            .clone();
        let session = self
            .call(None, "Target.attachToTarget", json!({ "targetId": target, "flatten": true }))
            .await["sessionId"]
            .clone();
        let tab = Tab { session: session.as_str().unwrap().to_owned() };
        self.command(&tab, "Page.enable", json!({})).await;
        tab
    }

    pub async fn command(&mut self, tab: &Tab, method: &str, params: Value) -> Value {
        self.call(Some(&tab.session.clone()), method, params).await
    }

    /// From now on, `errors` has what this tab writes to its console as an error.
    pub async fn watch_errors(&mut self, tab: &Tab) {
        for domain in ["Runtime.enable", "Log.enable"] {
            self.command(tab, domain, json!({})).await;
        }
    }

    /// The errors on the consoles since the last call.
    pub fn errors(&mut self) -> Vec<String> {
        std::mem::take(&mut self.errors)
    }

    pub async fn open(&mut self, tab: &Tab, url: &str) {
        let opened = self.command(tab, "Page.navigate", json!({ "url": url })).await;
        assert!(opened["errorText"].is_null(), "{opened}");
    }

    /// Cuts the tab's network off, or restores it.
    pub async fn set_offline(&mut self, tab: &Tab, offline: bool) {
        self.command(tab, "Network.enable", json!({})).await;
        let conditions = json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.command(tab, "Network.emulateNetworkConditions", conditions).await;
    }

    /// The value of an expression in the page. Null while the page is being left.
    pub async fn eval(&mut self, tab: &Tab, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask(Some(&tab.session.clone()), "Runtime.evaluate", params).await;
        let left = answer["error"]["message"]
            .as_str()
            .is_some_and(|message| message.contains("navigated") || message.contains("context"));
        assert!(left || answer["error"].is_null(), "{expression}: {answer}");
        answer["result"]["result"]["value"].clone()
    }

    /// Evaluates an expression until its value is `wanted`.
    pub async fn until(&mut self, tab: &Tab, expression: &str, wanted: impl Into<Value>) {
        let (wanted, end) = (wanted.into(), Instant::now() + super::PATIENCE);
        loop {
            let seen = self.eval(tab, expression).await;
            if seen == wanted {
                return;
            }
            assert!(Instant::now() < end, "{expression} should be {wanted}, and is {seen}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The middle of the element that a selector finds, scrolled into view.
    pub async fn middle(&mut self, tab: &Tab, selector: &str) -> (f64, f64) {
        let find = format!(
            "(() => {{ const e = document.querySelector('{selector}'); e.scrollIntoView({{ block: \
                'center', behavior: 'instant' }}); \
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        );
        let at = self.eval(tab, &find).await;
        (at[0].as_f64().unwrap(), at[1].as_f64().unwrap())
    }

    /// A real click of the mouse.
    pub async fn press(&mut self, tab: &Tab, (x, y): (f64, f64)) {
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.command(tab, "Input.dispatchMouseEvent", event).await;
        }
    }

    /// A key that is pressed and let go, as a person would: `key` as in KeyboardEvent.key.
    pub async fn key(&mut self, tab: &Tab, key: &str) {
        let (text, code) = match key {
            "Tab" => ("", 9),
            "Enter" => ("\r", 13),
            " " => (" ", 32),
            other => (other, 0),
        };
        let down =
            json!({ "type": "keyDown", "key": key, "text": text, "windowsVirtualKeyCode": code });
        self.command(tab, "Input.dispatchKeyEvent", down).await;
        self.command(
            tab,
            "Input.dispatchKeyEvent",
            json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code }),
        )
        .await;
    }

    /// Saves a screenshot at `path`.
    pub async fn picture(&mut self, tab: &Tab, path: &str) {
        let shot = self.command(tab, "Page.captureScreenshot", json!({ "format": "png" })).await;
        let image = base64(shot["data"].as_str().unwrap());
        std::fs::write(path, image).unwrap();
    }

    async fn call(&mut self, session: Option<&str>, method: &str, params: Value) -> Value {
        let answer = self.ask(session, method, params).await;
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    async fn ask(&mut self, session: Option<&str>, method: &str, params: Value) -> Value {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        self.socket.send(Message::text(message.to_string())).await.unwrap();
        loop {
            let heard = tokio::time::timeout(Duration::from_secs(30), self.socket.next())
                .await
                .expect("an answer of the browser");
            let Some(Ok(Message::Text(text))) = heard else {
                panic!("the browser is gone: {heard:?}")
            };
            let answer: Value = serde_json::from_str(&text).unwrap();
            match (answer["method"].as_str(), &answer["params"]) {
                (Some("Runtime.exceptionThrown"), thrown) => self.errors.push(thrown.to_string()),
                (Some("Log.entryAdded"), logged) if logged["entry"]["level"] == "error" => {
                    self.errors.push(logged["entry"].to_string());
                }
                _ => {}
            }
            if answer["id"] == self.sent {
                return answer;
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ended = self.child.0.kill();
        let _reaped = self.child.0.wait();
        // Its child processes write to the profile until they notice that it is gone.
        let end = Instant::now() + Duration::from_secs(3);
        while std::fs::remove_dir_all(&self.profile).is_err()
            && self.profile.exists()
            && Instant::now() < end
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

pub fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    })
}

/// The bytes of base64 text.
fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes().filter_map(|byte| LETTERS.iter().position(|known| *known == byte)) {
        held = held << 6 | u32::try_from(letter).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    bytes
}
