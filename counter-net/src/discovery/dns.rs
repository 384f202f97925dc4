//! Discovery by DNS: every address behind a name, asked for again and again, since such answers change without notice.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::findings::Findings;
use crate::error::StartError;

/// Time between two questions while there is no answer yet, and after that. Orchestrators hold their answers for 5-30 s.
const POLL_EMPTY: Duration = Duration::from_millis(500);
const POLL_FOUND: Duration = Duration::from_secs(5);
/// A question is given up after this, and asked again.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Addresses taken from one answer.
const ADDRESSES_MAX: usize = 256;

/// A resolver that asks `server`, or the system's, and remembers nothing.
pub(super) fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, StartError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = match server {
        Some(server) => TokioResolver::builder_with_config(only(server), provider),
        None => TokioResolver::builder(provider)
            .map_err(|error| StartError::Network(format!("the system's name servers are unknown: {error}")))?,
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = 0;
    options.timeout = ANSWER_MAX;
    builder.build().map_err(|error| StartError::Network(error.to_string()))
}

fn only(server: SocketAddr) -> ResolverConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(at_port).into();
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(server.ip(), true, connections)])
}

/// Reports all addresses of `name` at each poll, until the driver is gone.
pub(super) async fn poll(resolver: TokioResolver, name: Arc<str>, port: u16, report: Findings) {
    let mut answered = true;
    loop {
        let found: Vec<Multiaddr> = match resolver.lookup_ip(&*name).await {
            Ok(answer) => answer.iter().take(ADDRESSES_MAX).map(|ip| address(ip, port)).collect(),
            Err(error) => {
                if std::mem::take(&mut answered) {
                    tracing::warn!(name = &*name, %error, "discovery by DNS got no answer; it goes on asking");
                }
                Vec::new()
            }
        };
        let interval = if found.is_empty() { POLL_EMPTY } else { POLL_FOUND };
        if !found.is_empty() {
            answered = true;
            if report.send(found).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(interval.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
    }
}

fn address(ip: IpAddr, port: u16) -> Multiaddr {
    Multiaddr::from(ip).with(Protocol::Tcp(port))
}
