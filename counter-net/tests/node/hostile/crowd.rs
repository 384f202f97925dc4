//! Crowds: sockets that stay silent, and peers that complete the handshake and then stay silent.

use futures::StreamExt;
use futures::future::join_all;
use libp2p::swarm::dummy;
use libp2p::{Multiaddr, SwarmBuilder, noise, tcp, yamux};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Raises this process's limit of open files, or returns why it cannot.
pub(crate) fn allow_open_files(wanted: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| format!("{wanted} files cannot be open at a time here: {error}"))
}

/// Opens sockets to the listener at this multiaddress. The other side may have closed some of them.
pub(crate) async fn sockets(at: &str, count: usize) -> Vec<TcpStream> {
    let parts: Vec<&str> = at.split('/').collect();
    let (ip, port) = (parts[2], parts[4].parse::<u16>().expect("a port"));
    let all = join_all((0..count).map(|_| TcpStream::connect((ip, port)))).await;
    all.into_iter().map(|socket| socket.expect("connected")).collect()
}

/// Starts peers, each with its own identity, that connect and stay. They end with the task.
pub(crate) fn strangers(at: &str, count: usize) -> JoinHandle<()> {
    let at: Multiaddr = at.parse().expect("an address");
    tokio::spawn(async move {
        let one = |_| {
            let mut swarm = SwarmBuilder::with_new_identity()
                .with_tokio()
                .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
                .expect("a transport")
                .with_behaviour(|_| dummy::Behaviour)
                .expect("a swarm")
                .with_swarm_config(|config| {
                    config.with_idle_connection_timeout(std::time::Duration::from_secs(3600))
                })
                .build();
            swarm.dial(at.clone()).expect("dialled");
            async move {
                loop {
                    swarm.select_next_some().await;
                }
            }
        };
        join_all((0..count).map(one)).await;
    })
}
