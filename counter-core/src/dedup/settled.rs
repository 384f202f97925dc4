//! Adds with an id that no longer depend on resets: their writer has subtracted them since, or
//! dropped their cell. Such an add must not be subtracted again if it is taken back later. So the
//! writer notes up to which version its adds at a key are settled.

use std::collections::HashSet;

use smallvec::SmallVec;

use crate::dedup::chunk::Add;
use crate::dedup::entry::{EntryBody, Single};
use crate::dedup::id::{AddId, client_of};
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

    /// The writers whose cells contain an add of `writer`, each with the first version that did.
    fn seen_in(
        &self,
        writer: ReplicaId,
        id: AddId<'_>,
        key: KeyId,
    ) -> SmallVec<[(ReplicaId, Version); 2]> {
        let map = self.map();
        let mut seen_in = map.dedup().contained_in(writer, id, |replica| map.is_folded(replica));
        for at in 0..seen_in.len() {
            seen_in.extend(map.cells().absorbed_in(seen_in[at].0, key));
        }
        seen_in
    }

    /// Forgets the amounts of absorbed adds that a reset has cleared, just before a fold. The fold
    /// drops the cells whose versions tell that. Without its amount an add is never taken back.
    pub(super) fn forget_cleared_amounts(&mut self) {
        let own = self.id();
        let is_cleared = |writer, id: AddId<'_>, add: Add| {
            let (key, dedup) = (KeyId(add.key), self.map().dedup());
            let name = key_bytes(self.map().cells().keys().names(add.key));
            add.amount != 0
                && self.seen_in(writer, id, key).iter().any(|&(holder, from)| {
                    dedup.settled_upto(holder, &name) >= from
                        || self.map().cells().seen_by_others(holder, key) >= from
                })
        };
        let mut cleared = Vec::new();
        for entry in self.map().dedup().absorbed_by(own) {
            let Some(writer) = entry.source.map(|source| source.replica) else { continue };
            let body = match &entry.body {
                EntryBody::Client(chunk) => {
                    let Ok(client) = std::str::from_utf8(client_of(&entry.name)) else { continue };
                    let is_gone = |sequence| {
                        let id = AddId::Numbered { client, sequence };
                        chunk.stands(sequence)
                            && entry
                                .body
                                .copy(id)
                                .is_some_and(|copy| is_cleared(writer, id, copy.add))
                    };
                    chunk.without_adds(is_gone).map(EntryBody::Client)
                }
                EntryBody::Single(single) => {
                    let Ok(text) = std::str::from_utf8(&entry.name) else { continue };
                    let is_gone =
                        !single.taken_back && is_cleared(writer, AddId::Single(text), single.add);
                    is_gone.then(|| {
                        EntryBody::Single(Single { add: Add::default(), taken_back: false })
                    })
                }
                _ => None,
            };
            cleared.extend(body.map(|body| NewEntry::of_absorbed(&entry, body)));
        }
        cleared.into_iter().for_each(|entry| drop(self.map_mut().write_entry(own, entry)));
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
        let seen_in = self.seen_in(writer, id, key);
        let name = key_bytes(map.cells().keys().names(key.0));
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
