//! Discovery among one user's nodes on one machine: a directory of theirs, in which each node pins a note with its addresses.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use super::findings::{Findings, Outcome};
use crate::config::is_loopback;
use crate::error::DiscoveryError;

/// The time between two looks at the board: short at first, when several nodes are started together.
const LOOK_FIRST: Duration = Duration::from_millis(100);
const LOOK_LATER: Duration = Duration::from_secs(1);
/// How many of the first looks are quick ones.
const FIRST_LOOKS: u32 = 50;
/// Nobody on the board after this: nodes that started together have pinned their notes by then.
const LOCAL_WINDOW: Duration = Duration::from_millis(500);
/// A note is renewed this often, and is stale when it was not for three times as long, whoever pinned it.
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
    pid: u32,
    /// The boot and the process namespace in which `pid` means something.
    boot: String,
    addresses: Vec<String>,
}

/// A cluster's directory, with this node's note in it; dropping it takes the note away.
pub(super) struct Board {
    directory: PathBuf,
    own_file: PathBuf,
    note: Note,
}

impl Board {
    /// Opens the board of `cluster` below `runtime`, or below the user's runtime directory, and pins a note with the addresses `own`.
    pub(super) fn open(runtime: Option<&Path>, cluster: &str, own: &[Multiaddr]) -> Result<Self, DiscoveryError> {
        let root = runtime.map_or_else(default_root, Path::to_path_buf);
        let directory = root.join(cluster);
        let path = directory.display().to_string();
        let failed = |error: io::Error| DiscoveryError::Directory { path: path.clone(), reason: error.to_string() };
        private_directory(&root).and_then(|()| private_directory(&directory)).map_err(failed)?;
        // The readers are on this machine.
        let (inner, outer): (Vec<&Multiaddr>, Vec<&Multiaddr>) = own.iter().partition(|address| is_loopback(address));
        let addresses: Vec<String> = inner.into_iter().chain(outer).take(ADDRESSES_MAX).map(Multiaddr::to_string).collect();
        let pid = std::process::id();
        // Two nodes of one process are two notes.
        let own_file = directory.join(format!("{pid}-{:016x}.json", fastrand::u64(..)));
        let board = Self { own_file, note: Note { pid, boot: boot(), addresses }, directory };
        board.pin().map_err(failed)?;
        Ok(board)
    }

    /// Writes the note beside its place and moves it there, so that nobody reads half of one.
    fn pin(&self) -> io::Result<()> {
        let draft = self.own_file.with_extension("draft");
        let bytes = serde_json::to_vec(&self.note)?;
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?.write_all(&bytes)?;
        fs::rename(&draft, &self.own_file)
    }

    /// The addresses of all others; takes stale notes away.
    fn read(&self) -> io::Result<Vec<Multiaddr>> {
        let mut found = Vec::new();
        for file in fs::read_dir(&self.directory)?.take(NOTES_MAX) {
            let path = file?.path();
            if path == self.own_file {
                continue;
            }
            match read_note(&path) {
                Ok(Some(note)) if path.extension().is_some_and(|extension| extension == "json") => {
                    found.extend(note.addresses.iter().take(ADDRESSES_MAX).filter_map(|address| address.parse::<Multiaddr>().ok()));
                }
                // A draft, or a note that just went away: not ours to judge before it is old.
                Ok(_) | Err(_) => {
                    if is_stale(&path) {
                        let _another_swept_it = fs::remove_file(&path);
                    }
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.own_file);
    }
}

/// The note at `path`, or nothing if whoever pinned it is gone; then the note goes too.
fn read_note(path: &Path) -> io::Result<Option<Note>> {
    let file = OpenOptions::new().read(true).open(path)?;
    let old = is_old(&file.metadata()?);
    let mut bytes = Vec::new();
    file.take(NOTE_BYTES_MAX).read_to_end(&mut bytes)?;
    let note: Note = serde_json::from_slice(&bytes)?;
    if old || (note.boot == boot() && !is_running(note.pid)) {
        fs::remove_file(path)?;
        return Ok(None);
    }
    Ok(Some(note))
}

fn is_stale(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| is_old(&metadata))
}

fn is_old(metadata: &fs::Metadata) -> bool {
    // Notes from the future were pinned before the clock was set back: they are renewed soon, or are old soon.
    metadata.modified().is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > STALE_AFTER))
}

fn is_running(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Where process numbers are comparable: one boot of one machine, one process namespace. Elsewhere only a note's age counts.
fn boot() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{}/{}", boot.trim(), namespace.display())
}

fn default_root() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute() && path.is_dir());
    let user = rustix::process::getuid().as_raw();
    runtime.map_or_else(|| std::env::temp_dir().join(format!("replicated-counter-{user}")), |runtime| runtime.join("replicated-counter"))
}

/// Makes the directory, and makes sure that it is this user's alone: in a shared temporary directory anybody may have made it first.
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
/// Each node pins its note before its first look, so of two that start together at least one finds the other at once.
pub(super) async fn watch(board: Board, findings: Findings) {
    let began = Instant::now();
    let (mut told, mut since_report, mut since_renewal) = (None, Duration::ZERO, Duration::ZERO);
    for look in 0_u32.. {
        let interval = if look < FIRST_LOOKS { LOOK_FIRST } else { LOOK_LATER };
        let outcome = match board.read() {
            Ok(addresses) => Outcome::found(addresses),
            Err(error) => Outcome::Unsure(format!("{} cannot be read: {error}", board.directory.display())),
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
        let board = Board::open(Some(&root), "a", &[address(1)]).expect("a board");
        let (queue, mut reported) = tokio::sync::mpsc::channel(1);
        let began = Instant::now();
        tokio::spawn(watch(board, Findings::new(0, queue)));
        assert_eq!(reported.recv().await.expect("a report").outcome, Outcome::Nobody);
        assert!(began.elapsed() >= LOCAL_WINDOW, "{:?}", began.elapsed());
        let other = Board::open(Some(&root), "a", &[address(2)]).expect("a board");
        assert_eq!(reported.recv().await.expect("a report").outcome, Outcome::Found(vec![address(2)]));
        let late = Board::open(Some(&root), "a", &[address(3)]).expect("a board");
        let (queue, mut reported) = tokio::sync::mpsc::channel(1);
        let began = Instant::now();
        tokio::spawn(watch(late, Findings::new(0, queue)));
        assert!(matches!(reported.recv().await.expect("a report").outcome, Outcome::Found(found) if found.len() == 2));
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

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address")
    }

    #[test]
    fn nodes_find_each_other_and_not_themselves_nor_another_cluster() {
        let root = scratch("find");
        let [first, second] = [1, 2].map(|port| Board::open(Some(&root), "a", &[address(port)]).expect("a board"));
        let other = Board::open(Some(&root), "b", &[address(3)]).expect("a board");
        assert_eq!(first.read().expect("readable"), [address(2)]);
        assert_eq!(second.read().expect("readable"), [address(1)]);
        assert!(other.read().expect("readable").is_empty());
        drop(second);
        assert!(first.read().expect("readable").is_empty(), "a note goes with its node");
        fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn notes_of_dead_processes_and_rubbish_are_passed_over_and_swept() {
        let root = scratch("sweep");
        let board = Board::open(Some(&root), "a", &[address(1)]).expect("a board");
        // Above the greatest process number that Linux gives.
        let dead = Note { pid: 0x7fff_fff0, boot: boot(), addresses: vec![address(2).to_string()] };
        let path = board.directory.join("dead.json");
        fs::write(&path, serde_json::to_vec(&dead).expect("plain")).expect("writable");
        fs::write(board.directory.join("rubbish.json"), b"\xff{").expect("writable");
        fs::write(board.directory.join("half.draft"), b"{").expect("writable");
        assert!(board.read().expect("readable").is_empty());
        assert!(!path.exists() && board.directory.join("rubbish.json").exists());
        let old = fs::File::options().write(true).open(board.directory.join("rubbish.json")).expect("openable");
        old.set_modified(SystemTime::now() - 2 * STALE_AFTER).expect("settable");
        assert!(board.read().expect("readable").is_empty());
        assert!(!board.directory.join("rubbish.json").exists());
        fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn the_directory_is_the_users_alone() {
        let root = scratch("mode");
        fs::create_dir(&root).expect("creatable");
        fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).expect("settable");
        let _board = Board::open(Some(&root), "a", &[]).expect("a board");
        assert_eq!(fs::metadata(&root).expect("there").mode() & 0o777, 0o700);
        let file = scratch("file");
        fs::write(&file, b"").expect("writable");
        assert!(matches!(Board::open(Some(&file), "a", &[]), Err(DiscoveryError::Directory { .. })));
        fs::remove_file(file).expect("removable");
        fs::remove_dir_all(root).expect("removable");
    }
}
