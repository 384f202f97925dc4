//! The tasks that look for nodes, and the one bounded queue in which they report to the driver.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::dns::{self, Question};
use super::findings::{Finding, Findings};
use super::{Discovery, fly, local};
use crate::config::{FINDINGS_MAX, GOSSIP_PORT, NodeConfig};
use crate::error::StartError;
use crate::protocol::NodeId;
use crate::resolve::Resolver;
use crate::shared::Shared;

/// Every finder of one node; dropping it ends them and withdraws what they published.
pub(crate) struct Finders {
    queue: mpsc::Receiver<Finding>,
    tasks: JoinSet<()>,
}

impl Finders {
    /// Starts what the configuration asks for. `own`: where this node can be reached, with its
    /// identity.
    pub(crate) fn start(
        config: &NodeConfig,
        own: &[Multiaddr],
        shared: &Arc<Shared>,
    ) -> Result<Self, StartError> {
        let (report, queue) = mpsc::channel(FINDINGS_MAX);
        let mut finders = Self { queue, tasks: JoinSet::new() };
        for (place, way) in config.discovery.iter().enumerate() {
            let findings = Findings::new(place, report.clone());
            match way {
                // mDNS is part of the network's behaviour and reports through its events.
                Discovery::None | Discovery::Mdns => {}
                Discovery::Local => {
                    let is_passing = config.data_dir.is_none() && config.node_name.is_none();
                    let passing = is_passing.then(|| NodeId(shared.replica().node));
                    let board = local::Board::open(
                        config.runtime_dir.as_deref(),
                        &config.cluster,
                        own,
                        passing,
                    )?;
                    finders.tasks.spawn(local::watch(board, findings));
                }
                Discovery::Dns { name, port } => finders.ask(config, name, *port, shared, findings),
                Discovery::Fly => {
                    finders.ask(config, &fly::name()?, port_of(own), shared, findings)
                }
            }
        }
        Ok(finders)
    }

    fn ask(
        &mut self,
        config: &NodeConfig,
        name: &str,
        port: u16,
        shared: &Arc<Shared>,
        findings: Findings,
    ) {
        let resolver = config.name_server.map_or_else(Resolver::default, Resolver::Server);
        let shared = Arc::clone(shared);
        let is_alone = move || shared.peers.load(Ordering::Relaxed) == 0;
        self.tasks.spawn(dns::poll(
            Question { resolver, name: name.into(), port },
            is_alone,
            findings,
        ));
    }

    /// The next report; waits for ever when nobody looks any more. Cancel safe.
    pub(crate) async fn found(&mut self) -> Finding {
        match self.queue.recv().await {
            Some(finding) => finding,
            None => std::future::pending().await,
        }
    }
}

/// All machines of an application listen on the same port: this one's.
fn port_of(own: &[Multiaddr]) -> u16 {
    own.iter()
        .flatten()
        .find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None })
        .unwrap_or(GOSSIP_PORT)
}
