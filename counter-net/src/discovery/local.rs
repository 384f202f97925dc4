//! Discovery among one user's nodes on one machine: a directory of theirs, in which each node pins
//! a note with its addresses.
//!
//! A node holds a lock on its note for as long as it runs. The kernel releases the lock when the
//! process ends, however it ends. So a note with a free lock belongs to a dead process.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use super::findings::{Findings, Outcome};
use crate::config::is_loopback;
use crate::error::DiscoveryError;
use crate::protocol::NodeId;

/// The time between two looks at the board: short at first, when several nodes are started
/// together.
const LOOK_FIRST: Duration = Duration::from_millis(100);
const LOOK_LATER: Duration = Duration::from_secs(1);
/// How many of the first looks are quick ones.
const FIRST_LOOKS: u32 = 50;
/// Nobody on the board after this: nodes that started together have pinned their notes by then.
const LOCAL_WINDOW: Duration = Duration::from_millis(500);
/// A note is renewed this often, and is stale when it was not for three times as long, whoever
/// pinned it.
const RENEW_INTERVAL: Duration = Duration::from_secs(10);
const STALE_AFTER: Duration = Duration::from_secs(30);
/// All of a board's notes are reported again this often, for those that the driver gave up.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
const NOTE_BYTES_MAX: u64 = 4_096;
const NOTES_MAX: usize = 256;
const ADDRESSES_MAX: usize = 8;

/// What a node says of itself to the user's other nodes.
#[derive(Serialize, Deserialize)]
struct Note {
    /// Whether its writer holds a lock on it; earlier releases did not.
    #[serde(default)]
    locked: bool,
    /// The node, where nothing of it outlives the process: it has no directory and no name. As 16
    /// hexadecimal digits.
    #[serde(default)]
    node: Option<String>,
    addresses: Vec<String>,
}

/// What the others' notes say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Notes {
    addresses: Vec<Multiaddr>,
    /// Nodes whose processes are gone, and nothing of theirs comes back.
    gone: Vec<NodeId>,
}

/// A cluster's directory, with this node's note in it; dropping it takes the note away.
pub(super) struct Board {
    directory: PathBuf,
    own_file: PathBuf,
    note: Note,
    /// The note's file, locked.
    lock: Option<File>,
}

impl Board {
    /// Opens the board of `cluster` below `runtime`, or below the user's runtime directory, and
    /// pins a note with the addresses `own`. `passing`: this node, if nothing of it outlives the
    /// process.
    pub(super) fn open(
        runtime: Option<&Path>,
        cluster: &str,
        own: &[Multiaddr],
        passing: Option<NodeId>,
    ) -> Result<Self, DiscoveryError> {
        let root = runtime.map_or_else(default_root, Path::to_path_buf);
        let directory = root.join(cluster);
        let path = directory.display().to_string();
        let failed = |error: io::Error| DiscoveryError::Directory {
            path: path.clone(),
            reason: error.to_string(),
        };
        private_directory(&root).and_then(|()| private_directory(&directory)).map_err(failed)?;
        // The readers are on this machine.
        let (inner, outer): (Vec<&Multiaddr>, Vec<&Multiaddr>) =
            own.iter().partition(|address| is_loopback(address));
        let addresses: Vec<String> =
            inner.into_iter().chain(outer).take(ADDRESSES_MAX).map(Multiaddr::to_string).collect();
        // Two nodes of one process are two notes.
        let own_file =
            directory.join(format!("{}-{:016x}.json", std::process::id(), fastrand::u64(..)));
        let node = passing.map(|node| format!("{:016x}", node.0));
        let mut board =
            Self { own_file, note: Note { locked: false, node, addresses }, directory, lock: None };
        board.pin().map_err(failed)?;
        Ok(board)
    }

    /// Writes the note beside its place and moves it there, so that nobody reads half of one, or
    /// one without its lock.
    fn pin(&mut self) -> io::Result<()> {
        let draft = self.own_file.with_extension("draft");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        self.note.locked = file.lock().is_ok();
        file.write_all(&serde_json::to_vec(&self.note)?)?;
        fs::rename(&draft, &self.own_file)?;
        self.lock = Some(file);
        Ok(())
    }

    /// What all others say; takes the notes of those that are gone away, and stale ones.
    fn read(&self) -> io::Result<Notes> {
        let mut found = Notes::default();
        for file in fs::read_dir(&self.directory)?.take(NOTES_MAX) {
            let path = file?.path();
            if path == self.own_file {
                continue;
            }
            match read_note(&path) {
                Ok(Told::Of(note))
                    if path.extension().is_some_and(|extension| extension == "json") =>
                {
                    found.addresses.extend(
                        note.addresses
                            .iter()
                            .take(ADDRESSES_MAX)
                            .filter_map(|address| address.parse::<Multiaddr>().ok()),
                    );
                }
                Ok(Told::Gone(node)) => found.gone.extend(node),
                // A draft, or a note that just went away: not ours to judge before it is old.
                Ok(_) | Err(_) => {
                    if is_stale(&path) {
                        let _another_swept_it = fs::remove_file(&path);
                    }
                }
            }
        }
        found.addresses.sort();
        Ok(found)
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.own_file);
    }
}

/// What a note tells.
enum Told {
    /// Of a node that runs, as far as anybody can say.
    Of(Note),
    /// Its process is gone, and the note with it; the node, where nothing of it comes back.
    Gone(Option<NodeId>),
}

/// Reads the note at `path`. Those of processes that are gone, and old ones, are taken away.
fn read_note(path: &Path) -> io::Result<Told> {
    let mut file = OpenOptions::new().read(true).open(path)?;
    let old = is_old(&file.metadata()?);
    let mut bytes = Vec::new();
    (&mut file).take(NOTE_BYTES_MAX).read_to_end(&mut bytes)?;
    let note: Note = serde_json::from_slice(&bytes)?;
    let is_gone = note.locked && is_abandoned(path, &file);
    if is_gone || old {
        fs::remove_file(path)?;
        let node =
            note.node.filter(|_| is_gone).and_then(|node| u64::from_str_radix(&node, 16).ok());
        return Ok(Told::Gone(node.map(NodeId)));
    }
    Ok(Told::Of(note))
}

/// Whether nobody holds the lock on the note at `path`. A node that renews its note locks a new
/// file, moves it there, and lets go of the one before: a reader that had that one open finds its
/// lock free, and another file at the path.
fn is_abandoned(path: &Path, file: &File) -> bool {
    let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let is_still_there =
        || Some(place(fs::symlink_metadata(path).ok()?) == place(file.metadata().ok()?));
    file.try_lock_shared().is_ok() && is_still_there() == Some(true)
}

fn is_stale(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| is_old(&metadata))
}

fn is_old(metadata: &fs::Metadata) -> bool {
    // Notes from the future were pinned before the clock was set back: they are renewed soon, or
    // are old soon.
    metadata
        .modified()
        .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > STALE_AFTER))
}

fn default_root() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute() && path.is_dir());
    let user = rustix::process::getuid().as_raw();
    runtime.map_or_else(
        || std::env::temp_dir().join(format!("replicated-counter-{user}")),
        |runtime| runtime.join("replicated-counter"),
    )
}

/// Makes the directory, and makes sure that it is this user's alone: in a shared temporary
/// directory anybody may have made it first.
fn private_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::other("it is not a directory of this user's"));
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Looks at the board until the driver is gone, and keeps the own note fresh.
///
/// Each node pins its note before its first look, so of two that start together at least one finds
/// the other at once.
pub(super) async fn watch(mut board: Board, findings: Findings) {
    let began = Instant::now();
    let (mut told, mut since_report, mut since_renewal) = (None, Duration::ZERO, Duration::ZERO);
    for look in 0_u32.. {
        let interval = if look < FIRST_LOOKS { LOOK_FIRST } else { LOOK_LATER };
        let outcome = match board.read() {
            Ok(Notes { addresses, gone }) => {
                if !gone.is_empty() && !findings.report(Outcome::Gone(gone)).await {
                    return;
                }
                Outcome::found(addresses)
            }
            Err(error) => {
                Outcome::Unsure(format!("{} cannot be read: {error}", board.directory.display()))
            }
        };
        let is_certain = matches!(outcome, Outcome::Found(_)) || began.elapsed() >= LOCAL_WINDOW;
        if is_certain && (told.as_ref() != Some(&outcome) || since_report >= REPORT_INTERVAL) {
            told = Some(outcome.clone());
            since_report = Duration::ZERO;
            if !findings.report(outcome).await {
                return;
            }
        }
        if since_renewal >= RENEW_INTERVAL {
            since_renewal = Duration::ZERO;
            if let Err(error) = board.pin() {
                tracing::warn!(%error, "the note for local discovery could not be renewed: nodes that start later will not find this one");
            }
        }
        tokio::time::sleep(interval).await;
        since_report += interval;
        since_renewal += interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_is_told_after_the_window_and_somebody_at_once() {
        let root = scratch("watch");
        let board = open(&root, "a", 1);
        let (queue, mut reported) = tokio::sync::mpsc::channel(1);
        let began = Instant::now();
        tokio::spawn(watch(board, Findings::new(0, queue)));
        assert_eq!(reported.recv().await.expect("a report").outcome, Outcome::Nobody);
        assert!(began.elapsed() >= LOCAL_WINDOW, "{:?}", began.elapsed());
        let other = open(&root, "a", 2);
        assert_eq!(
            reported.recv().await.expect("a report").outcome,
            Outcome::Found(vec![address(2)])
        );
        let late = open(&root, "a", 3);
        let (queue, mut reported) = tokio::sync::mpsc::channel(1);
        let began = Instant::now();
        tokio::spawn(watch(late, Findings::new(0, queue)));
        assert!(
            matches!(reported.recv().await.expect("a report").outcome, Outcome::Found(found) if found.len() == 2)
        );
        assert!(began.elapsed() < LOCAL_WINDOW, "{:?}", began.elapsed());
        fs::remove_dir_all(&root).expect("removable");
        let lost = loop {
            if let Outcome::Unsure(reason) = reported.recv().await.expect("a report").outcome {
                break reason;
            }
        };
        assert!(lost.contains(&*root.to_string_lossy()), "{lost}");
        drop(other);
    }

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("counter-net-local-{name}-{:016x}", fastrand::u64(..)))
    }

    fn open(root: &Path, cluster: &str, port: u16) -> Board {
        Board::open(Some(root), cluster, &[address(port)], None).expect("a board")
    }

    fn addresses(board: &Board) -> Vec<Multiaddr> {
        board.read().expect("readable").addresses
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address")
    }

    #[test]
    fn nodes_find_each_other_and_not_themselves_nor_another_cluster() {
        let root = scratch("find");
        let [first, second] = [1, 2].map(|port| open(&root, "a", port));
        let other = open(&root, "b", 3);
        assert_eq!(addresses(&first), [address(2)]);
        assert_eq!(addresses(&second), [address(1)]);
        assert!(addresses(&other).is_empty());
        drop(second);
        assert_eq!(first.read().expect("readable"), Notes::default(), "a note goes with its node");
        fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn notes_of_dead_processes_and_rubbish_are_passed_over_and_swept() {
        let root = scratch("sweep");
        let board = open(&root, "a", 1);
        let write = |name: &str, note: &Note| {
            fs::write(board.directory.join(name), serde_json::to_vec(note).expect("plain"))
                .expect("writable")
        };
        let note = |locked, node: &str, port| Note {
            locked,
            node: Some(node.into()),
            addresses: vec![address(port).to_string()],
        };
        // Nobody holds a lock on these; the second one's release takes none.
        write("dead.json", &note(true, "00000000000000aa", 2));
        write("earlier.json", &note(false, "00000000000000bb", 3));
        fs::write(board.directory.join("rubbish.json"), b"\xff{").expect("writable");
        fs::write(board.directory.join("half.draft"), b"{").expect("writable");
        let read = board.read().expect("readable");
        assert_eq!(read, Notes { addresses: vec![address(3)], gone: vec![NodeId(0xaa)] });
        assert!(
            !board.directory.join("dead.json").exists()
                && board.directory.join("rubbish.json").exists()
        );
        let old = fs::File::options()
            .write(true)
            .open(board.directory.join("rubbish.json"))
            .expect("openable");
        old.set_modified(SystemTime::now() - 2 * STALE_AFTER).expect("settable");
        assert_eq!(addresses(&board), [address(3)]);
        assert!(!board.directory.join("rubbish.json").exists());
        fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn note_that_is_renewed_while_it_is_read_is_not_abandoned() {
        let root = scratch("renewed");
        let mut board = open(&root, "a", 1);
        let before = File::open(&board.own_file).expect("openable");
        board.pin().expect("writable");
        assert!(before.try_lock_shared().is_ok(), "the lock on the earlier file is free");
        assert!(!is_abandoned(&board.own_file, &before));
        let now = File::open(&board.own_file).expect("openable");
        assert!(!is_abandoned(&board.own_file, &now), "the node holds the lock");
        board.lock = None;
        assert!(is_abandoned(&board.own_file, &now));
        fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn the_directory_is_the_users_alone() {
        let root = scratch("mode");
        fs::create_dir(&root).expect("creatable");
        fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).expect("settable");
        let _board = Board::open(Some(&root), "a", &[], None).expect("a board");
        assert_eq!(fs::metadata(&root).expect("there").mode() & 0o777, 0o700);
        let file = scratch("file");
        fs::write(&file, b"").expect("writable");
        assert!(matches!(
            Board::open(Some(&file), "a", &[], None),
            Err(DiscoveryError::Directory { .. })
        ));
        fs::remove_file(file).expect("removable");
        fs::remove_dir_all(root).expect("removable");
    }
}
