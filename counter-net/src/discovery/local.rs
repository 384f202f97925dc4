//! Discovery among one user's nodes on one machine: a shared directory where each node keeps a note
//! with its addresses.
//!
//! A node locks its note while it runs. The kernel releases the lock when the process ends in any
//! way, so a note with a free lock belongs to a dead process.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use super::report::{AddressSender, DiscoveryOutcome};
use crate::config::is_loopback;
use crate::error::DiscoveryError;
use crate::protocol::NodeId;

/// Time between two looks at the notes. Short at first, because nodes often start together.
const LOOK_FIRST: Duration = Duration::from_millis(100);
const LOOK_LATER: Duration = Duration::from_secs(1);
/// The number of looks at the short interval.
const FIRST_LOOKS: u32 = 50;
/// After this time an empty directory means that there is no other node. Nodes that start together
/// have written their notes by then.
const LOCAL_WINDOW: Duration = Duration::from_millis(500);
/// Each note is rewritten this often. One that is three times as old is stale.
const RENEW_INTERVAL: Duration = Duration::from_secs(10);
const STALE_AFTER: Duration = Duration::from_secs(30);
/// All addresses are reported again this often, because the driver may have dropped some.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
const NOTE_BYTES_MAX: u64 = 4_096;
const NOTES_MAX: usize = 256;
const ADDRESSES_MAX: usize = 8;

/// A node's entry in the directory.
#[derive(Serialize, Deserialize)]
struct Note {
    /// True if its writer holds a lock on it. Earlier releases did not.
    #[serde(default)]
    locked: bool,
    /// The node's number as 16 hexadecimal digits, if the node ends with its process: it has
    /// neither a data directory nor a name.
    #[serde(default)]
    node: Option<String>,
    addresses: Vec<String>,
}

/// The contents of all other notes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Notes {
    addresses: Vec<Multiaddr>,
    /// Nodes whose processes have ended and that will not come back.
    gone: Vec<NodeId>,
}

/// The directory of one cluster with this node's note. Dropping it removes the note.
pub(super) struct NoteDirectory {
    directory: PathBuf,
    own_file: PathBuf,
    note: Note,
    /// The note's file, locked.
    lock: Option<File>,
}

impl NoteDirectory {
    /// Opens the directory of `cluster` below `runtime` or the user's runtime directory, and writes
    /// a note with the addresses `own`. `ephemeral` is this node if it ends with its process.
    pub(super) fn open(
        runtime: Option<&Path>,
        cluster: &str,
        own: &[Multiaddr],
        ephemeral: Option<NodeId>,
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
        let node = ephemeral.map(|node| format!("{:016x}", node.0));
        let mut notes =
            Self { own_file, note: Note { locked: false, node, addresses }, directory, lock: None };
        notes.write_note().map_err(failed)?;
        Ok(notes)
    }

    /// Writes the note to a draft and renames it, so that no reader sees half a note or one without
    /// its lock.
    fn write_note(&mut self) -> io::Result<()> {
        let draft = self.own_file.with_extension("draft");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        self.note.locked = file.lock().is_ok();
        file.write_all(&serde_json::to_vec(&self.note)?)?;
        fs::rename(&draft, &self.own_file)?;
        self.lock = Some(file);
        Ok(())
    }

    /// Reads all other notes. Removes those of dead processes and stale ones.
    fn read(&self) -> io::Result<Notes> {
        let mut found = Notes::default();
        for file in fs::read_dir(&self.directory)?.take(NOTES_MAX) {
            let path = file?.path();
            if path == self.own_file {
                continue;
            }
            match read_note(&path) {
                Ok(NoteState::Current(note))
                    if path.extension().is_some_and(|extension| extension == "json") =>
                {
                    found.addresses.extend(
                        note.addresses
                            .iter()
                            .take(ADDRESSES_MAX)
                            .filter_map(|address| address.parse::<Multiaddr>().ok()),
                    );
                }
                Ok(NoteState::Gone(node)) => found.gone.extend(node),
                // A draft, or a note that was just removed. It goes only once it is old.
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

impl Drop for NoteDirectory {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.own_file);
    }
}

/// The state of another node's note.
enum NoteState {
    /// Its process may be running.
    Current(Note),
    /// Its process has ended, and the note was removed. The node, if it will not come back.
    Gone(Option<NodeId>),
}

/// Reads the note at `path`. Removes it if its process has ended or it is old.
fn read_note(path: &Path) -> io::Result<NoteState> {
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
        return Ok(NoteState::Gone(node.map(NodeId)));
    }
    Ok(NoteState::Current(note))
}

/// Returns true if no process holds the lock on the note at `path`.
///
/// A node that renews its note locks a new file, renames it, and closes the old one. A reader that
/// still has the old file open finds its lock free, but another file at the path.
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
    // A note from the future was written before the clock was set back. It is renewed soon, or
    // becomes old.
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

/// Creates the directory and checks that it belongs to this user alone. In a shared temporary
/// directory another user may have created it first.
fn private_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::other("it is not a directory that belongs to this user"));
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Reads the notes until the driver ends, and renews this node's own.
///
/// Each node writes its note before its first look. So of two nodes that start together at least
/// one finds the other at once.
pub(super) async fn watch(mut notes: NoteDirectory, sender: AddressSender) {
    let began = Instant::now();
    let (mut told, mut since_report, mut since_renewal) = (None, Duration::ZERO, Duration::ZERO);
    for look in 0_u32.. {
        let interval = if look < FIRST_LOOKS { LOOK_FIRST } else { LOOK_LATER };
        let outcome = match notes.read() {
            Ok(Notes { addresses, gone }) => {
                if !gone.is_empty() && !sender.report(DiscoveryOutcome::Gone(gone)).await {
                    return;
                }
                DiscoveryOutcome::found(addresses)
            }
            Err(error) => DiscoveryOutcome::Unsure(format!(
                "{} cannot be read: {error}",
                notes.directory.display()
            )),
        };
        let is_certain =
            matches!(outcome, DiscoveryOutcome::Found(_)) || began.elapsed() >= LOCAL_WINDOW;
        if is_certain && (told.as_ref() != Some(&outcome) || since_report >= REPORT_INTERVAL) {
            told = Some(outcome.clone());
            since_report = Duration::ZERO;
            if !sender.report(outcome).await {
                return;
            }
        }
        if since_renewal >= RENEW_INTERVAL {
            since_renewal = Duration::ZERO;
            if let Err(error) = notes.write_note() {
                tracing::warn!(
                    %error,
                    "the note for local discovery could not be renewed; nodes that start later \
                     will not find this one"
                );
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
    async fn empty_directory_is_reported_after_the_window() {
        let root = scratch("watch");
        let notes = open(&root, "a", 1);
        let (queue, mut reported) = tokio::sync::mpsc::channel(1);
        let began = Instant::now();
        tokio::spawn(watch(notes, AddressSender::new(0, queue)));
        assert_eq!(reported.recv().await.expect("a report").outcome, DiscoveryOutcome::Nobody);
        assert!(began.elapsed() >= LOCAL_WINDOW, "{:?}", began.elapsed());
        let other = open(&root, "a", 2);
        assert_eq!(
            reported.recv().await.expect("a report").outcome,
            DiscoveryOutcome::Found(vec![address(2)])
        );
        let late = open(&root, "a", 3);
        let (queue, mut reported) = tokio::sync::mpsc::channel(1);
        let began = Instant::now();
        tokio::spawn(watch(late, AddressSender::new(0, queue)));
        let outcome = reported.recv().await.expect("a report").outcome;
        assert!(matches!(outcome, DiscoveryOutcome::Found(found) if found.len() == 2));
        assert!(began.elapsed() < LOCAL_WINDOW, "{:?}", began.elapsed());
        fs::remove_dir_all(&root).expect("removable");
        let lost = loop {
            if let DiscoveryOutcome::Unsure(reason) =
                reported.recv().await.expect("a report").outcome
            {
                break reason;
            }
        };
        assert!(lost.contains(&*root.to_string_lossy()), "{lost}");
        drop(other);
    }

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("counter-net-local-{name}-{:016x}", fastrand::u64(..)))
    }

    fn open(root: &Path, cluster: &str, port: u16) -> NoteDirectory {
        NoteDirectory::open(Some(root), cluster, &[address(port)], None).expect("a directory")
    }

    fn addresses(notes: &NoteDirectory) -> Vec<Multiaddr> {
        notes.read().expect("readable").addresses
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address")
    }

    #[test]
    fn nodes_find_only_others_of_their_cluster() {
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
    fn notes_of_dead_processes_and_rubbish_are_swept() {
        let root = scratch("sweep");
        let notes = open(&root, "a", 1);
        let write = |name: &str, note: &Note| {
            fs::write(notes.directory.join(name), serde_json::to_vec(note).expect("plain"))
                .expect("writable")
        };
        let note = |locked, node: &str, port| Note {
            locked,
            node: Some(node.into()),
            addresses: vec![address(port).to_string()],
        };
        // No process locks these; the release of the second one takes no locks.
        write("dead.json", &note(true, "00000000000000aa", 2));
        write("earlier.json", &note(false, "00000000000000bb", 3));
        fs::write(notes.directory.join("rubbish.json"), b"\xff{").expect("writable");
        fs::write(notes.directory.join("half.draft"), b"{").expect("writable");
        let read = notes.read().expect("readable");
        assert_eq!(read, Notes { addresses: vec![address(3)], gone: vec![NodeId(0xaa)] });
        assert!(
            !notes.directory.join("dead.json").exists()
                && notes.directory.join("rubbish.json").exists()
        );
        let old = fs::File::options()
            .write(true)
            .open(notes.directory.join("rubbish.json"))
            .expect("openable");
        old.set_modified(SystemTime::now() - 2 * STALE_AFTER).expect("settable");
        assert_eq!(addresses(&notes), [address(3)]);
        assert!(!notes.directory.join("rubbish.json").exists());
        fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn renewed_note_is_not_abandoned() {
        let root = scratch("renewed");
        let mut notes = open(&root, "a", 1);
        let before = File::open(&notes.own_file).expect("openable");
        notes.write_note().expect("writable");
        assert!(before.try_lock_shared().is_ok(), "the lock on the earlier file is free");
        assert!(!is_abandoned(&notes.own_file, &before));
        let now = File::open(&notes.own_file).expect("openable");
        assert!(!is_abandoned(&notes.own_file, &now), "the node holds the lock");
        notes.lock = None;
        assert!(is_abandoned(&notes.own_file, &now));
        fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn the_directory_is_the_users_alone() {
        let root = scratch("mode");
        fs::create_dir(&root).expect("creatable");
        fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).expect("settable");
        let _notes = NoteDirectory::open(Some(&root), "a", &[], None).expect("a directory");
        assert_eq!(fs::metadata(&root).expect("there").mode() & 0o777, 0o700);
        let file = scratch("file");
        fs::write(&file, b"").expect("writable");
        assert!(matches!(
            NoteDirectory::open(Some(&file), "a", &[], None),
            Err(DiscoveryError::Directory { .. })
        ));
        fs::remove_file(file).expect("removable");
        fs::remove_dir_all(root).expect("removable");
    }
}
