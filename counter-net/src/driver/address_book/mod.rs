//! Other nodes' addresses, and the outcome of each dial.
//!
//! [`AddressBook`] decides whom to dial, at which address and when again. [`DialFailure`] names why
//! a dial failed, as far as this end can know.

mod book;
mod dial_failure;

pub(super) use book::{AddressBook, AddressOrigin, DialTarget, PeerNews};
pub(super) use dial_failure::{DialFailure, is_wrong_key};
