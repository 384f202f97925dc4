//! Who sends a request, and what they may do.
//!
//! A request comes from a [`Caller`]: an address that limits count ([`peer`], [`limits`]), the
//! site whose page sent it ([`origin`]), and rights that go beyond a stranger's, by a token
//! ([`token`]) or because the caller is a process of this machine ([`local`]). [`names`] lists the
//! counters that strangers may make, and [`cors`] lets pages of other sites in.

pub(crate) mod caller;
pub(crate) mod cors;
pub(crate) mod limits;
pub(crate) mod local;
pub(crate) mod names;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod token;

use std::net::SocketAddr;

pub(crate) use caller::Caller;
use names::Creatable;
use origin::AllowedOrigins;
use peer::Proxy;
use token::Tokens;

/// What the command line says about callers.
#[derive(Debug, Default)]
pub(crate) struct Access {
    pub(crate) proxy: Proxy,
    pub(crate) allowed: AllowedOrigins,
    pub(crate) creatable: Creatable,
    pub(crate) tokens: Tokens,
}

/// The two ends of one TCP connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) far: SocketAddr,
    pub(crate) near: SocketAddr,
}
