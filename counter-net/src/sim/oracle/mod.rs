//! Random stories of a cluster, checked against a ledger that knows the fate of every single add.
//!
//! # What a story is
//!
//! A [`Story`] is a list of steps drawn from a seed: adds, subtractions, resets, ids that are sent
//! again, leaves, crashes, cuts, newcomers, disks that lag, bounds that are reached. A [`Mix`] says
//! how often each comes. The steps drive the real replicator in the simulator.
//!
//! # What it promises
//!
//! The ledger gives each add an amount that no other add of its key has, a digit of the counter. So
//! a value can be read back as a set of adds. The ledger also knows the writer and the version of
//! each add, and which adds each reset saw. After every input of every node it reads all values of
//! that node and checks:
//!
//! - No add counts twice, or before the node holds the state that has it.
//! - An add that is held is shown, unless a reset saw it.
//! - An add that was shown stays, unless a reset saw it. An add that was reset stays away. Both
//!   hold in one process, from its disk to the next process, and beyond a leave that succeeded.
//! - A process that starts from a stored state shows that state and its own adds, and nothing else,
//!   until it has caught up.
//!
//! At the end comes peace: the network heals, directories come back, and clients send their ids
//! again. Then all nodes hold equal states and show the same, each id counts once, all nodes are
//! ready, and the state names only replicas that run.
//!
//! # What it leaves out, and why
//!
//! Some stories go beyond a limit that the documentation names. They are played all the same, and
//! the ledger excuses the adds concerned from these checks:
//!
//! - A node that has not caught up owes only what its directory had shown. It may take in a reset
//!   before the adds that the reset saw.
//! - Restored nodes whose copies do not name some node may lose what only that node holds, if they
//!   meet while nobody is up who knows it.
//! - An operator who retires a running node may lose what only that node held.
//! - A node without a disk that is killed while the rest is split may take adds with it.
//! - An id may count twice once the dedup table had to forget it, and not at all if a reset saw it
//!   or if a node could not tell whether it was applied.
//!
//! Other steps are left out where they come up: nobody retires a node that is absorbing another
//! one, or at a node that was itself retired or that does not know everybody.
//!
//! # Where to look
//!
//! `mix` lists the kinds of stories. `plot` draws the steps of one, `story` plays, prints or
//! shortens them, and `stage` carries each out. `ledger` holds the account and the checks, and
//! `ids` does the same for adds with ids. `units` turns amounts into digits and back. A new kind of
//! story is a new [`Mix`]. A new kind of step is drawn in `plot`, weighed in [`Mix`] and carried
//! out in `stage`.

mod ids;
mod ledger;
mod mix;
mod plot;
mod stage;
mod story;
mod units;

pub(super) use ledger::Ledger;
pub use mix::Mix;
pub use story::Story;
