//! Observed reset: what the resetter has seen is gone, what was concurrent stays, exactly.

use std::collections::BTreeMap;

use super::CounterMap;
use crate::cell::Amounts;
use crate::error::AddError;
use crate::replica_id::ReplicaId;
use crate::version_vector::Version;

impl CounterMap {
    /// Resets one region of a counter as `replica`: clears, of every writer, the amounts that are held here of it.
    ///
    /// They are written into the *resetter's own* cell. The value is then the sum over writers of what each has above the most that
    /// any cell says was cleared of it; so an add that the resetter had not seen stays, wherever it was made. Resets commute with
    /// everything. Returns the version of the change, or None where there was nothing to reset.
    ///
    /// # Errors
    /// `NameOutOfRange` for a name that no key can have.
    ///
    /// # Complexity
    /// O(writers) time, and as much room in the resetter's cell.
    ///
    /// # Examples
    /// ```
    /// use counter_core::{CounterMap, ReplicaId};
    /// let (a, b) = (ReplicaId::new(1, 1), ReplicaId::new(2, 1));
    /// let (mut at_a, mut at_b) = (CounterMap::new(), CounterMap::new());
    /// at_a.add(a, "clicks", "ord", 5)?;
    /// at_b.join(&at_a);
    /// at_b.reset(b, "clicks", "ord")?;
    /// at_a.add(a, "clicks", "ord", 2)?; // while b resets the five
    /// at_a.join(&at_b);
    /// assert_eq!(at_a.total("clicks"), 2);
    /// # Ok::<(), counter_core::AddError>(())
    /// ```
    pub fn reset(&mut self, replica: ReplicaId, counter: &str, region: &str) -> Result<Option<Version>, AddError> {
        let Some(key) = self.keys.find(counter, region) else { return Ok(None) };
        let floors = self.floors(key);
        let seen: Vec<(ReplicaId, Amounts)> = self.writers.iter().filter_map(|w| w.amounts(key).map(|cell| (w.id, cell.0))).collect();
        if seen.iter().all(|(id, amounts)| amounts.above(floors.get(id).copied().unwrap_or_default()) == Amounts::default()) {
            return Ok(None);
        }
        let at = self.writer_or_new(replica);
        let writer = &mut self.writers[at];
        let slot = writer.slot(key, key).unwrap_or_else(|| writer.make(key));
        let mut extra = writer.extra(slot).cloned().unwrap_or_default();
        seen.into_iter().for_each(|(id, amounts)| extra.clear(id, amounts));
        let version = writer.seen + 1;
        writer.put_extra(slot, Some(extra));
        writer.put(slot, version, writer.plain(slot).amounts);
        (writer.seen, writer.hash) = (version, None);
        self.values.mark_reset(key);
        self.value_again(key);
        Ok(Some(version))
    }

    /// The most that any cell says was cleared of each writer.
    fn floors(&self, key: u32) -> BTreeMap<ReplicaId, Amounts> {
        let mut floors = BTreeMap::new();
        for extra in self.writers.iter().filter_map(|writer| writer.amounts(key)?.1) {
            for &(replica, amounts) in &extra.cleared {
                let floor: &mut Amounts = floors.entry(replica).or_default();
                *floor = floor.join(amounts);
            }
        }
        floors
    }

    /// What each writer's cell counts for a key, above what was cleared of it. O(writers).
    pub(super) fn shares(&self, key: u32) -> impl Iterator<Item = (ReplicaId, Amounts)> + '_ {
        let floors = if self.values.is_reset(key) { self.floors(key) } else { BTreeMap::new() };
        self.writers.iter().filter_map(move |writer| {
            let floor = floors.get(&writer.id).copied().unwrap_or_default();
            writer.amounts(key).map(|(amounts, _)| (writer.id, amounts.above(floor)))
        })
    }

    /// Counts the value of a key from all its cells.
    pub(super) fn value_again(&mut self, key: u32) {
        let value = self.shares(key).map(|(_, amounts)| amounts.net()).sum();
        self.values.set(key, self.keys.counter_of(key), value);
    }
}
