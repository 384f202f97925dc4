//! The discovery tasks of a node, and the bounded queue through which they report.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::dns::{self, Question};
use super::report::{AddressSender, DiscoveryReport};
use super::{Discovery, fly, local};
use crate::config::{DISCOVERY_REPORTS_MAX, GOSSIP_PORT, NodeConfig};
use crate::error::StartError;
use crate::network::resolve::Resolver;
use crate::protocol::NodeId;
use crate::shared::Shared;

/// Every discovery task of one node. Dropping it ends them and withdraws what they published.
pub(crate) struct DiscoveryTasks {
    queue: mpsc::Receiver<DiscoveryReport>,
    tasks: JoinSet<()>,
}

impl DiscoveryTasks {
    /// Starts the configured discovery methods. `own` are this node's addresses, with its identity.
    pub(crate) fn start(
        config: &NodeConfig,
        own: &[Multiaddr],
        shared: &Arc<Shared>,
    ) -> Result<Self, StartError> {
        let (report, queue) = mpsc::channel(DISCOVERY_REPORTS_MAX);
        let mut started = Self { queue, tasks: JoinSet::new() };
        for (place, method) in config.discovery.iter().enumerate() {
            let sender = AddressSender::new(place, report.clone());
            match method {
                // mDNS is a libp2p behaviour and reports through network events.
                Discovery::None | Discovery::Mdns => {}
                Discovery::Local => {
                    let is_ephemeral = config.data_dir.is_none() && config.node_name.is_none();
                    let ephemeral = is_ephemeral.then(|| NodeId(shared.replica().node));
                    let notes = local::NoteDirectory::open(
                        config.runtime_dir.as_deref(),
                        &config.cluster,
                        own,
                        ephemeral,
                    )?;
                    started.tasks.spawn(local::watch(notes, sender));
                }
                Discovery::Dns { name, port } => started.ask(config, name, *port, shared, sender),
                Discovery::Fly => started.ask(config, &fly::name()?, port_of(own), shared, sender),
            }
        }
        Ok(started)
    }

    fn ask(
        &mut self,
        config: &NodeConfig,
        name: &str,
        port: u16,
        shared: &Arc<Shared>,
        sender: AddressSender,
    ) {
        let resolver = config.name_server.map_or_else(Resolver::default, Resolver::Server);
        let shared = Arc::clone(shared);
        let is_alone = move || shared.peers.load(Ordering::Relaxed) == 0;
        self.tasks.spawn(dns::poll(
            Question { resolver, name: name.into(), port },
            is_alone,
            sender,
        ));
    }

    /// The next report. Pends for ever once every task has ended. Cancel safe.
    pub(crate) async fn next_report(&mut self) -> DiscoveryReport {
        match self.queue.recv().await {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }
}

/// The port that this node listens on. All machines of an application use the same one.
fn port_of(own: &[Multiaddr]) -> u16 {
    own.iter()
        .flatten()
        .find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None })
        .unwrap_or(GOSSIP_PORT)
}
