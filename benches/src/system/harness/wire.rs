//! Bytes on the wire of a process's connections, as the kernel counts them.

use std::process::Command;

/// TCP payload bytes that these processes have sent over the connections that are open now. `None`
/// without `ss`.
pub(in crate::system) fn bytes_sent(processes: &[u32]) -> Option<u64> {
    let output = Command::new("ss")
        .args(["-tinpHO"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ours = |line: &str| processes.iter().any(|id| line.contains(&format!("pid={id},")));
    let sent = |line: &str| {
        line.split_whitespace()
            .find_map(|word| word.strip_prefix("bytes_sent:")?.parse::<u64>().ok())
    };
    Some(text.lines().filter(|line| ours(line)).filter_map(sent).sum())
}
