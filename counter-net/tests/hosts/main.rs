//! Several hosts on one machine, as network namespaces. They find each other by mDNS and as
//! machines on Fly.io do, and notice a pulled cable.
//!
//! Namespaces take root. Without them each test prints SKIPPED and why.

#[path = "../cluster/mod.rs"]
mod cluster;
mod lab;
mod process;

use std::time::{Duration, Instant};

use cluster::name_server::NameServer;
use lab::{Lab, SWITCH_V6, v4, v6};
use process::Process;

const REGIONS: [&str; 3] = ["ord", "fra", "sin"];
const KEY: &str = "a key of these tests alone";

/// Builds hosts, or prints why it cannot.
fn lab(hosts: usize) -> Option<Lab> {
    Lab::build(hosts)
        .inspect_err(|why| {
            println!("SKIPPED: this machine does not allow network namespaces ({why})")
        })
        .ok()
}

fn start(lab: &Lab, host: usize, settings: &[(&str, &str)]) -> Process {
    let settings = [&[("REGION", REGIONS[host]), ("KEY", KEY)], settings].concat();
    Process::start(&lab.host(host), "node_in_a_namespace", &settings)
}

/// Each node adds its own amount, and all show the sum.
fn all_agree(nodes: &mut [Process]) {
    let amounts = [1, 20, 300];
    let sum = nodes.iter_mut().zip(amounts).map(|(node, amount)| {
        node.tell(&format!("add {amount}"));
        amount
    });
    let sum = sum.sum();
    for node in nodes {
        node.until("clicks", sum);
    }
}

#[test]
fn mdns_finds_nodes_on_one_segment() {
    let Some(lab) = lab(3) else { return };
    let began = Instant::now();
    let mut nodes: Vec<Process> = (0..3)
        .map(|host| {
            start(
                &lab,
                host,
                &[("DISCOVER", "mdns"), ("LISTEN", &format!("/ip4/{}/tcp/0", v4(host)))],
            )
        })
        .collect();
    for node in &nodes {
        node.until("peers", 2);
    }
    println!("mDNS: three processes found each other within {:?}", began.elapsed());
    all_agree(&mut nodes);
}

#[test]
fn fly_machines_find_each_other() {
    let Some(lab) = lab(3) else { return };
    for host in 0..3 {
        let files = lab
            .etc(host, "hosts", &format!("127.0.0.1 localhost\n{} fly-local-6pn\n", v6(host)))
            .and_then(|()| lab.etc(host, "resolv.conf", &format!("nameserver {SWITCH_V6}\n")));
        if let Err(why) = files {
            return println!("SKIPPED: a namespace cannot have its own files ({why})");
        }
    }
    let addresses = (0..3).map(v6).collect::<Vec<_>>().join(" ");
    let server =
        Process::start(&lab.switch(), "name_server_in_a_namespace", &[("ADDRESSES", &addresses)]);
    server.until("serving", 1);
    let began = Instant::now();
    let mut nodes: Vec<Process> = (0..3)
        .map(|host| start(&lab, host, &[("DISCOVER", "fly"), ("FLY_APP_NAME", "clicks")]))
        .collect();
    for node in &nodes {
        node.until("peers", 2);
    }
    println!("fly: three processes found each other within {:?}", began.elapsed());
    all_agree(&mut nodes);
}

/// Pulling a cable closes no connection. Yet the viewers on the far side are gone within seconds,
/// and nobody else's.
#[test]
fn unplugged_host_is_gone_within_seconds() {
    let Some(lab) = lab(3) else { return };
    let address = |host| format!("/ip4/{}/tcp/7000", v4(host));
    let mut nodes: Vec<Process> = (0..3)
        .map(|host| {
            let peers =
                (0..3).filter(|other| *other != host).map(address).collect::<Vec<_>>().join(" ");
            start(
                &lab,
                host,
                &[("DISCOVER", "none"), ("LISTEN", &address(host)), ("PEERS", &peers)],
            )
        })
        .collect();
    for node in &mut nodes {
        node.tell("viewer");
    }
    for node in &nodes {
        node.until("viewers", 3);
        node.until("peers", 2);
    }
    lab.cable(2, "down");
    let began = Instant::now();
    let gone: Vec<Duration> = (0..2)
        .map(|host| {
            nodes[host].until("viewers", 2);
            began.elapsed()
        })
        .collect();
    nodes[2].until("viewers", 1);
    println!(
        "cable pulled: its viewer left the others' pages after {gone:?}, and theirs left its own after {:?}",
        began.elapsed()
    );
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    for (host, node) in nodes.iter_mut().enumerate() {
        node.tell(&format!("add {}", [1, 20, 300][host]));
    }
    nodes[0].until("clicks", 21);
    lab.cable(2, "up");
    let began = Instant::now();
    for node in &nodes {
        node.until("clicks", 321);
        node.until("viewers", 3);
    }
    println!("cable in again: all agree and show all nodes after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other tests start it in a namespace"]
async fn node_in_a_namespace() {
    if std::env::var_os("REGION").is_some() {
        process::live().await;
    }
}

#[tokio::test]
#[ignore = "the other tests start it in a namespace"]
async fn name_server_in_a_namespace() {
    let Ok(addresses) = std::env::var("ADDRESSES") else { return };
    let server = NameServer::start(&format!("[{SWITCH_V6}]:53")).await;
    for address in addresses.split_whitespace() {
        server.show(address.parse().unwrap());
    }
    println!("status serving=1");
    // It ends when its input does, which is when the test ends.
    tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await.unwrap();
}
