//! The caller of one request, determined once before any route sees the request.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use warp::http::Request;
use warp::http::header::{HOST, HeaderValue};

use super::Access;
use super::limits::Limits;
use super::local;
use super::origin::Site;
use super::peer::Peer;
use super::token::Credentials;
use crate::api::error::ApiError;

/// The two ends of one TCP connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) far: SocketAddr,
    pub(crate) near: SocketAddr,
}

/// The facts about a TCP connection that hold for all of its requests.
#[derive(Clone, Debug)]
pub(crate) struct ClientConnection {
    ends: Ends,
    /// True if the far end is a process of this node's user. Looked up when a request first needs
    /// it.
    of_this_user: Arc<OnceLock<bool>>,
}

impl ClientConnection {
    pub(crate) fn new(ends: Ends) -> Self {
        Self { ends, of_this_user: Arc::default() }
    }
}

/// The sender of a request. Travels in the request's extensions.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    site: Site,
    credentials: Credentials,
    connection: ClientConnection,
    seems_local: bool,
    /// For messages.
    host: Option<HeaderValue>,
    access: Arc<Access>,
}

impl Caller {
    /// Determines the caller of a request that comes from this site.
    pub(crate) fn of<B>(
        request: &Request<B>,
        site: Site,
        peer: Peer,
        connection: &ClientConnection,
        access: &Arc<Access>,
    ) -> Self {
        let headers = request.headers();
        let peer = peer.behind(&access.proxy, headers);
        let is_own = matches!(site, Site::Own);
        // A page of another site gets no rights from a token or from running on this machine.
        let credentials =
            if is_own { access.tokens.credentials(headers) } else { Credentials::None };
        access.warn_of_untrusted_proxy(connection.ends, headers);
        let seems_local = is_own
            && local::seems_local(connection.ends, request.version(), headers, &access.proxy);
        Self {
            peer,
            site,
            credentials,
            connection: connection.clone(),
            seems_local,
            host: headers.get(HOST).cloned(),
            access: Arc::clone(access),
        }
    }

    /// Accepts this node's own page, and requests without an Origin.
    ///
    /// # Errors
    ///
    /// 400 for any other site.
    pub(crate) fn check_own_site(&self) -> Result<(), ApiError> {
        match &self.site {
            Site::Own => Ok(()),
            Site::Allowed(origin) => Err(ApiError::wrong_origin(format!(
                "refused: a page of another site, {origin:?}, may read, listen and add, and nothing \
                 else. If it is this node's own page, a proxy has changed the Host header to \
                 \"{}\": let it pass the header on (nginx: proxy_set_header Host $http_host)",
                self.host.as_ref().map_or("".as_bytes(), HeaderValue::as_bytes).escape_ascii()
            ))),
            Site::Other(error) => Err(error.clone()),
        }
    }

    /// Accepts this node's own page, requests without an Origin, and pages of the sites that
    /// `--allow-origin` lists.
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

    /// The site that the request comes from.
    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// Refuses an unknown Bearer token, so that its sender learns of the mistake.
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

    /// Accepts a service, an operator and a local caller, from no other site.
    ///
    /// # Errors
    ///
    /// 400 for another site, 401 or 403 for any other caller.
    pub(crate) fn check_service(&self) -> Result<(), ApiError> {
        self.check_own_site()?;
        self.check_token()?;
        match self.has_service_token() || self.is_local() {
            true => Ok(()),
            false => Err(self.access.tokens.refuse_stranger()),
        }
    }

    /// Accepts an operator.
    ///
    /// # Errors
    ///
    /// 401 or 403 for any other caller.
    pub(crate) fn check_operator(&self) -> Result<(), ApiError> {
        self.access.tokens.check_operator(&self.credentials)
    }

    /// True if the caller may create the counter `name`.
    pub(crate) fn may_create(&self, name: &str) -> bool {
        self.access.creatable.contains(name) || self.has_service_token() || self.is_local()
    }

    /// Takes one add from the caller's allowance. A service has no limit.
    ///
    /// # Errors
    ///
    /// 429 if the allowance is used up.
    pub(crate) fn take_add(&self, limits: &Limits) -> Result<(), ApiError> {
        self.take_adds(1, limits)
    }

    /// Takes all adds of a batch from the caller's allowance, or none.
    ///
    /// # Errors
    ///
    /// 429 with the index of the first add that is over the allowance.
    pub(crate) fn take_adds(&self, adds: usize, limits: &Limits) -> Result<(), ApiError> {
        if self.has_service_token() { Ok(()) } else { self.peer.take_adds(adds, limits) }
    }

    /// The caller of a socket or an event stream, which has its own allowance.
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
