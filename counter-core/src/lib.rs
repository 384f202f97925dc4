//! Replicated PN-counters in a map: any replica adds at once, deltas join in any order, and every
//! number comes out exact.
//!
//! ```
//! use counter_core::{Replica, ReplicaId, VersionVector};
//!
//! let mut ord = Replica::new(ReplicaId::new(1, 1), "ord")?;
//! let mut fra = Replica::new(ReplicaId::new(2, 1), "fra")?;
//! ord.counter("clicks")?.add(5)?;
//! fra.counter("clicks")?.add(7)?;
//! ord.flush();
//! fra.flush();
//!
//! let nothing = VersionVector::new();
//! let bytes = ord.map().delta_since(&nothing).encode(); // over any wire, twice, late, in any order
//! fra.join_delta(counter_core::Delta::decode(&bytes)?)?;
//! assert_eq!(fra.total("clicks"), 12);
//! assert_eq!(fra.value("clicks", "ord"), 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Three nouns carry it. A **[`Replica`]** is one writer: its cells are written by nobody else. A
//! **[`CounterMap`]** holds, of every writer, exactly its cells as of one version. A **[`Delta`]**
//! is some cells and the spans of versions that they complete.
//!
//! | folder | contents |
//! | --- | --- |
//! | `replica` | one writer: it flushes, resets, joins, absorbs |
//! | `lattice` | the map of all counters, what travels between replicas, and how they compare |
//! | `pending` | adds from any thread, until the next flush |
//! | `dedup` | adds with an id: each counts once |
//! | `incarnation` | what counts after a reset, and how a successor absorbs an incarnation that ended |
//! | `codec` | the bytes |
//!
//! It does not send, store, read a clock or draw random numbers: `counter-net` does, around it.

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
pub use dedup::{CLIENTS_MAX, DEDUP_ENTRIES_MAX, ID_BYTES_MAX, ID_CHUNK, Once};
pub use error::{DecodeError, JoinError, StagingError, WriteError};
pub use incarnation::record::Record;
pub use incarnation::work::Inheritance;
pub use lattice::amounts::{AMOUNT_MAX, Amounts, CELL_MAX};
pub use lattice::cell::{Cell, Cleared};
pub use lattice::counter_map::{COUNTERS_MAX, CounterMap, Cursor, Joined, Page, REPLICAS_MAX};
pub use lattice::delta::{Delta, Span};
pub use lattice::keys::KeyId;
pub use lattice::keys::names::NAME_BYTES_MAX;
#[cfg(feature = "laws")]
pub use lattice::laws;
pub use lattice::pn_counter::PnCounter;
pub use lattice::staging::Staging;
pub use lattice::state_hash::StateHash;
pub use lattice::versions::vector::{Version, VersionVector};
pub use pending::block::Wake;
pub use pending::handle::CounterHandle;
pub use replica::{Flushed, Replica};
pub use replica_id::{ParseReplicaIdError, ReplicaId};
