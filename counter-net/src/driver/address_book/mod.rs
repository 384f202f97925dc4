//! Other nodes' addresses, and the outcome of each dial.
//!
//! [`AddressBook`] decides whom to dial, at which address and when again. [`DialFailure`] names why
//! a dial failed, as far as this end can know.

mod book;
mod dial_failure;
mod entry;

pub(super) use book::AddressBook;
pub(super) use dial_failure::{DialFailure, is_wrong_key};
pub(super) use entry::{AddressOrigin, DialTarget, PeerNews};
