//! Incarnations of real processes: endless restarts, copied and restored directories, lost nodes,
//! and nodes that leave for good.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::http::{add, agreed, counter, metric};
use crate::support::process::{Node, Runtime, cluster, run_in, signal};
use serde_json::Value;

/// The number of restarts, unless `COUNTER_RESTARTS` is set.
const RESTARTS: usize = 12;

const SOON: Duration = Duration::from_secs(60);

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// The log of a directory's node, over all of its incarnations.
fn log(directory: &Path) -> String {
    std::fs::read_to_string(directory.with_extension("log")).unwrap()
}

/// An operator's command: its lines of JSON.
fn operate(runtime: &Runtime, node: &Node, command: &[&str]) -> Result<Vec<Value>, String> {
    let (code, said, stderr) = run_in(runtime, &[command, &["--admin", &node.admin]].concat());
    if code == Some(0) {
        Ok(said.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    } else {
        Err(stderr)
    }
}

/// A replica as a node's operators see it.
fn standing(runtime: &Runtime, node: &Node, replica: &str) -> Option<Value> {
    operate(runtime, node, &["members"])
        .unwrap()
        .into_iter()
        .find(|line| line["replica"] == replica)
}

/// Waits until the nodes hold the cells of exactly this many replicas.
fn replicas_left(nodes: &[&Node], replicas: usize) {
    eventually("only the living are left", SOON, || {
        let held: Vec<Option<f64>> =
            nodes.iter().map(|node| metric(&node.http, "counter_replicas")).collect();
        if held.iter().all(|held| *held == Some(replicas as f64)) {
            Ok(())
        } else {
            Err(format!("{held:?}"))
        }
    });
}

fn total(nodes: &[&Node], expected: u64) {
    eventually("the total", SOON, || {
        let seen = agreed(&nodes.iter().map(|node| node.http.as_str()).collect::<Vec<_>>());
        if seen == expected { Ok(()) } else { Err(format!("{seen} instead of {expected}")) }
    });
}

/// The bytes that a newcomer reads from one node until both are equal. It leaves again.
fn bytes_to_join(cluster: &str, node: &Node) -> f64 {
    let newcomer = Node::start(cluster, "new", &[node]);
    agreed(&[&node.http, &newcomer.http]);
    let text = crate::support::http::get(&newcomer.http, "/metrics").body;
    let taken = |kind: &str| {
        let name = format!("counter_payload_bytes_total{{direction=\"in\",kind=\"{kind}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    let bytes = taken("ask") + taken("pull");
    assert!(bytes > 0.0, "{text}");
    assert!(newcomer.terminate().success());
    bytes
}

#[test]
fn endless_restarts_leave_a_fresh_state() {
    let restarts = std::env::var("COUNTER_RESTARTS")
        .ok()
        .and_then(|restarts| restarts.parse().ok())
        .unwrap_or(RESTARTS);
    let (runtime, cluster, began) = (Runtime::new(), cluster(), Instant::now());
    let directories = ["ord", "fra", "sin"].map(|region| runtime.path().join(region));
    let start = |at: usize| Node::start_in(&runtime, &cluster, &directories[at], &[]);
    let mut nodes: Vec<Node> = (0..3).map(start).collect();
    let mut clicks = 0;
    for restart in 0..restarts {
        let at = restart % 3;
        add(&nodes[at].http, 7);
        clicks += 7;
        let node = nodes.remove(at);
        match restart % 2 {
            0 => assert!(node.terminate().success()),
            _ => drop(node),
        }
        nodes.insert(at, start(at));
        add(&nodes[at].http, 1);
        clicks += 1;
    }
    let all: Vec<&Node> = nodes.iter().collect();
    replicas_left(&all, 3);
    total(&all, clicks);
    let file = std::fs::metadata(directories[0].join("counter.redb")).unwrap().len();
    let (cells, old) =
        (metric(&nodes[0].http, "counter_cells").unwrap(), bytes_to_join(&cluster, &nodes[0]));
    let fresh = fresh_cluster_bytes(clicks);
    println!(
        "{restarts} restarts in {:?}: 3 replicas, {cells} cells, {clicks} clicks; a newcomer takes \
            in {old} bytes, {fresh} from a fresh cluster; a \
         file of {file} bytes",
        began.elapsed()
    );
    assert!(cells <= 3.0, "a cell a replica, as in a fresh cluster");
    assert!(old <= 2.0 * fresh, "{old} bytes, {fresh} from a fresh cluster");
}

/// The bytes that a newcomer reads from a cluster of three that was never restarted and has this
/// total.
fn fresh_cluster_bytes(clicks: u64) -> f64 {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let start =
        |region: &str| Node::start_in(&runtime, &cluster, &runtime.path().join(region), &[]);
    let nodes = ["ord", "fra", "sin"].map(start);
    for (at, node) in nodes.iter().enumerate() {
        add(&node.http, (clicks / 3 + u64::from((at as u64) < clicks % 3)) as i64);
    }
    total(&nodes.iter().collect::<Vec<_>>(), clicks);
    bytes_to_join(&cluster, &nodes[0])
}

#[test]
fn copied_directory_counts_every_click_once() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let (original, copied) = (runtime.path().join("ord"), runtime.path().join("copy"));
    let node = Node::start_in(&runtime, &cluster, &original, &[]);
    add(&node.http, 100);
    assert!(node.terminate().success());
    copy(&original, &copied);
    let node = Node::start_in(&runtime, &cluster, &original, &[]);
    add(&node.http, 10);
    let twin = Node::start_in(&runtime, &cluster, &copied, &[]);
    assert_ne!(
        twin.replica.split('-').next(),
        node.replica.split('-').next(),
        "the copy takes another identity"
    );
    add(&twin.http, 1);
    total(&[&node, &twin], 111);
    assert!(log(&copied).contains("is a copy, or was restored or moved"), "{}", log(&copied));
    eventually("the copy sees that the original continues", SOON, || {
        let log = log(&copied);
        if log.contains("continues the original of this data directory") {
            Ok(())
        } else {
            Err(log)
        }
    });
    // The original restarts, and so does the copy. Each keeps its identity.
    assert!(node.terminate().success());
    assert!(twin.terminate().success());
    let (node, twin) = (
        Node::start_in(&runtime, &cluster, &original, &[]),
        Node::start_in(&runtime, &cluster, &copied, &[]),
    );
    add(&node.http, 1000);
    add(&twin.http, 10_000);
    total(&[&node, &twin], 11_111);
    replicas_left(&[&node, &twin], 2);
    assert_eq!(
        log(&copied).matches("is a copy, or was restored or moved").count(),
        1,
        "its directory is its own now"
    );
}

#[test]
fn restored_directory_loses_nothing_that_a_member_has() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let (directory, backup) = (runtime.path().join("ord"), runtime.path().join("backup"));
    let other = Node::start_in(&runtime, &cluster, &runtime.path().join("fra"), &[]);
    let node = Node::start_in(&runtime, &cluster, &directory, &[]);
    add(&node.http, 100);
    total(&[&node, &other], 100);
    assert!(node.terminate().success());
    copy(&directory, &backup);
    let node = Node::start_in(&runtime, &cluster, &directory, &[]);
    add(&node.http, 11);
    total(&[&node, &other], 111);
    let killed = node.replica.clone();
    drop(node);
    // Not removed, because the file system might give the restored one the same number. A copy is
    // recognised by its number.
    std::fs::rename(&directory, runtime.path().join("lost")).unwrap();
    copy(&backup, &directory);
    let restored = Node::start_in(&runtime, &cluster, &directory, &[]);
    add(&restored.http, 1000);
    total(&[&restored, &other], 1111);
    assert!(log(&directory).contains("is a copy, or was restored or moved"), "{}", log(&directory));
    // A member knows a later incarnation than the backup does. No node continues that one, and an
    // operator must say so.
    let lost = eventually("the lost incarnation is noticed", SOON, || {
        let lines = operate(&runtime, &other, &["members"]).unwrap();
        // A node killed early has not claimed its earlier incarnation, which is then absent.
        // Retiring the latest absorbs both.
        let is_lost =
            |line: &&Value| line["standing"] == "absent" && line["replica"] == killed.as_str();
        let lost =
            lines.iter().find(is_lost).map(|line| line["replica"].as_str().unwrap().to_owned());
        lost.ok_or_else(|| format!("{lines:?}"))
    });
    let refused = operate(&runtime, &other, &["retire", &lost]).unwrap_err();
    assert!(
        refused.contains("s ago, and may still run") && refused.contains("--force"),
        "{refused}"
    );
    operate(&runtime, &other, &["retire", &lost, "--force"]).unwrap();
    replicas_left(&[&restored, &other], 2);
    total(&[&restored, &other], 1111);
}

#[test]
fn cluster_from_backups_keeps_its_identities() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let directories = ["ord", "fra"].map(|region| runtime.path().join(region));
    let nodes = [0, 1].map(|at| Node::start_in(&runtime, &cluster, &directories[at], &[]));
    add(&nodes[0].http, 5);
    add(&nodes[1].http, 7);
    total(&[&nodes[0], &nodes[1]], 12);
    let identities: Vec<String> =
        nodes.iter().map(|node| node.replica.split('-').next().unwrap().to_owned()).collect();
    nodes.into_iter().for_each(|node| assert!(node.terminate().success()));
    for directory in &directories {
        copy(directory, &directory.with_extension("backup"));
        std::fs::remove_dir_all(directory).unwrap();
        copy(&directory.with_extension("backup"), directory);
    }
    let nodes =
        [0, 1].map(|at| Node::start_in(&runtime, &cluster, &directories[at], &["--restored"]));
    for (node, identity) in nodes.iter().zip(&identities) {
        assert!(node.replica.starts_with(identity), "{} and {identity}", node.replica);
    }
    add(&nodes[0].http, 1);
    total(&[&nodes[0], &nodes[1]], 13);
    replicas_left(&[&nodes[0], &nodes[1]], 2);
}

#[test]
fn lost_node_holds_up_folding_until_retired() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let start = |region: &str, flags: &[&str]| {
        Node::start_in(&runtime, &cluster, &runtime.path().join(region), flags)
    };
    let (node, lost) = (start("ord", &[]), start("fra", &[]));
    add(&lost.http, 3);
    total(&[&node, &lost], 3);
    let replica = lost.replica.clone();
    assert_eq!(standing(&runtime, &node, &replica).unwrap()["standing"], "live");
    let refused = operate(&runtime, &node, &["retire", &replica]).unwrap_err();
    assert!(refused.contains("live"), "{refused}");
    drop(lost);
    eventually("its absence is noticed", SOON, || match standing(&runtime, &node, &replica) {
        Some(line) if line["standing"] == "absent" => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    let waits = |node: &Node| {
        crate::support::http::get(&node.http, "/api/status").json()["retirement"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(waits(&node).starts_with(&format!("{replica} of fra is absent")), "{}", waits(&node));
    // The node's own earlier incarnation ends with a restart. The lost one does not confirm it.
    assert!(node.terminate().success());
    let node = start("ord", &[]);
    eventually("it holds up folding", SOON, || match standing(&runtime, &node, &replica) {
        Some(line) if line["holds_up_folding"] == true => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    assert_eq!(metric(&node.http, "counter_folding_held_up"), Some(1.0));
    assert!(
        waits(&node).ends_with(&format!(
            "{replica} of fra is absent and has not shown that it knows: restart it from its \
                directory, \
             or `retire` it if it is lost"
        )),
        "{}",
        waits(&node)
    );
    let said = operate(&runtime, &node, &["retire", &replica]).unwrap();
    assert_eq!(
        (said[0]["retired"].as_str(), said[0]["successor"].as_str()),
        (Some(&*replica), Some(&*node.replica))
    );
    replicas_left(&[&node], 1);
    assert_eq!(waits(&node), "clean");
    assert_eq!(counter(&node.http, "clicks")["total"], 3);
    let again = operate(&runtime, &node, &["retire", &replica]).unwrap_err();
    assert!(again.contains("retired before"), "{again}");
}

/// Retires a replica, and returns as soon as the node has answered.
fn retire_at_once(node: &Node, replica: &str) -> Value {
    let mut stream = UnixStream::connect(&node.admin).unwrap();
    stream.write_all(format!("retire {replica} --force\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn retirement_survives_a_kill_right_after_the_answer() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let directory = runtime.path().join("ord");
    let start = || Node::start_in(&runtime, &cluster, &directory, &[]);
    let mut node = start();
    for round in 1..=8 {
        let lost = Node::start_in_memory(&runtime, &cluster, &runtime.path().join("fra"), &[]);
        add(&lost.http, 1);
        let replica = lost.replica.clone();
        total(&[&node, &lost], round);
        drop(lost);
        // A replica that was live a moment ago is retired as soon as its loss is noticed.
        eventually("it is retired", SOON, || match &retire_at_once(&node, &replica) {
            answer if answer["retired"] == *replica => Ok(()),
            answer => Err(answer.to_string()),
        });
        drop(node);
        node = start();
    }
    replicas_left(&[&node], 1);
    assert_eq!(counter(&node.http, "clicks")["total"], 8);
}

#[test]
fn retirement_that_nobody_confirmed_comes_with_a_warning() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let start =
        |region: &str| Node::start_in_memory(&runtime, &cluster, &runtime.path().join(region), &[]);
    let (node, other, lost) = (start("ord"), start("fra"), start("sin"));
    let replica = lost.replica.clone();
    add(&lost.http, 1);
    total(&[&node, &other, &lost], 1);
    drop(lost);
    eventually("its absence is noticed", SOON, || match standing(&runtime, &node, &replica) {
        Some(line) if line["standing"] == "absent" => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    signal(other.id(), "STOP");
    let answer = retire_at_once(&node, &replica);
    signal(other.id(), "CONT");
    assert_eq!(answer["retired"], *replica);
    let warning = answer["warning"].as_str().unwrap_or_default();
    assert!(warning.starts_with("no other node has confirmed this yet"), "{answer}");
    replicas_left(&[&node, &other], 2);
}

#[test]
fn left_node_is_forgotten_and_its_clicks_stay() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let start =
        |region: &str| Node::start_in(&runtime, &cluster, &runtime.path().join(region), &[]);
    let (node, mut leaver) = (start("ord"), start("fra"));
    add(&leaver.http, 3);
    total(&[&node, &leaver], 3);
    operate(&runtime, &leaver, &["leave"]).unwrap();
    assert!(leaver.end().success());
    replicas_left(&[&node], 1);
    assert_eq!(counter(&node.http, "clicks")["total"], 3);
    assert_eq!(counter(&node.http, "clicks")["regions"]["fra"]["value"], 3);
}

/// A named node in memory, which finds the others of its cluster in `runtime`.
fn named(runtime: &Runtime, cluster: &str, name: &str) -> Node {
    let mut command = crate::support::process::command(runtime);
    command.args([
        "--cluster",
        cluster,
        "--region",
        name,
        "--discover",
        "local",
        "--http",
        "127.0.0.1:0",
        "--node-name",
        name,
    ]);
    Node::spawn(command)
}

#[test]
fn named_nodes_in_memory_are_whole_after_kills() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let names = ["ord", "fra", "sin"];
    let mut nodes = names.map(|name| named(&runtime, &cluster, name));
    let mut clicks = 0;
    for (at, name) in names.iter().enumerate() {
        for node in &nodes {
            add(&node.http, 5);
            clicks += 5;
        }
        total(&nodes.iter().collect::<Vec<_>>(), clicks);
        nodes[at].kill();
        nodes[at] = named(&runtime, &cluster, name);
    }
    let all: Vec<&Node> = nodes.iter().collect();
    total(&all, clicks);
    replicas_left(&all, 3);
    for node in &nodes {
        assert_eq!(operate(&runtime, node, &["members"]).unwrap().len(), 3);
        assert_eq!(
            crate::support::http::get(&node.http, "/api/status").json()["retirement"],
            "clean"
        );
    }
}

/// These nodes do not come back. The others see that their processes are gone.
#[test]
fn killed_nodes_in_memory_on_one_machine_leave_nothing() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let start = |region: &str| {
        let mut command = crate::support::process::command(&runtime);
        command.args([
            "--cluster",
            &cluster,
            "--region",
            region,
            "--discover",
            "local",
            "--http",
            "127.0.0.1:0",
        ]);
        Node::spawn(command)
    };
    let mut nodes = ["ord", "fra", "sin"].map(start);
    nodes.iter().for_each(|node| add(&node.http, 5));
    total(&nodes.iter().collect::<Vec<_>>(), 15);
    let [stays, killed @ ..] = &mut nodes;
    killed.iter_mut().for_each(Node::kill);
    replicas_left(&[stays], 1);
    assert_eq!(counter(&stays.http, "clicks")["total"], 15);
    assert_eq!(crate::support::http::get(&stays.http, "/api/status").json()["retirement"], "clean");
}
