//! Starts and commits interrupted at every change to the directory, by a kill, a power failure or a
//! full disk. The node keeps its identity.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use counter_core::{Replica, ReplicaId};

use super::{NewIncarnation, from_directory};
use crate::store::recorder::{self, Kept, Recording};
use crate::store::{Batch, Log, Scratch, StoreError};

/// The facts about a node that others may rely on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    /// Its latest incarnation that may have spoken.
    incarnation: Option<ReplicaId>,
    /// Its latest incarnation with something stored. A member brings back one without, if it spoke.
    stored: Option<ReplicaId>,
    /// Clicks that were acknowledged.
    clicks: u64,
}

fn begin(directory: &Path) -> Result<NewIncarnation, StoreError> {
    from_directory(directory, false, "crashes".to_owned())
}

/// A start, and a click that is acknowledged. Calls `told` with the facts that others may know from
/// then on.
fn run(directory: &Path, mut told: impl FnMut(Told)) -> Result<(), StoreError> {
    let incarnation = begin(directory)?;
    let before = clicks(&incarnation);
    let stored =
        incarnation.map.replicas().filter(|held| held.node == incarnation.replica.node).max();
    told(Told { incarnation: Some(incarnation.replica), stored, clicks: before });
    let stored = incarnation.map.version_vector();
    let mut replica = Replica::with_map(incarnation.replica, "ord", incarnation.map).unwrap();
    replica.add("clicks", 1).unwrap();
    replica.flush();
    let delta = Some(replica.map().delta_since(&stored).encode());
    let mut store = incarnation.store.unwrap();
    store.log.commit(&Batch { delta, ..Batch::default() })?;
    told(Told { incarnation: Some(replica.id()), stored: Some(replica.id()), clicks: before + 1 });
    Ok(())
}

fn clicks(incarnation: &NewIncarnation) -> u64 {
    u64::try_from(incarnation.map.total("clicks")).unwrap()
}

/// The start after a crash is the same node, above every incarnation that was told of, with every
/// click.
fn is_itself(incarnation: &NewIncarnation, node: Option<u64>, told: Told, what: &str) {
    assert!(incarnation.copied.is_empty(), "{what}: taken for a copy");
    if let Some(node) = node {
        assert_eq!(incarnation.replica.node, node, "{what}: another node");
    }
    if let Some(before) = told.incarnation {
        assert!(
            before.node == incarnation.replica.node
                && before.incarnation < incarnation.replica.incarnation,
            "{what}: {before:?}, {:?}",
            incarnation.replica
        );
    }
    if let Some(stored) =
        told.stored.filter(|stored| incarnation.map.replicas().any(|held| held == *stored))
    {
        assert!(
            incarnation.earlier.contains(&stored),
            "{what}: {stored:?} is not known to have ended"
        );
    }
    assert!(
        (told.clicks..=told.clicks + 1).contains(&clicks(incarnation)),
        "{what}: {} clicks of {told:?}",
        clicks(incarnation)
    );
}

/// A recorded run, and the facts that were known after each number of changes.
struct Recorded {
    recording: Recording,
    told: Vec<(usize, Told)>,
    /// Another name of the store's file, so that it stays the same file.
    store: PathBuf,
}

fn record(scratch: &Scratch, directory: &Path, before: Told) -> Recorded {
    let mut told = vec![(0, before)];
    let (recording, ran) = recorder::record(directory, || {
        run(directory, |now| told.push((recorder::recorded(), now)))
    });
    ran.unwrap();
    let store = scratch.path().join("store");
    if !store.exists() {
        std::fs::hard_link(directory.join("counter.redb"), &store).unwrap();
    }
    Recorded { recording, told, store }
}

impl Recorded {
    /// The directory after a crash before change `at`, and the facts known by then.
    fn crash(&self, directory: &Path, at: usize, kept: Kept) -> Told {
        recorder::lay_out(directory, &self.recording.after_crash(at, kept), &self.store);
        self.told.iter().rev().find(|(after, _)| *after <= at).unwrap().1
    }
}

fn ways(at: usize) -> [Kept; 4] {
    let seed = at as u64 * 2;
    [Kept::All, Kept::Nothing, Kept::Some(seed), Kept::Some(seed + 1)]
}

/// Crashes a run at each of its changes.
fn crash_everywhere(scratch: &Scratch, directory: &Path, node: Option<u64>, before: Told) -> usize {
    let recorded = record(scratch, directory, before);
    for at in 0..=recorded.recording.len() {
        for kept in ways(at) {
            let told = recorded.crash(directory, at, kept);
            let what = format!("{kept:?} before change {at}, {}", recorded.recording.name_of(at));
            let incarnation = begin(directory).unwrap_or_else(|error| panic!("{what}: {error}"));
            is_itself(&incarnation, node, told, &what);
        }
    }
    recorded.recording.len() + 1
}

fn directory_of(scratch: &Scratch) -> PathBuf {
    let directory = scratch.path().join("data");
    std::fs::create_dir(&directory).unwrap();
    directory
}

/// A node that ran once.
fn settled(directory: &Path) -> Told {
    let mut latest = Told::default();
    run(directory, |told| latest = told).unwrap();
    latest
}

#[test]
fn interrupted_first_start_leaves_next_start_free() {
    let scratch = Scratch::in_memory();
    let points = crash_everywhere(&scratch, &directory_of(&scratch), None, Told::default());
    println!("{points} points of a first start and a commit, each in 4 ways");
}

#[test]
fn interrupted_start_keeps_identity() {
    let scratch = Scratch::in_memory();
    let directory = directory_of(&scratch);
    let told = settled(&directory);
    let points = crash_everywhere(
        &scratch,
        &directory,
        told.incarnation.map(|incarnation| incarnation.node),
        told,
    );
    println!("{points} points of a start and a commit, each in 4 ways");
}

/// The first start is killed before it has synced its mark's name. The second one loses power.
#[test]
fn power_failure_after_a_kill_undoes_no_commit() {
    let scratch = Scratch::in_memory();
    let directory = directory_of(&scratch);
    let before = settled(&directory);
    let plain = record(&scratch, &directory, before);
    let renamed = (0..plain.recording.len())
        .find(|at| plain.recording.name_of(*at).starts_with("Rename"))
        .unwrap();
    let mut told = vec![(0, plain.told.last().unwrap().1)];
    let (recording, ran) = recorder::record(&directory, || {
        recorder::fill_up_after(renamed + 1, false);
        run(&directory, |_| ()).unwrap_err();
        run(&directory, |now| told.push((recorder::recorded(), now)))
    });
    ran.unwrap();
    let recorded = Recorded { recording, told, ..plain };
    for at in renamed..=recorded.recording.len() {
        let told = recorded.crash(&directory, at, Kept::Nothing);
        let what = format!("before change {at}, {}", recorded.recording.name_of(at));
        is_itself(
            &begin(&directory).unwrap(),
            before.incarnation.map(|incarnation| incarnation.node),
            told,
            &what,
        );
    }
}

/// Each start is cut short and begins with the files that the one before it left. `COUNTER_CRASHES`
/// sets the number of crashes.
#[test]
fn repeatedly_interrupted_starts_keep_identity() {
    let crashes = std::env::var("COUNTER_CRASHES")
        .ok()
        .and_then(|crashes| crashes.parse().ok())
        .unwrap_or(60);
    let scratch = Scratch::in_memory();
    let directory = directory_of(&scratch);
    let mut told = settled(&directory);
    let node = told.incarnation.map(|incarnation| incarnation.node);
    for crash in 0..crashes {
        let recorded = record(&scratch, &directory, told);
        let at = fastrand::usize(..=recorded.recording.len());
        let kept = ways(fastrand::usize(..1 << 40))[fastrand::usize(..4)];
        told = recorded.crash(&directory, at, kept);
        let what = format!(
            "crash {crash}: {kept:?} before change {at}, {}",
            recorded.recording.name_of(at)
        );
        let files = recorded.recording.after_crash(at, kept);
        is_itself(
            &begin(&directory).unwrap_or_else(|error| panic!("{what}: {error}")),
            node,
            told,
            &what,
        );
        // The next start begins from what this crash left, not from what the check made of it.
        recorder::lay_out(&directory, &files, &recorded.store);
        let there = clicks(&begin(&directory).unwrap());
        recorder::lay_out(&directory, &files, &recorded.store);
        told.clicks = there;
    }
}

#[test]
fn full_disk_is_reported_and_harms_nothing() {
    for is_lasting in [true, false] {
        for is_first in [true, false] {
            let scratch = Scratch::in_memory();
            let directory = directory_of(&scratch);
            let mut told = if is_first { Told::default() } else { settled(&directory) };
            for after in 0.. {
                if is_first {
                    std::fs::remove_dir_all(&directory).unwrap();
                    told = Told::default();
                }
                let node = told.incarnation.map(|incarnation| incarnation.node);
                recorder::fill_up_after(after, is_lasting);
                let ran = run(&directory, |now| told = now);
                let was_full = recorder::make_room();
                let what = format!("full after {after} changes");
                match ran {
                    Ok(()) if !was_full => break,
                    // The disk was full when the file was closed, or nothing depended on it.
                    Ok(()) => {}
                    Err(error) => assert!(
                        error.to_string().contains("No space left on device"),
                        "{what}: {error}"
                    ),
                }
                let incarnation =
                    begin(&directory).unwrap_or_else(|error| panic!("{what}: {error}"));
                is_itself(&incarnation, node, told, &what);
                told = Told {
                    incarnation: Some(incarnation.replica),
                    stored: told.stored,
                    clicks: clicks(&incarnation),
                };
            }
        }
    }
}

const DIRECTORY: &str = "COUNTER_STARTED_DIRECTORY";
const CHANGES: &str = "COUNTER_STARTED_CHANGES";
const TOLD: &str = "may be known outside:";

/// Runs only as a child of the next test: starts, adds a click, and is killed before a change.
#[test]
#[ignore = "the child of real_process_killed_before_any_change_comes_back_as_itself"]
fn child_that_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    recorder::kill_after(std::env::var(CHANGES).unwrap().parse().unwrap());
    let text = |incarnation: Option<ReplicaId>| {
        incarnation.map_or("nobody".to_owned(), |incarnation| incarnation.to_string())
    };
    let told = |told: Told| {
        println!("{TOLD} {} {} {}", text(told.incarnation), text(told.stored), told.clicks)
    };
    run(Path::new(&directory), told).unwrap();
}

/// Returns true if the child was killed, and the facts that may be known outside.
fn run_killed(directory: &Path, changes: usize) -> (bool, Option<Told>) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "driver::incarnations::begin::crashes::child_that_is_killed",
        ])
        .env(DIRECTORY, directory)
        .env(CHANGES, changes.to_string())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let was_killed = child.status.signal() == Some(9);
    assert!(was_killed || child.status.success(), "after {changes} changes: {}", child.status);
    let said = String::from_utf8(child.stdout).unwrap();
    let told = said.lines().rev().find_map(|line| line.split_once(TOLD)).map(|(_, told)| {
        let mut words = told.split_whitespace();
        let mut word = || words.next().unwrap();
        Told {
            incarnation: word().parse().ok(),
            stored: word().parse().ok(),
            clicks: word().parse().unwrap(),
        }
    });
    (was_killed, told)
}

/// Every second process is at its first start. `COUNTER_START_KILLS` sets the number of kills.
#[test]
fn real_process_killed_before_any_change_comes_back_as_itself() {
    let kills: usize = std::env::var("COUNTER_START_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(40);
    let scratch = Scratch::new();
    let (directory, first) = (directory_of(&scratch), scratch.path().join("first"));
    let mut told = settled(&directory);
    let node = told.incarnation.map(|incarnation| incarnation.node);
    let (recording, ran) = recorder::record(&directory, || run(&directory, |now| told = now));
    ran.unwrap();
    std::fs::create_dir(&first).unwrap();
    let (first_recording, ran) = recorder::record(&first, || run(&first, |_| ()));
    ran.unwrap();
    let (points, first_points) = (recording.len(), first_recording.len());
    let mut killed = 0;
    for kill in 0..kills {
        let is_first = kill % 2 == 1;
        let (directory, points, kill) = if is_first {
            (&first, first_points, kill / 2)
        } else {
            (&directory, points, kill / 2)
        };
        // Spread over all of them, and each of them before any one again.
        let changes =
            if kills / 2 < points { kill * points / (kills / 2).max(1) } else { kill % points };
        if is_first {
            std::fs::remove_dir_all(directory).unwrap();
        }
        let (was_killed, now) = run_killed(directory, changes);
        let (node, before) = if is_first { (None, Told::default()) } else { (node, told) };
        let what = format!("killed after {changes} changes of {points}");
        assert!(was_killed || changes + 3 > points, "{what}: it was not");
        killed += usize::from(was_killed);
        let incarnation = begin(directory).unwrap_or_else(|error| panic!("{what}: {error}"));
        let now = now.unwrap_or(before);
        is_itself(&incarnation, node, now, &what);
        if !is_first {
            told = Told {
                incarnation: Some(incarnation.replica),
                stored: now.stored,
                clicks: clicks(&incarnation),
            };
        }
    }
    println!(
        "{killed} of {kills} processes killed, at {points} points of a start and {first_points} \
         of a first one: each itself again"
    );
}
