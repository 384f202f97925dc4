//! automerge, loro and yrs: run from the workspace of their own, where they are built, and put beside our figures.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::row::{Figure, Row};

const HOW: &str = "automerge, loro, yrs: skipped; `cargo build --release --manifest-path benches/peers/Cargo.toml` brings them in";

fn binary() -> Option<PathBuf> {
    let own = std::env::var_os("COUNTER_PEERS_BINARY").map(PathBuf::from);
    own.or_else(|| Some("benches/peers/target/release/peers".into())).filter(|path| path.exists())
}

/// Adds their figures to the rows of the same work; else says how to get them.
///
/// # Errors
/// The line for the report's list of what was skipped.
pub fn add_peers(rows: &mut [Row], quick: bool) -> Result<(), String> {
    let mut command = Command::new(binary().ok_or(HOW)?);
    if quick {
        command.arg("--quick");
    }
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| format!("{HOW} ({error})"))?;
    let figures: Vec<(String, Figure)> = serde_json::from_slice(&output.stdout).map_err(|error| format!("{HOW} ({error})"))?;
    for (id, figure) in figures {
        if let Some(row) = rows.iter_mut().find(|row| row.id == id) {
            row.figures.push(figure);
        }
    }
    Ok(())
}
