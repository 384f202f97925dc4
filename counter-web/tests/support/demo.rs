//! A running `counter-web demo`, in its own runtime directory.

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::http::get;
use super::process::{ChildGuard, Runtime, command, read_line, signal, wait};

pub struct Demo {
    demo: ChildGuard,
    lines: BufReader<ChildStdout>,
    /// Notified when the demo's stderr closes. Its nodes inherit it, so all of them have ended.
    all_ended: Receiver<()>,
    /// The stderr of the demo and its nodes so far.
    said: Arc<Mutex<String>>,
    pub runtime: Runtime,
    /// The JSON line of each node.
    pub nodes: Vec<Value>,
}

impl Demo {
    /// A demo of these regions on free ports, with every node ready. Each page links to another one,
    /// and so accepts the Origins of the demo's other pages.
    pub fn start(regions: &[&str]) -> Self {
        let runtime = Runtime::new();
        let mut command = command(&runtime);
        command.args(["demo", "--port", "0", "--regions", &regions.join(",")]);
        let mut demo =
            ChildGuard(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let stderr = BufReader::new(demo.0.stderr.take().unwrap());
        let (ended, all_ended) = channel();
        let said = Arc::<Mutex<String>>::default();
        let saying = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *saying.lock().unwrap() += &(line + "\n");
            }
            // The test may be over.
            let _heard = ended.send(());
        });
        let mut lines = BufReader::new(demo.0.stdout.take().unwrap());
        let nodes = regions.iter().map(|_| read_line(&mut lines)).collect();
        let demo = Self { demo, lines, all_ended, said, runtime, nodes };
        for at in (0..regions.len()).filter(|_| regions.len() > 1) {
            let page = get(demo.http(at), "/").body;
            assert!(page.contains("Open another city"), "opened at once: {page}");
            assert_eq!(get(demo.http(at), "/readyz").status, 200, "printed when it is ready");
        }
        demo
    }

    /// The stderr of the demo and its nodes so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// The next JSON line that the demo prints.
    pub fn next_line(&mut self) -> Value {
        read_line(&mut self.lines)
    }

    /// The process of the region's node, if one runs.
    pub fn process(&self, region: &str) -> Option<u32> {
        let processes = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        processes.into_iter().find(|process: &u32| {
            let read = |what: &str| {
                std::fs::read_to_string(format!("/proc/{process}/{what}")).unwrap_or_default()
            };
            let parent = read("status")
                .lines()
                .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
            parent == Some(self.demo.0.id())
                && read("cmdline").contains(&format!("--region\0{region}\0"))
        })
    }

    pub fn http(&self, at: usize) -> &str {
        self.nodes[at]["http"].as_str().unwrap()
    }

    /// Sends the signal to the demo only, and waits until it and its nodes have ended. Returns its
    /// exit status and the rest of its output.
    pub fn end(mut self, name: &str) -> (Option<i32>, String) {
        signal(self.demo.0.id(), name);
        let status = wait(&mut self.demo.0, Duration::from_secs(10));
        self.all_ended.recv_timeout(Duration::from_secs(10)).expect("the demo's nodes end with it");
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        (status.code(), rest)
    }
}
