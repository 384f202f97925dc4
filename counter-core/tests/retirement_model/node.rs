//! One replica of the model: the real types, and beside each writer's cells the units that they
//! stand for.

use std::collections::BTreeMap;

use counter_core::{AbsorbRound, CounterMap, Delta, Replica, ReplicaId, VersionVector};

pub(crate) const COUNTERS: [&str; 2] = ["clicks", "likes"];
pub(crate) const REGION: &str = "ord";
const NOTHING: VersionVector = VersionVector::new();

/// Every incarnation of a model, by number: the first three, the next incarnation of the first
/// node, and the node that replaces a lost one.
pub(crate) const INCARNATIONS: [ReplicaId; 5] =
    [incarnation(0, 1), incarnation(1, 1), incarnation(2, 1), incarnation(0, 2), incarnation(3, 1)];

const fn incarnation(node: u64, number: u64) -> ReplicaId {
    ReplicaId::new(node, number << 32)
}

/// Rules that can be broken on purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) absorb_when_final: bool,
    pub(crate) fold_when_all_hold_it: bool,
    pub(crate) forget_when_all_hold_the_fold: bool,
}

pub(crate) const ALL: Rules = Rules {
    absorb_when_final: true,
    fold_when_all_hold_it: true,
    forget_when_all_hold_the_fold: true,
};

/// The units that one writer's cell of a counter stands for. A unit is a bit: an add of one
/// incarnation at one of its versions.
#[derive(Clone, Copy, Default)]
pub(crate) struct CellUnits {
    units: u128,
    reset: u128,
}

impl CellUnits {
    fn join(&mut self, other: Self) {
        self.units |= other.units;
        self.reset |= other.reset;
    }
}

type OfCounters = [CellUnits; COUNTERS.len()];

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) id: ReplicaId,
    map: CounterMap,
    cell_units: BTreeMap<ReplicaId, OfCounters>,
    digests: BTreeMap<ReplicaId, VersionVector>,
    work: Option<AbsorbRound>,
}

/// A message from one replica to another.
#[derive(Clone)]
pub(crate) struct Message {
    from: ReplicaId,
    /// Every replica takes a hello, which brings no digest.
    hello: bool,
    knows: VersionVector,
    delta: Delta,
    cell_units: BTreeMap<ReplicaId, OfCounters>,
}

impl Node {
    pub(crate) fn new(id: ReplicaId) -> Self {
        let replica = Replica::new(id, REGION).unwrap();
        Self {
            id,
            map: replica.into_map(),
            cell_units: BTreeMap::from([(id, Default::default())]),
            digests: BTreeMap::new(),
            work: None,
        }
    }

    /// The whole state as bytes: two nodes with equal bytes behave equally.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.id.to_bytes().to_vec();
        write_cell_units(&mut bytes, &self.cell_units);
        bytes.extend(self.map.delta_since(&NOTHING).encode());
        for (from, digest) in &self.digests {
            write_versions(&mut bytes, *from, digest);
        }
        bytes.extend(format!("{:?}", self.work).into_bytes());
        bytes
    }

    /// Runs the real replica from the state of this node.
    fn run<T>(&mut self, act: impl FnOnce(&mut Replica) -> T) -> T {
        let map = std::mem::take(&mut self.map);
        let mut replica = Replica::with_map(self.id, REGION, map).unwrap();
        let result = act(&mut replica);
        self.map = replica.into_map();
        result
    }

    /// The first counter whose value differs from the units of the held cells.
    pub(crate) fn wrong(&self) -> Option<String> {
        COUNTERS.iter().enumerate().find_map(|(counter, name)| {
            let CellUnits { units, reset } = self.units_of(counter, |_| true);
            let want = i128::from((units & !reset).count_ones());
            let (value, counted) =
                (self.map.value(name, REGION), self.map.pn_counter(name, REGION).value());
            let wrong = value != want || counted != want;
            wrong.then(|| {
                format!(
                    "{name} at {} is {value}, from its cells {counted}, and should be {want}: {:?}",
                    self.id, self.map
                )
            })
        })
    }

    fn units_of(&self, counter: usize, meant: impl Fn(ReplicaId) -> bool) -> CellUnits {
        let mut all = CellUnits::default();
        self.cell_units
            .iter()
            .filter(|(writer, _)| meant(**writer))
            .for_each(|(_, cell_units)| all.join(cell_units[counter]));
        all
    }

    fn own(&mut self, counter: usize) -> &mut CellUnits {
        &mut self.cell_units.get_mut(&self.id).unwrap()[counter]
    }

    pub(crate) fn add(&mut self, counter: usize) {
        let version = self.run(|replica| {
            replica.add(COUNTERS[counter], 1).unwrap();
            replica.flush();
            replica.version()
        });
        let incarnation =
            INCARNATIONS.iter().position(|incarnation| *incarnation == self.id).unwrap();
        assert!(version < 25, "a unit is one of 128 bits");
        self.own(counter).units |= 1 << (incarnation as u64 * 25 + version);
    }

    pub(crate) fn reset(&mut self, counter: usize) {
        let seen = self.units_of(counter, |_| true);
        if self.run(|replica| replica.reset(COUNTERS[counter], REGION)).unwrap().is_some() {
            self.own(counter).reset |= seen.units;
        }
    }

    /// The next incarnation from the same directory: with all cells, and without the digests of the
    /// others.
    pub(crate) fn restarted(&self, next: ReplicaId) -> Self {
        let mut replica = Replica::with_map(next, REGION, self.map.clone()).unwrap();
        replica.claim(self.id).unwrap();
        let mut cell_units = self.cell_units.clone();
        cell_units.insert(next, Default::default());
        Self {
            id: next,
            map: replica.map().clone(),
            cell_units,
            digests: BTreeMap::new(),
            work: None,
        }
    }

    pub(crate) fn claim(&mut self, ended: ReplicaId) {
        self.run(|replica| replica.claim(ended));
    }

    fn agreed(&self, upto: u64) -> bool {
        self.map.first_disagreeing(self.id, upto, |member| self.digests.get(&member)).is_none()
    }

    fn record_version(&self) -> u64 {
        self.map.record(self.id).map_or(0, |record| record.version)
    }

    /// One step of a successor, of a single cell.
    pub(crate) fn work(&mut self, rules: Rules) {
        let under_way = self.work.clone();
        let Some(mut work) = self.run(|replica| replica.absorb_round(under_way)) else {
            if !rules.forget_when_all_hold_the_fold || self.agreed(self.record_version()) {
                self.run(|replica| replica.forget_cleared(1));
            }
            return;
        };
        let mut goes_on = true;
        if work.is_folded() {
            let before = self.versions();
            goes_on = self.run(|replica| replica.rebase(1)) > 0;
            for counter in self.moved(before) {
                // A rebased cell clears of itself everything that its writer then knew as cleared.
                let known = self.units_of(counter, |_| true);
                let own = self.own(counter);
                own.reset |= own.units & known.reset;
            }
        } else if let Some(absorbed) = work.absorbed() {
            if !rules.fold_when_all_hold_it || self.agreed(absorbed) {
                self.run(|replica| replica.fold(&mut work)).unwrap();
                let map = &self.map;
                self.cell_units.retain(|writer, _| map.seen_of(*writer) > 0);
            }
        } else if !rules.absorb_when_final || self.agreed(self.record_version()) {
            let before = self.versions();
            self.run(|replica| replica.absorb(&mut work, 1)).unwrap();
            for counter in self.moved(before) {
                let theirs = self.units_of(counter, |writer| work.incarnations().contains(&writer));
                self.own(counter).join(theirs);
            }
        } else {
            return;
        }
        self.work = goes_on.then_some(work);
    }

    /// The versions of the own cells.
    fn versions(&self) -> [u64; COUNTERS.len()] {
        COUNTERS.map(|counter| {
            let cells = self.map.pn_counter(counter, REGION);
            cells.cells().find(|(writer, _)| *writer == self.id).map_or(0, |(_, cell)| cell.version)
        })
    }

    fn moved(&self, before: [u64; COUNTERS.len()]) -> Vec<usize> {
        let after = self.versions();
        (0..COUNTERS.len()).filter(|&at| after[at] != before[at]).collect()
    }

    /// Every message that this node can send now: its own cells to anyone, the cells of any one
    /// writer, all cells. To a receiver that keeps no digest of it, it sends only the replicas that
    /// it knows.
    pub(crate) fn messages(&self, with_digest: bool) -> Vec<Message> {
        let own = |replica| replica == self.id;
        let mut messages = vec![
            Message { knows: NOTHING, hello: true, ..self.message(with_digest, own) },
            self.message(with_digest, |_| true),
        ];
        messages.extend(
            self.map
                .replicas()
                .map(|writer| self.message(with_digest, |replica| replica == writer)),
        );
        messages
    }

    fn message(&self, with_digest: bool, meant: impl Fn(ReplicaId) -> bool) -> Message {
        let mut delta = self.map.delta_since(&NOTHING);
        delta.retain(&meant);
        let mut cell_units = self.cell_units.clone();
        cell_units.retain(|writer, _| meant(*writer));
        let versions = self.map.version_vector();
        let knows = if with_digest {
            versions
        } else {
            versions.iter().map(|(replica, _)| (replica, 1)).collect()
        };
        Message { from: self.id, hello: false, knows, delta, cell_units }
    }

    pub(crate) fn receive(&mut self, message: &Message, keeps_digests: bool) {
        let known = message.hello || message.knows.get(self.id) > 0 || self.map.is_folded(self.id);
        if message.from == self.id || self.map.is_ended(message.from) || !known {
            return;
        }
        let before = self.map.version_vector();
        self.run(|replica| replica.join_delta(message.delta.clone())).unwrap();
        for (writer, cell_units) in &message.cell_units {
            if self.map.seen_of(*writer) > before.get(*writer) {
                self.cell_units.insert(*writer, *cell_units);
            }
        }
        let map = &self.map;
        self.cell_units.retain(|writer, _| map.seen_of(*writer) > 0);
        if !message.hello && keeps_digests {
            self.digests.entry(message.from).or_default().join(&message.knows);
        }
    }
}

impl Message {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.hello)];
        write_cell_units(&mut bytes, &self.cell_units);
        write_versions(&mut bytes, self.from, &self.knows);
        bytes.extend(self.delta.encode());
        bytes
    }
}

fn write_cell_units(out: &mut Vec<u8>, cell_units: &BTreeMap<ReplicaId, OfCounters>) {
    for (writer, of) in cell_units {
        out.extend(writer.to_bytes());
        of.iter().for_each(|cell_units| {
            out.extend([cell_units.units.to_le_bytes(), cell_units.reset.to_le_bytes()].concat())
        });
    }
}

fn write_versions(out: &mut Vec<u8>, of: ReplicaId, versions: &VersionVector) {
    out.extend(of.to_bytes());
    for (replica, version) in versions.iter() {
        out.extend([&replica.to_bytes()[..], &version.to_le_bytes()].concat());
    }
    out.push(255);
}
