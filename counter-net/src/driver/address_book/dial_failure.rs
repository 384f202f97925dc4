//! The cause of a failed dial, as far as this end can know it.

use std::error::Error;
use std::fmt;
use std::io;

use libp2p::core::upgrade::NegotiationError;
use libp2p::swarm::DialError;
use libp2p::{Multiaddr, noise};

use crate::config::{CONNECT_TIMEOUT, is_loopback};
use crate::network::transport::Fault;

/// The cause of a failed dial. Ordered by how far the dial got, so the greatest tells the most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::driver) enum DialFailure {
    /// Another error, in its own words.
    Other(String),
    /// The name has no address, or could not be resolved, with the resolver's reason.
    Name(String),
    /// There is no route to the host.
    Unreachable,
    /// TCP got no answer in time. The host is down, or a firewall drops packets.
    NoAnswer,
    /// The host answers, and no process listens on the port.
    Refused,
    /// The far end accepted the connection and closed it during the handshake.
    HungUp,
    /// The far end accepted the connection and sent nothing.
    Silent,
    /// The far end did not finish the handshake in time.
    Unfinished,
    /// The address leads to this node itself.
    Own,
    /// A node other than the dialled one answers.
    Stranger,
    /// A node of another cluster answers, with the cluster name and version that it reports.
    OtherCluster(String),
    /// The far end has another cluster key, or only one of the two has a key.
    WrongKey,
}

impl DialFailure {
    pub(in crate::driver) fn of(error: &DialError) -> Self {
        match error {
            // libp2p skips the addresses that this node listens on. None is left.
            DialError::LocalPeerId { .. } | DialError::NoAddresses => Self::Own,
            DialError::WrongPeerId { .. } => Self::Stranger,
            DialError::Transport(errors) => Self::most_telling(
                errors.iter().map(|(address, error)| (address, Self::of_error(error))),
            ),
            other => Self::Other(other.to_string()),
        }
    }

    /// The cause of a dial that tried several addresses: the cause at the address that got
    /// furthest.
    ///
    /// Peers report their loopback addresses too, where another process or none answers on this
    /// machine. So the cause at any other address takes precedence.
    pub(in crate::driver) fn most_telling<'a>(
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

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(text) => f.write_str(text),
            Self::Name(reason) => write!(f, "the name does not resolve: {reason}"),
            Self::Unreachable => f.write_str("no route to the host"),
            Self::NoAnswer => write!(f, "no answer within {} s", CONNECT_TIMEOUT.as_secs()),
            Self::Refused => f.write_str("connection refused"),
            Self::HungUp => f.write_str("the far end closed the connection during the handshake"),
            Self::Silent => f.write_str("the far end accepted the connection and sent nothing"),
            Self::Unfinished => f.write_str("the far end did not finish the handshake in time"),
            Self::Own => f.write_str("the address leads to this node itself"),
            Self::Stranger => f.write_str("another node answers there"),
            Self::OtherCluster(family) => {
                write!(f, "a node of another cluster answers there ({family})")
            }
            Self::WrongKey => f.write_str("the far end uses another cluster key, or none"),
        }
    }
}

impl DialFailure {
    /// Returns true if the failure shows that the dialled peer is not there. Such a member is
    /// suspected.
    pub(in crate::driver) fn is_absence(&self) -> bool {
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

    /// The cause as the label of a metric.
    pub(in crate::driver) fn label(&self) -> &'static str {
        match self {
            Self::WrongKey => "key",
            Self::OtherCluster(_) => "other_cluster",
            Self::Silent | Self::Unfinished => "silent",
            _ => "unreachable",
        }
    }
}

/// Returns true if the far end showed that it has another cluster key.
pub(in crate::driver) fn is_wrong_key(error: &(dyn Error + 'static)) -> bool {
    known(error) == Some(DialFailure::WrongKey)
}

/// Finds the known cause in a chain of errors. libp2p wraps errors two or three deep, and the outer
/// ones are of kind `Other`.
fn known(error: &(dyn Error + 'static)) -> Option<DialFailure> {
    chain(error).find_map(|error| {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return Some(DialFailure::of_fault(fault));
        }
        // A peer that closes the stream ends the negotiation like this.
        if let Some(NegotiationError::Failed) = error.downcast_ref::<NegotiationError>() {
            return Some(DialFailure::HungUp);
        }
        error
            .downcast_ref::<io::Error>()
            .filter(|error| error.get_ref().is_none())
            .and_then(|error| DialFailure::of_kind(error.kind()))
    })
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    chain(error).last().unwrap_or(error)
}

/// The error and its inner ones, the outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| inner(*error))
}

/// The next inner error. Some errors forward to their inner one and return its source as their own,
/// so the inner error is taken out by type.
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
#[path = "dial_failure_tests.rs"]
mod tests;
