//! The command line: every flag with its variable, judged here, with sentences that say what to
//! write instead.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStr, Resettable};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use counter_net::{ClusterKey, Discovery};
use warp::http::HeaderName;

use crate::access::Access;
use crate::access::names::{Creatable, Pattern};
use crate::access::origin::AllowedOrigins;
use crate::access::peer::Proxy;
use crate::access::token::{SecretToken, Tokens};
use crate::cli::advice::with_advice;
use crate::cli::keys::{cluster_keys, parse_files};
use crate::page::regions::is_code;

/// A counter that every region adds to and all regions agree on, and the page that shows it.
#[derive(Parser, Debug)]
#[command(name = "counter-web", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do; `serve` where nothing is said.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// One node and its page (what runs when no command is given).
    Serve(Box<ServeArgs>),
    /// A cluster on this machine: one process a region, pages on consecutive ports.
    Demo(DemoArgs),
    /// The replicas that a running node knows, a line each: live, absent, left or ended, who takes
    /// over those that ended, and who holds up folding.
    Members(AdminArgs),
    /// Gives a replica that is lost for good to the node that is asked: it takes over what that one
    /// counted.
    ///
    /// For a node that will not come back: it was lost with its disk, or crashed without one. A
    /// node that starts again from its data directory takes over its earlier incarnation by itself.
    /// What members hold of the replica stays counted. Where something exists that has more of it,
    /// such as a disk that comes back after all, or a node out of reach, that more is lost.
    Retire(RetireArgs),
    /// Makes a running node hand over what it counted to another one for good, and stop.
    ///
    /// It exits with status 0 once a successor has said yes, or after 10 s without one: then the
    /// log names what to retire.
    Leave(AdminArgs),
    /// The cluster live in the terminal: nodes, members, lag, rates, and whether all states are
    /// equal.
    Top(TopArgs),
}

/// Flags of `serve`.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Where this node runs: 1-32 of a-z, 0-9 and '-'. Nodes of one region add up. Default: the
    /// variable FLY_REGION, which Fly.io sets, else local.
    #[arg(long, value_name = "CODE", env = "COUNTER_REGION", value_parser = parse_region)]
    region: Option<String>,
    /// The same on Fly.io, which sets this variable; only where the region is not given otherwise.
    #[arg(long = "fly-region-variable", hide = true, env = "FLY_REGION", value_parser = parse_region)]
    fly_region: Option<String>,
    /// Where the page is served; port 0 picks a free one. Default 127.0.0.1:4000, or 0.0.0.0:$PORT
    /// where the variable PORT is set.
    #[arg(long, value_name = "ADDR:PORT", env = "COUNTER_HTTP", value_parser = parse_http)]
    http: Option<SocketAddr>,
    /// The variable of platforms that choose the port; only where --http is not given.
    #[arg(long = "port-variable", hide = true, env = "PORT", value_parser = parse_port)]
    port: Option<u16>,
    /// Where gossip is listened for; repeatable. Default /ip4/127.0.0.1/tcp/0.
    #[arg(long, value_name = "MULTIADDR", env = "COUNTER_LISTEN", value_parser = |text: &str| list(text, parse_multiaddr))]
    listen: Vec<Listed<String>>,
    /// A node to keep in touch with, with or without /p2p/…; repeatable.
    #[arg(long = "peer", value_name = "MULTIADDR", env = "COUNTER_PEERS", value_parser = |text: &str| list(text, parse_multiaddr))]
    peers: Vec<Listed<String>>,
    /// How other nodes are found: local, mdns, dns:NAME:PORT, fly or none; repeatable. Default
    /// local, and mdns too with a key.
    #[arg(long, value_name = "HOW", env = "COUNTER_DISCOVER", value_parser = |text: &str| list(text, parse_discovery))]
    discover: Vec<Listed<Discovery>>,
    /// How long to wait for peers that neither answer nor fail. After that this node serves what it
    /// has, and says that it has not caught up.
    #[arg(long, value_name = "DURATION", env = "COUNTER_READY_WITHIN", default_value = "10s", value_parser = parse_duration)]
    pub(crate) ready_within: Duration,
    /// The cluster to belong to; two names never mix.
    #[arg(long, value_name = "NAME", env = "COUNTER_CLUSTER", default_value = "counter")]
    pub(crate) cluster: String,
    /// A file with the cluster's key; repeatable. Each key lets nodes in, and the first is
    /// preferred. The variable COUNTER_CLUSTER_KEY may hold the keys themselves.
    #[arg(long, value_name = "FILE", env = "COUNTER_CLUSTER_KEY_FILE", value_parser = |text: &str| parse_files(text).map(Listed))]
    cluster_key_file: Vec<Listed<PathBuf>>,
    /// Where the state is kept. Default nowhere: in memory, the cluster is the copy.
    #[arg(long, value_name = "DIR", env = "COUNTER_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A name for this node that no other node of the cluster has and that is the same at each
    /// start, such as its machine's. Without a data directory, a start under its name ends the
    /// process before it, so nothing is left to retire after a kill. Default: the variable
    /// FLY_MACHINE_ID, which Fly.io sets, else none.
    #[arg(long, value_name = "NAME", env = "COUNTER_NODE_NAME")]
    node_name: Option<String>,
    /// The same on Fly.io, which sets this variable; only where there is neither a name nor a data
    /// directory.
    #[arg(long = "fly-machine-variable", hide = true, env = "FLY_MACHINE_ID")]
    fly_machine: Option<String>,
    /// The page's counter.
    #[arg(long, value_name = "NAME", env = "COUNTER_NAME", default_value = "clicks", value_parser = parse_counter)]
    pub(crate) counter: String,
    /// How many counters may be made, the same on every node of a cluster. Above it new ones are
    /// refused, and those that exist count on. A node takes up to twice as many from others, as two
    /// sides of a cut may make; what would pass that is refused whole.
    #[arg(long, value_name = "N", env = "COUNTER_COUNTERS_MAX", default_value_t = 2_000_000, value_parser = parse_counters, allow_negative_numbers = true)]
    pub(crate) counters_max: u32,
    /// Adds a second, per connection and per address, with a burst of 1,000. Default 100; loopback
    /// is free unless this is given.
    #[arg(long, value_name = "ADDS_PER_S", env = "COUNTER_RATE", value_parser = parse_rate, allow_negative_numbers = true)]
    pub(crate) rate: Option<f64>,
    /// Connections that one address may hold. Default 256; loopback is free unless this is given.
    #[arg(long, value_name = "N", value_parser = parse_connections, allow_negative_numbers = true)]
    pub(crate) connections_per_address: Option<u32>,
    /// A socket whose client was quiet for so many seconds is pinged, and one that was silent for
    /// three times as long is cut; 1 to 3600.
    #[arg(long, value_name = "SECONDS", env = "COUNTER_PING_INTERVAL", default_value_t = 20, value_parser = parse_ping_interval, allow_negative_numbers = true)]
    pub(crate) ping_interval: u32,
    /// Behind a proxy: take the client's address from the last entry of X-Forwarded-For, and
    /// compare X-Forwarded-Host with the Origin. Only where the proxy sets both, and clients reach
    /// the node through it alone.
    #[arg(long, env = "COUNTER_TRUST_PROXY", value_parser = parse_switch)]
    trust_proxy: bool,
    /// Take the client's address from this header instead, such as Fly-Client-IP. Implies
    /// --trust-proxy.
    #[arg(long, value_name = "HEADER", env = "COUNTER_CLIENT_IP_HEADER", value_parser = parse_header)]
    client_ip_header: Option<HeaderName>,
    /// Another site whose pages may read, listen and add, such as `https://example.com`, or * for
    /// all; repeatable.
    #[arg(long, value_name = "ORIGIN", env = "COUNTER_ALLOW_ORIGIN", value_parser = |text: &str| list(text, parse_origin))]
    allow_origin: Vec<Listed<String>>,
    /// Names of counters that strangers may make, such as clicks,likes:*. Default: the page's
    /// counter alone.
    #[arg(long, value_name = "NAMES", env = "COUNTER_CREATE", value_parser = |text: &str| list(text, Pattern::parse))]
    create: Vec<Listed<Pattern>>,
    /// A file with the service token, of 16 bytes or more. A Bearer with it may make names, and has
    /// no --rate. The variable COUNTER_SERVICE_TOKEN may hold the token itself.
    #[arg(long, value_name = "FILE", env = "COUNTER_SERVICE_TOKEN_FILE")]
    service_token_file: Option<PathBuf>,
    /// A file with the operator token. A Bearer with it may also reset. The variable
    /// COUNTER_OPERATOR_TOKEN may hold the token itself.
    #[arg(long, value_name = "FILE", env = "COUNTER_OPERATOR_TOKEN_FILE")]
    operator_token_file: Option<PathBuf>,
    /// Put a switch on the page that cuts this node from the others and heals that. For
    /// demonstrations: anybody who sees the page may press it.
    #[arg(long, env = "COUNTER_ALLOW_PARTITION", value_parser = parse_switch)]
    pub(crate) allow_partition: bool,
    /// The data directory was restored or moved, and nothing goes on from where it came: keep its
    /// identity. For a whole cluster that starts from backups, each node with this flag. What was
    /// counted after the backups is lost, unless some directory has it.
    #[arg(long)]
    pub(crate) restored: bool,
    /// What is logged, on standard error.
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = DEFAULT_LOG)]
    pub(crate) log: String,
    /// Stop when standard input ends: how the demo's nodes notice that the demo is gone.
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
}

/// Warnings of the network's own layers are about single connections; the node says what matters.
const DEFAULT_LOG: &str =
    "warn,counter_web=info,counter_net=info,libp2p=error,libp2p_gossipsub=off,libp2p_mdns=off";

/// Flags of `demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// The regions, one node each.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', default_value = "ord,fra,sin", value_parser = parse_region)]
    pub(crate) regions: Vec<String>,
    /// The first page's port; the others follow. 0 picks free ones.
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = parse_demo_port, allow_negative_numbers = true)]
    pub(crate) port: u16,
    /// Where the nodes keep their state, a directory each below this one. Default nowhere: in
    /// memory.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The cluster of the demo's nodes. The default is that of `serve`, so that a node started by
    /// hand joins in.
    #[arg(long, value_name = "NAME", env = "COUNTER_CLUSTER", default_value = "counter")]
    pub(crate) cluster: String,
    /// What is logged, on standard error.
    #[arg(
        long,
        value_name = "FILTER",
        env = "RUST_LOG",
        default_value = "warn,libp2p=error,libp2p_gossipsub=off,libp2p_mdns=off"
    )]
    pub(crate) log: String,
}

/// Which running node an operator speaks to.
#[derive(Args, Debug)]
pub(crate) struct AdminArgs {
    /// The Unix socket that the node's JSON line names. Default: that of the only node running
    /// here.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) admin: Option<PathBuf>,
}

/// Flags of `top`.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// The Unix socket of a node; repeatable. Default: those of all nodes of yours that run here.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) admin: Vec<PathBuf>,
    /// Prints one frame as plain text, after a second of measuring.
    #[arg(long)]
    pub(crate) once: bool,
}

/// Flags of `retire`.
#[derive(Args, Debug)]
pub(crate) struct RetireArgs {
    /// The lost replica, as `members` shows it.
    pub(crate) replica: String,
    /// Also a replica that was heard of in the last ten minutes. What it counted and no other node
    /// holds is lost.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) node: AdminArgs,
}

impl Cli {
    /// Reads the arguments; flags without a command are those of `serve`.
    pub(crate) fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut arguments: Vec<OsString> = arguments.collect();
        let general = ["-h", "--help", "-V", "--version"];
        let serve = match arguments.get(1).and_then(|first| first.to_str()) {
            None => true,
            Some(first) => first.starts_with('-') && !general.contains(&first),
        };
        if serve {
            arguments.insert(1.min(arguments.len()), "serve".into());
        }
        let command = arguments.get(1).map(|name| name.to_string_lossy().into_owned());
        let matches = without_empty_variables(Self::command()).try_get_matches_from(arguments);
        let read = matches.and_then(|matches| Self::from_arg_matches(&matches));
        read.map_err(|error| with_advice(error, Self::command(), &command.unwrap_or_default()))
    }
}

/// Variables that name the files of secrets.
const SECRET_FILES: [&str; 3] =
    ["COUNTER_CLUSTER_KEY_FILE", "COUNTER_SERVICE_TOKEN_FILE", "COUNTER_OPERATOR_TOKEN_FILE"];

/// A variable that is set to nothing counts as not set: that is how shells and platforms write "no
/// value".
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| {
        // A secret that did not arrive must not silently mean that there is none.
        let variable =
            arg.get_env().filter(|name| !SECRET_FILES.iter().any(|secret| name == secret));
        variable
            .and_then(std::env::var_os)
            .is_some_and(|value| value.to_string_lossy().trim().is_empty())
    };
    command.mut_subcommands(|command| {
        command
            .mut_args(|arg| if is_empty(&arg) { arg.env(Resettable::<OsStr>::Reset) } else { arg })
    })
}

/// The items of one value, separated by commas. Spaces around them, and items of nothing but
/// spaces, are the writer's own business.
#[derive(Clone, Debug)]
struct Listed<T>(Vec<T>);

fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Listed<T>, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let items = items.map(&parse).collect::<Result<Vec<T>, String>>()?;
    // Nothing at all is no list either; the parser's own sentence says what to write.
    if items.is_empty() { parse("").map(|item| Listed(vec![item])) } else { Ok(Listed(items)) }
}

impl ServeArgs {
    /// Where the page is served.
    pub(crate) fn http(&self) -> SocketAddr {
        let platform = || self.port.map(|port| SocketAddr::from(([0, 0, 0, 0], port)));
        self.http.or_else(platform).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 4000)))
    }

    /// Where this node runs.
    pub(crate) fn region(&self) -> &str {
        self.region.as_ref().or(self.fly_region.as_ref()).map_or("local", String::as_str)
    }

    /// Which node this is where no directory says so.
    pub(crate) fn node_name(&self) -> Option<&str> {
        self.node_name
            .as_deref()
            .or_else(|| self.fly_machine.as_deref().filter(|_| self.data_dir.is_none()))
    }

    /// Who may do what.
    ///
    /// # Errors
    ///
    /// A token that is none, or an origin that is none.
    pub(crate) fn access(&self) -> Result<Access, String> {
        let proxy = match (&self.client_ip_header, self.trust_proxy) {
            (Some(header), _) => Proxy::Header(header.clone()),
            (None, true) => Proxy::ForwardedFor,
            (None, false) => Proxy::Untrusted,
        };
        let token = |flag, file: &Option<PathBuf>, variable| {
            SecretToken::read(flag, file.as_deref(), variable)
        };
        let allowed = AllowedOrigins::read(self.allow_origin.iter().flat_map(|listed| &listed.0))?;
        let creatable =
            Creatable::new(&self.counter, self.create.iter().flat_map(|listed| &listed.0));
        let tokens = Tokens::new(
            token("--service-token-file", &self.service_token_file, "COUNTER_SERVICE_TOKEN")?,
            token("--operator-token-file", &self.operator_token_file, "COUNTER_OPERATOR_TOKEN")?,
        )?;
        Ok(Access::new(proxy, allowed, creatable, tokens))
    }

    /// The cluster's keys, the preferred one first.
    ///
    /// # Errors
    ///
    /// Where what is given is no key; the sentence does not contain it.
    pub(crate) fn cluster_keys(&self) -> Result<Vec<ClusterKey>, String> {
        cluster_keys(self.cluster_key_file.iter().flat_map(|listed| &listed.0))
    }

    /// Where gossip is listened for.
    pub(crate) fn listen(&self) -> impl Iterator<Item = &String> {
        self.listen.iter().flat_map(|listed| &listed.0)
    }

    /// Nodes to keep in touch with.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &String> {
        self.peers.iter().flat_map(|listed| &listed.0)
    }

    /// How other nodes are found.
    ///
    /// # Errors
    ///
    /// Where nobody and somebody is to be looked for.
    pub(crate) fn discover(&self) -> Result<impl Iterator<Item = &Discovery>, String> {
        let ways = || self.discover.iter().flat_map(|listed| &listed.0);
        if ways().any(|way| *way == Discovery::None) && ways().any(|way| *way != Discovery::None) {
            return Err("--discover none looks for nobody, and another way stands beside it: write one or the other".to_owned());
        }
        Ok(ways())
    }
}

fn parse_region(code: &str) -> Result<String, String> {
    if is_code(code) {
        return Ok(code.to_owned());
    }
    Err("a region is 1 to 32 characters of a-z, 0-9 and '-': write for example ord or eu-west-1"
        .to_owned())
}

fn parse_http(address: &str) -> Result<SocketAddr, String> {
    let named = address.replacen("localhost:", "127.0.0.1:", 1);
    named
        .parse()
        .map_err(|_| "an address is ADDR:PORT with numbers: write for example 127.0.0.1:4000, 0.0.0.0:8080 or [::1]:4000".to_owned())
}

/// The shape only; the node judges the rest, and says so with exit status 2 as well.
fn parse_multiaddr(address: &str) -> Result<String, String> {
    let address = address.trim();
    if address.starts_with('/') && address.contains("/tcp/") {
        return Ok(address.to_owned());
    }
    Err("this is no multiaddress over TCP: write for example /ip4/127.0.0.1/tcp/7117 or /dns4/host/tcp/7117".to_owned())
}

fn parse_discovery(how: &str) -> Result<Discovery, String> {
    how.parse().map_err(|error: counter_net::DiscoveryError| error.to_string())
}

fn parse_header(name: &str) -> Result<HeaderName, String> {
    name.trim()
        .parse()
        .map_err(|_| "this is no name of a header: write for example Fly-Client-IP".to_owned())
}

fn parse_origin(origin: &str) -> Result<String, String> {
    AllowedOrigins::read([origin.to_owned()].iter()).map(|_| origin.to_owned())
}

fn parse_counter(name: &str) -> Result<String, String> {
    crate::api::fields::check_name(name)
        .map(|()| name.to_owned())
        .map_err(|error| format!("{}: write for example clicks", error.message))
}

fn parse_rate(rate: &str) -> Result<f64, String> {
    match rate.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e9 => Ok(rate),
        _ => Err("a rate is a number of adds a second above 0: write for example 100".to_owned()),
    }
}

fn parse_connections(count: &str) -> Result<u32, String> {
    count
        .parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| "this is a number of connections from 1: write for example 256".to_owned())
}

fn parse_counters(count: &str) -> Result<u32, String> {
    count
        .parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| "this is a number of counters from 1: write for example 2000000".to_owned())
}

fn parse_ping_interval(seconds: &str) -> Result<u32, String> {
    let inside = seconds.parse().ok().filter(|seconds| (1..=3_600).contains(seconds));
    inside.ok_or_else(|| {
        "this is a number of whole seconds from 1 to 3600: write for example 20".to_owned()
    })
}

/// A whole number and its unit: `500ms`, `5s`, `10m`, `7d`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let read = UNITS.iter().find_map(|(unit, ms)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*ms).map(Duration::from_millis)
    });
    read.ok_or_else(|| {
        "this is a duration, a whole number and ms, s, m, h or d: write for example 10s".to_owned()
    })
}

fn parse_demo_port(port: &str) -> Result<u16, String> {
    port.parse()
        .map_err(|_| "this is a port's number, 0 to 65535: write for example 4000".to_owned())
}

fn parse_port(port: &str) -> Result<u16, String> {
    port.trim().parse().map_err(|_| {
        "the variable PORT is a port's number, 0 to 65535: write for example PORT=8080".to_owned()
    })
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "t" | "y" => Ok(true),
        "false" | "no" | "off" | "0" | "f" | "n" => Ok(false),
        _ => Err("this is neither yes nor no: write true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn no_command_is_serve() {
        for line in
            ["counter-web", "counter-web --region ord", "counter-web serve --http 127.0.0.1:0"]
        {
            assert!(matches!(read(line).unwrap().command, Command::Serve(_)), "{line}");
        }
        assert!(matches!(read("counter-web demo").unwrap().command, Command::Demo(_)));
        assert!(read("counter-web nonsense").is_err());
    }

    #[test]
    fn bad_values_say_what_to_write_instead() {
        for (line, hint) in [
            ("counter-web --region ORD", "write for example ord"),
            ("counter-web --http here", "write for example 127.0.0.1:4000"),
            ("counter-web --peer 127.0.0.1:1", "write for example /ip4/"),
            ("counter-web --discover etcd", "local, mdns, dns:NAME:PORT, fly or none"),
            ("counter-web --allow-origin example.com", "such as https://example.com"),
            ("counter-web --create a*b", "write for example clicks,likes:*"),
            ("counter-web --client-ip-header a:b", "write for example Fly-Client-IP"),
            ("counter-web --peer ,", "write for example /ip4/"),
            ("counter-web --rate 0", "write for example 100"),
            ("counter-web --rate -1", "write for example 100"),
            ("counter-web --connections-per-address 0", "write for example 256"),
            ("counter-web --counters-max 0", "write for example 2000000"),
            ("counter-web --ping-interval 0", "write for example 20"),
            ("counter-web demo --port x", "write for example 4000"),
        ] {
            let error = read(line).expect_err("refused");
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(hint), "{line}: {error}");
        }
    }

    #[test]
    fn repeated_and_joined_values_are_the_same() {
        let Command::Serve(args) =
            read("counter-web --peer /ip4/127.0.0.1/tcp/1 --peer /ip4/127.0.0.1/tcp/2,/ip4/127.0.0.1/tcp/3").unwrap().command
        else {
            panic!("serve");
        };
        assert_eq!(args.peers().count(), 3);
    }
}
