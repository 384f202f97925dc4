//! Resolves names to addresses.
//!
//! The hosts file and `resolv.conf` are read for each query. So a change takes effect at the next
//! query, and a machine may start without a network.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of name servers.
const PORT: u16 = 53;
/// The most addresses taken from one answer.
const ADDRESSES_MAX: usize = 256;
/// The most characters of a reason, which becomes part of a sentence.
const REASON_CHARACTERS_MAX: usize = 160;

/// The result of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// At least one address.
    Addresses(Vec<IpAddr>),
    /// The name servers answered: the name has no address.
    Nobody,
    /// No answer came, or an error, with the reason in a few words.
    Unsure(String),
}

/// The kind of addresses to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordFamily {
    V4,
    V6,
    Both,
}

impl RecordFamily {
    fn records(self) -> &'static [RecordType] {
        match self {
            Self::V4 => &[RecordType::A],
            Self::V6 => &[RecordType::AAAA],
            Self::Both => &[RecordType::A, RecordType::AAAA],
        }
    }

    fn holds(self, ip: &IpAddr) -> bool {
        self == Self::Both || ip.is_ipv4() == (self == Self::V4)
    }
}

/// The name servers to ask.
#[derive(Clone, Debug)]
pub(crate) enum Resolver {
    /// The name servers in this file in `resolv.conf` format, at this port.
    File(PathBuf, u16),
    /// This name server alone.
    Server(SocketAddr),
}

impl Default for Resolver {
    fn default() -> Self {
        Self::File(RESOLV_CONF.into(), PORT)
    }
}

impl Resolver {
    /// Looks up the addresses of `name` once. Returns within about `time`.
    pub(crate) async fn ask(&self, name: &str, family: RecordFamily, time: Duration) -> Lookup {
        if let Ok(ip) = name.parse::<IpAddr>() {
            return if family.holds(&ip) { Lookup::Addresses(vec![ip]) } else { Lookup::Nobody };
        }
        let Ok(name) = Name::from_utf8(name) else {
            return Lookup::Unsure("it is not a host name".to_owned());
        };
        let known = in_hosts_file(&name, family);
        if !known.is_empty() {
            return Lookup::Addresses(known);
        }
        match self.config() {
            Ok((config, options)) => {
                match tokio::time::timeout(time, ask_servers(&name, family, config, options, time))
                    .await
                {
                    Ok(answer) => answer,
                    Err(_) => Lookup::Unsure(silence()),
                }
            }
            Err(reason) => Lookup::Unsure(bounded(&reason)),
        }
    }

    fn config(&self) -> Result<(ResolverConfig, ResolverOpts), String> {
        match self {
            Self::Server(server) => Ok((
                ResolverConfig::from_name_servers(vec![name_server(server.ip(), server.port())]),
                ResolverOpts::default(),
            )),
            Self::File(path, port) => {
                let failed =
                    |error: String| format!("{} names no name server: {error}", path.display());
                let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
                let (config, options) = system_conf::parse_resolv_conf(text)
                    .map_err(|error| failed(error.to_string()))?;
                let servers = config
                    .name_servers()
                    .iter()
                    .map(|server| name_server(server.ip, *port))
                    .collect();
                Ok((
                    ResolverConfig::from_parts(
                        config.domain().cloned(),
                        config.search().to_vec(),
                        servers,
                    ),
                    options,
                ))
            }
        }
    }
}

fn name_server(ip: IpAddr, port: u16) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = port;
        connection
    };
    NameServerConfig::new(
        ip,
        true,
        [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(at_port).into(),
    )
}

fn in_hosts_file(name: &Name, family: RecordFamily) -> Vec<IpAddr> {
    let hosts = Hosts::from_system().unwrap_or_default();
    let lookups = family
        .records()
        .iter()
        .filter_map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), *kind)));
    lookups.flat_map(|found| addresses(found.answers())).collect()
}

fn addresses(records: &[hickory_resolver::proto::rr::Record]) -> Vec<IpAddr> {
    records.iter().filter_map(|record| record.data.ip_addr()).take(ADDRESSES_MAX).collect()
}

/// Tries the full names for `name` until one has an address. If one of them could not be looked up,
/// the result is unsure.
async fn ask_servers(
    name: &Name,
    family: RecordFamily,
    config: ResolverConfig,
    mut options: ResolverOpts,
    time: Duration,
) -> Lookup {
    let candidates = candidates(name, &config, options.ndots);
    // An answer for A counts even if the query for AAAA got none.
    options.timeout = time.mul_f64(0.8);
    // The number of retries.
    options.attempts = 0;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options);
    let resolver = match builder.build() {
        Ok(resolver) => resolver,
        Err(error) => return Lookup::Unsure(bounded(&error.to_string())),
    };
    let mut answer = Lookup::Nobody;
    for candidate in candidates {
        let questions =
            family.records().iter().map(|kind| resolver.lookup(candidate.clone(), *kind));
        let mut found = Vec::new();
        for outcome in futures::future::join_all(questions).await {
            match outcome {
                Ok(lookup) => found.extend(addresses(lookup.answers())),
                Err(error) if error.is_no_records_found() => {}
                Err(error) => answer = Lookup::Unsure(reason(&error)),
            }
        }
        if !found.is_empty() {
            found.truncate(ADDRESSES_MAX);
            return Lookup::Addresses(found);
        }
    }
    answer
}

/// The full names to look up, in order: with the search domains of `resolv.conf`, and as it is.
fn candidates(name: &Name, config: &ResolverConfig, ndots: usize) -> Vec<Name> {
    let mut absolute = name.clone();
    absolute.set_fqdn(true);
    if name.is_fqdn() {
        return vec![absolute];
    }
    let domains = config.search().iter().chain(config.domain());
    let mut names: Vec<Name> =
        domains.filter_map(|domain| name.clone().append_domain(domain).ok()).collect();
    // `ndots` counts dots. A name has one more label than dots.
    let position = if usize::from(name.num_labels()) > ndots { 0 } else { names.len() };
    names.insert(position, absolute);
    names.dedup();
    names
}

fn reason(error: &NetError) -> String {
    match error {
        NetError::Timeout => silence(),
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => {
            "the name server failed (SERVFAIL)".to_owned()
        }
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => {
            "the name server refused the query (REFUSED)".to_owned()
        }
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name server answered {code}"),
        other => bounded(&format!("the name server was not reached: {other}")),
    }
}

fn silence() -> String {
    "no name server answered in time".to_owned()
}

/// Makes foreign text fit into a sentence: short and on one line.
fn bounded(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_CHARACTERS_MAX).collect()
}

#[cfg(test)]
#[allow(dead_code, reason = "each user has its own part")]
#[path = "../../tests/cluster/name_server.rs"]
pub(crate) mod name_server;

#[cfg(test)]
mod tests {
    use super::name_server::{Mode, NameServer};
    use super::*;

    const TIME: Duration = Duration::from_secs(5);

    fn names(names: &[&str]) -> Vec<Name> {
        names.iter().map(|name| Name::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn search_domains_come_first_for_names_with_few_dots() {
        let (config, options) = system_conf::parse_resolv_conf(
            "nameserver 192.0.2.1\nsearch default.svc.test svc.test\noptions ndots:2\n",
        )
        .unwrap();
        let tried =
            |name: &str| candidates(&Name::from_utf8(name).unwrap(), &config, options.ndots);
        assert_eq!(
            tried("counter"),
            names(&["counter.default.svc.test.", "counter.svc.test.", "counter."])
        );
        assert_eq!(
            tried("a.b.c"),
            names(&["a.b.c.", "a.b.c.default.svc.test.", "a.b.c.svc.test."])
        );
        assert_eq!(tried("a.b.c."), names(&["a.b.c."]));
    }

    #[tokio::test]
    async fn an_address_needs_no_name_server() {
        let nowhere = Resolver::File("/nonexistent/resolv.conf".into(), PORT);
        let ip: IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!(
            nowhere.ask("192.0.2.7", RecordFamily::Both, TIME).await,
            Lookup::Addresses(vec![ip])
        );
        assert_eq!(nowhere.ask("192.0.2.7", RecordFamily::V6, TIME).await, Lookup::Nobody);
    }

    #[tokio::test]
    async fn without_resolv_conf_nobody_knows() {
        let nowhere = Resolver::File("/nonexistent/resolv.conf".into(), PORT);
        let Lookup::Unsure(reason) = nowhere.ask("nodes.test", RecordFamily::Both, TIME).await
        else {
            panic!("it knows")
        };
        assert!(reason.contains("/nonexistent/resolv.conf"), "{reason}");
    }

    #[tokio::test]
    async fn an_answer_without_addresses_is_not_silence() {
        let server = NameServer::start("127.0.0.1:0").await;
        let resolver = Resolver::Server(server.address);
        let ask = async |mode: Mode| {
            server.set(mode);
            resolver.ask("nodes.test", RecordFamily::Both, TIME / 10).await
        };
        assert_eq!(ask(Mode::Records).await, Lookup::Nobody, "no records");
        assert_eq!(ask(Mode::NxDomain).await, Lookup::Nobody);
        for (mode, word) in [
            (Mode::ServFail, "SERVFAIL"),
            (Mode::Refused, "REFUSED"),
            (Mode::Silent, "no name server answered"),
        ] {
            let Lookup::Unsure(reason) = ask(mode).await else { panic!("{mode:?} is an answer") };
            assert!(reason.contains(word), "{mode:?}: {reason}");
        }
        let (four, six): (IpAddr, IpAddr) =
            ("192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap());
        server.show(four);
        server.show(six);
        assert_eq!(ask(Mode::Records).await, Lookup::Addresses(vec![four, six]));
        assert_eq!(
            resolver.ask("nodes.test", RecordFamily::V6, TIME).await,
            Lookup::Addresses(vec![six])
        );
        assert_eq!(ask(Mode::ServFailForV6).await, Lookup::Addresses(vec![four]));
        server.hide(four);
        assert!(
            matches!(ask(Mode::ServFailForV6).await, Lookup::Unsure(_)),
            "there may be one of the other kind"
        );
    }

    #[tokio::test]
    async fn one_question_is_asked_once() {
        let server = NameServer::start("127.0.0.1:0").await;
        server.set(Mode::ServFail);
        let answer =
            Resolver::Server(server.address).ask("nodes.test", RecordFamily::V4, TIME).await;
        assert!(
            matches!(answer, Lookup::Unsure(_)) && server.questions() == 1,
            "{answer:?}, {}",
            server.questions()
        );
    }

    #[tokio::test]
    async fn changed_resolv_conf_counts_at_the_next_query() {
        let first = NameServer::start("127.0.0.1:0").await;
        let port = first.address.port();
        let second = NameServer::start(&format!("127.0.0.2:{port}")).await;
        let (old, new): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        first.show(old);
        second.show(new);
        let file =
            std::env::temp_dir().join(format!("counter-net-resolv-{:016x}", fastrand::u64(..)));
        let resolver = Resolver::File(file.clone(), port);
        assert!(
            matches!(resolver.ask("nodes.test", RecordFamily::V4, TIME).await, Lookup::Unsure(_)),
            "there is no file"
        );
        std::fs::write(&file, "nameserver 127.0.0.1\n").unwrap();
        assert_eq!(
            resolver.ask("nodes.test", RecordFamily::V4, TIME).await,
            Lookup::Addresses(vec![old])
        );
        std::fs::write(&file, "search svc.test\nnameserver 127.0.0.2\n").unwrap();
        assert_eq!(
            resolver.ask("nodes.test", RecordFamily::V4, TIME).await,
            Lookup::Addresses(vec![new])
        );
        std::fs::remove_file(file).unwrap();
    }
}
