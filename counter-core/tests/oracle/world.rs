//! The world of one history: replicas, the messages between them, the pulls under way, and the
//! checks after each step.

use std::collections::HashMap;

use counter_core::{
    Amounts, CounterMap, Cursor, Delta, ReplicaId, Staging, StateHash, VersionVector,
};

use crate::log::{Key, Log};

const COUNTERS: [&str; 3] = ["clicks", "likes", "visits"];
const REGIONS: [&str; 3] = ["ord", "fra", "or"];

/// Whether a history has resets; `crdts` has none like ours.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Resets {
    Some,
    None,
}

/// A pull under way: of some writers, from one source.
struct Pull {
    to: usize,
    source: usize,
    only: Vec<ReplicaId>,
    /// The versions held when it began, if the requests name those; otherwise they name the current
    /// ones.
    have: Option<VersionVector>,
    cursor: Option<Cursor>,
    staging: Staging,
}

pub(crate) struct World {
    random: fastrand::Rng,
    resets: Resets,
    print: bool,
    ids: Vec<ReplicaId>,
    maps: Vec<CounterMap>,
    log: Log,
    messages: Vec<Vec<u8>>,
    pulls: Vec<Pull>,
    /// Version vectors that some replica once had.
    stale: Vec<VersionVector>,
    /// The hash and the bytes of every state seen so far: equal vectors must be equal states.
    states: HashMap<VersionVector, (StateHash, Vec<u8>)>,
    pub(crate) steps: u64,
    pub(crate) cells_joined: u64,
}

impl World {
    pub(crate) fn run(seed: u64, resets: Resets, print: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let replicas = random.usize(2..=6);
        // Incarnations of one node and ids out of order: an id does not tell when it came.
        let mut ids: Vec<ReplicaId> =
            (0..replicas as u64).map(|at| ReplicaId::new(at / 2, at % 2 + 1)).collect();
        random.shuffle(&mut ids);
        let maps = vec![CounterMap::new(); replicas];
        let stale = vec![VersionVector::new()];
        let (log, messages, pulls, states) = Default::default();
        let mut world = Self {
            random,
            resets,
            print,
            ids,
            maps,
            log,
            messages,
            pulls,
            stale,
            states,
            steps: 0,
            cells_joined: 0,
        };
        for _ in 0..world.random.usize(20..120) {
            world.step();
        }
        world.converge();
        world
    }

    fn step(&mut self) {
        self.steps += 1;
        let at = self.random.usize(..self.maps.len());
        match self.random.u8(..32) {
            0..7 => self.write(at),
            7..9 => self.burst(at),
            9 if self.resets == Resets::Some => self.reset(at),
            10 => self.write_record(at),
            11..15 => self.send(at),
            15..22 => self.deliver(at),
            22 => self.join_whole(at),
            23..25 => self.begin_pulls(at),
            25..30 => self.pull_on(),
            30 if !self.pulls.is_empty() => {
                drop(self.pulls.swap_remove(self.random.usize(..self.pulls.len())))
            }
            _ => self.stale.push(self.maps[at].version_vector()),
        }
    }

    fn key(&mut self) -> Key {
        (COUNTERS[self.random.usize(..COUNTERS.len())], REGIONS[self.random.usize(..REGIONS.len())])
    }

    fn note(&self, what: std::fmt::Arguments<'_>) {
        if self.print {
            println!("step {}: {what}", self.steps);
        }
    }

    fn write_key(&mut self, at: usize, key: Key) {
        let amount = if self.random.u8(..20) == 0 { 1 << 32 } else { self.random.u64(1..10) };
        let (id, map) = (self.ids[at], &mut self.maps[at]);
        let amounts = match self.random.bool() {
            true => Amounts { increments: amount, decrements: 0 },
            false => Amounts { increments: 0, decrements: amount },
        };
        let version = match amounts.increments {
            0 => map.subtract(id, key.0, key.1, amount),
            _ => map.add(id, key.0, key.1, amount),
        };
        self.log.add(key, id, version.expect("there is room"), amounts);
        self.note(format_args!("{at} writes {key:?} {amounts:?} as {version:?}"));
    }

    fn write(&mut self, at: usize) {
        let key = self.key();
        self.write_key(at, key);
        self.check(at);
    }

    /// Distinct keys written one after the other, as by a flush. The delta is cut into small ones
    /// that travel apart.
    fn burst(&mut self, at: usize) {
        let before = self.maps[at].seen_of(self.ids[at]);
        let (mut keys, count) = (
            COUNTERS.into_iter().flat_map(|c| REGIONS.map(|r| (c, r))).collect::<Vec<Key>>(),
            self.random.usize(2..6),
        );
        self.random.shuffle(&mut keys);
        keys.truncate(count);
        keys.into_iter().for_each(|key| self.write_key(at, key));
        self.check(at);
        let bytes_max = self.random.usize(100..260);
        let delta = self.maps[at].delta_of(self.ids[at], before).expect("it was just written");
        let cuts = delta.split(bytes_max);
        self.note(format_args!("{at} cuts {count} keys into {}", cuts.len()));
        for cut in cuts {
            let bytes = cut.encode();
            assert!(
                bytes.len() <= bytes_max || cut.cell_count() == 1,
                "a cut is as small as was asked: {} > {bytes_max}",
                bytes.len()
            );
            self.messages.push(bytes);
        }
    }

    fn reset(&mut self, at: usize) {
        let (key, id, observed) = (self.key(), self.ids[at], self.maps[at].version_vector());
        let value_was_nothing = self.maps[at].pn_counter(key.0, key.1).cells().len() == 0;
        let version = self.maps[at].reset(id, key.0, key.1);
        assert!(version.is_none() || !value_was_nothing, "where nothing is nothing is reset");
        if let Some(version) = version {
            self.log.reset(key, id, version, observed);
        }
        assert_eq!(self.maps[at].value(key.0, key.1), 0, "after a reset nothing is left here");
        self.note(format_args!("{at} resets {key:?} as {version:?}"));
        self.check(at);
    }

    fn write_record(&mut self, at: usize) {
        let region = REGIONS[self.random.usize(..REGIONS.len())];
        self.maps[at].set_region(self.ids[at], region).expect("the name is short");
        self.note(format_args!("{at} writes its record"));
        self.check(at);
    }

    /// A delta since the state that some replica has, or had long ago, or of one writer since any
    /// version.
    fn send(&mut self, at: usize) {
        let map = &self.maps[at];
        let delta = match self.random.u8(..3) {
            0 => map.delta_since(&self.maps[self.random.usize(..self.maps.len())].version_vector()),
            1 => map.delta_since(&self.stale[self.random.usize(..self.stale.len())]),
            _ => {
                let writer = self.ids[self.random.usize(..self.ids.len())];
                let after = self.random.u64(..=map.seen_of(writer));
                map.delta_of(writer, after).unwrap_or_default()
            }
        };
        self.note(format_args!("{at} sends {:?}", delta.spans().collect::<Vec<_>>()));
        self.messages.push(delta.encode());
    }

    fn deliver(&mut self, at: usize) {
        if self.messages.is_empty() {
            return;
        }
        let message = self.random.usize(..self.messages.len());
        let delta = decoded(&self.messages[message]);
        // Half of them are gone then. The others come again much later, to any replica.
        if self.random.bool() {
            self.messages.swap_remove(message);
        }
        self.join(at, &delta);
    }

    fn join(&mut self, at: usize, delta: &Delta) {
        self.note(format_args!("{at} joins {:?}", delta.spans().collect::<Vec<_>>()));
        let joined = self.maps[at].join_delta(delta).expect("within all bounds");
        assert_eq!(joined.conflicts, 0);
        self.cells_joined += joined.cells() as u64;
        self.check(at);
    }

    fn join_whole(&mut self, at: usize) {
        let other = self.random.usize(..self.maps.len());
        let theirs = self.maps[other].clone();
        self.note(format_args!("{at} joins all of {other}"));
        self.maps[at].join(&theirs);
        self.check(at);
    }

    /// One or two pulls, which divide the writers among their sources.
    fn begin_pulls(&mut self, to: usize) {
        let (from, sources) =
            (self.random.usize(..self.maps.len()), 1 + usize::from(self.random.bool()));
        let mut ids = self.ids.clone();
        self.random.shuffle(&mut ids);
        for (share, only) in ids.chunks(ids.len().div_ceil(sources)).enumerate() {
            let source = (from + share) % self.maps.len();
            let have = self.random.bool().then(|| self.maps[to].version_vector());
            self.pulls.push(Pull {
                to,
                source,
                only: only.to_vec(),
                have,
                cursor: None,
                staging: Staging::new(1_000),
            });
        }
    }

    fn pull_on(&mut self) {
        if self.pulls.is_empty() {
            return;
        }
        let which = self.random.usize(..self.pulls.len());
        let bytes_max = self.random.usize(1..300);
        let pull = &mut self.pulls[which];
        let have = pull.have.clone().unwrap_or_else(|| self.maps[pull.to].version_vector());
        // The cursor travels too.
        let cursor = pull
            .cursor
            .as_ref()
            .map(|cursor| Cursor::decode(&cursor.encode()).expect("a cursor reads back"));
        let page =
            self.maps[pull.source].page_since(&have, Some(&pull.only), cursor.as_ref(), bytes_max);
        let bytes = page.delta.encode();
        assert!(
            bytes.len() <= bytes_max || page.delta.cell_count() <= 1,
            "a page is as small as was asked: {} > {bytes_max}",
            bytes.len()
        );
        let complete = pull.staging.push(decoded(&bytes)).expect("there is room");
        pull.cursor = page.next;
        let (to, is_over) = (pull.to, pull.cursor.is_none());
        if is_over {
            // Cells that arrived another way meanwhile are not sent to their end if requests name
            // the current versions.
            assert!(
                pull.have.is_none() || pull.staging.cell_count() == 0,
                "after the last page nothing waits"
            );
            self.pulls.swap_remove(which);
        }
        self.join(to, &decoded(&complete.encode()));
    }

    /// Every replica gets everything, and then all are equal.
    fn converge(&mut self) {
        for at in (0..self.maps.len()).chain(0..self.maps.len()) {
            for from in 0..self.maps.len() {
                let delta = self.maps[from].delta_since(&self.maps[at].version_vector());
                self.join(at, &decoded(&delta.encode()));
            }
        }
        let (first, others) = self.maps.split_first_mut().expect("there are two at the least");
        for other in others {
            assert_eq!(other.version_vector(), first.version_vector());
            assert_eq!(other.state_hash(), first.state_hash());
            assert_eq!(other, first);
        }
    }

    fn check(&mut self, at: usize) {
        let seen = self.maps[at].version_vector();
        self.check_values(at, &seen);
        self.check_cells(at, &seen);
        self.check_hash(at, seen);
    }

    fn check_values(&self, at: usize, seen: &VersionVector) {
        let (map, mut all) = (&self.maps[at], 0);
        for counter in COUNTERS {
            let mut total = 0;
            for region in REGIONS {
                let value = self.log.value((counter, region), seen);
                assert_eq!(
                    map.value(counter, region),
                    value,
                    "step {}: {counter} of {region} at {at}, seen {seen:?}",
                    self.steps
                );
                if self.resets == Resets::None {
                    assert_eq!(
                        self.log.crdts_value((counter, region), seen),
                        value,
                        "crdts agrees"
                    );
                }
                let shares: i128 =
                    map.by_replica(counter, region).iter().map(|share| share.1).sum();
                assert_eq!((shares, map.pn_counter(counter, region).value()), (value, value));
                total += value;
            }
            assert_eq!(
                map.total(counter),
                total,
                "step {}: total of {counter} at {at}",
                self.steps
            );
            assert_eq!(map.regions(counter).map(|region| region.1).sum::<i128>(), total);
            all += total;
        }
        assert_eq!(map.total_of_all(), all, "step {}: total of all at {at}", self.steps);
    }

    /// A replica holds exactly the writer's cells as of the version seen.
    fn check_cells(&self, at: usize, seen: &VersionVector) {
        for key in COUNTERS.into_iter().flat_map(|counter| REGIONS.map(|region| (counter, region)))
        {
            let counter = self.maps[at].pn_counter(key.0, key.1);
            for &writer in &self.ids {
                let held = counter
                    .cells()
                    .find(|cell| cell.0 == writer)
                    .map(|cell| cell.1.amounts)
                    .unwrap_or_default();
                assert_eq!(
                    held,
                    self.log.true_sum(key, writer, seen),
                    "step {}: {writer}'s cell of {key:?} at {at}",
                    self.steps
                );
            }
        }
    }

    fn check_hash(&mut self, at: usize, seen: VersionVector) {
        // Not at every step: a hash that was not asked for is brought up to date over several
        // changes.
        if self.random.bool() {
            return;
        }
        let hash = self.maps[at].state_hash();
        let bytes = self.maps[at].delta_since(&VersionVector::new()).encode();
        let mut rebuilt = CounterMap::new();
        rebuilt.join_delta(&decoded(&bytes)).expect("within all bounds");
        assert_eq!(
            rebuilt.state_hash(),
            hash,
            "step {}: the hash kept at {at} is that of its content",
            self.steps
        );
        let known = self.states.entry(seen).or_insert_with(|| (hash, bytes.clone()));
        assert_eq!(*known, (hash, bytes), "step {}: equal vectors, equal states", self.steps);
    }
}

fn decoded(bytes: &[u8]) -> Delta {
    let delta = Delta::decode(bytes).expect("what was encoded reads back");
    assert_eq!(delta.encode(), bytes, "and encodes to the same bytes");
    delta
}
