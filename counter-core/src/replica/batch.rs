//! Batches: adds that a replica judges together. It applies all of them or none.

use std::collections::HashSet;
use std::fmt;

use foldhash::fast::RandomState;

use crate::dedup::AddOutcome;
use crate::dedup::id::AddId;
use crate::error::WriteError;
use crate::lattice::cell::amounts::AMOUNT_MAX;
use crate::lattice::counter_map::CounterMap;
use crate::lattice::keys::names::is_name;
use crate::replica::state::Replica;

/// The most adds in one batch. They take about ten milliseconds, during which the replica does
/// nothing else. Their amounts sum to less than 2^46. A cell keeps 2^60 of room above the total at
/// which adds are refused, so adds that were judged one by one also fit together.
pub const BATCH_ADDS_MAX: usize = 10_000;

/// One add of a batch; see [`Replica::add_many`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchAdd<'a> {
    /// The counter's name. A counter that does not exist is created.
    pub counter: &'a str,
    /// Not 0 and within ±2^32. A negative amount subtracts.
    pub amount: i64,
    /// The add counts once for this id, as for [`Replica::add_once`]. Without an id it always
    /// counts.
    pub id: Option<&'a str>,
}

impl<'a> BatchAdd<'a> {
    /// An add without an id.
    pub const fn new(counter: &'a str, amount: i64) -> Self {
        Self { counter, amount, id: None }
    }

    /// The same add, counted once for this id.
    #[must_use]
    pub const fn with_id(self, id: &'a str) -> Self {
        Self { id: Some(id), ..self }
    }
}

/// Why a replica refused a whole batch. Nothing was added, and no counter was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRefused {
    /// The index of the first add that was refused.
    pub index: usize,
    /// The reason.
    pub error: WriteError,
}

impl fmt::Display for BatchRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "add {} of the batch: {}; the whole batch was refused", self.index, self.error)
    }
}

impl std::error::Error for BatchRefused {}

/// The verdict on an add that is not refused.
#[derive(Clone, Copy)]
enum AddVerdict {
    /// Its id is known, so nothing is added.
    Known(AddOutcome),
    /// There is room for it.
    Fits,
}

/// The new ids and counters of the adds judged so far.
#[derive(Default)]
struct BatchNeeds<'a> {
    /// Ids that are new.
    ids: HashSet<&'a str, RandomState>,
    /// Counters to create.
    counters: HashSet<&'a str, RandomState>,
}

impl Replica {
    /// Adds a whole batch, or nothing. Returns the result of each add, in order.
    ///
    /// Every add is judged before the first is applied: its name, amount and id, the room in its
    /// cell, and the room for new counters. A known id is no error: its result is
    /// [`AddOutcome::Repeated`] or [`AddOutcome::CannotTell`], and the others are applied. Two adds
    /// may have the same counter, or the same id; the second of two equal ids is a repeat.
    ///
    /// Adds with an id are written at once, like [`add_once`](Self::add_once). The others are
    /// pending until the next flush, like [`add`](Self::add), and become one version for each
    /// counter.
    ///
    /// # Errors
    /// [`BatchRefused`] names the first add that is refused, with the error that it would get
    /// alone, or `TooManyAdds` at index [`BATCH_ADDS_MAX`]. Nothing was added and no counter was
    /// created.
    ///
    /// # Complexity
    /// O(adds), and for each id as [`add_once`](Self::add_once).
    ///
    /// ```
    /// use counter_core::{BatchAdd, AddOutcome, Replica, ReplicaId, WriteError};
    /// let mut ord = Replica::new(ReplicaId::new(1, 1), "ord")?;
    /// let batch = [BatchAdd::new("clicks", 3), BatchAdd::new("likes", -1).with_id("order:7")];
    /// assert_eq!(ord.add_many(&batch)?, [AddOutcome::Applied, AddOutcome::Applied]);
    /// assert_eq!(ord.add_many(&batch)?, [AddOutcome::Applied, AddOutcome::Repeated]);
    /// assert_eq!((ord.total("clicks"), ord.total("likes")), (6, -1));
    ///
    /// let refused = ord.add_many(&[batch[0], BatchAdd::new("stars", 0)]).unwrap_err();
    /// assert_eq!((refused.index, refused.error), (1, WriteError::AmountOutOfRange));
    /// assert_eq!((ord.total("clicks"), ord.map().counter_count()), (6, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_many(&mut self, adds: &[BatchAdd<'_>]) -> Result<Vec<AddOutcome>, BatchRefused> {
        let refused = |(index, error)| BatchRefused { index, error };
        let mut needs = BatchNeeds::default();
        let judged = adds
            .iter()
            .enumerate()
            .map(|(at, add)| self.judge(at, add, &mut needs).map_err(|error| (at, error)))
            .collect::<Result<Vec<AddVerdict>, _>>()
            .map_err(refused)?;
        let applied = adds
            .iter()
            .zip(judged)
            .enumerate()
            .map(|(at, (add, judged))| self.apply(add, judged).map_err(|error| (at, error)))
            .collect::<Result<Vec<AddOutcome>, _>>();
        debug_assert!(applied.is_ok(), "an add that was judged fits: {applied:?}");
        applied.map_err(refused)
    }

    fn judge<'a>(
        &mut self,
        at: usize,
        add: &BatchAdd<'a>,
        needs: &mut BatchNeeds<'a>,
    ) -> Result<AddVerdict, WriteError> {
        let BatchAdd { counter, amount, id } = *add;
        if at >= BATCH_ADDS_MAX {
            return Err(WriteError::TooManyAdds);
        }
        if amount == 0 || amount.unsigned_abs() > AMOUNT_MAX {
            return Err(WriteError::AmountOutOfRange);
        }
        let exists = self.map().has_counter(counter);
        if !exists && !is_name(counter) {
            return Err(WriteError::NameOutOfRange);
        }
        if let Some(text) = id {
            let known = self.known(AddId::read(text)?, text);
            if let Some(outcome) = known {
                return Ok(AddVerdict::Known(outcome));
            }
            if !needs.ids.insert(text) {
                return Ok(AddVerdict::Known(AddOutcome::Repeated));
            }
        }
        if self.has_left() {
            return Err(WriteError::Left);
        }
        match (exists, id) {
            (true, Some(_)) => drop(self.key_with_room(counter, amount)?),
            (true, None) => self.check_room_by_name(counter, amount)?,
            (false, _) => drop(needs.counters.insert(counter)),
        }
        self.check_room_for(needs.counters.len())?;
        Ok(AddVerdict::Fits)
    }

    /// Checks that this many new counters may be created.
    fn check_room_for(&self, counters: usize) -> Result<(), WriteError> {
        let (map, counters_max) = (self.map(), self.map().counters_max());
        let keys_max = CounterMap::keys_max(counters_max).min(u32::MAX as usize);
        let is_over =
            map.counter_count() + counters > counters_max || map.key_count() + counters > keys_max;
        if counters > 0 && is_over { Err(WriteError::TooManyCounters) } else { Ok(()) }
    }

    fn apply(&mut self, add: &BatchAdd<'_>, judged: AddVerdict) -> Result<AddOutcome, WriteError> {
        let BatchAdd { counter, amount, id } = *add;
        match (judged, id) {
            (AddVerdict::Known(outcome), _) => Ok(outcome),
            (AddVerdict::Fits, None) => {
                self.put_by_name(counter, amount).map(|()| AddOutcome::Applied)
            }
            (AddVerdict::Fits, Some(text)) => {
                let id = AddId::read(text)?;
                // Entries of this batch may have displaced the ones around this number.
                if let Some(outcome) = self.known(id, text) {
                    return Ok(outcome);
                }
                let key = self.key_of(counter)?;
                self.add_new(id, key, amount).map(|()| AddOutcome::Applied)
            }
        }
    }
}
