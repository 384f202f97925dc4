//! automerge, loro and yrs: run from the workspace of their own, where they are built, and put
//! beside our figures.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::machine::versions;
use crate::row::{Figure, Row};

const HOW: &str = "automerge, loro, yrs: skipped; `cargo build --release --manifest-path benches/peers/Cargo.toml` brings them in";

/// What the peers' program prints.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Peers {
    /// Each row's id, and one contender's figure for it.
    pub figures: Vec<(String, Figure)>,
    /// What they were not asked to do, and why.
    pub skipped: Vec<String>,
    /// (name, version) of each.
    #[serde(default)]
    pub versions: Vec<(String, String)>,
}

/// Where it may lie: named in COUNTER_PEERS_BINARY, in the peers' own target directory, in cargo's
/// common one, or beside this program.
fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("COUNTER_PEERS_BINARY").map(PathBuf::from);
    let common =
        std::env::var_os("CARGO_TARGET_DIR").map(|target| Path::new(&target).join("release/peers"));
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("peers"));
    [named, Some("benches/peers/target/release/peers".into()), common, beside]
        .into_iter()
        .flatten()
        .find(|path| path.exists())
}

/// Adds their figures to the rows of the same work, and says what they left out; else says how to
/// get them.
///
/// # Errors
/// The line for the report's list of what was skipped.
pub fn add_peers(rows: &mut [Row], quick: bool) -> Result<Peers, String> {
    let mut command = Command::new(binary().ok_or(HOW)?);
    if quick {
        command.arg("--quick");
    }
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|error| format!("{HOW} ({error})"))?;
    let mut peers: Peers = serde_json::from_slice(&output.stdout).map_err(|error| {
        format!(
            "{HOW}; what lies there is of another version, or broke ({}, {error})",
            output.status
        )
    })?;
    for (id, figure) in std::mem::take(&mut peers.figures) {
        if let Some(row) = rows.iter_mut().find(|row| row.id == id) {
            row.figures.push(figure);
        }
    }
    peers.versions =
        versions(include_str!("../../peers/Cargo.lock"), &["automerge", "loro", "yrs"]);
    Ok(peers)
}
