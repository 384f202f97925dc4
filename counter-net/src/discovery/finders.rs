//! The tasks that look for nodes, and the one bounded queue in which they report to the driver.

use std::sync::Arc;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::findings::Findings;
use super::{Discovery, dns, fly, local};
use crate::config::{FINDINGS_MAX, GOSSIP_PORT, NodeConfig};
use crate::error::StartError;

/// Every finder of one node; dropping it ends them and withdraws what they published.
pub(crate) struct Finders {
    findings: mpsc::Receiver<Vec<Multiaddr>>,
    tasks: JoinSet<()>,
}

impl Finders {
    /// Starts what the configuration asks for. `own`: where this node can be reached, with its identity.
    pub(crate) fn start(config: &NodeConfig, own: &[Multiaddr]) -> Result<Self, StartError> {
        let (report, findings) = mpsc::channel(FINDINGS_MAX);
        let mut finders = Self { findings, tasks: JoinSet::new() };
        for way in &config.discovery {
            finders.add(way, config, own, report.clone())?;
        }
        Ok(finders)
    }

    fn add(&mut self, way: &Discovery, config: &NodeConfig, own: &[Multiaddr], report: Findings) -> Result<(), StartError> {
        match way {
            // mDNS is part of the network's behaviour and reports through its events.
            Discovery::None | Discovery::Mdns => {}
            Discovery::Local => {
                let board = local::Board::open(config.runtime_dir.as_deref(), &config.cluster, own)?;
                self.tasks.spawn(local::watch(board, report));
            }
            Discovery::Dns { name, port } => {
                let resolver = dns::resolver(config.name_server)?;
                self.tasks.spawn(dns::poll(resolver, Arc::from(name.as_str()), *port, report));
            }
            Discovery::Fly => {
                let resolver = dns::resolver(config.name_server)?;
                self.tasks.spawn(dns::poll(resolver, fly::name()?.into(), port_of(own), report));
            }
        }
        Ok(())
    }

    /// The next addresses found; waits for ever when nobody looks any more. Cancel safe.
    pub(crate) async fn found(&mut self) -> Vec<Multiaddr> {
        match self.findings.recv().await {
            Some(found) => found,
            None => std::future::pending().await,
        }
    }
}

/// All machines of an application listen on the same port: this one's.
fn port_of(own: &[Multiaddr]) -> u16 {
    own.iter().flatten().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None }).unwrap_or(GOSSIP_PORT)
}
