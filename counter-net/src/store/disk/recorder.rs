//! Simulates power failures, full disks and kills at any change. It records the changes of this
//! thread and can restore any moment between them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::DiskChange;

thread_local! {
    static TAPE: RefCell<Tape> =
        const {
            RefCell::new(Tape {
                changes: Vec::new(),
                is_recording: false,
                left: None,
                is_lasting: true,
                kills: false,
            })
        };
}

/// The changes to this thread's files.
struct Tape {
    changes: Vec<OwnedChange>,
    is_recording: bool,
    /// The number of further changes that succeed; `None` if all do.
    left: Option<usize>,
    /// All changes after the first refused one are refused too.
    is_lasting: bool,
    /// The first change that would be refused kills the process instead.
    kills: bool,
}

#[derive(Clone, Debug)]
enum OwnedChange {
    Create(String),
    Write(String, u64, Vec<u8>),
    Resize(String, u64),
    Sync(String),
    Rename(String, String),
    Remove(String),
    SyncNames,
}

impl From<&DiskChange<'_>> for OwnedChange {
    fn from(change: &DiskChange<'_>) -> Self {
        match *change {
            DiskChange::Create(name) => Self::Create(name.to_owned()),
            DiskChange::Write(name, offset, bytes) => {
                Self::Write(name.to_owned(), offset, bytes.to_vec())
            }
            DiskChange::Resize(name, len) => Self::Resize(name.to_owned(), len),
            DiskChange::Sync(name) => Self::Sync(name.to_owned()),
            DiskChange::Rename(from, to) => Self::Rename(from.to_owned(), to.to_owned()),
            DiskChange::Remove(name) => Self::Remove(name.to_owned()),
            DiskChange::SyncNames => Self::SyncNames,
        }
    }
}

pub(in crate::store) fn about_to(change: &DiskChange<'_>) -> io::Result<()> {
    TAPE.with_borrow_mut(|tape| {
        match &mut tape.left {
            Some(0) => {
                if tape.kills {
                    kill_self();
                }
                if !tape.is_lasting {
                    tape.left = None;
                }
                return Err(io::Error::from_raw_os_error(28));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        if tape.is_recording {
            tape.changes.push(change.into());
        }
        Ok(())
    })
}

/// Lets `changes` more changes succeed. Then the disk is full for one change, or until
/// [`make_room`] if `is_lasting`.
pub(crate) fn fill_up_after(changes: usize, is_lasting: bool) {
    TAPE.with_borrow_mut(|tape| (tape.left, tape.is_lasting) = (Some(changes), is_lasting));
}

/// Lets `changes` more changes succeed. Then kills this process instead of making the next one.
pub(crate) fn kill_after(changes: usize) {
    TAPE.with_borrow_mut(|tape| (tape.left, tape.kills) = (Some(changes), true));
}

fn kill_self() -> ! {
    use rustix::process::{Signal, getpid, kill_process};
    kill_process(getpid(), Signal::KILL).unwrap();
    loop {
        std::thread::park();
    }
}

/// Returns true if the disk was full by now.
pub(crate) fn make_room() -> bool {
    TAPE.with_borrow_mut(|tape| tape.left.take().is_none_or(|left| left == 0))
}

/// The number of changes recorded by now.
pub(crate) fn recorded() -> usize {
    TAPE.with_borrow(|tape| tape.changes.len())
}

/// The unsynced changes that survive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// All: the process was killed, and the system still runs.
    All,
    /// None: the power failed.
    Nothing,
    /// Any of the writes, and the renames up to a moment.
    Some(u64),
}

/// A directory's first state, and the changes to it.
pub(crate) struct Recording {
    before: BTreeMap<String, Vec<u8>>,
    changes: Vec<OwnedChange>,
}

#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    pending: Vec<(u64, Option<Vec<u8>>)>,
}

/// Records the changes of `work` to a directory.
pub(crate) fn record<T>(directory: &Path, work: impl FnOnce() -> T) -> (Recording, T) {
    let before = contents(directory);
    TAPE.with_borrow_mut(|tape| (tape.is_recording, tape.changes) = (true, Vec::new()));
    let result = work();
    let changes = TAPE.with_borrow_mut(|tape| {
        tape.is_recording = false;
        std::mem::take(&mut tape.changes)
    });
    (Recording { before, changes }, result)
}

fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    fs::read_dir(directory).unwrap().flatten().map(file).collect()
}

impl Recording {
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(crate) fn name_of(&self, at: usize) -> String {
        self.changes.get(at).map_or("the end".to_owned(), |change| {
            let text = format!("{change:?}");
            text.chars().take(60).collect()
        })
    }

    /// The files after a crash before change `at`.
    pub(crate) fn after_crash(&self, at: usize, kept: Kept) -> BTreeMap<String, Vec<u8>> {
        let mut rng = fastrand::Rng::with_seed(if let Kept::Some(seed) = kept { seed } else { 0 });
        let mut inodes: Vec<Inode> = self
            .before
            .values()
            .map(|bytes| Inode { durable: bytes.clone(), pending: Vec::new() })
            .collect();
        let mut names: BTreeMap<String, usize> = self.before.keys().cloned().zip(0..).collect();
        // The names on the disk, and then the names after each change that is not synced.
        let mut moments = vec![names.clone()];
        for change in &self.changes[..at] {
            match change {
                OwnedChange::Create(name) => {
                    names.insert(name.clone(), inodes.len());
                    inodes.push(Inode::default());
                }
                OwnedChange::Write(name, offset, bytes) => {
                    inodes[names[name]].pending.push((*offset, Some(bytes.clone())))
                }
                OwnedChange::Resize(name, len) => inodes[names[name]].pending.push((*len, None)),
                OwnedChange::Sync(name) => {
                    let inode = &mut inodes[names[name]];
                    std::mem::take(&mut inode.pending)
                        .into_iter()
                        .for_each(|change| apply(&mut inode.durable, change));
                }
                OwnedChange::Rename(from, to) => {
                    let inode = names.remove(from).unwrap();
                    names.insert(to.clone(), inode);
                }
                OwnedChange::Remove(name) => drop(names.remove(name)),
                OwnedChange::SyncNames => moments.clear(),
            }
            if !matches!(
                change,
                OwnedChange::Write(..) | OwnedChange::Resize(..) | OwnedChange::Sync(_)
            ) {
                moments.push(names.clone());
            }
        }
        let moment = match kept {
            Kept::All => moments.len() - 1,
            Kept::Nothing => 0,
            Kept::Some(_) => rng.usize(..moments.len()),
        };
        let mut left = |inode: &Inode| {
            let mut bytes = inode.durable.clone();
            let survives = inode
                .pending
                .iter()
                .filter(|_| kept == Kept::All || kept != Kept::Nothing && rng.bool());
            survives.for_each(|change| apply(&mut bytes, change.clone()));
            bytes
        };
        moments[moment].iter().map(|(name, inode)| (name.clone(), left(&inodes[*inode]))).collect()
    }
}

fn apply(bytes: &mut Vec<u8>, change: (u64, Option<Vec<u8>>)) {
    let at = change.0 as usize;
    match change.1 {
        None => bytes.resize(at, 0),
        Some(written) => {
            bytes.resize(bytes.len().max(at + written.len()), 0);
            bytes[at..at + written.len()].copy_from_slice(&written);
        }
    }
}

/// Replaces a directory's contents with these files. A store among them becomes a hard link to
/// `store`, a file outside of the directory. So it is the same file as before the crash.
pub(crate) fn lay_out(directory: &Path, files: &BTreeMap<String, Vec<u8>>, store: &Path) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        fs::remove_file(entry.path()).unwrap();
    }
    for (name, bytes) in files {
        let path = directory.join(name);
        if name.starts_with("counter.redb") {
            fs::hard_link(store, &path).unwrap();
        }
        let file =
            fs::File::options().create(true).truncate(false).write(true).open(&path).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(bytes, 0).unwrap();
    }
}
