//! A rolling upgrade of real processes from an older release, under load.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::http::{counter, get, metric, post_json};
use crate::support::load::Load;
use crate::support::process::{Node, Runtime, cluster, command, command_of, run_in};

const SOON: Duration = Duration::from_secs(60);

/// The acknowledged adds that are required before the next node is stopped.
const ADDS: u64 = 300;

/// An old node that shows no add of a new one after this time cannot read it.
const BEHIND: Duration = Duration::from_secs(3);

const CLIENTS: usize = 4;

#[test]
#[ignore = "needs the binary of an older release: COUNTER_OLD_BINARY"]
fn rolling_upgrade_under_load_is_exact() {
    let Some(old) = std::env::var_os("COUNTER_OLD_BINARY").map(PathBuf::from) else {
        return println!("SKIPPED: COUNTER_OLD_BINARY names no binary of an older release");
    };
    let (runtime, cluster, load) = (Runtime::new(), cluster(), Load::new(&[true; 3]));
    let directories = ["ord", "fra", "sin"].map(|region| runtime.path().join(region));
    let logs = || directories.iter().map(|directory| log(directory)).collect::<String>();
    let start = |at: usize, is_old: bool| {
        let command = if is_old { command_of(&old, &runtime) } else { command(&runtime) };
        let node = Node::start_as(command, &cluster, &directories[at], &[]);
        load.set(at, &node.http);
        node
    };
    let mut nodes: Vec<Node> = (0..3).map(|at| start(at, true)).collect();
    let addresses = |nodes: &[Node]| nodes.iter().map(|node| node.http.clone()).collect::<Vec<_>>();
    std::thread::scope(|threads| {
        let load = &load;
        let _ending = load.ending();
        (0..CLIENTS).for_each(|client| drop(threads.spawn(move || load.run(client, 0))));
        for at in 0..3 {
            more_adds(load);
            load.set(at, "");
            let node = nodes.remove(at);
            let replica = node.replica.clone();
            assert!(node.terminate().success(), "{}", logs());
            nodes.insert(at, start(at, false));
            assert_eq!(
                nodes[at].replica.split('-').next(),
                replica.split('-').next(),
                "it read the directory: {}",
                logs()
            );
            more_adds(load);
            println!("{} of 3 are new: {}", at + 1, probes(&nodes, at));
            remove_one(&runtime, &nodes, at);
            if at < 2 {
                let says_so = || {
                    if log(&directories[at]).contains("runs an earlier release") {
                        Ok(())
                    } else {
                        Err(logs())
                    }
                };
                eventually(
                    "the new node says that others are of an earlier release",
                    SOON,
                    says_so,
                );
            }
        }
        more_adds(load);
    });
    let addresses = addresses(&nodes);
    let sums = load.exact(&addresses.iter().map(String::as_str).collect::<Vec<_>>(), logs);
    eventually("only the living are left", SOON, || {
        let held: Vec<Option<f64>> =
            addresses.iter().map(|http| metric(http, "counter_replicas")).collect();
        if held.iter().all(|held| *held == Some(3.0)) {
            Ok(())
        } else {
            Err(format!("{held:?}\n{}", logs()))
        }
    });
    for (node, probe) in nodes.iter().flat_map(|node| (0..9).map(move |probe| (node, probe))) {
        let name = format!("probe-{}-{}", probe / 3, probe % 3);
        assert_eq!(counter(&node.http, &name)["total"], 1, "{name} at {}", node.replica);
    }
    for (node, at) in nodes.iter().flat_map(|node| (0..3).map(move |at| (node, at))) {
        let name = format!("removed-{at}");
        eventually(&format!("{name} is gone"), SOON, || match get(&node.http, "/metrics").body {
            text if metric(&node.http, "counter_tombstones") == Some(0.0) => {
                assert_eq!(counter(&node.http, &name)["total"], 0, "{text}");
                Ok(())
            }
            text => Err(text),
        });
        let listed = get(&node.http, "/api/counters?prefix=removed-").json();
        assert_eq!(listed["counters"].as_array().map(Vec::len), Some(0), "{listed}");
    }
    println!(
        "upgraded under load: {} adds, {} repeats, totals {sums:?} at all three\n{}",
        load.adds(),
        load.repeats(),
        logs()
    );
}

/// Adds to a counter at every node, and removes it at the newest one once that holds all. An old
/// node cannot read a removal, so it may still show the counter.
fn remove_one(runtime: &Runtime, nodes: &[Node], newest: usize) {
    let (name, http) = (format!("removed-{newest}"), &nodes[newest].http);
    for node in nodes {
        let answer = post_json(&node.http, &format!("/api/counters/{name}/add"), "{\"amount\":7}");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    eventually("the newest node holds all", SOON, || match &counter(http, &name)["total"] {
        total if *total == 21 => Ok(()),
        total => Err(total.to_string()),
    });
    let (code, said, error) = run_in(runtime, &["remove", &name, "--admin", &nodes[newest].admin]);
    assert_eq!(code, Some(0), "{said} {error}");
    assert_eq!(counter(http, &name)["total"], 0);
}

fn more_adds(load: &Load) {
    let wanted = load.adds() + ADDS;
    eventually("more adds", SOON, || {
        if load.adds() >= wanted { Ok(()) } else { Err(load.adds().to_string()) }
    });
}

/// Adds one at each node to its own counter. Returns which nodes show it, and how soon. The nodes
/// up to `newest` are new.
///
/// A node of the old release rejects a writer that has used the new format, for example to take an
/// add back. It is behind until it is upgraded. All else is replicated both ways.
fn probes(nodes: &[Node], newest: usize) -> String {
    let mut said = String::new();
    for (from, node) in nodes.iter().enumerate() {
        let name = format!("probe-{newest}-{from}");
        let answer = post_json(&node.http, &format!("/api/counters/{name}/add"), "{\"amount\":1}");
        assert_eq!(answer.status, 200, "{}", answer.body);
        for (at, node) in nodes.iter().enumerate() {
            let began = Instant::now();
            let outcome = eventually(&format!("{name} at {at}"), SOON, || {
                let rejected = labelled(
                    &node.http,
                    "counter_rejected_input_total{reason=\"unknown_version\"}",
                );
                let is_cut =
                    from <= newest && newest < at && rejected > 0.0 && began.elapsed() > BEHIND;
                match counter(&node.http, &name)["total"].as_i64() {
                    Some(1) => Ok(format!("{at} after {:?}", began.elapsed())),
                    _ if is_cut => {
                        Ok(format!("{at} not yet, with {rejected} messages of an unknown version"))
                    }
                    total => Err(format!("{total:?}")),
                }
            });
            said.push_str(&format!("\n  added at {from}, shown at {outcome}"));
        }
    }
    said
}

fn labelled(http: &str, sample: &str) -> f64 {
    let text = get(http, "/metrics").body;
    text.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok()).unwrap_or(0.0)
}

fn log(directory: &Path) -> String {
    format!(
        "-- {}\n{}",
        directory.display(),
        std::fs::read_to_string(directory.with_extension("log")).unwrap()
    )
}
