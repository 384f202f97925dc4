//! Whole stories against one ledger: every add is its own unit, and each node shows exactly the
//! units that its state names.
//!
//! A story is a list of steps drawn from a seed: adds, subtracts, resets, ids sent again, leaves,
//! crashes, cuts, newcomers, disks that lag, bounds that are reached. A [`Mix`] says how often each
//! comes. The steps drive the real replicator in the simulator. The ledger gives each add an amount
//! of its own, a digit of the counter, so a value can be read back as the set of adds that it
//! counts. It knows the writer and the version of each add, and which adds each reset saw.
//!
//! After every input of every node the ledger reads all values of that node. No add counts twice,
//! or before the state holds it. An add that is held is shown, unless a reset saw it. What was
//! shown stays until such a reset is known, and what was reset stays away: in one process, on its
//! disk, and beyond a leave that succeeded. In the end the network heals, directories come back,
//! and clients send their ids again. Then all nodes hold equal states and show the same, each id
//! counts once, the nodes are ready, and the state names the living only.

mod ids;
mod ledger;
mod mix;
mod play;
mod plot;
mod raw;
mod units;

pub(super) use ledger::Ledger;
pub use mix::Mix;
pub use play::Story;
