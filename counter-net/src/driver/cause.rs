//! Why a dial failed, as far as it can be known from this end.

use std::error::Error;
use std::fmt;
use std::io;

use libp2p::core::upgrade::NegotiationError;
use libp2p::swarm::DialError;
use libp2p::{Multiaddr, noise};

use crate::config::{CONNECT_TIMEOUT, is_loopback};
use crate::transport::Fault;

/// The cause of a failed dial. Ordered by how far the dial got: the greatest says the most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// Something else; in the words of whoever reported it.
    Other(String),
    /// The name has no address, or nobody knows; the resolver's reason.
    Name(String),
    /// No way to the host from here.
    Unreachable,
    /// TCP got no answer in time: the host is down, or a firewall drops packets.
    NoAnswer,
    /// The host is there, and nobody listens on the port.
    Refused,
    /// The far end took the connection and closed it during the handshake.
    HungUp,
    /// The far end took the connection and sent nothing.
    Silent,
    /// The far end began the handshake and did not finish it in time.
    Unfinished,
    /// It is this node itself.
    Own,
    /// A node is there, and not the one that was meant.
    Stranger,
    /// A node of another cluster answers; the cluster's name and version as it says them.
    OtherCluster(String),
    /// The far end has another cluster key, or only one of the two has a key.
    WrongKey,
}

impl Cause {
    pub(super) fn of(error: &DialError) -> Self {
        match error {
            // libp2p leaves out the addresses that this node listens on, and then none is left.
            DialError::LocalPeerId { .. } | DialError::NoAddresses => Self::Own,
            DialError::WrongPeerId { .. } => Self::Stranger,
            DialError::Transport(errors) => Self::most_telling(
                errors.iter().map(|(address, error)| (address, Self::of_error(error))),
            ),
            other => Self::Other(other.to_string()),
        }
    }

    /// The cause to report where one dial tried several addresses: of the one that got furthest.
    ///
    /// Peers report their loopback addresses too. On another machine somebody else answers there,
    /// or nobody, so the cause at any other address goes first.
    pub(super) fn most_telling<'a>(
        causes: impl IntoIterator<Item = (&'a Multiaddr, Self)>,
    ) -> Self {
        let (inner, outer): (Vec<_>, Vec<_>) =
            causes.into_iter().partition(|(address, _)| is_loopback(address));
        let furthest =
            |causes: Vec<(&Multiaddr, Self)>| causes.into_iter().map(|(_, cause)| cause).max();
        furthest(outer)
            .or_else(|| furthest(inner))
            .unwrap_or_else(|| Self::Other("no address was tried".to_owned()))
    }

    fn of_error(error: &(dyn Error + 'static)) -> Self {
        known(error).unwrap_or_else(|| Self::Other(innermost(error).to_string()))
    }

    fn of_fault(fault: &Fault) -> Self {
        match fault {
            Fault::Name(reason) => Self::Name(reason.clone()),
            Fault::NoAnswer => Self::NoAnswer,
            Fault::Silent => Self::Silent,
            Fault::Unfinished => Self::Unfinished,
            Fault::WrongKey => Self::WrongKey,
            Fault::Each(errors) => {
                let furthest = errors.iter().map(|error| Self::of_error(error)).max();
                furthest.unwrap_or_else(|| Self::Name("no address".to_owned()))
            }
        }
    }

    fn of_kind(kind: io::ErrorKind) -> Option<Self> {
        use io::ErrorKind as Kind;
        match kind {
            Kind::ConnectionRefused => Some(Self::Refused),
            Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::AddrNotAvailable => Some(Self::Unreachable),
            Kind::TimedOut => Some(Self::NoAnswer),
            Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::BrokenPipe
            | Kind::NotConnected
            | Kind::UnexpectedEof
            | Kind::WriteZero => Some(Self::HungUp),
            _ => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(text) => f.write_str(text),
            Self::Name(reason) => write!(f, "the name does not resolve: {reason}"),
            Self::Unreachable => f.write_str("no route to the host"),
            Self::NoAnswer => write!(f, "no answer within {} s", CONNECT_TIMEOUT.as_secs()),
            Self::Refused => f.write_str("connection refused"),
            Self::HungUp => f.write_str("hangs up during the handshake"),
            Self::Silent => f.write_str("accepts the connection and says nothing"),
            Self::Unfinished => f.write_str("begins the handshake and does not finish it"),
            Self::Own => f.write_str("it is this node itself"),
            Self::Stranger => f.write_str("another node answers there"),
            Self::OtherCluster(family) => {
                write!(f, "a node of another cluster answers there ({family})")
            }
            Self::WrongKey => f.write_str("does not have this node's cluster key"),
        }
    }
}

impl Cause {
    /// Whether it shows that the peer that was meant is not reached: a member that is dialled so is
    /// suspected.
    pub(super) fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Unreachable
                | Self::NoAnswer
                | Self::Refused
                | Self::HungUp
                | Self::Silent
                | Self::Unfinished
                | Self::Stranger
        )
    }

    /// The cause as a metric's label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::WrongKey => "key",
            Self::OtherCluster(_) => "other_cluster",
            Self::Silent | Self::Unfinished => "silent",
            _ => "unreachable",
        }
    }
}

/// Whether the far end of this connection showed that it has another cluster key.
pub(super) fn is_wrong_key(error: &(dyn Error + 'static)) -> bool {
    known(error) == Some(Cause::WrongKey)
}

/// libp2p wraps an error two or three deep. The outer ones say nothing: their kind is `Other`.
fn known(error: &(dyn Error + 'static)) -> Option<Cause> {
    chain(error).find_map(|error| {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return Some(Cause::of_fault(fault));
        }
        // Who closes the stream instead of naming a protocol ends the negotiation so.
        if let Some(NegotiationError::Failed) = error.downcast_ref::<NegotiationError>() {
            return Some(Cause::HungUp);
        }
        error
            .downcast_ref::<io::Error>()
            .filter(|error| error.get_ref().is_none())
            .and_then(|error| Cause::of_kind(error.kind()))
    })
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    chain(error).last().unwrap_or(error)
}

/// The error and those within it, the outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| inner(*error))
}

/// Some errors say what their inner error says: their source is its source. Of these the inner one
/// itself has to be asked for.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return Some(inner);
    }
    match error.downcast_ref::<noise::Error>() {
        Some(noise::Error::Io(inner)) => Some(inner),
        _ => error.source(),
    }
}

#[cfg(test)]
mod tests;
