//! Several hosts on one machine: network namespaces with delay, loss, and a partition that heals.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::eventually;
use serde_json::Value;

const HOSTS: usize = 3;
const REGIONS: [&str; HOSTS] = ["ord", "fra", "sin"];

/// The namespaces of this test, joined by a bridge. Dropping the handle removes them.
struct HostLab {
    name: String,
}

fn run(command: &str) -> Result<String, String> {
    let words: Vec<&str> = command.split(' ').collect();
    let done = Command::new(words[0])
        .args(&words[1..])
        .output()
        .map_err(|error| format!("{command}: {error}"))?;
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        false => Err(format!("{command}: {}", String::from_utf8_lossy(&done.stderr))),
    }
}

impl HostLab {
    fn build() -> Result<Self, String> {
        let lab = Self { name: format!("cw{}", std::process::id() % 100_000) };
        let name = &lab.name;
        run("curl --version")?;
        run(&format!("ip netns add {name}s"))?;
        run(&format!("ip -n {name}s link add name b0 type bridge"))?;
        run(&format!("ip -n {name}s link set b0 up"))?;
        for host in 0..HOSTS {
            run(&format!("ip netns add {name}h{host}"))?;
            run(&format!(
                "ip -n {name}h{host} link add name eth0 type veth peer name p{host} netns {name}s"
            ))?;
            run(&format!("ip -n {name}s link set p{host} master b0 up"))?;
            run(&format!("ip -n {name}h{host} addr add {}/24 dev eth0", address(host)))?;
            run(&format!("ip -n {name}h{host} link set eth0 up"))?;
            run(&format!("ip -n {name}h{host} link set lo up"))?;
        }
        Ok(lab)
    }

    fn inside(&self, host: usize) -> [String; 4] {
        ["ip".into(), "netns".into(), "exec".into(), format!("{}h{host}", self.name)]
    }

    /// Loses this percentage of packets, and delays the others by 20 ms if the kernel can. Returns
    /// a description.
    fn links(&self, loss_percent: u32) -> Result<&'static str, String> {
        let mut how = "20 ms delay";
        for host in 0..HOSTS {
            let name = &self.name;
            if run(&format!(
                "tc -n {name}h{host} qdisc replace dev eth0 root netem delay 20ms 5ms \
                loss {loss_percent}%"
            ))
            .is_err()
            {
                how = "no delay: this kernel has no netem";
                run(&format!("ip netns exec {name}h{host} iptables -F INPUT"))?;
                let lose = format!(
                    "-i eth0 -m statistic --mode random --probability \
                    0.{loss_percent:02} -j DROP"
                );
                run(&format!("ip netns exec {name}h{host} iptables -A INPUT {lose}"))?;
            }
        }
        Ok(how)
    }

    /// Unplugs a host, or plugs it in again.
    fn cable(&self, host: usize, state: &str) {
        run(&format!("ip -n {}s link set p{host} {state}", self.name)).unwrap();
    }

    fn curl(&self, host: usize, path: &str, more: &[&str]) -> Result<Value, String> {
        let mut command = Command::new("ip");
        command
            .args(&self.inside(host)[1..])
            .args(["curl", "-s", "--max-time", "5"])
            .args(more)
            .arg(format!("http://127.0.0.1:4000{path}"));
        let done = command.output().unwrap();
        serde_json::from_slice(&done.stdout)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&done.stdout)))
    }

    fn add(&self, host: usize, amount: i64) {
        let body = format!("{{\"amount\":{amount}}}");
        let added = self
            .curl(
                host,
                "/api/counters/clicks/add",
                &["-H", "Content-Type: application/json", "-d", &body],
            )
            .unwrap();
        assert!(added["id"].is_string(), "{added}");
    }

    /// Waits until these hosts show one total and one hash. Returns the time.
    fn agreed(&self, hosts: &[usize], total: i64) -> Duration {
        let start = Instant::now();
        eventually("the hosts agree", Duration::from_secs(60), || {
            let seen: Vec<Value> = hosts
                .iter()
                .map(|&host| self.curl(host, "/api/counters/clicks", &[]).unwrap_or_default())
                .collect();
            let same = seen
                .iter()
                .all(|one| one["total"] == total && one["state_hash"] == seen[0]["state_hash"]);
            if same { Ok(()) } else { Err(format!("{seen:?}")) }
        });
        start.elapsed()
    }
}

impl Drop for HostLab {
    fn drop(&mut self) {
        for host in 0..HOSTS {
            let _gone = run(&format!("ip netns del {}h{host}", self.name));
        }
        let _gone = run(&format!("ip netns del {}s", self.name));
    }
}

fn address(host: usize) -> String {
    format!("10.77.0.{}", host + 1)
}

struct HostProcess(Child);

impl Drop for HostProcess {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn start(lab: &HostLab, host: usize) -> HostProcess {
    let inside = lab.inside(host);
    let mut command = Command::new(&inside[0]);
    command.args(&inside[1..]).arg(env!("CARGO_BIN_EXE_counter-web"));
    command.args([
        "--region",
        REGIONS[host],
        "--http",
        "127.0.0.1:4000",
        "--discover",
        "none",
        "--cluster",
        "hosts",
    ]);
    command.args(["--listen", &format!("/ip4/{}/tcp/7000", address(host))]);
    for other in (0..HOSTS).filter(|&other| other != host) {
        command.args(["--peer", &format!("/ip4/{}/tcp/7000", address(other))]);
    }
    command.env("COUNTER_CLUSTER_KEY", "a key of this test alone").env("RUST_LOG", "error");
    let runtime = std::env::temp_dir().join(format!("{}-{host}", lab.name));
    std::fs::create_dir_all(&runtime).unwrap();
    command.env("XDG_RUNTIME_DIR", runtime).stdin(Stdio::null()).stdout(Stdio::null());
    HostProcess(command.spawn().unwrap())
}

#[test]
fn hosts_stay_exact_under_faults() {
    let lab = match HostLab::build().and_then(|lab| lab.links(0).map(|_| lab)) {
        Ok(lab) => lab,
        Err(why) => {
            return println!(
                "SKIPPED hosts: this machine lets us make no network of namespaces ({})",
                why.trim()
            );
        }
    };
    let nodes: Vec<HostProcess> = (0..HOSTS).map(|host| start(&lab, host)).collect();
    for host in 0..HOSTS {
        eventually("the node is ready", Duration::from_secs(30), || {
            lab.curl(host, "/api/status", &[]).and_then(|status| {
                if status["synced"] == true && status["peers"] == 2 {
                    Ok(())
                } else {
                    Err(status.to_string())
                }
            })
        });
    }
    let mut total = 0;
    for (loss_percent, amount) in [(0, 10), (5, 200), (20, 3_000)] {
        let how = lab.links(loss_percent).unwrap();
        (0..HOSTS).for_each(|host| (0..5).for_each(|_| lab.add(host, amount)));
        total += 15 * amount;
        println!(
            "{loss_percent} % loss, {how}: all three agree on {total} after {:?}",
            lab.agreed(&[0, 1, 2], total)
        );
    }
    lab.links(0).unwrap();
    lab.cable(2, "down");
    (0..HOSTS).for_each(|host| lab.add(host, 40_000));
    lab.agreed(&[0, 1], total + 80_000);
    assert_eq!(
        lab.curl(2, "/api/counters/clicks", &[]).unwrap()["total"],
        total + 40_000,
        "the host that is cut off counts alone"
    );
    eventually("the others see that it is gone", Duration::from_secs(30), || {
        let nodes = lab.curl(0, "/api/counters/clicks", &[])?["regions"]["sin"]["nodes"].clone();
        if nodes == 0 { Ok(()) } else { Err(nodes.to_string()) }
    });
    lab.cable(2, "up");
    println!(
        "healed: all three agree on {} after {:?}",
        total + 120_000,
        lab.agreed(&[0, 1, 2], total + 120_000)
    );
    drop(nodes);
}
