//! Hosts for a test: network namespaces on one bridge, each with an IPv4 and an IPv6 address, and
//! with its own name resolution if wanted.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Namespaces `<name>h0`, `<name>h1` and so on, and `<name>s` with the switch. They are removed
/// with their handle.
pub(crate) struct Lab {
    name: String,
    hosts: usize,
}

static LABS: AtomicU32 = AtomicU32::new(0);

/// The address of the switch, for a name server.
pub(crate) const SWITCH_V6: &str = "fdaa:77::ff";

pub(crate) fn v4(host: usize) -> String {
    format!("10.78.0.{}", host + 1)
}

pub(crate) fn v6(host: usize) -> String {
    format!("fdaa:77::{}", host + 1)
}

fn run(command: &str) -> Result<(), String> {
    let words: Vec<&str> = command.split(' ').collect();
    let done = Command::new(words[0])
        .args(&words[1..])
        .output()
        .map_err(|error| format!("{command}: {error}"))?;
    if done.status.success() {
        Ok(())
    } else {
        Err(format!("{command}: {}", String::from_utf8_lossy(&done.stderr).trim()))
    }
}

impl Lab {
    /// Builds hosts. Fails with the reason if this machine does not allow that.
    pub(crate) fn build(hosts: usize) -> Result<Self, String> {
        let lab = Self {
            name: format!(
                "cn{}x{}",
                std::process::id() % 100_000,
                LABS.fetch_add(1, Ordering::Relaxed)
            ),
            hosts,
        };
        let switch = lab.switch();
        run(&format!("ip netns add {switch}"))?;
        run(&format!("ip -n {switch} link add name b0 type bridge mcast_snooping 0"))?;
        run(&format!("ip -n {switch} link set b0 up"))?;
        run(&format!("ip -n {switch} link set lo up"))?;
        run(&format!("ip -n {switch} addr add {SWITCH_V6}/64 dev b0 nodad"))?;
        for host in 0..hosts {
            let name = lab.host(host);
            run(&format!("ip netns add {name}"))?;
            run(&format!(
                "ip -n {name} link add name eth0 type veth peer name p{host} netns {switch}"
            ))?;
            run(&format!("ip -n {switch} link set p{host} master b0 up"))?;
            run(&format!("ip -n {name} addr add {}/24 dev eth0", v4(host)))?;
            run(&format!("ip -n {name} addr add {}/64 dev eth0 nodad", v6(host)))?;
            run(&format!("ip -n {name} link set eth0 up"))?;
            run(&format!("ip -n {name} link set lo up"))?;
            run(&format!("ip -n {name} route add 224.0.0.0/4 dev eth0"))?;
        }
        Ok(lab)
    }

    pub(crate) fn switch(&self) -> String {
        format!("{}s", self.name)
    }

    pub(crate) fn host(&self, host: usize) -> String {
        format!("{}h{host}", self.name)
    }

    /// Pulls a host's cable (`down`), or puts it in again (`up`). No connection is closed.
    pub(crate) fn cable(&self, host: usize, state: &str) {
        run(&format!("ip -n {} link set p{host} {state}", self.switch())).unwrap();
    }

    /// Sets the content of a file of `/etc` for programs that are started on this host.
    pub(crate) fn etc(&self, host: usize, file: &str, content: &str) -> Result<(), String> {
        let failed = |error| format!("/etc/{file} of a namespace: {error}");
        if !PathBuf::from("/etc").join(file).exists() {
            return Err(format!("this machine has no /etc/{file}"));
        }
        let directory = self.etc_of(host);
        fs::create_dir_all(&directory).map_err(failed)?;
        fs::write(directory.join(file), content).map_err(failed)
    }

    fn etc_of(&self, host: usize) -> PathBuf {
        PathBuf::from("/etc/netns").join(self.host(host))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in 0..self.hosts {
            let _gone = run(&format!("ip netns del {}", self.host(host)));
            let _gone = fs::remove_dir_all(self.etc_of(host));
        }
        let _gone = run(&format!("ip netns del {}", self.switch()));
    }
}
