//! How nodes find each other.
//!
//! Each discovery method is a task. It sends the addresses that it finds to the driver through a
//! bounded queue ([`DiscoveryTasks`]). Multicast DNS is a libp2p behaviour and has no task here. A
//! new method is a variant of [`Discovery`], a file with its task, and its start in `tasks`.

mod dns;
pub(crate) mod fly;
mod local;
mod report;
mod tasks;

pub(crate) use report::{DiscoveryOutcome, DiscoveryReport};
pub(crate) use tasks::DiscoveryTasks;

use std::fmt;
use std::str::FromStr;

use crate::error::DiscoveryError;

/// A method to find the other nodes of a cluster.
///
/// A node may use several, and [`NodeBuilder::peer`](crate::NodeBuilder::peer) names static peers
/// besides. Parses from and prints as the command line's `local`, `mdns`, `dns:NAME:PORT`, `fly`
/// and `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discovery {
    /// Nodes of one user on one machine, through small files in the user's runtime directory. Needs
    /// no configuration and exposes nothing.
    Local,
    /// Nodes on one network segment, by multicast DNS. Needs a cluster key.
    Mdns,
    /// Every address (A and AAAA) of a DNS name, polled. For headless services and the like.
    Dns {
        /// The name to resolve.
        name: String,
        /// The port that every node there listens on.
        port: u16,
    },
    /// The application's other machines on Fly.io's private network. Polls
    /// `$FLY_APP_NAME.internal`, and listens on that network by default.
    Fly,
    /// No discovery.
    None,
}

impl FromStr for Discovery {
    type Err = DiscoveryError;

    fn from_str(text: &str) -> Result<Self, DiscoveryError> {
        match text.trim() {
            "local" => Ok(Self::Local),
            "mdns" => Ok(Self::Mdns),
            "fly" => Ok(Self::Fly),
            "none" => Ok(Self::None),
            other => match other.strip_prefix("dns:") {
                Some(target) => {
                    parse_dns(target).ok_or_else(|| DiscoveryError::Dns(other.to_owned()))
                }
                None => Err(DiscoveryError::Unknown(other.to_owned())),
            },
        }
    }
}

fn parse_dns(target: &str) -> Option<Discovery> {
    let (name, port) = target.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let sound = (1..=253).contains(&name.len())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'));
    sound.then(|| Discovery::Dns { name: name.to_owned(), port })
}

impl fmt::Display for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Mdns => f.write_str("mdns"),
            Self::Dns { name, port } => write!(f, "dns:{name}:{port}"),
            Self::Fly => f.write_str("fly"),
            Self::None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_reads_as_it_prints() {
        for text in ["local", "mdns", "dns:counter.default.svc:7117", "fly", "none"] {
            assert_eq!(
                text.parse::<Discovery>().map(|method| method.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn other_texts_say_what_to_write_instead() {
        for text in ["", "Local", "dns", "etcd:x"] {
            let error = text.parse::<Discovery>().expect_err("refused").to_string();
            assert!(error.contains("local, mdns, dns:NAME:PORT, fly or none"), "{error}");
        }
        for text in ["dns:", "dns:name", "dns:name:0", "dns:name:99999", "dns::1", "dns:a b:1"] {
            assert!(matches!(text.parse::<Discovery>(), Err(DiscoveryError::Dns(_))), "{text}");
        }
    }
}
