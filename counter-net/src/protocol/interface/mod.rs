//! What the owner of a replicator passes in and gets out.
//!
//! [`ProtocolConfig`] has the settings. Each [`Input`] is an event for the replicator, and each
//! [`Output`] is something for its owner to do. [`Stats`] are the counts that the replicator keeps.
//! The machines of the protocol use these types, and nothing here uses a machine.

mod config;
mod input;
mod output;
mod stats;
mod wait;

pub use config::{MESSAGE_BYTES_MAX, ProtocolConfig};
pub use input::{Input, NodeId, Search};
pub use output::{Acceptance, Alarm, Notice, Output, Refusal, RenewalCause, RetireError};
pub(super) use stats::{Counted, Sizes};
pub use stats::{MessageKind, Stats};
pub use wait::{Copies, Waited};
