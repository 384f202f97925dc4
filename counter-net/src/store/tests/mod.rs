//! The store on a real disk: commits survive whatever happens to the process, the file or the
//! space.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use counter_core::{Cursor, Delta, DeltaPage, Replica, ReplicaId, VersionVector};

use super::log::{Batch, Log};
use super::{CommitSource, Commits, DataDirectory, Meta, NotDurable, Opened, RedbLog, StoreError};

mod measured;

/// A directory that goes with its test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// On a file system in memory, if there is one.
    pub(crate) fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        Self::below(if memory.is_dir() { memory } else { Path::new("/tmp") })
    }

    fn below(path: &Path) -> Self {
        let path =
            path.join(format!("counter-store-{}-{:016x}", std::process::id(), fastrand::u64(..)));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

#[derive(Clone)]
struct State(Arc<Mutex<Replica>>);

impl State {
    fn new(incarnation: u64, opened: &Opened) -> Self {
        let replica =
            Replica::with_map(ReplicaId::new(1, incarnation), "ord", opened.map.clone()).unwrap();
        Self(Arc::new(Mutex::new(replica)))
    }
}

impl CommitSource for State {
    fn changes_since(&mut self, stored: &VersionVector) -> Delta {
        let mut replica = self.0.lock().unwrap();
        replica.flush();
        replica.map().delta_since(stored)
    }

    fn page(
        &mut self,
        have: &VersionVector,
        only: &[ReplicaId],
        cursor: Option<&Cursor>,
        bytes_max: usize,
    ) -> DeltaPage {
        self.0.lock().unwrap().map().page_since(have, Some(only), cursor, bytes_max)
    }

    fn writers(&mut self) -> Vec<ReplicaId> {
        self.0.lock().unwrap().map().replicas().collect()
    }

    fn fails(&mut self, _: &StoreError) {}

    fn works(&mut self) {}
}

fn open(path: &Path) -> (DataDirectory, Opened) {
    let directory = DataDirectory::open(path).unwrap();
    let opened = RedbLog::open(&directory).unwrap();
    (directory, opened)
}

fn start(state: &State, opened: Opened) -> Commits {
    let stored = (opened.map.version_vector(), opened.weight);
    Commits::start(state.clone(), opened.log, stored, Duration::from_millis(5)).unwrap()
}

fn durable(commits: &Commits) -> Result<(), NotDurable> {
    commits.ticket().blocking_recv().unwrap()
}

fn add(state: &State, counter: &str, amount: u64) {
    state.0.lock().unwrap().counter(counter).unwrap().add(amount).unwrap();
}

#[test]
fn commits_survive_a_restart() {
    let scratch = Scratch::new();
    for incarnation in 1..=5u64 {
        let (_directory, opened) = open(scratch.path());
        assert_eq!(opened.map.total("clicks"), i128::from(incarnation - 1) * 7);
        let state = State::new(incarnation, &opened);
        let commits = start(&state, opened);
        add(&state, "clicks", 7);
        durable(&commits).unwrap();
        let hash = state.0.lock().unwrap().state_hash();
        drop(commits);
        drop(_directory);
        let (_directory, mut opened) = open(scratch.path());
        assert_eq!(opened.map.state_hash(), hash);
    }
}

#[test]
fn checkpoints_keep_the_file_small_during_adds() {
    let scratch = Scratch::new();
    let (directory, opened) = open(scratch.path());
    let state = State::new(1, &opened);
    let commits = start(&state, opened);
    let counters = 20_000;
    for round in 0..40 {
        for counter in 0..counters {
            add(&state, &format!("counter-{:05}", (counter * 7919 + round) % counters), 1);
        }
        durable(&commits).unwrap();
    }
    commits.stop();
    let hash = state.0.lock().unwrap().state_hash();
    drop((commits, directory));
    let (_directory, mut opened) = open(scratch.path());
    assert_eq!(opened.map.state_hash(), hash);
    assert_eq!(opened.map.total_of_all(), 40 * i128::from(counters));
    assert!(opened.weight.bytes().0 <= 2 << 20, "{:?}", opened.weight);
    let (replaced, kept) = opened.log.rows();
    assert_eq!(
        replaced, 0,
        "of the log before the checkpoint nothing is left, of that since then and the checkpoint \
         {kept} rows"
    );
    assert!(kept < 40, "a checkpoint came into force: {kept} rows of 40 commits");
}

#[test]
fn node_record_survives_a_restart() {
    let scratch = Scratch::new();
    let (directory, mut opened) = open(scratch.path());
    let meta = Meta {
        key_pair: vec![7; 40],
        incarnation: 9,
        copied: vec![ReplicaId::new(3, 4)],
        ..Meta::default()
    };
    opened.log.set_meta(&meta).unwrap();
    let state = State::new(9, &opened);
    let commits = start(&state, opened);
    commits.continues_as(10);
    durable(&commits).unwrap();
    drop((commits, directory));
    let (directory, opened) = open(scratch.path());
    assert_eq!(opened.meta, Meta { incarnation: 10, ..meta.clone() });
    let commits = start(&state, opened);
    commits.settled();
    durable(&commits).unwrap();
    drop((commits, directory));
    assert_eq!(open(scratch.path()).1.meta, Meta { incarnation: 10, copied: Vec::new(), ..meta });
}

#[test]
fn checkpoint_omits_folded_incarnations() {
    let scratch = Scratch::new();
    let (incarnations, counters) = (4u64, 2_000);
    for incarnation in 1..=incarnations {
        let (_directory, mut opened) = open(scratch.path());
        let state = State::new(incarnation << 32, &opened);
        // So much was written that a checkpoint is due with the first commit, which finds this
        // incarnation's successor and the one before side by side.
        opened.weight.appended(64 << 20);
        let commits = start(&state, opened);
        (0..counters).for_each(|counter| add(&state, &format!("counter-{counter:05}"), 1));
        durable(&commits).unwrap();
        inherit(&mut state.0.lock().unwrap(), incarnation - 1);
        durable(&commits).unwrap();
    }
    let (_directory, mut opened) = open(scratch.path());
    opened.weight.appended(64 << 20);
    let whole = opened.map.encode().len() as u64;
    let state = State::new(incarnations << 32, &opened);
    let commits = start(&state, opened);
    (0..3).for_each(|_| durable(&commits).unwrap());
    drop((commits, _directory));
    let (_directory, opened) = open(scratch.path());
    assert_eq!(
        (opened.map.total_of_all(), opened.map.replicas().count()),
        (i128::from(incarnations) * counters, 1),
        "one incarnation is left"
    );
    let (log, checkpoint) = opened.weight.bytes();
    assert!(
        checkpoint >= whole && checkpoint < whole + whole / 8 && log < whole / 8,
        "{checkpoint} and {log} bytes of a state of {whole}"
    );
}

/// Claims, absorbs and folds the incarnation `before`, as a successor without peers does.
fn inherit(replica: &mut Replica, before: u64) {
    if before == 0 {
        return;
    }
    replica.claim(ReplicaId::new(1, before << 32));
    let mut work = replica.absorb_round(None).unwrap();
    replica.absorb(&mut work, usize::MAX).unwrap();
    replica.fold(&mut work).unwrap();
    while replica.rebase(usize::MAX) > 0 {}
}

#[test]
fn a_foreign_file_is_refused_and_left_as_it_is() {
    let scratch = Scratch::new();
    let directory = DataDirectory::open(scratch.path()).unwrap();
    fs::write(directory.store_path(), b"dear diary").unwrap();
    assert!(matches!(RedbLog::open(&directory), Err(StoreError::Foreign { .. })));
    assert_eq!(fs::read(directory.store_path()).unwrap(), b"dear diary");
}

#[test]
fn damaged_file_is_refused_and_unchanged() {
    let scratch = Scratch::new();
    let (directory, opened) = open(scratch.path());
    let state = State::new(1, &opened);
    let commits = start(&state, opened);
    for counter in 0..2000 {
        add(&state, &format!("counter-{counter}"), counter + 1);
    }
    durable(&commits).unwrap();
    drop(commits);
    let sound = fs::read(directory.store_path()).unwrap();
    let mut refused = 0;
    for at in (0..sound.len()).step_by(4999) {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x55;
        fs::write(directory.store_path(), &bytes).unwrap();
        match RedbLog::open(&directory) {
            Ok(opened) => assert_eq!(
                opened.map.total_of_all(),
                2000 * 2001 / 2,
                "byte {at} is not part of what is stored"
            ),
            Err(error) => {
                refused += 1;
                assert!(
                    matches!(error, StoreError::Damaged { .. } | StoreError::Foreign { .. }),
                    "{error}"
                );
                assert!(fs::read(directory.store_path()).unwrap() == bytes, "byte {at}: {error}");
            }
        }
    }
    fs::write(directory.store_path(), &sound[..sound.len() / 2]).unwrap();
    assert!(RedbLog::open(&directory).is_err());
    assert!(fs::read(directory.store_path()).unwrap() == sound[..sound.len() / 2]);
    assert!(refused > 0);
}

/// ENOSPC.
const NO_SPACE: i32 = 28;

/// A log that refuses while told to, and counts.
#[derive(Clone, Default)]
struct Moody(Arc<Mutex<(bool, usize, Duration)>>);

impl Log for Moody {
    fn commit(&mut self, _: &Batch) -> Result<(), StoreError> {
        let pause = self.0.lock().unwrap().2;
        std::thread::sleep(pause);
        let mut mood = self.0.lock().unwrap();
        mood.1 += 1;
        if mood.0 {
            let source = std::io::Error::from_raw_os_error(NO_SPACE);
            Err(StoreError::Write { path: "counter.redb".to_owned(), source })
        } else {
            Ok(())
        }
    }

    fn has_leftovers(&self) -> bool {
        false
    }
}

fn start_moody() -> (State, Moody, Commits) {
    let state = State(Arc::new(Mutex::new(Replica::new(ReplicaId::new(1, 1), "ord").unwrap())));
    let log = Moody::default();
    let commits =
        Commits::start(state.clone(), log.clone(), Default::default(), Duration::from_millis(5))
            .unwrap();
    (state, log, commits)
}

#[test]
fn full_disk_fails_adds_until_there_is_space() {
    let (state, log, commits) = start_moody();
    log.0.lock().unwrap().0 = true;
    add(&state, "clicks", 1);
    let Err(NotDurable::Store(reason)) = durable(&commits) else { panic!("it is on no disk") };
    assert!(reason.contains("No space left on device") && !reason.contains("redb"), "{reason}");
    assert!(commits.is_failing());
    log.0.lock().unwrap().0 = false;
    durable(&commits).unwrap();
    assert!(!commits.is_failing());
}

#[test]
fn a_hundred_that_wait_share_a_commit() {
    let (state, log, commits) = start_moody();
    add(&state, "clicks", 1);
    durable(&commits).unwrap();
    log.0.lock().unwrap().2 = Duration::from_millis(20);
    let before = log.0.lock().unwrap().1;
    let tickets: Vec<_> = (0..100)
        .map(|_| {
            add(&state, "clicks", 1);
            commits.ticket()
        })
        .collect();
    tickets.into_iter().for_each(|ticket| ticket.blocking_recv().unwrap().unwrap());
    assert!(log.0.lock().unwrap().1 - before <= 3);
}

/// The commits that 20 adders take for 5 adds each, in sequence.
async fn commits_of_twenty_adders() -> usize {
    let (state, log, commits) = start_moody();
    log.0.lock().unwrap().2 = Duration::from_millis(4);
    let adders = tokio::task::LocalSet::new();
    for _ in 0..20 {
        let (state, commits) = (state.clone(), commits.clone());
        adders.spawn_local(async move {
            for _ in 0..5 {
                add(&state, "clicks", 1);
                commits.ticket().await.unwrap().unwrap();
            }
        });
    }
    adders.await;
    log.0.lock().unwrap().1
}

#[tokio::test]
async fn adders_that_come_back_share_every_commit() {
    let mut least = usize::MAX;
    // A busy machine may keep this thread from adding in time.
    for _ in 0..50 {
        least = least.min(commits_of_twenty_adders().await);
        if least <= 7 {
            return;
        }
    }
    panic!("{least} commits for 5 adds of each; 5 would do");
}

#[test]
fn a_ticket_drawn_after_the_end_is_answered() {
    let (_state, _log, commits) = start_moody();
    commits.stop();
    assert_eq!(durable(&commits), Err(NotDurable::Stopped));
}

/// Runs only as a child of the next test: adds, and prints durable totals until it is killed.
#[test]
#[ignore = "the child of durable_add_survives_a_kill"]
fn child_that_is_killed() {
    let Some(path) = std::env::var_os("COUNTER_STORE_CHILD") else { return };
    let (_directory, opened) = open(Path::new(&path));
    let state =
        State::new(opened.map.replicas().map(|id| id.incarnation).max().unwrap_or(0) + 1, &opened);
    let mut total = opened.map.total("clicks");
    let commits = start(&state, opened);
    loop {
        add(&state, "clicks", 1);
        add(&state, &format!("counter-{}", fastrand::u32(..50_000)), 1);
        durable(&commits).unwrap();
        total += 1;
        println!("durable {total}");
    }
}

#[test]
fn durable_add_survives_a_kill() {
    use std::io::{BufRead, BufReader};
    let scratch = Scratch::new();
    for round in 0..15 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "store::tests::child_that_is_killed"])
            .env("COUNTER_STORE_CHILD", scratch.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said = |line: &String| {
            line.split("durable ").nth(1).and_then(|total| total.trim().parse::<i128>().ok())
        };
        let mut last = lines.by_ref().find_map(|line| said(&line)).expect("the child adds");
        let (began, time) = (Instant::now(), Duration::from_millis(fastrand::u64(1..60)));
        while began.elapsed() < time {
            last = lines.next().and_then(|line| said(&line)).unwrap_or(last);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        last = lines.filter_map(|line| said(&line)).last().unwrap_or(last);
        let (_directory, opened) = open(scratch.path());
        let total = opened.map.total("clicks");
        assert!(
            total == last || total == last + 1,
            "round {round}: {last} were durable, {total} are there"
        );
    }
}

#[test]
fn full_file_system_refuses_adds_until_there_is_space() {
    let scratch = Scratch::new();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
        .arg(scratch.path())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no tmpfs may be mounted here");
        return;
    }
    let outcome = std::panic::catch_unwind(|| fill_up(scratch.path()));
    Command::new("umount").arg(scratch.path()).status().unwrap();
    outcome.unwrap();
}

fn fill_up(path: &Path) {
    let (directory, opened) = open(path);
    let state = State::new(1, &opened);
    let commits = start(&state, opened);
    add(&state, "clicks", 5);
    durable(&commits).unwrap();
    let ballast = path.join("ballast");
    // As much as there is room for.
    let _full = fs::write(&ballast, vec![7; 4 << 20]);
    let mut filled = false;
    for counter in 0..200_000 {
        add(&state, &format!("a counter with a long name, number {counter:090}"), 1);
        if counter % 2000 == 0 && durable(&commits).is_err() {
            filled = true;
            break;
        }
    }
    assert!(filled && commits.is_failing());
    assert_eq!(state.0.lock().unwrap().total("clicks"), 5, "reads continue");
    fs::remove_file(ballast).unwrap();
    durable(&commits).unwrap();
    assert!(!commits.is_failing());
    let hash = state.0.lock().unwrap().state_hash();
    drop((commits, directory));
    let (_directory, mut opened) = open(path);
    assert_eq!(opened.map.state_hash(), hash);
}
