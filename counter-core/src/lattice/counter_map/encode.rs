//! A whole state as bytes, written from where its cells stand.

use super::CounterMap;
use super::pages::{cell, opened};
use crate::codec::dictionary::{Dictionary, KeyNames, Numbering};
use crate::codec::{SHORT_HEAD, body, envelope};
use crate::lattice::delta::DeltaCell;
use crate::lattice::keys::order::in_order;
use crate::lattice::versions::vector::VersionVector;
use crate::lattice::writer::Writer;

impl CounterMap {
    /// The bytes of all that is held: the same as `delta_since(&VersionVector::new()).encode()`,
    /// without the delta in between.
    ///
    /// # Complexity
    /// O(cells); and a sort of the names, and of each writer's cells, that did not come in the
    /// order of names.
    ///
    /// ```
    /// use counter_core::{CounterMap, ReplicaId, VersionVector};
    /// let mut map = CounterMap::new();
    /// map.add(ReplicaId::new(1, 1), "clicks", "ord", 5)?;
    /// assert_eq!(map.encode(), map.delta_since(&VersionVector::new()).encode());
    /// # Ok::<(), counter_core::WriteError>(())
    /// ```
    pub fn encode(&self) -> Vec<u8> {
        // Few cells may have the short form of one click, and what few writers have besides plain
        // cells is written with it.
        if self.cell_count() < 2
            || self.writers.iter().any(|writer| writer.has_extras() || !writer.dedup.is_empty())
        {
            return self.delta_since(&VersionVector::new()).encode();
        }
        let mut out = Vec::with_capacity(64 + self.cell_count() * 6);
        out.extend_from_slice(&SHORT_HEAD);
        let writers = || self.writers.iter().filter(|writer| writer.seen > 0);
        let all_used = writers().any(|writer| writer.len() == self.keys.len());
        if let Some((counters, regions)) = self.keys.in_order().filter(|_| all_used) {
            let pair = |key: usize| self.keys.numbers(key as u32);
            body::write_head(&mut out, counters, regions, self.keys.len(), pair, writers().count());
            writers().for_each(|writer| write_writer(&mut out, writer, &Numbering::Same));
        } else {
            let used = writers().map(|writer| writer.slots().map(|slot| writer.key(slot)));
            let (Dictionary { counters, regions, pairs }, numbering) =
                Dictionary::of_used(&self.keys, used);
            let pair = |key: usize| pairs[key];
            body::write_head(
                &mut out,
                counters.as_slice(),
                regions.as_slice(),
                pairs.len(),
                pair,
                writers().count(),
            );
            writers().for_each(|writer| write_writer(&mut out, writer, &numbering));
        }
        envelope(out)
    }
}

fn write_writer(out: &mut Vec<u8>, writer: &Writer, numbering: &Numbering) {
    let mut part = opened(writer, 0, 0);
    part.closed = true;
    if matches!(numbering, Numbering::Same) && writer.ascending() {
        return body::write_part(out, &part, writer.len(), |at| cell(writer, at as u32));
    }
    let slots = in_order(
        writer.slots().map(|slot| (u64::from(numbering.rank(writer.key(slot))), slot)).collect(),
    );
    let ranked = |slot| DeltaCell { key: numbering.rank(writer.key(slot)), ..cell(writer, slot) };
    body::write_part(out, &part, slots.len(), |at| ranked(slots[at]));
}
