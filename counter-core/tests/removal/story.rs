//! A story of adds, resets, removals, lost deltas and stale copies, checked at each step.

use std::time::Duration;

use counter_core::{CounterMap, Delta, Staging, VersionVector, WindowWidth, WriteError};

use crate::node::{COUNTERS, Key, Node, REGIONS, keys};
use crate::oracle::{Add, Oracle, Reset, Shed, WindowAdd};

const WINDOW: &str = "logins";
/// The counter that a rule ends, and how long it lives.
const EXPIRING: usize = 0;
const LIFETIME: Duration = Duration::from_secs(40);
/// The most by which a node's clock is ahead, in milliseconds.
const AHEAD_MAX: u64 = 6_000;
/// Ten buckets of six seconds.
const MINUTE: WindowWidth = WindowWidth::new(6_000, 10).unwrap();

struct Story {
    nodes: Vec<Node>,
    oracle: Oracle,
    net: Vec<(usize, Vec<u8>)>,
    copies: Vec<CounterMap>,
    random: fastrand::Rng,
    /// Draws what happens to the window. Stories without one stay as they were.
    windows: Option<fastrand::Rng>,
    /// Draws when counters expire. Stories without that stay as they were.
    expiries: Option<fastrand::Rng>,
    now_ms: u64,
    step: usize,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut nodes: Vec<Node> = (0..random.u64(2..5))
            .map(|number| Node::new(number, CounterMap::new(), true))
            .collect();
        let births: Vec<Delta> = nodes
            .iter()
            .map(|node| node.replica.map().delta_since(&VersionVector::new()))
            .collect();
        for node in &mut nodes {
            births.iter().for_each(|birth| drop(node.replica.join_delta(birth.clone()).unwrap()));
        }
        let (net, copies) = (Vec::new(), Vec::new());
        let now_ms = 1_700_000_000_000;
        Self {
            nodes,
            oracle: Oracle::default(),
            net,
            copies,
            random,
            windows: None,
            expiries: None,
            now_ms,
            step: 0,
        }
    }

    fn check(&mut self, what: &str) {
        // Garbage may be collected at any moment.
        if self.random.u8(..20) == 0 {
            let at = self.random.usize(..self.nodes.len());
            self.nodes[at].replica.collect_garbage();
        }
        for node in &self.nodes {
            let shown = node.replica.window_total(WINDOW, MINUTE, self.now_ms);
            assert_eq!(shown, self.oracle.window(node, self.now_ms), "step {}, {what}", self.step);
            for key in keys() {
                let shown = node.replica.map().value(COUNTERS[key.0], REGIONS[key.1]);
                let knows = self.oracle.value(key, node);
                assert_eq!(
                    shown,
                    knows,
                    "step {}, {what}: {} at {key:?} shows {shown} and knows {knows}",
                    self.step,
                    node.id()
                );
            }
        }
    }

    /// Equal versions of a writer mean equal states of it.
    fn check_states(&self) {
        for (at, one) in self.nodes.iter().enumerate() {
            for other in &self.nodes[..at] {
                for writer in one.replica.map().replicas() {
                    if one.seen(writer) == other.seen(writer) {
                        assert_eq!(
                            one.replica.map().delta_of(writer, 0),
                            other.replica.map().delta_of(writer, 0),
                            "step {}: {writer} at {} and {}",
                            self.step,
                            one.id(),
                            other.id()
                        );
                    }
                }
            }
        }
    }

    fn add(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let (counter, amount) = (self.random.usize(..COUNTERS.len()), self.random.u64(1..5));
        let (amount, added) = match self.random.u8(..5) {
            0 => (-i128::from(amount), node.replica.subtract(COUNTERS[counter], amount)),
            _ => (i128::from(amount), node.replica.add(COUNTERS[counter], amount)),
        };
        if added == Err(WriteError::Expired) && self.expiries.is_some() {
            return;
        }
        added.unwrap();
        node.replica.flush();
        let region = REGIONS.iter().position(|region| *region == node.replica.region()).unwrap();
        self.oracle.adds.push(Add {
            key: (counter, region),
            writer: node.id(),
            version: node.replica.version(),
            amount,
        });
    }

    fn reset(&mut self, at: usize, removes: bool) {
        let node = &mut self.nodes[at];
        if !node.caught_up {
            return;
        }
        let (counter, saw) =
            (self.random.usize(..COUNTERS.len()), node.replica.map().version_vector());
        let before = node.replica.version();
        let mut keys: Vec<Key> = (0..REGIONS.len()).map(|region| (counter, region)).collect();
        if removes {
            keys.retain(|key| node.has_cells(*key));
            node.replica.remove(COUNTERS[counter]).unwrap();
        } else {
            keys.retain(|key| {
                node.replica.reset(COUNTERS[counter], REGIONS[key.1]).unwrap().is_some()
            });
        }
        if node.replica.version() > before {
            // Its regions are reset one after the other, in one step of the story.
            let version = node.replica.version();
            self.oracle.resets.push(Reset { keys, by: node.id(), version, saw });
        }
    }

    fn clean_up(&mut self, at: usize) -> bool {
        let node = &mut self.nodes[at];
        if !node.caught_up {
            return false;
        }
        // Without what all have shown, some steps are taken all the same.
        let shown = node.shown().unwrap_or_default();
        let before: Vec<_> = keys().map(|key| node.own(key)).collect();
        let version = node.replica.version();
        let keys_max = self.random.usize(1..6);
        let done = node.replica.clean_up(&mut node.work, &shown, keys_max).is_some();
        let node = &self.nodes[at];
        let seen = |writer| node.seen(writer);
        for (key, before) in keys().zip(before) {
            let after = node.own(key);
            if after != before && before.unwrap_or_default() > after.unwrap_or_default() {
                let of_key = |(_, add): &(usize, &Add)| add.key == key && add.writer == node.id();
                let adds = self
                    .oracle
                    .adds
                    .iter()
                    .enumerate()
                    .filter(of_key)
                    .filter(|(_, add)| self.oracle.is_reset(add, &seen))
                    .map(|(at, _)| at)
                    .collect();
                let version = node.replica.version();
                self.oracle.sheds.push(Shed { writer: node.id(), version, adds });
            }
        }
        done || self.nodes[at].replica.version() > version
    }

    /// `at` takes what `from` holds. It is recorded there before it is served.
    fn pull(&mut self, at: usize, from: usize) {
        let id = self.nodes[at].id();
        let known = self.nodes[from].seen(id);
        if let Some(own) = self.nodes[at].replica.map().delta_of(id, known) {
            self.nodes[from].replica.join_delta(own).unwrap();
        }
        let have = self.nodes[at].replica.map().version_vector();
        let deltas = match self.random.bool() {
            true => vec![self.nodes[from].replica.map().delta_since(&have)],
            false => self.pages(from, &have),
        };
        // The answer takes effect as one step.
        for delta in deltas {
            let delta = Delta::decode(&delta.encode()).unwrap();
            self.nodes[at].replica.join_delta(delta).unwrap();
        }
        self.nodes[at].caught_up = true;
        for (one, other) in [(at, from), (from, at)] {
            let (id, digest) =
                (self.nodes[other].id(), self.nodes[other].replica.map().version_vector());
            self.nodes[one].digests.entry(id).or_default().join(&digest);
        }
    }

    fn pages(&self, from: usize, have: &VersionVector) -> Vec<Delta> {
        let (mut staging, mut cursor) = (Staging::new(10_000), None);
        let (mut parts, mut have) = (Vec::new(), have.clone());
        loop {
            let page = self.nodes[from].replica.map().page_since(&have, None, cursor.as_ref(), 60);
            let closed = staging.push(Delta::decode(&page.delta.encode()).unwrap()).unwrap();
            closed.spans().for_each(|span| have.raise(span.replica, span.upto));
            parts.push(closed);
            cursor = page.next;
            if cursor.is_none() {
                return parts;
            }
        }
    }

    /// Time goes on. Some node adds to the window, and some node drops buckets that expired.
    fn act_on_window(&mut self) {
        let Some(mut random) = self.windows.clone() else { return };
        self.now_ms += random.u64(0..20_000);
        let at = random.usize(..self.nodes.len());
        match random.u8(..4) {
            0 | 1 => {
                let (node, amount) = (&mut self.nodes[at], random.u64(1..5));
                node.replica.add_to_window(WINDOW, MINUTE, amount, self.now_ms).unwrap();
                node.replica.flush();
                let (writer, version) = (node.id(), node.replica.version());
                let (at_ms, amount) = (self.now_ms, amount.into());
                self.oracle.window_adds.push(WindowAdd { writer, version, at_ms, amount });
            }
            2 => drop(self.drop_expired(at, 3)),
            _ => {}
        }
        self.windows = Some(random);
        self.check("window");
    }

    fn drop_expired(&mut self, at: usize, max: usize) -> bool {
        let Node { replica, expired, .. } = &mut self.nodes[at];
        !replica.drop_expired(expired, self.now_ms, max).is_empty()
    }

    /// Time goes on. Some node drops its cells of counters that have expired by its clock, or says
    /// when a counter ends.
    fn act_on_expiry(&mut self) {
        let Some(mut random) = self.expiries.clone() else { return };
        self.now_ms += random.u64(0..4_000);
        self.set_clocks();
        let at = random.usize(..self.nodes.len());
        match random.u8(..8) {
            0..=4 => drop(self.expire(at)),
            5 if random.u8(..4) == 0 => {
                let (other, ends_at) = (1 - EXPIRING, self.now_ms + random.u64(0..60_000));
                let _refused = self.nodes[at].replica.expire_at(COUNTERS[other], ends_at);
                self.nodes[at].replica.flush();
            }
            _ => {}
        }
        self.expiries = Some(random);
        self.check("expiry");
    }

    fn clock(&self, at: usize) -> u64 {
        self.now_ms + at as u64 * 1_700 % AHEAD_MAX
    }

    fn set_clocks(&mut self) {
        for at in 0..self.nodes.len() {
            let now = self.clock(at);
            let replica = &mut self.nodes[at].replica;
            replica.set_expiry_rules([(COUNTERS[EXPIRING].to_owned(), LIFETIME)]);
            replica.set_time(now);
        }
    }

    fn expire(&mut self, at: usize) -> bool {
        if self.expiries.is_none() {
            return false;
        }
        let (now, node) = (self.clock(at), &mut self.nodes[at]);
        let before: Vec<Key> = keys().filter(|key| node.own(*key).is_some()).collect();
        let changed = node.replica.expire(now, 100);
        let node = &self.nodes[at];
        let (writer, version) = (node.id(), node.replica.version());
        for key in before.into_iter().filter(|key| node.own(*key).is_none()) {
            let is_of_cell = |add: &Add| add.key == key && add.writer == writer;
            let adds = self.oracle.adds.iter().enumerate();
            let adds = adds.filter(|(_, add)| is_of_cell(add)).map(|(at, _)| at).collect();
            self.oracle.sheds.push(Shed { writer, version, adds });
        }
        !changed.is_empty()
    }

    fn act(&mut self) {
        let at = self.random.usize(..self.nodes.len());
        match self.random.u8(..24) {
            0..=3 => self.add(at),
            4 | 5 => {
                let removes = self.random.u8(..10) < 6;
                self.reset(at, removes);
            }
            6..=11 => drop(self.clean_up(at)),
            12 | 13 => {
                let node = &self.nodes[at];
                let after = self.random.u64(0..=node.replica.version());
                if let Some(delta) = node.replica.map().delta_of(node.id(), after) {
                    let bytes = delta.encode();
                    let others = (0..self.nodes.len()).filter(|other| *other != at);
                    self.net.extend(others.map(|other| (other, bytes.clone())));
                }
            }
            14 | 15 if !self.net.is_empty() => {
                let message = self.random.usize(..self.net.len());
                let (to, bytes) = self.net[message].clone();
                if self.random.u8(..10) < 7 {
                    self.net.swap_remove(message);
                }
                if self.nodes[to].caught_up {
                    self.nodes[to].replica.join_delta(Delta::decode(&bytes).unwrap()).unwrap();
                }
            }
            16..=19 => {
                let from = self.random.usize(..self.nodes.len());
                if from != at && self.nodes[from].caught_up {
                    self.pull(at, from);
                }
            }
            20 => self.copies.push(self.nodes[at].replica.map().clone()),
            21 if self.random.u8(..10) < 3 => self.calm(),
            22 if !self.copies.is_empty() && self.nodes.len() < 7 && self.random.bool() => {
                let copy = self.copies[self.random.usize(..self.copies.len())].clone();
                self.nodes.push(Node::new(self.nodes.len() as u64, copy, false));
            }
            _ => {}
        }
    }

    /// For a while everybody hears everybody.
    fn calm(&mut self) {
        let calm: Vec<usize> =
            (0..self.nodes.len()).filter(|at| self.nodes[*at].caught_up).collect();
        for _ in 0..self.random.u8(1..6) {
            for &at in &calm {
                for &from in calm.iter().filter(|from| **from != at) {
                    self.pull(at, from);
                    self.check("calm");
                }
            }
            for &at in &calm {
                self.clean_up(at);
                self.check("calm clean-up");
            }
        }
    }

    fn peace(&mut self) {
        for at in 0..self.nodes.len() {
            if !self.nodes[at].caught_up {
                let from = (0..self.nodes.len()).find(|from| self.nodes[*from].caught_up).unwrap();
                self.pull(at, from);
                self.check("caught up");
            }
        }
        // All buckets expire, and the minute after that is over.
        self.now_ms += 121_000;
        let mut quiet = 0;
        for _ in 0..60 {
            self.now_ms += 250;
            for at in 0..self.nodes.len() {
                for from in (0..self.nodes.len()).filter(|from| *from != at) {
                    self.pull(at, from);
                    self.check("peace");
                }
            }
            let mut any = false;
            for at in 0..self.nodes.len() {
                any |= self.drop_expired(at, 1_000);
                any |= self.expire(at);
                any |= self.clean_up(at);
                self.check("clean-up in peace");
            }
            quiet = if any { 0 } else { quiet + 1 };
            if quiet > 2 {
                break;
            }
        }
        if quiet <= 2 || self.nodes.iter().any(|node| node.replica.has_traces()) {
            for key in keys() {
                let (counter, region) = (COUNTERS[key.0], REGIONS[key.1]);
                eprintln!("{key:?} {:#?}", self.nodes[0].replica.map().pn_counter(counter, region));
            }
        }
        assert!(quiet > 2, "the clean-up does not end");
        self.check_states();
        for key in keys() {
            let truth = self.oracle.truth(key);
            for node in &self.nodes {
                let shown = node.replica.map().value(COUNTERS[key.0], REGIONS[key.1]);
                assert_eq!(shown, truth, "{key:?} in the end at {}", node.id());
            }
        }
        for node in &self.nodes {
            assert!(!node.replica.has_traces(), "{} keeps traces", node.id());
            assert_eq!(node.replica.map().tombstone_count(), 0);
        }
        for at in 0..self.nodes.len() {
            assert_eq!(self.nodes[at].replica.state_hash(), self.nodes[0].replica.state_hash());
            self.check_expired(at);
        }
    }

    /// Nothing is left of counters that have expired, and their names are free.
    fn check_expired(&self, at: usize) {
        if self.expiries.is_some() {
            let replica = &self.nodes[at].replica;
            let cells = |region| replica.map().pn_counter(COUNTERS[EXPIRING], region).cells().len();
            assert_eq!(REGIONS.map(cells), [0, 0], "cells of an expired counter");
            assert_eq!(replica.next_expiry(self.clock(at)), None);
        }
    }

    /// The end of all counters: whoever removes them sees everything.
    fn remove_all(&mut self) {
        let saw = self.nodes[0].replica.map().version_vector();
        for counter in COUNTERS {
            self.nodes[0].replica.remove(counter).unwrap();
        }
        let (by, version) = (self.nodes[0].id(), self.nodes[0].replica.version());
        self.oracle.resets.push(Reset { keys: keys().collect(), by, version, saw });
        self.peace();
        for node in &self.nodes {
            assert_eq!(node.replica.map().cell_count(), 0, "{} keeps cells", node.id());
        }
    }
}

/// Tells one story to its end. With dice for them, it has windows or counters that expire too.
pub(crate) fn tell(seed: u64, windows: Option<fastrand::Rng>, expiries: Option<fastrand::Rng>) {
    let mut story = Story::new(seed);
    (story.windows, story.expiries) = (windows, expiries);
    for step in 0..story.random.usize(20..160) {
        story.step = step;
        story.act_on_window();
        story.act_on_expiry();
        story.act();
        story.check("after it");
    }
    story.check_states();
    story.peace();
    story.remove_all();
}
