//! The truth: every writer's acts in plain integers, and the comparison of a node's state with
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use counter_core::{Amounts, CounterMap, Replica, ReplicaId, Version};

/// The names of a key: counter and region.
type KeyName = (String, String);

/// The failure of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// A node shows more increments or decrements of a writer than that writer made.
    AboveTruth(String),
    /// A node's cells of a writer are not the writer's cells as of the version that the node holds.
    NotASnapshot(String),
    /// A node shows a value other than the writers' acts give.
    WrongValue(String),
    /// Nodes did not reach equal states in time.
    NotConverged(String),
    /// The protocol machine broke its contract: it sent a payload twice or one that is too long,
    /// raised an alarm, or blamed an honest peer.
    BadOutput(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::AboveTruth(what) => write!(f, "above the truth: {what}"),
            Failure::NotASnapshot(what) => write!(f, "not a snapshot: {what}"),
            Failure::WrongValue(what) => write!(f, "wrong value: {what}"),
            Failure::NotConverged(what) => write!(f, "not converged: {what}"),
            Failure::BadOutput(what) => write!(f, "bad output: {what}"),
        }
    }
}

impl std::error::Error for Failure {}

/// The acts of one writer.
#[derive(Debug, Default)]
struct Written {
    /// Running totals, pending ones included.
    sums: BTreeMap<KeyName, Amounts>,
    /// Keys that were added to since the last flush.
    dirty: BTreeSet<KeyName>,
    /// The cell of each key over time: its amounts from each version on.
    log: BTreeMap<KeyName, Vec<(Version, Amounts)>>,
    /// The amounts that were taken off the cell of each key, because resets had cleared them: from
    /// each version on.
    shed: BTreeMap<KeyName, Vec<(Version, Amounts)>>,
    resets: Vec<Reset>,
}

/// A reset: the version that it was written under, and what it cleared of each writer.
#[derive(Debug)]
struct Reset {
    version: Version,
    key: KeyName,
    cleared: Vec<(ReplicaId, Amounts)>,
}

/// All that was done in a cluster, in plain integers.
#[derive(Debug, Default)]
pub struct Truth {
    writers: BTreeMap<ReplicaId, Written>,
    /// Counters that take adds with ids only. Nodes may take such adds back, so a writer's own adds
    /// bound nothing there.
    with_ids: BTreeSet<String>,
    /// The values that each incarnation has shown since it caught up. Without resets and
    /// subtractions, none goes down.
    shown: BTreeMap<ReplicaId, BTreeMap<KeyName, i128>>,
}

impl Truth {
    pub(super) fn add(&mut self, writer: ReplicaId, key: KeyName, amount: i64) {
        let written = self.writers.entry(writer).or_default();
        let sum = written.sums.entry(key.clone()).or_default();
        if amount > 0 {
            sum.increments += amount.unsigned_abs()
        } else {
            sum.decrements += amount.unsigned_abs()
        }
        written.dirty.insert(key);
    }

    /// Stops comparing this counter's cells with what the writers did.
    pub(super) fn leave_to_ids(&mut self, counter: &str) {
        self.with_ids.insert(counter.to_owned());
    }

    /// A writer's pending amounts became cells.
    pub(super) fn flushed(&mut self, replica: &Replica) {
        let Some(written) = self.writers.get_mut(&replica.id()) else { return };
        for key in std::mem::take(&mut written.dirty) {
            let version = replica
                .map()
                .pn_counter(&key.0, &key.1)
                .cells()
                .find(|(id, _)| *id == replica.id())
                .map_or(0, |(_, cell)| cell.version);
            let sum = written.sums[&key];
            written.log.entry(key).or_default().push((version, sum));
        }
    }

    /// Notes the amounts that a writer has taken off its own cells since the last call.
    pub(super) fn note_shed(&mut self, replica: &Replica) {
        let Some(written) = self.writers.get_mut(&replica.id()) else { return };
        for (key, log) in &written.log {
            let counter = replica.map().pn_counter(&key.0, &key.1);
            let own = counter.cells().find(|(id, _)| *id == replica.id());
            let (version, amounts) = own.map_or((replica.version(), Amounts::default()), |own| {
                (own.1.version, own.1.amounts)
            });
            let all = as_of(Some(log), replica.version());
            let shed = written.shed.entry(key.clone()).or_default();
            let before = as_of(Some(shed), version);
            if all.above(before) != amounts {
                shed.push((version, all.above(amounts)));
            }
        }
    }

    /// A writer reset a key, and cleared all that it holds of it.
    pub(super) fn reset(&mut self, replica: &Replica, key: KeyName, version: Version) {
        let seen = replica.map().version_vector();
        let cleared =
            seen.iter().map(|(writer, version)| (writer, self.at(writer, &key, version))).collect();
        self.writers.entry(replica.id()).or_default().resets.push(Reset { version, key, cleared });
    }

    /// A writer's cell as of a version.
    fn at(&self, writer: ReplicaId, key: &KeyName, version: Version) -> Amounts {
        as_of(self.writers.get(&writer).and_then(|written| written.log.get(key)), version)
    }

    /// The amounts that a writer has taken off its cell as of a version.
    fn shed(&self, writer: ReplicaId, key: &KeyName, version: Version) -> Amounts {
        as_of(self.writers.get(&writer).and_then(|written| written.shed.get(key)), version)
    }

    /// A writer lost what it had not flushed.
    pub(super) fn crashed(&mut self, writer: ReplicaId) {
        let Some(written) = self.writers.get_mut(&writer) else { return };
        for key in std::mem::take(&mut written.dirty) {
            let kept = written
                .log
                .get(&key)
                .and_then(|log| log.last())
                .map_or(Amounts::default(), |last| last.1);
            written.sums.insert(key, kept);
        }
    }

    /// Checks that a node shows no more of any key than was ever added and, once it has caught up,
    /// no less than it showed before. For clusters in which incarnations are absorbed, so that a
    /// cell is not one writer's own. Nothing may be reset or subtracted there.
    pub(super) fn watch(&mut self, replica: &Replica, synced: bool) -> Result<(), Failure> {
        let mut shown = self.shown.remove(&replica.id()).unwrap_or_default();
        for key in self.keys() {
            let (value, most) = (
                replica.map().value(&key.0, &key.1),
                self.sum(|written| written.sums.get(key).copied()),
            );
            if value > most {
                return Err(Failure::AboveTruth(format!(
                    "{key:?} at {}: {value} is above {most}",
                    replica.id()
                )));
            }
            let least = shown.get(key).copied().unwrap_or(0);
            if synced && value < least {
                return Err(Failure::WrongValue(format!(
                    "{key:?} at {}: {value} after {least}",
                    replica.id()
                )));
            }
            if synced {
                shown.insert(key.clone(), value);
            }
        }
        self.shown.insert(replica.id(), shown);
        Ok(())
    }

    /// Checks that a state shows all that was ever flushed, of every key.
    ///
    /// # Errors
    /// The first difference.
    pub fn check_totals(&self, map: &CounterMap) -> Result<(), Failure> {
        for key in self.keys() {
            let last = |written: &Written| written.log.get(key)?.last().map(|last| last.1);
            let (shown, truth) = (map.value(&key.0, &key.1), self.sum(last));
            if shown != truth {
                return Err(Failure::WrongValue(format!("{key:?}: {shown} is not {truth}")));
            }
        }
        Ok(())
    }

    fn sum(&self, of: impl Fn(&Written) -> Option<Amounts>) -> i128 {
        self.writers.values().filter_map(of).map(Amounts::net).sum()
    }

    fn keys(&self) -> BTreeSet<&KeyName> {
        self.writers.values().flat_map(|written| written.sums.keys()).collect()
    }

    /// Every key, with the writers that added to it.
    fn writers_by_key(&self) -> BTreeMap<&KeyName, Vec<ReplicaId>> {
        let mut writers = BTreeMap::<&KeyName, Vec<ReplicaId>>::new();
        for (writer, written) in &self.writers {
            written.sums.keys().for_each(|key| writers.entry(key).or_default().push(*writer));
        }
        writers
    }

    /// Checks that the state shows no more of any writer, for this key, than the writer made.
    pub(super) fn check_bound(
        &self,
        map: &CounterMap,
        counter: &str,
        region: &str,
    ) -> Result<(), Failure> {
        if self.with_ids.contains(counter) {
            return Ok(());
        }
        let key = (counter.to_owned(), region.to_owned());
        for (writer, cell) in map.pn_counter(counter, region).cells() {
            let sum = self
                .writers
                .get(&writer)
                .and_then(|written| written.sums.get(&key))
                .copied()
                .unwrap_or_default();
            if cell.amounts.increments > sum.increments || cell.amounts.decrements > sum.decrements
            {
                return Err(Failure::AboveTruth(format!(
                    "{key:?} of {writer}: {:?} is above {sum:?}",
                    cell.amounts
                )));
            }
        }
        Ok(())
    }

    /// Checks that a state holds exactly what each writer had written as of the version held, and
    /// shows the value that follows from that.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self, map: &CounterMap) -> Result<(), Failure> {
        for (key, writers) in self.writers_by_key() {
            for (writer, cell) in map.pn_counter(&key.0, &key.1).cells() {
                let seen = map.seen_of(writer);
                let truth = self.at(writer, key, seen).above(self.shed(writer, key, seen));
                if cell.amounts != truth {
                    return Err(Failure::NotASnapshot(format!(
                        "{key:?} of {writer} at {seen}: {:?} is not {truth:?}",
                        cell.amounts
                    )));
                }
            }
            let (shown, truth) = (map.value(&key.0, &key.1), self.value(map, key, &writers));
            if shown != truth {
                return Err(Failure::WrongValue(format!("{key:?}: {shown} is not {truth}")));
            }
        }
        Ok(())
    }

    /// The value that a key must have in a state that holds the versions of `map`: each writer's
    /// amounts, less the largest that a reset among them cleared of that writer, or that the writer
    /// took off. `writers` are those that added to the key; the others have nothing there.
    fn value(&self, map: &CounterMap, key: &KeyName, writers: &[ReplicaId]) -> i128 {
        let mut baselines: BTreeMap<ReplicaId, Amounts> = BTreeMap::new();
        for (resetter, written) in &self.writers {
            for reset in written
                .resets
                .iter()
                .filter(|reset| reset.key == *key && reset.version <= map.seen_of(*resetter))
            {
                for (writer, amounts) in &reset.cleared {
                    let baseline = baselines.entry(*writer).or_default();
                    *baseline = baseline.join(*amounts);
                }
            }
        }
        let share = |writer: ReplicaId| {
            let seen = map.seen_of(writer);
            let cleared = baselines.get(&writer).copied().unwrap_or_default();
            self.at(writer, key, seen).above(cleared.join(self.shed(writer, key, seen))).net()
        };
        writers.iter().map(|writer| share(*writer)).sum()
    }
}

/// The latest amounts of a log as of a version.
fn as_of(log: Option<&Vec<(Version, Amounts)>>, version: Version) -> Amounts {
    log.map_or(Amounts::default(), |log| match log.partition_point(|(at, _)| *at <= version) {
        0 => Amounts::default(),
        after => log[after - 1].1,
    })
}
