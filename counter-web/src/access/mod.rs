//! The caller of a request, and their rights.
//!
//! A [`Caller`] has an address for the limits ([`peer`], [`limits`]) and a site whose page sent the
//! request ([`origin`]). It may have more rights than a stranger, by a token ([`token`]) or as a
//! process of this machine ([`local`]). [`names`] lists the counters that strangers may make, and
//! [`cors`] lets pages of other sites in.

pub(crate) mod caller;
pub(crate) mod cors;
pub(crate) mod limits;
pub(crate) mod local;
pub(crate) mod names;
pub(crate) mod origin;
pub(crate) mod peer;
mod settings;
pub(crate) mod token;

pub(crate) use caller::Caller;
pub(crate) use settings::{Access, Ends};
