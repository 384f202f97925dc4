//! Adds with an id that no longer depend on resets: their writer has subtracted them since, or
//! dropped their cell. Such an add must not be subtracted again if it is taken back later. So the
//! writer notes up to which version its adds at a key are settled.

use std::collections::HashSet;

use crate::dedup::id::AddId;
use crate::dedup::tables::NewEntry;
use crate::error::WriteError;
use crate::lattice::cell::amounts::Amounts;
use crate::lattice::keys::KeyId;
use crate::lattice::versions::Version;
use crate::lattice::writer::tombstones::key_bytes;
use crate::replica::Replica;
use crate::replica_id::ReplicaId;

/// The keys of the adds that a replica remembers, looked up at their first use.
#[derive(Debug, Default)]
pub(crate) struct RememberedKeys(Option<HashSet<u32>>);

impl Replica {
    /// Notes that own adds at a key up to version `upto` are settled, if entries remember any. Call
    /// it before the change that settles them.
    pub(crate) fn note_settled(
        &mut self,
        KeyId(key): KeyId,
        upto: Version,
        remembered: &mut RememberedKeys,
    ) {
        let (own, dedup) = (self.id(), self.map().dedup());
        if upto == 0 || dedup.of(own).is_none() {
            return;
        }
        if !remembered.0.get_or_insert_with(|| dedup.keys_of(own)).contains(&key) {
            return;
        }
        let name = key_bytes(self.map().cells().keys().names(key));
        if dedup.settled_upto(own, &name) < upto {
            self.map_mut().write_entry(own, NewEntry::settled(&name, upto));
        }
    }

    /// Subtracts an add of `writer` that does not stand, or restores it if `excess` is negative.
    /// Does neither if the add is settled.
    ///
    /// # Errors
    /// `CellFull` if the cell has no room. Nothing changed.
    pub(super) fn subtract_copy(
        &mut self,
        writer: ReplicaId,
        id: AddId<'_>,
        key: KeyId,
        excess: i64,
    ) -> Result<(), WriteError> {
        let (map, own) = (self.map(), self.id());
        let cells = map.cells();
        let mut seen_in = map.dedup().contained_in(writer, id, |replica| map.is_folded(replica));
        for at in 0..seen_in.len() {
            seen_in.extend(cells.absorbed_in(seen_in[at].0, key));
        }
        let name = key_bytes(cells.keys().names(key.0));
        if seen_in.iter().any(|&(holder, from)| map.dedup().settled_upto(holder, &name) >= from) {
            return Ok(());
        }
        let size = excess.unsigned_abs();
        let by = match excess > 0 {
            true => Amounts { increments: 0, decrements: size },
            false => Amounts { increments: size, decrements: 0 },
        };
        let before = self.version();
        self.map_mut().cells_mut().take_back(own, key, by, &seen_in)?;
        self.note_unflushed(before, key);
        Ok(())
    }
}
