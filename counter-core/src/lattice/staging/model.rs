//! Visits every state of a small world of pages: one writer with three keys, two sources, one
//! receiver. It also breaks each rule, and shows the fault.
//!
//! It searches breadth first through all interleavings of these steps: the writer writes, a source
//! catches up, the receiver pulls a page of one cell, gossip bypasses the pull, the source dies.
//! The maps, pages and staging are the real ones. In each state the receiver must hold exactly the
//! writer's cells as of what it has seen. A receiver that breaks a rule on purpose must be caught.

use std::collections::{HashSet, VecDeque};

use crate::lattice::counter_map::{CounterMap, Cursor};
use crate::lattice::delta::{Delta, DeltaPart, Span};
use crate::lattice::staging::Staging;
use crate::lattice::versions::{Version, VersionVector};
use crate::replica_id::ReplicaId;

const WRITER: ReplicaId = ReplicaId::new(1, 1);
const KEYS: [&str; 3] = ["a", "b", "c"];
const WRITES_MAX: usize = 4;

/// How the receiver pulls.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    /// By the rules: pages are staged, from one source, and the span comes with the last page.
    Kept,
    /// A page takes its own span at once, up to the newest version in it.
    PageTakesItsSpan,
    /// When the source dies, the pull continues at the other one with the same cursor and stage.
    ContinuesElsewhere,
    /// The same, but pages hide where their source ends, so that `Staging` cannot notice.
    ContinuesElsewhereUnnoticed,
    /// A page takes effect with the whole version vector of its source.
    WholeVectorWithPartialState,
    /// The older half of the versions is pulled from one source, the newer half from the other.
    DividedByVersions,
}

#[derive(Clone)]
struct ModelState {
    /// The key of each write. Its position, from 1, is the version.
    history: Vec<usize>,
    writer: CounterMap,
    sources: [CounterMap; 2],
    receiver: CounterMap,
    pull: Option<ModelPull>,
}

#[derive(Clone)]
struct ModelPull {
    source: usize,
    have: VersionVector,
    cursor: Option<Cursor>,
    staging: Staging,
}

impl ModelState {
    fn new() -> Self {
        let (history, pull) = Default::default();
        let [writer, receiver] = [CounterMap::new(), CounterMap::new()];
        Self { history, writer, sources: [CounterMap::new(), CounterMap::new()], receiver, pull }
    }

    /// The identity of a state: the writers' histories and the holders' bytes.
    fn identity(&self) -> Vec<u8> {
        let nothing = VersionVector::new();
        let mut bytes: Vec<u8> = self.history.iter().map(|&key| key as u8).collect();
        bytes.push(0xff);
        bytes.extend(self.sources.iter().map(|source| source.seen_of(WRITER) as u8));
        bytes.extend(self.receiver.delta_since(&nothing).encode());
        if let Some(pull) = &self.pull {
            bytes.extend([pull.source as u8, pull.have.get(WRITER) as u8]);
            bytes.extend(pull.cursor.iter().flat_map(Cursor::encode));
            bytes.extend(format!("{:?}", pull.staging).bytes());
        }
        bytes
    }

    /// True if the receiver holds exactly the writer's cells as of what it has seen.
    fn is_a_snapshot(&self) -> bool {
        let seen = self.receiver.seen_of(WRITER) as usize;
        let mut expected = CounterMap::new();
        for (&key, version) in self.history[..seen].iter().zip(1..) {
            assert_eq!(expected.add(WRITER, KEYS[key], "ord", 1), Ok(version));
        }
        self.receiver == expected
    }

    fn successors(&self, rule: Rule) -> Vec<Self> {
        let mut next = Vec::new();
        self.write(&mut next);
        for source in 0..2 {
            if self.sources[source].seen_of(WRITER) < self.writer.seen_of(WRITER) {
                let mut state = self.clone();
                state.sources[source].join(&self.writer);
                next.push(state);
            }
        }
        if self.receiver.seen_of(WRITER) < self.writer.seen_of(WRITER) && rule == Rule::Kept {
            let mut state = self.clone();
            let gossip = self.writer.delta_since(&self.receiver.version_vector());
            state.take(&gossip);
            next.push(state);
        }
        if rule == Rule::DividedByVersions {
            next.extend(self.divided());
        } else {
            self.pull_on(rule, &mut next);
        }
        next
    }

    /// Writes any key that was written before, or the first new one. The other new keys differ only
    /// in name.
    fn write(&self, next: &mut Vec<Self>) {
        let known = self.history.iter().max().map_or(0, |key| key + 1);
        for (key, counter) in KEYS.iter().enumerate().take(known + 1) {
            if self.history.len() < WRITES_MAX {
                let mut state = self.clone();
                assert!(state.writer.add(WRITER, counter, "ord", 1).is_ok());
                state.history.push(key);
                next.push(state);
            }
        }
    }

    fn pull_on(&self, rule: Rule, next: &mut Vec<Self>) {
        let Some(pull) = &self.pull else {
            for source in 0..2 {
                let mut state = self.clone();
                state.pull = Some(ModelPull {
                    source,
                    have: self.receiver.version_vector(),
                    cursor: None,
                    staging: Staging::new(9),
                });
                next.extend(state.page(rule));
            }
            return;
        };
        next.extend(self.clone().page(rule));
        let mut dead = self.clone();
        dead.pull = match rule {
            Rule::ContinuesElsewhere | Rule::ContinuesElsewhereUnnoticed => {
                Some(ModelPull { source: 1 - pull.source, ..pull.clone() })
            }
            _ => None,
        };
        next.push(dead);
    }

    /// The next page of the pull; None if there is nothing to pull.
    fn page(mut self, rule: Rule) -> Option<Self> {
        let mut pull = self.pull.take()?;
        // A page limit of one byte: one cell a page.
        let page = self.sources[pull.source].page_since(&pull.have, None, pull.cursor.as_ref(), 1);
        if page.delta.is_empty() && pull.cursor.is_none() {
            return None;
        }
        let after = pull.cursor.as_ref().map_or(pull.have.get(WRITER), Cursor::version);
        let mut delta = decoded(&page.delta);
        match rule {
            Rule::PageTakesItsSpan => take_own_span(&mut delta, after),
            Rule::ContinuesElsewhereUnnoticed => hide_the_end(&mut delta),
            Rule::WholeVectorWithPartialState => {
                delta.parts.iter_mut().for_each(|part| part.closed = true)
            }
            _ => {}
        }
        let complete = pull.staging.push(delta);
        assert!(complete.is_ok(), "three keys fit");
        self.take(&complete.unwrap_or_default());
        if page.next.is_some() {
            pull.cursor = page.next;
            self.pull = Some(pull);
        }
        Some(self)
    }

    /// Pulls the older half of the versions from the first source and the newer half from the
    /// second, then takes the span of both.
    fn divided(&self) -> Option<Self> {
        let have = self.receiver.seen_of(WRITER);
        let upto = self.sources[1].seen_of(WRITER);
        let middle = have + (upto.saturating_sub(have)) / 2;
        if middle == have || self.sources[0].seen_of(WRITER) < middle {
            return None;
        }
        let mut older = self.sources[0].delta_of(WRITER, have)?;
        older.parts.iter_mut().for_each(|part| {
            part.cells.retain(|cell| cell.version <= middle);
            part.span.upto = middle;
        });
        let mut state = self.clone();
        state.take(&older);
        state.take(&self.sources[1].delta_of(WRITER, middle)?);
        Some(state)
    }

    fn take(&mut self, delta: &Delta) {
        let joined = self.receiver.join_delta(&decoded(delta));
        assert!(joined.is_ok(), "closed parts within all bounds: {joined:?}");
    }
}

fn take_own_span(delta: &mut Delta, after: Version) {
    for part in delta.parts.iter_mut().filter(|part| !part.closed) {
        (part.span, part.closed) = (Span { after, upto: newest(part), ..part.span }, true);
    }
}

fn hide_the_end(delta: &mut Delta) {
    delta
        .parts
        .iter_mut()
        .filter(|part| !part.closed)
        .for_each(|part| part.span.upto = newest(part));
}

fn newest(part: &DeltaPart) -> Version {
    part.cells.iter().map(|cell| cell.version).max().unwrap_or(part.span.upto)
}

/// Everything that travels goes through bytes.
fn decoded(delta: &Delta) -> Delta {
    let read = Delta::decode(&delta.encode());
    assert!(read.is_ok(), "what was encoded reads back: {read:?}");
    read.unwrap_or_default()
}

/// The number of states, and the first in which the receiver holds no snapshot.
fn explore(rule: Rule) -> (usize, Option<ModelState>) {
    let (mut known, mut open) = (HashSet::new(), VecDeque::from([ModelState::new()]));
    while let Some(state) = open.pop_front() {
        if !state.is_a_snapshot() {
            return (known.len(), Some(state));
        }
        for next in state.successors(rule) {
            if known.insert(next.identity()) {
                open.push_back(next);
            }
        }
    }
    (known.len(), None)
}

/// Asserts that a broken rule is caught, and prints the history that shows it.
fn assert_caught(rule: Rule, what: &str) {
    let (states, wrong) = explore(rule);
    assert!(wrong.is_some(), "{what}: not found out in {states} states");
    if let Some(state) = wrong {
        let seen = state.receiver.seen_of(WRITER);
        println!(
            "{what}: found out after {states} states, writes {:?}, receiver at version {seen}: \
             {:?}",
            state.history, state.receiver
        );
    }
}

#[test]
fn all_rules_keep_every_state_exact() {
    let (states, wrong) = explore(Rule::Kept);
    assert!(
        wrong.is_none(),
        "after writes {:?} the receiver has {:?}",
        wrong.as_ref().map(|w| &w.history),
        wrong.as_ref().map(|w| &w.receiver)
    );
    println!("all rules kept: {states} states, none wrong");
    assert!(states > 1_000, "the model is not as small as that: {states}");
}

#[test]
fn page_taking_its_own_span_is_caught() {
    assert_caught(Rule::PageTakesItsSpan, "a page takes its own span");
}

#[test]
fn pull_continued_elsewhere_is_caught() {
    assert_caught(Rule::ContinuesElsewhereUnnoticed, "a pull goes on at another source");
}

#[test]
fn staging_notices_an_older_source() {
    assert!(explore(Rule::ContinuesElsewhere).1.is_none());
}

#[test]
fn whole_vector_with_partial_state_is_caught() {
    assert_caught(Rule::WholeVectorWithPartialState, "the whole vector with a part of the state");
}

#[test]
fn pull_divided_by_versions_is_caught() {
    assert_caught(Rule::DividedByVersions, "a pull divided by versions");
}

#[test]
fn source_that_goes_back_completes_nothing() {
    let mut newer = CounterMap::new();
    for key in [0, 1, 0] {
        assert!(newer.add(WRITER, KEYS[key], "ord", 1).is_ok());
    }
    let mut staging = Staging::new(9);
    let page = newer.page_since(&VersionVector::new(), None, None, 1);
    assert!(page.next.is_some());
    assert_eq!(staging.push(page.delta), Ok(Delta::default()));
    let mut older = CounterMap::new();
    assert!(older.add(WRITER, KEYS[0], "ord", 1).is_ok());
    let last = older.page_since(&VersionVector::new(), None, None, 1_000);
    assert_eq!(staging.push(last.delta), Ok(Delta::default()));
    assert_eq!(staging.cell_count(), 0);
}
