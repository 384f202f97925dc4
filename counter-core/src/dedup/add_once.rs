//! Adding once: a replica applies an add whose id it does not know.

use crate::dedup::chunk::Add;
use crate::dedup::entry::{DedupEntry, EntryBody};
use crate::dedup::id::{AddId, IdStatus, client_of};
use crate::dedup::tables::NewEntry;
use crate::error::WriteError;
use crate::lattice::cell::amounts::AMOUNT_MAX;
use crate::lattice::keys::KeyId;
use crate::replica::Replica;

/// The result of an add with an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddOutcome {
    /// It was added now.
    Applied,
    /// It was added before, by this replica or by one whose state is held here. Nothing was added
    /// now.
    Repeated,
    /// Nothing was added. The client numbers its adds, and its entries up to this number or beyond
    /// are forgotten. The add was almost certainly applied: treat it as done and do not send it
    /// again.
    CannotTell,
}

impl Replica {
    /// Adds `amount`, not 0 and within ±2^32, to this region of a counter, unless an add with this
    /// id was applied before, here or by a replica whose state is held here. The amount and the
    /// dedup entry are one change: no replica ever holds one without the other.
    ///
    /// An id is `<client>:<sequence>`, or any other 1 to 64 bytes. A client numbers its adds 1, 2,
    /// 3 and so on, without gaps, over all counters. They may arrive in another order. An id names
    /// one add of one counter: sent again with another amount or counter it is still a repeat.
    ///
    /// Each writer remembers the latest [`DEDUP_ENTRIES_MAX`](crate::DEDUP_ENTRIES_MAX) other ids,
    /// and as many entries of eight numbers of a client. For the first
    /// [`CLIENTS_MAX`](crate::CLIENTS_MAX) clients it also remembers for good the number up to
    /// which entries were forgotten. So no repeat of theirs counts again: the result is then
    /// `Repeated` or [`CannotTell`](AddOutcome::CannotTell). Entries of later clients are forgotten
    /// like other ids.
    ///
    /// Two replicas that have not yet exchanged their states may both apply an add. Once they have,
    /// one of the two copies is taken back, by the replica that applied it or by that replica's
    /// successor. It is the copy of the greater [`ReplicaId`](crate::ReplicaId), unless a successor
    /// has already absorbed that copy.
    ///
    /// # Errors
    /// `IdOutOfRange`, `Left`, or as for [`add`](Self::add). Nothing was added.
    ///
    /// # Complexity
    /// O(log entries), and a lookup in each writer that holds entries.
    ///
    /// ```
    /// use counter_core::{AddOutcome, Replica, ReplicaId, VersionVector};
    /// let mut ord = Replica::new(ReplicaId::new(1, 1), "ord")?;
    /// let mut fra = Replica::new(ReplicaId::new(2, 1), "fra")?;
    /// assert_eq!(ord.add_once("tab-5f:1", "clicks", 1)?, AddOutcome::Applied);
    /// fra.join_delta(ord.map().delta_since(&VersionVector::new()))?;
    /// assert_eq!(fra.add_once("tab-5f:1", "clicks", 1)?, AddOutcome::Repeated);
    /// assert_eq!(fra.total("clicks"), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_once(
        &mut self,
        id: &str,
        counter: &str,
        amount: i64,
    ) -> Result<AddOutcome, WriteError> {
        let text = id;
        let id = AddId::read(text)?;
        if amount == 0 || amount.unsigned_abs() > AMOUNT_MAX {
            return Err(WriteError::AmountOutOfRange);
        }
        if let Some(outcome) = self.known(id, text) {
            return Ok(outcome);
        }
        if self.has_left() {
            return Err(WriteError::Left);
        }
        let key = self.key_with_room(counter, amount)?;
        self.add_new(id, key, amount).map(|()| AddOutcome::Applied)
    }

    /// The result of an add whose id is known; None if the id is new.
    pub(crate) fn known(&self, id: AddId<'_>, text: &str) -> Option<AddOutcome> {
        // This replica has an own entry for the add. Even if the add was taken back, that was for
        // another copy, whose entry may be forgotten by now.
        if self.map().dedup().holds_own(self.id(), id) {
            return Some(AddOutcome::Repeated);
        }
        match self.map().dedup().status(id, text) {
            IdStatus::Applied => Some(AddOutcome::Repeated),
            IdStatus::CannotTell => Some(AddOutcome::CannotTell),
            IdStatus::New => None,
        }
    }

    /// Adds an amount and notes its id, which is new, in one change.
    ///
    /// # Errors
    /// `CellFull` if the cell has no room at all. Nothing was added.
    pub(crate) fn add_new(
        &mut self,
        id: AddId<'_>,
        key: KeyId,
        amount: i64,
    ) -> Result<(), WriteError> {
        self.write_now(key, amount)?;
        let own = self.id();
        let (entry, is_new) = self.map().dedup().applied(own, id, Add { key: key.0, amount });
        let forgotten = self.map_mut().write_entry(own, entry).forgotten;
        if let (AddId::Numbered { client, .. }, true) = (id, is_new) {
            self.admit(client.as_bytes(), self.map().dedup().bounds().clients());
        }
        if let Some(entry) = forgotten {
            self.forget(&entry);
        }
        Ok(())
    }

    pub(super) fn admit(&mut self, client: &[u8], max: usize) {
        let dedup = self.map().dedup();
        let others = dedup.forgotten_count();
        if others == 0 || dedup.forgotten(self.id(), client).is_none() {
            self.clients_mut().admit(client, others, max);
        }
    }

    /// Remembers the numbers of a dropped entry, if its client is admitted.
    pub(super) fn forget(&mut self, entry: &DedupEntry) {
        let EntryBody::Client(chunk) = &entry.body else { return };
        let (own, client) = (self.id(), client_of(&entry.name));
        let held = self.map().dedup().forgotten(own, client);
        if held.is_none() && !self.clients_mut().remove(client) {
            return;
        }
        let before = held.unwrap_or_default();
        let now = match entry.source {
            None => before.with_own(chunk),
            // Its writer's own entry may still exist, and must take precedence over this one.
            Some(_) => before.with_absorbed(chunk),
        };
        if held != Some(now) {
            self.map_mut().write_entry(own, NewEntry::forgotten(client, now));
        }
    }
}
