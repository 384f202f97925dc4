//! The arguments of every command, and the variables that set flags. A new flag is a field here,
//! with its parser in `values`. `serve` reads the fields in `server/serve.rs`.

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
use crate::cli::values::{
    ExpireRule, Listed, list, parse_connections, parse_counter, parse_counters, parse_demo_port,
    parse_discovery, parse_duration, parse_expire, parse_header, parse_http, parse_multiaddr,
    parse_origin, parse_ping_interval, parse_port, parse_rate, parse_region, parse_switch,
};

/// A counter that every region adds to and all regions agree on, and the page that shows it.
#[derive(Parser, Debug)]
#[command(name = "counter-web", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The command to run, by default `serve`.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run one node and its page (the default command).
    Serve(Box<ServeArgs>),
    /// Run a cluster on this machine: one process for each region, with pages on consecutive ports.
    Demo(DemoArgs),
    /// List the replicas that a running node knows, one JSON line each: its standing (live, absent,
    /// left or ended), its successor once it has ended, and whether it holds up folding.
    Members(AdminArgs),
    /// Retire a replica that is lost for good. The node that you ask takes over its counts.
    ///
    /// For a node that will not come back: it was lost with its disk, or crashed without one. A
    /// node that restarts from its data directory takes over its earlier incarnation automatically.
    /// The counts that members hold of the replica stay. Later counts are lost, even if a disk or
    /// an unreachable node still has them.
    Retire(RetireArgs),
    /// Make a running node hand over its counts to another one for good, and stop.
    ///
    /// It exits with status 0 once a successor has agreed, or after 5 s without one. The log then
    /// names the replica to retire.
    Leave(AdminArgs),
    /// Watch the cluster in the terminal: nodes, members, lag, rates, and whether all states are
    /// equal.
    Top(TopArgs),
    /// List the counters of a running node with their totals, one JSON line each, in the order of
    /// their names.
    List(ListArgs),
    /// Reset a counter: the amounts that the node has seen are gone in every region. Concurrent
    /// adds at other nodes stay.
    Reset(CounterArgs),
    /// Remove a counter: it reads 0 and its name goes, everywhere. Concurrent adds at other nodes
    /// stay.
    Remove(CounterArgs),
}

/// Flags of `serve`.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// The region of this node: 1-32 of a-z, 0-9 and '-'. The counts of its nodes add up. Default:
    /// the variable FLY_REGION, which Fly.io sets, or else local.
    #[arg(long, value_name = "CODE", env = "COUNTER_REGION", value_parser = parse_region)]
    region: Option<String>,
    /// The region on Fly.io, which sets this variable. Used if --region is not given.
    #[arg(long = "fly-region-variable", hide = true, env = "FLY_REGION",
        value_parser = parse_region)]
    fly_region: Option<String>,
    /// The address of the page. Port 0 picks a free one. Default 127.0.0.1:4000, or 0.0.0.0:$PORT
    /// if the variable PORT is set.
    #[arg(long, value_name = "ADDR:PORT", env = "COUNTER_HTTP", value_parser = parse_http)]
    http: Option<SocketAddr>,
    /// The variable of platforms that choose the port. Used if --http is not given.
    #[arg(long = "port-variable", hide = true, env = "PORT", value_parser = parse_port)]
    port: Option<u16>,
    /// An address to listen on for gossip; repeatable. Default /ip4/127.0.0.1/tcp/0.
    #[arg(long, value_name = "MULTIADDR", env = "COUNTER_LISTEN",
        value_parser = |text: &str| list(text, parse_multiaddr))]
    listen: Vec<Listed<String>>,
    /// A node to keep in touch with, with or without /p2p/…; repeatable.
    #[arg(long = "peer", value_name = "MULTIADDR", env = "COUNTER_PEERS",
        value_parser = |text: &str| list(text, parse_multiaddr))]
    peers: Vec<Listed<String>>,
    /// How to find other nodes: local, mdns, dns:NAME:PORT, fly or none; repeatable. Default local,
    /// and also mdns with a key.
    #[arg(long, value_name = "HOW", env = "COUNTER_DISCOVER",
        value_parser = |text: &str| list(text, parse_discovery))]
    discover: Vec<Listed<Discovery>>,
    /// How long to wait for peers that neither answer nor fail. After that, this node serves the
    /// numbers it has, and reports that it has not caught up.
    #[arg(long, value_name = "DURATION", env = "COUNTER_READY_WITHIN", default_value = "10s",
        value_parser = parse_duration)]
    pub(crate) ready_within: Duration,
    /// The name of the cluster. Clusters of different names never mix.
    #[arg(long, value_name = "NAME", env = "COUNTER_CLUSTER", default_value = "counter")]
    pub(crate) cluster: String,
    /// A file with the cluster's key; repeatable. Each key lets nodes in, and the first is
    /// preferred. The variable COUNTER_CLUSTER_KEY may hold the keys themselves.
    #[arg(long, value_name = "FILE", env = "COUNTER_CLUSTER_KEY_FILE",
        value_parser = |text: &str| parse_files(text).map(Listed))]
    cluster_key_file: Vec<Listed<PathBuf>>,
    /// The directory of the state. Default: none. The state is in memory, and the cluster is the
    /// copy.
    #[arg(long, value_name = "DIR", env = "COUNTER_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A name for this node, unique in the cluster and the same at each start, such as the name of
    /// its machine. Without a data directory, a start under this name ends the earlier process, so
    /// nothing is left to retire after a kill. Default: the variable FLY_MACHINE_ID, which Fly.io
    /// sets, or else none.
    #[arg(long, value_name = "NAME", env = "COUNTER_NODE_NAME")]
    node_name: Option<String>,
    /// The name on Fly.io, which sets this variable. Used if there is neither a name nor a data
    /// directory.
    #[arg(long = "fly-machine-variable", hide = true, env = "FLY_MACHINE_ID")]
    fly_machine: Option<String>,
    /// The page's counter.
    #[arg(long, value_name = "NAME", env = "COUNTER_NAME", default_value = "clicks",
        value_parser = parse_counter)]
    pub(crate) counter: String,
    /// The most counters in the cluster; give every node the same number. At that number, new
    /// counters are refused and existing ones keep counting. A node accepts up to twice as many
    /// from others, because both sides of a partition may create some. It refuses a message that
    /// would exceed that as a whole.
    #[arg(long, value_name = "N", env = "COUNTER_COUNTERS_MAX", default_value_t = 2_000_000,
        value_parser = parse_counters, allow_negative_numbers = true)]
    pub(crate) counters_max: u32,
    /// The most adds per second, for each connection and each address, with a burst of 1,000.
    /// Default 100. Loopback has no limit unless this is given.
    #[arg(long, value_name = "ADDS_PER_S", env = "COUNTER_RATE", value_parser = parse_rate,
        allow_negative_numbers = true)]
    pub(crate) rate: Option<f64>,
    /// The most connections of one address. Default 256. Loopback has no limit unless this is
    /// given.
    #[arg(long, value_name = "N", value_parser = parse_connections, allow_negative_numbers = true)]
    pub(crate) connections_per_address: Option<u32>,
    /// Seconds before a quiet client is pinged, 1 to 3600. A client that is silent for three times
    /// as long is disconnected.
    #[arg(long, value_name = "SECONDS", env = "COUNTER_PING_INTERVAL", default_value_t = 20,
        value_parser = parse_ping_interval, allow_negative_numbers = true)]
    pub(crate) ping_interval: u32,
    /// Behind a proxy: take the client's address from the last entry of X-Forwarded-For, and
    /// compare X-Forwarded-Host with the Origin. Use it only if the proxy sets both, and clients
    /// cannot reach the node except through it.
    #[arg(long, env = "COUNTER_TRUST_PROXY", value_parser = parse_switch)]
    trust_proxy: bool,
    /// Take the client's address from this header instead, such as Fly-Client-IP. Implies
    /// --trust-proxy.
    #[arg(long, value_name = "HEADER", env = "COUNTER_CLIENT_IP_HEADER",
        value_parser = parse_header)]
    client_ip_header: Option<HeaderName>,
    /// Another site whose pages may read, listen and add, such as `https://example.com`, or * for
    /// all; repeatable.
    #[arg(long, value_name = "ORIGIN", env = "COUNTER_ALLOW_ORIGIN",
        value_parser = |text: &str| list(text, parse_origin))]
    allow_origin: Vec<Listed<String>>,
    /// Names of counters that strangers may create, such as clicks,likes:*. Default: the page's
    /// counter alone.
    #[arg(long, value_name = "NAMES", env = "COUNTER_CREATE",
        value_parser = |text: &str| list(text, Pattern::parse))]
    create: Vec<Listed<Pattern>>,
    /// Remove each counter whose name starts with PREFIX when D has passed since it was created;
    /// repeatable. D is a duration such as 500ms, 5s, 10m or 7d. If several prefixes match a name,
    /// the longest applies. `*=30d` matches every name. Give every node the same rules. They do not
    /// apply to counters that exist already.
    #[arg(long, value_name = "PREFIX*=D", env = "COUNTER_EXPIRE",
        value_parser = |text: &str| list(text, parse_expire))]
    expire: Vec<Listed<ExpireRule>>,
    /// A file with the service token, of 16 bytes or more. A client that sends it as a Bearer token
    /// may create any counter, send batches and list counters, and --rate does not apply to it. The
    /// variable COUNTER_SERVICE_TOKEN may hold the token itself.
    #[arg(long, value_name = "FILE", env = "COUNTER_SERVICE_TOKEN_FILE")]
    service_token_file: Option<PathBuf>,
    /// A file with the operator token. A client that sends it may also reset and remove counters.
    /// The variable COUNTER_OPERATOR_TOKEN may hold the token itself.
    #[arg(long, value_name = "FILE", env = "COUNTER_OPERATOR_TOKEN_FILE")]
    operator_token_file: Option<PathBuf>,
    /// Put a switch on the page that cuts this node off from the others and reconnects it. For
    /// demonstrations: anybody who sees the page may press it.
    #[arg(long, env = "COUNTER_ALLOW_PARTITION", value_parser = parse_switch)]
    pub(crate) allow_partition: bool,
    /// Keep the identity of a data directory that was restored or moved, if its original no longer
    /// runs. For a whole cluster that starts from backups, give each node this flag. Counts from
    /// after the backups are lost, unless some directory has them.
    #[arg(long)]
    pub(crate) restored: bool,
    /// The log filter. The log goes to standard error.
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = DEFAULT_LOG)]
    pub(crate) log: String,
    /// Stop when standard input ends. This is how the demo's nodes notice its end.
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
}

/// Quiets libp2p, which warns about single connections. The node logs the important events itself.
const DEFAULT_LOG: &str =
    "warn,counter_web=info,counter_net=info,libp2p=error,libp2p_gossipsub=off,libp2p_mdns=off";

/// Flags of `demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// The regions, one node each.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', default_value = "ord,fra,sin",
        value_parser = parse_region)]
    pub(crate) regions: Vec<String>,
    /// The port of the first page. The others follow. 0 picks free ones.
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = parse_demo_port,
        allow_negative_numbers = true)]
    pub(crate) port: u16,
    /// The parent directory of the nodes' data directories. Default: none. The state is in memory.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The name of the demo's cluster. The default is that of `serve`, so that a node started by
    /// hand joins in.
    #[arg(long, value_name = "NAME", env = "COUNTER_CLUSTER", default_value = "counter")]
    pub(crate) cluster: String,
    /// The log filter. The log goes to standard error.
    #[arg(
        long,
        value_name = "FILTER",
        env = "RUST_LOG",
        default_value = "warn,libp2p=error,libp2p_gossipsub=off,libp2p_mdns=off"
    )]
    pub(crate) log: String,
}

/// The running node that an operator talks to.
#[derive(Args, Debug)]
pub(crate) struct AdminArgs {
    /// The Unix socket that the node's JSON line names. Default: that of the only node on this
    /// machine.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) admin: Option<PathBuf>,
}

/// Flags of `top`.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// The Unix socket of a node; repeatable. Default: those of all your nodes on this machine.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) admin: Vec<PathBuf>,
    /// Print one frame as plain text, after a second of measuring.
    #[arg(long)]
    pub(crate) once: bool,
}

/// Flags of `retire`.
#[derive(Args, Debug)]
pub(crate) struct RetireArgs {
    /// The lost replica, as `members` shows it.
    pub(crate) replica: String,
    /// Retire it even if it was heard of in the last ten minutes. Its counts that no other node
    /// holds are lost.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) node: AdminArgs,
}

/// Flags of `list`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// List only names that start with this.
    #[arg(default_value = "")]
    pub(crate) prefix: String,
    #[command(flatten)]
    pub(crate) node: AdminArgs,
}

/// Flags of `reset` and `remove`.
#[derive(Args, Debug)]
pub(crate) struct CounterArgs {
    /// The counter, as `list` shows it.
    #[arg(value_parser = parse_counter)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) node: AdminArgs,
}

impl Cli {
    /// Parses the arguments. Flags without a command are those of `serve`.
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

/// Ignores empty variables. Shells and platforms use them for "no value".
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| {
        // A secret's empty variable is an error: the secret may have failed to arrive.
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

impl ServeArgs {
    /// The address of the page.
    pub(crate) fn http(&self) -> SocketAddr {
        let platform = || self.port.map(|port| SocketAddr::from(([0, 0, 0, 0], port)));
        self.http.or_else(platform).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 4000)))
    }

    /// The region of this node.
    pub(crate) fn region(&self) -> &str {
        self.region.as_ref().or(self.fly_region.as_ref()).map_or("local", String::as_str)
    }

    /// The node's name. Fly.io's machine id is used only without a data directory.
    pub(crate) fn node_name(&self) -> Option<&str> {
        self.node_name
            .as_deref()
            .or_else(|| self.fly_machine.as_deref().filter(|_| self.data_dir.is_none()))
    }

    /// The rights of callers.
    ///
    /// # Errors
    ///
    /// For a bad token or a bad origin.
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
    /// For a bad key. The message does not contain it.
    pub(crate) fn cluster_keys(&self) -> Result<Vec<ClusterKey>, String> {
        cluster_keys(self.cluster_key_file.iter().flat_map(|listed| &listed.0))
    }

    /// How long counters live, by prefix.
    pub(crate) fn expire(&self) -> impl Iterator<Item = &ExpireRule> {
        self.expire.iter().flat_map(|listed| &listed.0)
    }

    /// The addresses to listen on for gossip.
    pub(crate) fn listen(&self) -> impl Iterator<Item = &String> {
        self.listen.iter().flat_map(|listed| &listed.0)
    }

    /// The nodes to stay connected with.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &String> {
        self.peers.iter().flat_map(|listed| &listed.0)
    }

    /// The ways to find other nodes.
    ///
    /// # Errors
    ///
    /// For `none` beside another way.
    pub(crate) fn discover(&self) -> Result<impl Iterator<Item = &Discovery>, String> {
        let ways = || self.discover.iter().flat_map(|listed| &listed.0);
        if ways().any(|way| *way == Discovery::None) && ways().any(|way| *way != Discovery::None) {
            return Err(
                "--discover none excludes every other way: write one or the other".to_owned()
            );
        }
        Ok(ways())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn default_command_is_serve() {
        for line in
            ["counter-web", "counter-web --region ord", "counter-web serve --http 127.0.0.1:0"]
        {
            assert!(matches!(read(line).unwrap().command, Command::Serve(_)), "{line}");
        }
        assert!(matches!(read("counter-web demo").unwrap().command, Command::Demo(_)));
        assert!(read("counter-web nonsense").is_err());
    }

    #[test]
    fn bad_values_say_what_to_write() {
        for (line, hint) in [
            ("counter-web --region ORD", "write for example ord"),
            ("counter-web --http here", "write for example 127.0.0.1:4000"),
            ("counter-web --peer 127.0.0.1:1", "write for example /ip4/"),
            ("counter-web --discover etcd", "local, mdns, dns:NAME:PORT, fly or none"),
            ("counter-web --allow-origin example.com", "such as https://example.com"),
            ("counter-web --create a*b", "write for example clicks,likes:*"),
            ("counter-web --expire day:*", "write for example day:*=7d"),
            ("counter-web --expire day:=7d", "write for example day:*=7d"),
            ("counter-web --expire day:*=week", "write for example day:*=7d"),
            ("counter-web --expire day:*=0s", "write for example day:*=7d"),
            ("counter-web --expire day:*=7d,hour:*=1", "write for example day:*=7d"),
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
    fn values_may_repeat_or_be_joined() {
        let Command::Serve(args) =
            read("counter-web --peer /dns4/a/tcp/1 --peer /dns4/b/tcp/1,/dns4/c/tcp/1")
                .unwrap()
                .command
        else {
            panic!("serve");
        };
        assert_eq!(args.peers().count(), 3);
    }

    #[test]
    fn expiries_may_repeat_or_be_joined() {
        let line = "counter-web --expire day:*=7d,a=*b:*=500ms --expire *=10m";
        let Command::Serve(args) = read(line).unwrap().command else { panic!("serve") };
        let rules: Vec<(&str, u64)> =
            args.expire().map(|rule| (rule.prefix.as_str(), rule.after.as_secs())).collect();
        assert_eq!(rules, [("day:", 604_800), ("a=*b:", 0), ("", 600)]);
    }
}
