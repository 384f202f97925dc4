//! A Maelstrom node. Client messages become adds and reads. All other messages go between
//! replicators, as CBOR in base64.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{Replica, ReplicaId};
use counter_net::protocol::{Input, NodeId, Output, ProtocolConfig, Replicator, Search};
use serde_json::{Value, json};

const COUNTER: &str = "pn";

/// A node before and after its `init`.
#[derive(Default)]
pub(crate) struct Node(Option<Running>);

struct Running {
    name: String,
    names: BTreeMap<NodeId, String>,
    replica: Replica,
    machine: Replicator,
    /// The sender and the original id of each request, by the id that it has here.
    asked: BTreeMap<u64, (String, u64)>,
    last_asked: u64,
}

impl Node {
    /// The latest time to call `wake`.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.0.as_ref().and_then(|running| running.machine.poll_timeout())
    }

    /// Handles a deadline. Returns the lines to print.
    pub(crate) fn wake(&mut self, now: Duration) -> Vec<String> {
        self.0.as_mut().map(|running| running.hand(Input::Timer, now)).unwrap_or_default()
    }

    /// Takes a line, and returns the lines to print. Ignores a line that is not a message.
    pub(crate) fn line(&mut self, line: &str, now: Duration) -> Vec<String> {
        let Ok(message) = serde_json::from_str::<Value>(line) else { return Vec::new() };
        let (from, body) = (message["src"].as_str().unwrap_or_default(), &message["body"]);
        if body["type"] == "init" {
            return self.init(from, body, now);
        }
        self.0.as_mut().map(|running| running.take(from, body, now)).unwrap_or_default()
    }

    fn init(&mut self, from: &str, body: &Value, now: Duration) -> Vec<String> {
        let name = body["node_id"].as_str().unwrap_or_default().to_owned();
        let others: Vec<&str> = body["node_ids"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|other| *other != name)
            .collect();
        let own = id_of(&name);
        let Ok(replica) = Replica::new(ReplicaId::new(own.0, 1), "maelstrom") else {
            return Vec::new();
        };
        let config =
            ProtocolConfig { request_timeout: Duration::from_secs(1), ..ProtocolConfig::default() };
        let machine = Replicator::new(config, &replica, own.0, now);
        let names = others.iter().map(|other| (id_of(other), (*other).to_owned())).collect();
        let mut running =
            Running { name, names, replica, machine, asked: BTreeMap::new(), last_asked: 0 };
        let mut lines = vec![running.reply(from, body, json!({ "type": "init_ok" }))];
        for peer in running.names.keys().copied().collect::<Vec<_>>() {
            lines.extend(running.hand(Input::PeerUp { peer }, now));
        }
        // There is nobody else to look for.
        lines.extend(running.hand(Input::Search(Search::NOBODY), now));
        self.0 = Some(running);
        lines
    }
}

impl Running {
    fn take(&mut self, from: &str, body: &Value, now: Duration) -> Vec<String> {
        match body["type"].as_str().unwrap_or_default() {
            "topology" => vec![self.reply(from, body, json!({ "type": "topology_ok" }))],
            "read" => {
                let value = i64::try_from(self.replica.total(COUNTER)).unwrap_or(i64::MAX);
                vec![self.reply(from, body, json!({ "type": "read_ok", "value": value }))]
            }
            "add" => self.add(from, body, now),
            "gossip" | "request" | "response" => self.pass(from, body, now),
            _ => Vec::new(),
        }
    }

    fn add(&mut self, from: &str, body: &Value, now: Duration) -> Vec<String> {
        let delta = body["delta"].as_i64().unwrap_or(0);
        let added = self.replica.counter(COUNTER).and_then(|handle| match delta {
            0 => Ok(()),
            1.. => handle.add(delta.unsigned_abs()),
            _ => handle.subtract(delta.unsigned_abs()),
        });
        // Error 14 is Maelstrom's "abort": the add definitely did not take place.
        let answer = added.map_or_else(
            |error| json!({ "type": "error", "code": 14, "text": error.to_string() }),
            |()| json!({ "type": "add_ok" }),
        );
        let mut lines = vec![self.reply(from, body, answer)];
        lines.extend(self.hand(Input::LocalChange, now));
        lines
    }

    fn pass(&mut self, from: &str, body: &Value, now: Duration) -> Vec<String> {
        let (peer, id) = (id_of(from), body["id"].as_u64().unwrap_or(0));
        let Some(payload) = body["payload"].as_str().and_then(from_base64) else {
            return Vec::new();
        };
        let input = match body["type"].as_str() {
            Some("gossip") => Input::Gossip { token: 0, signer: peer, payload },
            Some("response") => Input::Response { peer, id, payload },
            _ => {
                self.last_asked += 1;
                self.asked.insert(self.last_asked, (from.to_owned(), id));
                Input::Request { peer, id: self.last_asked, payload }
            }
        };
        self.hand(input, now)
    }

    fn hand(&mut self, input: Input, now: Duration) -> Vec<String> {
        self.machine.handle(&mut self.replica, input, now);
        let outputs: Vec<Output> = std::iter::from_fn(|| self.machine.poll_output()).collect();
        outputs.into_iter().flat_map(|output| self.act(output)).collect()
    }

    fn act(&mut self, output: Output) -> Vec<String> {
        let line = |to: &str, kind: &str, id: u64, payload: &[u8]| {
            json!({ "src": self.name, "dest": to, "body": { "type": kind, "id": id, "payload": to_base64(payload) } }).to_string()
        };
        match output {
            Output::Publish { payload } => {
                self.names.values().map(|to| line(to, "gossip", 0, &payload)).collect()
            }
            Output::Request { peer, id, payload } => self
                .names
                .get(&peer)
                .map(|to| line(to, "request", id, &payload))
                .into_iter()
                .collect(),
            Output::Respond { id: here, payload, .. } => {
                let asked = self.asked.remove(&here);
                asked.map(|(to, id)| line(&to, "response", id, &payload)).into_iter().collect()
            }
            // In a full mesh nobody passes gossip on, and Maelstrom's nodes blame nobody.
            Output::Validated { .. }
            | Output::Notify(_)
            | Output::Penalise { .. }
            | Output::Dial { .. } => Vec::new(),
        }
    }

    fn reply(&self, to: &str, asked: &Value, mut body: Value) -> String {
        body["in_reply_to"] = asked["msg_id"].clone();
        json!({ "src": self.name, "dest": to, "body": body }).to_string()
    }
}

/// A node's id: FNV-1a of its name.
fn id_of(name: &str) -> NodeId {
    NodeId(name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for at in 0..4 {
            text.push(if at <= chunk.len() {
                char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize])
            } else {
                '='
            });
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.chunks(4) {
        let mut bits = 0_u32;
        for digit in chunk {
            bits = bits << 6
                | u32::try_from(ALPHABET.iter().position(|letter| letter == digit)?).ok()?;
        }
        bits <<= 6 * (4 - chunk.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Some(bytes)
}
