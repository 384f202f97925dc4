//! Cells: one replica's running totals for one key, and the extra part that few cells have.
//!
//! A [`Cell`] holds two totals under its writer's version. Its extra part holds the amounts that
//! its writer's resets have cleared, the amounts that it has absorbed of ended incarnations, the
//! adds that were taken back, and the traces of removals. The cells of all replicas at one key make
//! a [`PnCounter`](pn_counter::PnCounter).

pub(crate) mod amounts;
mod extra;
pub(crate) mod pn_counter;
mod resets;
mod retractions;
mod state;

pub(crate) use extra::CellExtra;
pub use resets::Cleared;
pub(crate) use resets::Origin;
pub(crate) use retractions::Retraction;
pub use state::Cell;
pub(crate) use state::PlainCell;
