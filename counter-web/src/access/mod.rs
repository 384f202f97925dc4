//! The callers of requests, and their rights.
//!
//! A [`Caller`] has an address, which the limits count ([`peer`], [`limits`]), and a site, which is
//! the origin of the page that sent the request ([`origin`]). A token ([`token`]) gives it more
//! rights than a stranger has, and so does running on this machine ([`local`]). [`names`] lists the
//! counters that strangers may create. [`cors`] lets pages of other sites in.

pub(crate) mod caller;
pub(crate) mod cors;
pub(crate) mod limits;
pub(crate) mod local;
pub(crate) mod names;
pub(crate) mod origin;
pub(crate) mod peer;
mod settings;
pub(crate) mod token;

pub(crate) use caller::{Caller, Ends};
pub(crate) use settings::Access;
