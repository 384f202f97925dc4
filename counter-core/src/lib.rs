//! Replicated PN-counters in a map: any replica can add immediately, deltas join in any order, and
//! every total is exact.
//!
//! ```
//! use counter_core::{Delta, Replica, ReplicaId};
//!
//! let mut ord = Replica::new(ReplicaId::new(1, 1), "ord")?;
//! let mut fra = Replica::new(ReplicaId::new(2, 1), "fra")?;
//! ord.counter("clicks")?.add(5)?; // from any thread
//! fra.add("clicks", 7)?;
//! ord.flush();
//!
//! let delta = ord.map().delta_since(&fra.map().version_vector());
//! let bytes = delta.encode(); // over any wire, twice, late, in any order
//! fra.join_delta(Delta::decode(&bytes)?)?;
//! assert_eq!(fra.total("clicks"), 12);
//! assert_eq!(fra.value("clicks", "ord"), 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate sends nothing, stores nothing, reads no clock and draws no random numbers:
//! `counter-net` does that around it.
//!
//! # The three types to know
//!
//! A [`Replica`] is one writer, one run of one process. Only it writes its cells. A [`CounterMap`]
//! holds the cells of every writer, each exactly as of one version. A [`Delta`] carries some cells,
//! and the [`Span`]s of versions that they complete.
//!
//! A cell holds a writer's running totals for one counter in one region, never increments. So a
//! newer cell replaces an older one, and loss, duplication and reordering are harmless. Since a map
//! holds a writer exactly as of a version, equal [`VersionVector`]s mean equal states.
//!
//! # Add
//!
//! [`Replica::add`] adds by name, and a [`CounterHandle`] from any thread with one atomic addition.
//! Both are pending until [`Replica::flush`]. [`Replica::add_once`] takes an id with the add and
//! applies it at most once, even if the client sends it again to another replica.
//! [`Replica::add_many`] judges a batch of both kinds first, and adds all of it or nothing.
//! [`Replica::reset`] clears what this replica has seen; concurrent adds stay.
//!
//! # Exchange
//!
//! Ask with [`CounterMap::version_vector`], answer with [`CounterMap::delta_since`], and take the
//! answer with [`Replica::join_delta`]. A delta after a gap has no effect, and [`Joined::gaps`]
//! names the missing part. A large answer is sent in pages ([`CounterMap::page_since`]), which
//! [`Staging`] gathers. Two replicas with equal version vectors compare [`CounterMap::state_hash`]
//! to check that their states are equal.
//!
//! # Restart and retire
//!
//! Each run of a process is an *incarnation*, with a [`ReplicaId`] of its own. A process that
//! starts again continues from its old map with [`Replica::with_map`]. It claims its earlier
//! incarnation, absorbs the amounts and folds it, in the steps of an [`AbsorbRound`]. After that
//! the old incarnation has left no trace on any replica.
//!
//! # Features
//!
//! `crdts` (on by default) implements `CvRDT`, `CmRDT` and `ResetRemove` of the `crdts` crate; see
//! `examples/crdts.rs`. `laws` adds the module `laws`, which checks the laws of any lattice on
//! samples.

mod codec;
#[cfg(feature = "crdts")]
mod crdts_traits;
mod dedup;
mod error;
mod incarnation;
mod lattice;
mod pending;
mod replica;
mod replica_id;

pub use codec::{DECODE_FACTOR, FORMAT};
#[cfg(feature = "crdts")]
pub use crdts_traits::{ApplyError, MergeError};
pub use dedup::{AddOutcome, CLIENTS_MAX, DEDUP_ENTRIES_MAX, ID_BYTES_MAX, ID_CHUNK};
pub use error::{DecodeError, JoinError, StagingError, WriteError};
pub use incarnation::record::Record;
pub use incarnation::work::AbsorbRound;
pub use lattice::cell::amounts::{AMOUNT_MAX, Amounts, CELL_MAX};
pub use lattice::cell::pn_counter::PnCounter;
pub use lattice::cell::{Cell, Cleared};
pub use lattice::counter_map::{
    COUNTERS_MAX, CounterMap, CounterPage, Cursor, DeltaPage, Joined, Largest, REPLICAS_MAX,
};
pub use lattice::delta::{Delta, Span};
pub use lattice::keys::KeyId;
pub use lattice::keys::names::NAME_BYTES_MAX;
#[cfg(feature = "laws")]
pub use lattice::laws;
pub use lattice::staging::Staging;
pub use lattice::state_hash::StateHash;
pub use lattice::versions::{Version, VersionVector};
pub use pending::block::Wake;
pub use pending::handle::CounterHandle;
pub use replica::{
    BATCH_ADDS_MAX, BatchAdd, BatchRefused, Cleanup, ExpiredBuckets, Flushed, ProvenVersions,
    Replica, WindowWidth,
};
pub use replica_id::{ParseReplicaIdError, ReplicaId};
