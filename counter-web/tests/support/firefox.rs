//! A headless Firefox, driven through WebDriver BiDi.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::browser::is_installed;
use super::process::ChildGuard;

/// One window of a Firefox.
pub struct Firefox {
    child: ChildGuard,
    profile: PathBuf,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    sent: u64,
    context: String,
    /// The errors that the page or the browser wrote to the console.
    errors: Vec<String>,
}

impl Firefox {
    /// Starts a browser with a fresh profile. If Firefox is missing and not required, prints why
    /// and returns `None`.
    pub async fn start(test: &str) -> Option<Self> {
        let Some(program) = ["firefox-esr", "firefox"].into_iter().find(|name| is_installed(name))
        else {
            assert!(
                std::env::var("COUNTER_REQUIRE_BROWSER").is_err(),
                "COUNTER_REQUIRE_BROWSER is set, and there is no Firefox"
            );
            println!(
                "SKIPPED {test}: no Firefox on this machine (Debian: apt-get install firefox-esr)"
            );
            return None;
        };
        let profile =
            std::env::temp_dir().join(format!("counter-firefox-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&profile).unwrap();
        let mut command = Command::new(program);
        command.args(["--headless", "--no-remote", "--remote-debugging-port", "0", "--profile"]);
        // As root, Firefox insists on a home of its own.
        command.arg(&profile).env("HOME", &profile);
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
                Some(line.unwrap().split_once("BiDi listening on ")?.1.trim().to_owned())
            })
            .expect("a debugging address");
        // Its other output is read too, so that it does not block.
        std::thread::spawn(move || lines.for_each(drop));
        let (socket, _) = connect_async(format!("{address}/session")).await.unwrap();
        let (context, errors) = (String::new(), Vec::new());
        let mut firefox = Self { child, profile, socket, sent: 0, context, errors };
        firefox.call("session.new", json!({ "capabilities": {} })).await;
        firefox.call("session.subscribe", json!({ "events": ["log.entryAdded"] })).await;
        let window = firefox.call("browsingContext.create", json!({ "type": "window" })).await;
        firefox.context = window["context"].as_str().unwrap().to_owned();
        Some(firefox)
    }

    pub async fn open(&mut self, url: &str) {
        let params = json!({ "context": self.context, "url": url, "wait": "complete" });
        self.call("browsingContext.navigate", params).await;
    }

    pub async fn reload(&mut self) {
        let params = json!({ "context": self.context, "wait": "complete" });
        self.call("browsingContext.reload", params).await;
    }

    /// The value of an expression in the page.
    pub async fn eval(&mut self, expression: &str) -> Value {
        let params = json!({
            "expression": format!("(async () => JSON.stringify(await ({expression})))()"),
            "target": { "context": self.context },
            "awaitPromise": true,
        });
        let answer = self.call("script.evaluate", params).await;
        assert_eq!(answer["type"], "success", "{expression}: {answer}");
        let text = answer["result"]["value"].as_str();
        text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
    }

    /// Evaluates an expression until its value is `wanted`.
    pub async fn until(&mut self, expression: &str, wanted: impl Into<Value>) {
        let (wanted, end) = (wanted.into(), Instant::now() + Duration::from_secs(20));
        loop {
            let seen = self.eval(expression).await;
            if seen == wanted {
                return;
            }
            assert!(Instant::now() < end, "{expression} should be {wanted}, and is {seen}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A real click of the mouse on the middle of the element that a selector finds.
    pub async fn click(&mut self, selector: &str) {
        let find = format!(
            "(() => {{ const e = document.querySelector('{selector}'); e.scrollIntoView({{ block: \
                'center', behavior: 'instant' }}); \
             const r = e.getBoundingClientRect(); return [Math.round(r.x + r.width / 2), Math.round(r.y + r.height / 2)]; }})()"
        );
        let at = self.eval(&find).await;
        self.act(json!({ "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" }, "actions": [
            { "type": "pointerMove", "x": at[0], "y": at[1] },
            { "type": "pointerDown", "button": 0 },
            { "type": "pointerUp", "button": 0 },
        ] }))
        .await;
    }

    /// A key that is pressed and let go: a letter, `Tab` or `Enter`.
    pub async fn key(&mut self, key: &str) {
        let value = match key {
            "Tab" => "\u{e004}",
            "Enter" => "\u{e007}",
            letter => letter,
        };
        self.act(json!({ "type": "key", "id": "keys", "actions": [
            { "type": "keyDown", "value": value },
            { "type": "keyUp", "value": value },
        ] }))
        .await;
    }

    /// The errors on the console since the last call.
    pub fn errors(&mut self) -> Vec<String> {
        std::mem::take(&mut self.errors)
    }

    async fn act(&mut self, source: Value) {
        let params = json!({ "context": self.context, "actions": [source] });
        self.call("input.performActions", params).await;
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.sent += 1;
        let message = json!({ "id": self.sent, "method": method, "params": params });
        self.socket.send(Message::text(message.to_string())).await.unwrap();
        loop {
            let heard = tokio::time::timeout(Duration::from_secs(60), self.socket.next())
                .await
                .expect("an answer of the browser");
            let Some(Ok(Message::Text(text))) = heard else {
                panic!("the browser is gone: {heard:?}")
            };
            let mut answer: Value = serde_json::from_str(&text).unwrap();
            if answer["method"] == "log.entryAdded" && answer["params"]["level"] == "error" {
                self.errors.push(answer["params"]["text"].to_string());
            }
            if answer["id"] == self.sent {
                assert_eq!(answer["type"], "success", "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }
}

impl Drop for Firefox {
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
