//! Hosts on one machine, as network namespaces. The cables between them can be pulled, and can lose
//! packets. Clients have cables of their own, which stay whole.

use std::process::Command;

use crate::system::{MeasureFailure, Measured};

const HOW_TO_GET: &str =
    "hosts: skipped; network namespaces take root, `ip` (Debian's package iproute2) and `iptables`";

/// Namespaces `<name>h0`, `<name>h1` and so on, and `<name>s` with both switches and the clients.
/// The process that builds them removes them. Others only name them.
#[derive(Clone, Debug)]
pub(in crate::system) struct Lab {
    name: String,
    hosts: usize,
}

/// Removes the namespaces when dropped.
#[derive(Debug)]
pub(in crate::system) struct Built(pub(in crate::system) Lab);

fn run(command: &str) -> Measured<()> {
    let words: Vec<&str> = command.split(' ').collect();
    let done = Command::new(words[0])
        .args(&words[1..])
        .output()
        .map_err(|error| MeasureFailure(format!("{HOW_TO_GET} ({}: {error})", words[0])))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(MeasureFailure(format!(
            "{HOW_TO_GET} ({command}: {})",
            String::from_utf8_lossy(&done.stderr).trim()
        ))),
    }
}

impl Lab {
    /// The hosts that were built under this name.
    pub(in crate::system) fn named(name: &str, hosts: usize) -> Self {
        Self { name: name.into(), hosts }
    }

    /// Builds this many hosts.
    ///
    /// # Errors
    /// If this machine does not allow namespaces, a line that says what it takes.
    pub(in crate::system) fn build(hosts: usize) -> Measured<Built> {
        let built = Built(Self::named(&format!("cb{}", std::process::id()), hosts));
        let lab = &built.0;
        let switch = lab.switch();
        run(&format!("ip netns add {switch}"))?;
        run(&format!("ip -n {switch} link set lo up"))?;
        // b0 joins the nodes to each other, b1 the clients to the nodes.
        for bridge in ["b0", "b1"] {
            run(&format!("ip -n {switch} link add name {bridge} type bridge mcast_snooping 0"))?;
            run(&format!("ip -n {switch} link set {bridge} up"))?;
        }
        run(&format!("ip -n {switch} addr add 10.79.0.254/24 dev b1"))?;
        (0..hosts).try_for_each(|host| lab.add_host(host))?;
        Ok(built)
    }

    fn add_host(&self, host: usize) -> Measured<()> {
        let (name, switch) = (self.host(host), self.switch());
        run(&format!("ip netns add {name}"))?;
        run(&format!("ip -n {name} link set lo up"))?;
        for (at, address) in [Self::gossip(host), Self::front(host)].into_iter().enumerate() {
            run(&format!(
                "ip -n {name} link add name eth{at} type veth peer name p{host}x{at} netns {switch}"
            ))?;
            run(&format!("ip -n {switch} link set p{host}x{at} master b{at} up"))?;
            run(&format!("ip -n {name} addr add {address}/24 dev eth{at}"))?;
            run(&format!("ip -n {name} link set eth{at} up"))?;
        }
        Ok(())
    }

    /// The name for [`Lab::named`].
    pub(in crate::system) fn name(&self) -> &str {
        &self.name
    }

    /// The namespace of the clients.
    pub(in crate::system) fn switch(&self) -> String {
        format!("{}s", self.name)
    }

    /// The namespace of a host.
    pub(in crate::system) fn host(&self, host: usize) -> String {
        format!("{}h{host}", self.name)
    }

    /// The address at which the other hosts reach it.
    pub(in crate::system) fn gossip(host: usize) -> String {
        format!("10.78.0.{}", host + 1)
    }

    /// The address at which clients reach it, even while its cable to the other hosts is out.
    pub(in crate::system) fn front(host: usize) -> String {
        format!("10.79.0.{}", host + 1)
    }

    /// Pulls a host's cable to the others (`down`), or puts it in again (`up`). No connection is
    /// closed.
    pub(in crate::system) fn cable(&self, host: usize, state: &str) -> Measured<()> {
        run(&format!("ip -n {} link set p{host}x0 {state}", self.switch()))
    }

    /// Makes every host lose this part of the packets from the others.
    pub(in crate::system) fn lose(&self, part: f64) -> Measured<()> {
        let rule = format!(
            "iptables -A INPUT -i eth0 -m statistic --mode random --probability {part} -j DROP"
        );
        (0..self.hosts)
            .try_for_each(|host| run(&format!("ip netns exec {} {rule}", self.host(host))))
    }

    /// Ends the loss.
    ///
    /// # Errors
    /// No packet was lost, so nothing was measured under loss.
    pub(in crate::system) fn lose_none(&self) -> Measured<()> {
        let mut lost = 0;
        for host in 0..self.hosts {
            let name = self.host(host);
            let rules = Command::new("ip")
                .args(["netns", "exec", &name, "iptables", "-nvxL", "INPUT"])
                .output()?;
            let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
            let dropped = rules
                .lines()
                .filter(|line| line.contains("DROP"))
                .filter_map(|line| line.split_whitespace().next());
            lost += dropped.filter_map(|packets| packets.parse::<u64>().ok()).sum::<u64>();
            run(&format!("ip netns exec {name} iptables -F INPUT"))?;
        }
        if lost == 0 {
            Err(MeasureFailure("no packet was lost where some should have been".into()))
        } else {
            Ok(())
        }
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        // Removing a namespace that was never made fails, and that is fine.
        (0..self.0.hosts)
            .for_each(|host| drop(run(&format!("ip netns del {}", self.0.host(host)))));
        drop(run(&format!("ip netns del {}", self.0.switch())));
    }
}
