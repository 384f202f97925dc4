//! The example node for Maelstrom, under a small judge that plays Maelstrom's network: the
//! pn-counter workload with loss and partitions.

#[path = "../../examples/maelstrom/node.rs"]
mod node;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use node::Node;
use serde_json::{Value, json};

const MS: Duration = Duration::from_millis(1);

/// Five nodes, and all lines on their way.
struct Judge {
    nodes: Vec<Node>,
    flying: BinaryHeap<Reverse<(Duration, u64, usize, String)>>,
    replies: Vec<Value>,
    now: Duration,
    sent: u64,
    rng: fastrand::Rng,
    loss: f64,
    /// The side of each node during a partition.
    sides: Vec<bool>,
}

impl Judge {
    fn new(seed: u64) -> Self {
        let nodes: Vec<Node> = (0..5).map(|_| Node::default()).collect();
        let (flying, replies) = (BinaryHeap::new(), Vec::new());
        let mut judge = Self {
            nodes,
            flying,
            replies,
            now: MS,
            sent: 0,
            rng: fastrand::Rng::with_seed(seed),
            loss: 0.0,
            sides: vec![false; 5],
        };
        for at in 0..5 {
            let names: Vec<String> = (0..5).map(|at| format!("n{at}")).collect();
            judge.client(
                at,
                json!({ "type": "init", "msg_id": 1, "node_id": names[at], "node_ids": names }),
            );
        }
        judge
    }

    /// Hands a client's message to a node, and carries the lines that it prints.
    fn client(&mut self, at: usize, body: Value) {
        let line = json!({ "src": "c1", "dest": format!("n{at}"), "body": body }).to_string();
        let lines = self.nodes[at].line(&line, self.now);
        self.carry(at, lines);
    }

    fn carry(&mut self, from: usize, lines: Vec<String>) {
        for line in lines {
            let message: Value = serde_json::from_str(&line).expect("a node prints JSON");
            let dest = message["dest"].as_str().expect("a destination");
            let Some(to) = dest.strip_prefix('n').and_then(|to| to.parse::<usize>().ok()) else {
                self.replies.push(message["body"].clone());
                continue;
            };
            if self.sides[from] == self.sides[to] && self.rng.f64() >= self.loss {
                self.sent += 1;
                let at = self.now + MS * self.rng.u32(1..100);
                self.flying.push(Reverse((at, self.sent, to, line)));
            }
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let line_at = self.flying.peek().map(|Reverse((at, ..))| *at);
            let wake = (0..5)
                .filter_map(|at| self.nodes[at].deadline().map(|due| (due.max(self.now), at)))
                .min();
            let next = line_at.into_iter().chain(wake.map(|(due, _)| due)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if line_at == Some(next) {
                let Some(Reverse((_, _, to, line))) = self.flying.pop() else { break };
                let lines = self.nodes[to].line(&line, self.now);
                self.carry(to, lines);
            } else if let Some((_, at)) = wake {
                let lines = self.nodes[at].wake(self.now);
                self.carry(at, lines);
            }
        }
        self.now = end;
    }
}

/// Maelstrom asks that the last reads equal the sum of the definite adds and some of the
/// indeterminate ones. No client message is lost here, so every add is definite, and every read
/// must be the exact sum.
#[test]
fn every_read_is_the_sum_of_all_adds() {
    for seed in 0..20 {
        let mut judge = Judge::new(seed);
        let mut sum = 0;
        for act in 0..100 {
            judge.loss = if act < 90 { 0.2 } else { 0.0 };
            if act % 25 == 0 {
                judge.sides = (0..5).map(|_| judge.rng.bool()).collect();
            } else if act % 25 == 15 {
                judge.sides = vec![false; 5];
            }
            let (at, delta) = (judge.rng.usize(..5), judge.rng.i64(-5..=4));
            judge.client(at, json!({ "type": "add", "msg_id": 100 + act, "delta": delta }));
            let Some(answer) = judge.replies.pop() else {
                panic!("seed {seed}: no answer to an add")
            };
            assert_eq!(
                (&answer["type"], &answer["in_reply_to"]),
                (&json!("add_ok"), &json!(100 + act))
            );
            sum += delta;
            judge.run_for(MS * 80);
        }
        judge.sides = vec![false; 5];
        judge.run_for(Duration::from_secs(15));
        for at in 0..5 {
            judge.client(at, json!({ "type": "read", "msg_id": 999 }));
            let read = judge.replies.pop();
            assert_eq!(
                read.map(|read| read["value"].clone()),
                Some(json!(sum)),
                "seed {seed}, node {at}"
            );
        }
    }
}
