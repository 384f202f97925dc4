//! automerge, loro and yrs: run from their own workspace, if they are built there, and put beside
//! our figures.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::machine::versions;
use crate::figures::row::{Figure, Row};

const HOW_TO_GET: &str = "automerge, loro, yrs: skipped; `cargo build --release --manifest-path benches/peers/Cargo.toml` brings them in";

/// The output of the peers' program.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct PeerLibraries {
    /// The id of a row, and the figure of one contender for it.
    pub figures: Vec<(String, Figure)>,
    /// Workloads that they were not given, and why.
    pub skipped: Vec<String>,
    /// The name and version of each.
    #[serde(default)]
    pub versions: Vec<(String, String)>,
}

/// The places where its binary may be: the path in COUNTER_PEERS_BINARY, the peers' own target
/// directory, cargo's common one, and this program's directory.
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

/// Adds their figures to the rows of the same id. Returns the workloads that they left out.
///
/// # Errors
/// A line for the report's list of skipped workloads. It says how to get the peers.
pub fn add_peers(rows: &mut [Row], quick: bool) -> Result<PeerLibraries, String> {
    let mut command = Command::new(binary().ok_or(HOW_TO_GET)?);
    if quick {
        command.arg("--quick");
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{HOW_TO_GET} ({error})"))?;
    let mut peers: PeerLibraries = serde_json::from_slice(&output.stdout).map_err(|error| {
        format!(
            "{HOW_TO_GET}; what lies there is of another version, or broke ({}, {error})",
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
