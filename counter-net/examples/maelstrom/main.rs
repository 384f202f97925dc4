//! The replicator as a node of Maelstrom's pn-counter workload, with JSON lines on stdin and
//! stdout.
//!
//!     maelstrom test -w pn-counter --bin target/release/examples/maelstrom --time-limit 30 --rate
//!     100 --nemesis partition

mod node;

use std::io::{BufRead, Write};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

fn main() -> std::io::Result<()> {
    let (lines, inbox) = sync_channel(1024);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    let start = Instant::now();
    let mut node = node::Node::default();
    let mut stdout = std::io::stdout().lock();
    loop {
        let wait = node
            .deadline()
            .map_or(Duration::from_secs(3600), |at| at.saturating_sub(start.elapsed()));
        let replies = match inbox.recv_timeout(wait) {
            Ok(line) => node.line(&line, start.elapsed()),
            Err(RecvTimeoutError::Timeout) => node.wake(start.elapsed()),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        for reply in replies {
            writeln!(stdout, "{reply}")?;
        }
        stdout.flush()?;
    }
}
