//! Replicated PN-counters in a map: any replica adds at once, deltas join in any order, and every
//! number comes out exact.
//!
//! ```
//! use counter_core::{Replica, ReplicaId, VersionVector};
//!
//! let mut ord = Replica::new(ReplicaId::new(1, 1), "ord")?;
//! let mut fra = Replica::new(ReplicaId::new(2, 1), "fra")?;
//! ord.tally("clicks")?.add(5)?;
//! fra.tally("clicks")?.add(7)?;
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
//! | module | what lives there |
//! | --- | --- |
//! | `replica`, `tally`, `chunk`, `slot`, `bitmap`, `lane`, `local` | the own writer; adds from any thread and by name |
//! | `dedup` | adds with an id: each counts once |
//! | `counter_map`, `writer`, `cell`, `amounts`, `record`, `pn_counter` | the lattice |
//! | `floors`, `adopted`, `inheritance` | what counts where something was reset or taken over; how an heir takes over lives that ended |
//! | `delta`, `staging`, `version_vector`, `digest` | what travels, and how one says what one has |
//! | `codec` | the bytes |
//! | `laws` (feature) | the laws that every lattice keeps, to be called from tests |
//!
//! It does not send, store, read a clock or draw random numbers: `counter-net` does, around it.

mod adopted;
mod amounts;
mod bitmap;
mod cell;
mod chunk;
mod codec;
mod counter_map;
#[cfg(feature = "crdts")]
mod crdts_traits;
mod dedup;
mod delta;
mod dictionary;
mod digest;
mod error;
mod fields;
mod floors;
mod inheritance;
mod keys;
mod lane;
#[cfg(feature = "laws")]
pub mod laws;
mod local;
mod names;
mod order;
mod pn_counter;
mod record;
mod replica;
mod replica_id;
mod slot;
mod staging;
#[cfg(test)]
mod staging_model;
mod state_hash;
mod sync;
mod tally;
#[cfg(all(loom, test))]
mod tally_loom;
mod version_ring;
mod version_vector;
mod writer;

pub use amounts::{AMOUNT_MAX, Amounts, CELL_MAX};
pub use cell::{Cell, Cleared};
pub use chunk::Wake;
pub use codec::{DECODE_FACTOR, FORMAT};
pub use counter_map::{COUNTERS_MAX, CounterMap, Cursor, Joined, Page, REPLICAS_MAX};
pub use dedup::{CLIENTS_MAX, ID_BYTES_MAX, ID_CHUNK, MARKS_MAX, Once};
pub use delta::{Delta, Span};
pub use digest::{Digest, StateHash};
pub use error::{AddError, DecodeError, JoinError, StagingError};
pub use inheritance::Inheritance;
pub use keys::KeyId;
pub use names::NAME_BYTES_MAX;
pub use pn_counter::PnCounter;
pub use record::Record;
pub use replica::{Flushed, Replica};
pub use replica_id::{ParseReplicaIdError, ReplicaId};
pub use staging::Staging;
pub use tally::Tally;
pub use version_vector::{Version, VersionVector};
