//! The oracle: a plain log of operations, and the totals that a replica with a given version vector
//! must show.

use std::collections::HashMap;

use counter_core::{Amounts, ReplicaId, Version, VersionVector};
use crdts::{CmRDT, CvRDT, PNCounter};

/// A key: counter and region.
pub(crate) type Key = (&'static str, &'static str);

type Snapshots = Vec<(Version, PNCounter<ReplicaId>)>;

enum What {
    Add(Amounts),
    /// With the versions that the resetter had seen.
    Reset(VersionVector),
}

struct Operation {
    writer: ReplicaId,
    version: Version,
    what: What,
}

/// Every operation, by key.
#[derive(Default)]
pub(crate) struct Log {
    of_key: HashMap<Key, Vec<Operation>>,
    /// Each writer's own operations, applied to `crdts` counters, as of each of its versions.
    counters: HashMap<(Key, ReplicaId), Snapshots>,
}

impl Log {
    pub(crate) fn add(&mut self, key: Key, writer: ReplicaId, version: Version, amounts: Amounts) {
        self.of_key.entry(key).or_default().push(Operation {
            writer,
            version,
            what: What::Add(amounts),
        });
        let snapshots = self.counters.entry((key, writer)).or_default();
        let mut counter = snapshots.last().map_or_else(PNCounter::new, |last| last.1.clone());
        // `crdts` counts a step of 0 as an operation too.
        counter.apply(counter.inc_many(writer, amounts.increments));
        counter.apply(counter.dec_many(writer, amounts.decrements));
        snapshots.push((version, counter));
    }

    pub(crate) fn reset(
        &mut self,
        key: Key,
        writer: ReplicaId,
        version: Version,
        observed: VersionVector,
    ) {
        self.of_key.entry(key).or_default().push(Operation {
            writer,
            version,
            what: What::Reset(observed),
        });
    }

    fn seen<'a>(
        &'a self,
        key: Key,
        seen: &'a VersionVector,
    ) -> impl Iterator<Item = &'a Operation> {
        self.of_key
            .get(&key)
            .into_iter()
            .flatten()
            .filter(|operation| operation.version <= seen.get(operation.writer))
    }

    /// The sum of the adds seen that no reset seen had observed.
    pub(crate) fn value(&self, key: Key, seen: &VersionVector) -> i128 {
        let resets: Vec<&VersionVector> =
            self.seen(key, seen).filter_map(|operation| operation.observed()).collect();
        let stays =
            |o: &Operation| resets.iter().all(|observed| observed.get(o.writer) < o.version);
        self.seen(key, seen)
            .filter_map(|o| o.amounts().filter(|_| stays(o)))
            .map(Amounts::net)
            .sum()
    }

    /// The sums that a writer has added and subtracted as of the version seen of it.
    pub(crate) fn true_sum(&self, key: Key, writer: ReplicaId, seen: &VersionVector) -> Amounts {
        let adds = self
            .seen(key, seen)
            .filter(|operation| operation.writer == writer)
            .filter_map(Operation::amounts);
        adds.fold(Amounts::default(), |sum, by| Amounts {
            increments: sum.increments + by.increments,
            decrements: sum.decrements + by.decrements,
        })
    }

    /// The same from `crdts`: the merge of every writer's counter as of the version seen.
    pub(crate) fn crdts_value(&self, key: Key, seen: &VersionVector) -> i128 {
        let mut merged = PNCounter::new();
        for (writer, version) in seen.iter() {
            let snapshots = self.counters.get(&(key, writer));
            let of_writer = snapshots.and_then(|snapshots| {
                snapshots.iter().rev().find(|snapshot| snapshot.0 <= version)
            });
            merged.merge(of_writer.map_or_else(PNCounter::new, |snapshot| snapshot.1.clone()));
        }
        i128::try_from(merged.read()).expect("a test's sums fit")
    }
}

impl Operation {
    fn amounts(&self) -> Option<Amounts> {
        match self.what {
            What::Add(amounts) => Some(amounts),
            What::Reset(_) => None,
        }
    }

    fn observed(&self) -> Option<&VersionVector> {
        match &self.what {
            What::Add(_) => None,
            What::Reset(observed) => Some(observed),
        }
    }
}
