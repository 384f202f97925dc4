//! The settings that decide about callers.

use std::sync::atomic::{AtomicBool, Ordering};

use warp::http::HeaderMap;

use super::caller::Ends;
use super::cors::{self, Sharing};
use super::names::Creatable;
use super::origin::{self, AllowedOrigins, Site};
use super::peer::{FORWARDED_FOR, Proxy};
use super::token::Tokens;

/// The settings that decide about callers: the trusted proxy, the allowed sites, the counters that
/// strangers may create, and the tokens.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// True once the log has warned of an untrusted proxy.
    warned_of_proxy: AtomicBool,
    pub(super) proxy: Proxy,
    allowed: AllowedOrigins,
    pub(super) creatable: Creatable,
    pub(super) tokens: Tokens,
}

impl Access {
    pub(crate) fn new(
        proxy: Proxy,
        allowed: AllowedOrigins,
        creatable: Creatable,
        tokens: Tokens,
    ) -> Self {
        Self { warned_of_proxy: AtomicBool::new(false), proxy, allowed, creatable, tokens }
    }

    /// Returns the site that a request comes from.
    pub(crate) fn site(&self, headers: &HeaderMap) -> Site {
        origin::site_of(headers, self.proxy.is_trusted(), &self.allowed)
    }

    /// Lets the pages of the same demo read, listen and add.
    pub(crate) fn allow_pages<'a>(&self, addresses: impl Iterator<Item = &'a String>) {
        self.allowed.allow_pages(addresses);
    }

    /// True if this node believes the headers of a proxy.
    pub(crate) fn trusts_proxy(&self) -> bool {
        self.proxy.is_trusted()
    }

    /// Adds the headers that let the page of another site read a response.
    pub(crate) fn share(&self, sharing: Sharing, site: &Site, headers: &mut HeaderMap) {
        cors::share(sharing, site, &self.allowed, headers);
    }

    /// Warns once of an untrusted proxy on this machine. All of its clients count as one local
    /// caller, without limits.
    pub(super) fn warn_of_untrusted_proxy(&self, ends: Ends, headers: &HeaderMap) {
        let speaks_for_others =
            ends.far.ip().to_canonical().is_loopback() && headers.contains_key(&FORWARDED_FOR);
        if speaks_for_others
            && !self.proxy.is_trusted()
            && !self.warned_of_proxy.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "a proxy on this machine sends X-Forwarded-For and is not trusted, so no limit \
                 applies to its clients. Start this node with --trust-proxy"
            );
        }
    }
}
