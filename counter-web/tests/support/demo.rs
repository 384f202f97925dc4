//! A running `counter-web demo`, in a runtime directory of its own.

use std::io::{BufReader, Read};
use std::process::{ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use super::process::{Running, Runtime, command, read_line, signal, wait};

pub struct Demo {
    demo: Running,
    lines: BufReader<ChildStdout>,
    /// Hears once nobody holds the demo's stderr any more, which its nodes inherit: then all of them have ended.
    all_ended: Receiver<()>,
    pub runtime: Runtime,
    /// The JSON line of each node.
    pub nodes: Vec<Value>,
}

impl Demo {
    /// A demo of these regions on free ports, every node ready.
    pub fn start(regions: &[&str]) -> Self {
        let runtime = Runtime::new();
        let mut command = command(&runtime);
        command.args(["demo", "--port", "0", "--regions", &regions.join(",")]);
        let mut demo = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut stderr = demo.0.stderr.take().unwrap();
        let (ended, all_ended) = channel();
        std::thread::spawn(move || {
            let _read = stderr.read_to_end(&mut Vec::new());
            // The test may be over.
            let _heard = ended.send(());
        });
        let mut lines = BufReader::new(demo.0.stdout.take().unwrap());
        let nodes = regions.iter().map(|_| read_line(&mut lines)).collect();
        Self { demo, lines, all_ended, runtime, nodes }
    }

    pub fn http(&self, at: usize) -> &str {
        self.nodes[at]["http"].as_str().unwrap()
    }

    /// Sends the signal to the demo alone, waits until it and its nodes have ended, and gives its exit status and what else it printed.
    pub fn end(mut self, name: &str) -> (Option<i32>, String) {
        signal(self.demo.0.id(), name);
        let status = wait(&mut self.demo.0, Duration::from_secs(10));
        self.all_ended.recv_timeout(Duration::from_secs(10)).expect("the demo's nodes end with it");
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        (status.code(), rest)
    }
}
