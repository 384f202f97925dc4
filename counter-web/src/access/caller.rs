//! One request's caller, judged once, before any route sees the request.

use std::sync::{Arc, OnceLock};

use warp::http::Request;

use super::limits::Limits;
use super::local;
use super::origin::Site;
use super::peer::Peer;
use super::token::Credentials;
use super::{Access, Ends};
use crate::api::error::ApiError;

/// What is known of a TCP connection for all of its requests.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    ends: Ends,
    /// Whether a local caller's process is of our user. Looked up when a request first needs it.
    of_this_user: Arc<OnceLock<bool>>,
}

impl Connection {
    pub(crate) fn new(ends: Ends) -> Self {
        Self { ends, of_this_user: Arc::default() }
    }
}

/// Who sent a request, in the request's extensions.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    site: Site,
    credentials: Credentials,
    connection: Connection,
    seems_local: bool,
    access: Arc<Access>,
}

impl Caller {
    /// Judges the headers of a request that comes from this site.
    pub(crate) fn of<B>(
        request: &Request<B>,
        site: Site,
        peer: Peer,
        connection: &Connection,
        access: &Arc<Access>,
    ) -> Self {
        let headers = request.headers();
        let peer = peer.behind(&access.proxy, headers);
        let is_own = matches!(site, Site::Own);
        // Neither a token nor a place on this machine counts for a page of another site.
        let credentials = if is_own { access.tokens.judge(headers) } else { Credentials::None };
        access.notice_untrusted_proxy(connection.ends, headers);
        let seems_local = is_own
            && local::seems_local(connection.ends, request.version(), headers, &access.proxy);
        Self {
            peer,
            site,
            credentials,
            connection: connection.clone(),
            seems_local,
            access: Arc::clone(access),
        }
    }

    /// Lets this node's own page and requests without an Origin through.
    ///
    /// # Errors
    ///
    /// 400 for any other site.
    pub(crate) fn check_own_site(&self) -> Result<(), ApiError> {
        match &self.site {
            Site::Own => Ok(()),
            Site::Allowed(_) => Err(ApiError::wrong_origin(
                "refused: a page of another site may read, listen and add, and nothing else. If it is this node's own page, a proxy \
                 has changed the Host header: let it pass the header on"
                    .to_owned(),
            )),
            Site::Other(error) => Err(error.clone()),
        }
    }

    /// The same, and pages of the sites that `--allow-origin` lists.
    ///
    /// # Errors
    ///
    /// 400 for any other site.
    pub(crate) fn check_site(&self) -> Result<(), ApiError> {
        match &self.site {
            Site::Own | Site::Allowed(_) => Ok(()),
            Site::Other(error) => Err(error.clone()),
        }
    }

    /// Where the request comes from.
    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// Refuses a Bearer token that this node does not know, so that its sender learns of it.
    ///
    /// # Errors
    ///
    /// 401.
    pub(crate) fn check_token(&self) -> Result<(), ApiError> {
        match self.credentials {
            Credentials::Unknown => Err(ApiError::unknown_token()),
            _ => Ok(()),
        }
    }

    /// Lets an operator through.
    ///
    /// # Errors
    ///
    /// 401 or 403 for anybody else.
    pub(crate) fn check_operator(&self) -> Result<(), ApiError> {
        self.access.tokens.check_operator(&self.credentials)
    }

    /// True where the caller may make the counter `name`.
    pub(crate) fn may_create(&self, name: &str) -> bool {
        self.access.creatable.contains(name) || self.has_service_token() || self.is_local()
    }

    /// Takes one add from the caller's allowance. A service has no limit.
    ///
    /// # Errors
    ///
    /// 429 where the allowance is used up.
    pub(crate) fn take_add(&self, limits: &Limits) -> Result<(), ApiError> {
        if self.has_service_token() { Ok(()) } else { self.peer.take_add(limits) }
    }

    /// The caller of a socket or an event stream: a connection with an allowance of its own.
    ///
    /// # Errors
    ///
    /// As for [`Peer::stream`].
    pub(crate) fn stream(self, limits: &Arc<Limits>) -> Result<Self, ApiError> {
        Ok(Self { peer: self.peer.stream(limits)?, ..self })
    }

    fn has_service_token(&self) -> bool {
        matches!(self.credentials, Credentials::Service | Credentials::Operator)
    }

    fn is_local(&self) -> bool {
        let connection = &self.connection;
        self.seems_local
            && *connection.of_this_user.get_or_init(|| local::is_of_this_user(connection.ends))
    }
}
