//! Joining one change of a counter and a writer that are held, which is what is sent most often:
//! nothing is made ready for more than one cell.

use super::{CounterMap, Joined, rehash};
use crate::lattice::delta::Delta;
use crate::lattice::keys::KeyId;
use crate::lattice::writer::Plain;

impl CounterMap {
    /// Takes a delta of one plain cell, where it is new and follows what is held. None where it is
    /// anything else: nothing changed then. O(log writers).
    pub(super) fn join_one(&mut self, delta: &Delta) -> Option<Joined> {
        let [part] = delta.parts.as_slice() else { return None };
        let [cell] = part.cells.as_slice() else { return None };
        if part.record.is_some()
            || !part.extras.is_empty()
            || !part.dedup.is_empty()
            || self.values.has_resets()
        {
            return None;
        }
        let at = self.writer_at(part.span.replica).ok()?;
        let (counter, region) = delta.keys.names(cell.key);
        let key = self.keys.find(counter, region)?;
        let writer = &mut self.writers[at];
        if part.span.after > writer.seen || cell.version <= writer.seen || writer.has_extras() {
            return None;
        }
        let slot = writer.slot(key, key).unwrap_or_else(|| writer.make(key));
        let (stood, plain) =
            (writer.plain(slot), Plain { version: cell.version, amounts: cell.amounts });
        if writer.hash.is_some() {
            rehash(writer, &self.keys, slot, stood, plain);
        }
        writer.put(slot, plain.version, plain.amounts);
        writer.seen = part.span.upto;
        self.values.shift(
            key,
            self.keys.counter_of(key),
            plain.amounts.net() - stood.amounts.net(),
        );
        Some(Joined { changed: vec![KeyId(key)], ..Joined::default() })
    }
}
