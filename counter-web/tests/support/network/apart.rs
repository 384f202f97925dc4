//! A private network for a test. The test runs again in its own namespaces, where loopback is
//! empty and all nodes are equally far from each other.
//!
//! Nodes learn each other's real addresses, so a proxy in front of each named peer is not enough.
//! [`Apart`] redirects every connection to a gossip address to one proxy. The proxy asks the
//! firewall for the original target.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use tokio::net::TcpStream;

use super::distance::{Conditions, DelayProxy, ProxyTarget};

/// The gossip port of every node. Each has its own address.
pub const GOSSIP_PORT: u16 = 7117;
/// The source address of the proxy's own connections, which are not redirected.
const PROXY_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The gossip address of the node with this number, below 250 x 250.
pub fn place(node: usize) -> SocketAddr {
    (Ipv4Addr::new(127, 1, (node / 250) as u8, (node % 250 + 1) as u8), GOSSIP_PORT).into()
}

/// The command that starts a program in its own namespaces, or the reason why this machine does not
/// allow that.
pub fn unshare() -> Result<Command, String> {
    // All processes there end with the first one.
    let mut plain = vec!["-n", "-m", "-p", "-f", "--mount-proc"];
    if !rustix::process::geteuid().is_root() {
        plain.push("-r");
    }
    let probe =
        "ip link set lo up && iptables -t nat -A OUTPUT -p tcp --dport 1 -j REDIRECT --to-ports 2";
    let mut tried = Command::new("unshare");
    let tried = tried
        .args(&plain)
        .args(["sh", "-c", probe])
        .output()
        .map_err(|error| format!("unshare: {error}"))?;
    if !tried.status.success() {
        return Err(String::from_utf8_lossy(&tried.stderr).trim().to_owned());
    }
    let mut command = Command::new("unshare");
    command.args(&plain);
    Ok(command)
}

/// Ends this program when its input ends, which means that its parent has ended. All processes of
/// its namespaces end with it.
pub fn end_with_input() {
    std::thread::spawn(|| {
        let _end = io::Read::read(&mut io::stdin(), &mut [0]);
        std::process::exit(1);
    });
}

fn run(program: &str, arguments: &str) -> io::Result<()> {
    let done = Command::new(program).args(arguments.split(' ')).output()?;
    let why = || {
        io::Error::other(format!(
            "{program} {arguments}: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        ))
    };
    if done.status.success() { Ok(()) } else { Err(why()) }
}

/// Replaces a file of `/etc` for all programs of these namespaces.
pub fn replace(path: &str, content: &str) -> io::Result<()> {
    let own = std::env::temp_dir().join(format!(
        "counter-apart-{}{}",
        std::process::id(),
        path.replace('/', "-")
    ));
    std::fs::write(&own, content)?;
    run("mount", &format!("--bind {} {path}", own.display()))?;
    // The mount keeps it until the namespaces end.
    std::fs::remove_file(own)
}

/// The distance between all nodes of these namespaces. At most one exists at a time.
pub struct Apart(DelayProxy);

impl Apart {
    pub fn new(way: Duration) -> io::Result<Self> {
        run("ip", "link set lo up")?;
        Ok(Self(DelayProxy::start(ProxyTarget::Asked(wanted), PROXY_SOURCE.into(), way)?))
    }

    pub fn set(&self, change: impl FnOnce(&mut Conditions)) -> io::Result<()> {
        self.0.set(change)
    }

    /// Delays connections to all nodes from now on.
    pub fn remove_all(&self) -> io::Result<()> {
        let proxy = self.0.address().port();
        run(
            "iptables",
            &format!(
                "-t nat -A OUTPUT -p tcp ! -s {PROXY_SOURCE} --dport {GOSSIP_PORT} -j REDIRECT \
                    --to-ports {proxy}"
            ),
        )
    }

    /// Delays connections to this address from now on.
    pub fn remove(&self, address: SocketAddr) -> io::Result<()> {
        run("iptables", &format!("-t nat -A OUTPUT {}", self.rule(address)))
    }

    /// Stops delaying new connections to this address, so that a dead node refuses them.
    pub fn bring_back(&self, address: SocketAddr) -> io::Result<()> {
        run("iptables", &format!("-t nat -D OUTPUT {}", self.rule(address)))
    }

    fn rule(&self, to: SocketAddr) -> String {
        let proxy = self.0.address().port();
        format!(
            "-p tcp ! -s {PROXY_SOURCE} -d {} --dport {} -j REDIRECT --to-ports {proxy}",
            to.ip(),
            to.port()
        )
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // If this fails, the next connections are refused, and the test reports that.
        let _flushed = run("iptables", "-t nat -F OUTPUT");
    }
}

/// Drops packets to this address from now on.
pub fn swallow(address: SocketAddr) -> io::Result<()> {
    run(
        "iptables",
        &format!("-A INPUT -p tcp -d {} --dport {} -j DROP", address.ip(), address.port()),
    )
}

/// Bytes that loopback has carried, with all headers. Each is counted once.
pub fn bytes_carried() -> io::Result<u64> {
    let devices = std::fs::read_to_string("/proc/net/dev")?;
    let loopback = devices.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    let received = loopback.and_then(|line| line.split_whitespace().next()?.parse().ok());
    received.ok_or_else(|| io::Error::other("no loopback in /proc/net/dev"))
}

#[cfg(target_os = "linux")]
fn wanted(client: &TcpStream) -> io::Result<SocketAddr> {
    Ok(rustix::net::sockopt::ip_original_dst(client)?.into())
}

#[cfg(not(target_os = "linux"))]
fn wanted(_: &TcpStream) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
