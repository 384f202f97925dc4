//! The machine and the versions that a report was made with.

use std::process::Command;

use serde::{Deserialize, Serialize};

/// The machine, the commit and the versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// The number of its threads.
    pub cores: usize,
    /// The kernel.
    pub kernel: String,
    /// The compiler.
    pub rustc: String,
    /// The commit, with a `+` if files differed from it.
    pub commit: String,
    /// The name and version of each peer, from the lock files and from the peers themselves.
    pub versions: Vec<(String, String)>,
}

impl Machine {
    /// This machine, now. A value that cannot be found is `unknown`.
    pub fn here() -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor =
            cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        let changed = output("git", &["status", "--porcelain", "--untracked-files=no"])
            .is_some_and(|files| !files.is_empty());
        let commit = output("git", &["rev-parse", "--short=10", "HEAD"]).unwrap_or_else(unknown);
        Self {
            processor: processor.unwrap_or("unknown").trim().into(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: output("uname", &["-sr"]).map_or_else(unknown, |kernel| {
                kernel.split('.').take(2).collect::<Vec<_>>().join(".")
            }),
            rustc: output("rustc", &["--version"]).unwrap_or_else(unknown),
            commit: if changed { format!("{commit}+") } else { commit },
            versions: [
                versions(
                    include_str!("../../../Cargo.lock"),
                    &["crdts", "foldhash", "libp2p", "redb"],
                ),
                node(),
            ]
            .concat(),
        }
    }
}

/// The versions of Node.js and its package ws, if both are installed.
fn node() -> Vec<(String, String)> {
    let ws = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/peers/node/node_modules/ws/package.json"
    ))
    .unwrap_or_default();
    let version = |json: serde_json::Value| json["version"].as_str().map(str::to_owned);
    let both = serde_json::from_str(&ws).ok().and_then(version).zip(output("node", &["--version"]));
    both.map_or(Vec::new(), |(ws, node)| vec![("node".into(), node), ("ws".into(), ws)])
}

fn unknown() -> String {
    "unknown".into()
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The versions that a lock file names for these packages.
pub(super) fn versions(lock: &str, names: &[&str]) -> Vec<(String, String)> {
    let version = |name: &str| {
        let rest = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?.1;
        Some((name.to_owned(), rest.split('"').next()?.to_owned()))
    };
    names.iter().filter_map(|name| version(name)).collect()
}
