//! The demo. It prints a line for each node, restarts a node that dies, and leaves nothing behind
//! however it ends. A node without flags finds it.

use std::net::TcpListener;
use std::time::Duration;

use crate::support::demo::Demo;
use crate::support::http::{add, counter, get, row};
use crate::support::process::{Node, Runtime, command, run, run_in, signal};
use crate::support::{PATIENCE, eventually, first_page_within_a_second};

fn total_is(http: &str, total: i64) {
    eventually("the node shows the total", PATIENCE, || {
        match counter(http, "clicks")["total"].clone() {
            seen if seen == total => Ok(()),
            seen => Err(seen.to_string()),
        }
    });
}

#[test]
fn extra_node_joins_the_demo() {
    let demo = Demo::start(&["ord", "fra", "sin"]);
    for (at, amount) in [(0, 42), (1, 7), (2, -5)] {
        add(demo.http(at), amount);
    }
    (0..3).for_each(|at| total_is(demo.http(at), 44));
    first_page_within_a_second(|| {
        let mut syd = command(&demo.runtime);
        syd.args(["--http", "127.0.0.1:0"]).env("FLY_REGION", "syd");
        let syd = Node::spawn(syd);
        let page = get(&syd.http, "/").body;
        let took = syd.started.elapsed();
        let shown = ["ord", "fra", "sin", "syd"].map(|region| row(&page, region));
        assert_eq!(shown, ["42", "7", "-5", "0"].map(|value| Some(value.to_owned())), "{page}");
        assert!(syd.terminate().success());
        took
    });
}

#[test]
fn signal_ends_the_demo_and_its_nodes() {
    for name in ["INT", "TERM"] {
        let demo = Demo::start(&["ord", "fra", "sin"]);
        let regions: Vec<_> =
            demo.nodes.iter().map(|line| line["region"].as_str().unwrap()).collect();
        assert_eq!(regions, ["ord", "fra", "sin"]);
        assert_eq!(
            demo.end(name),
            (Some(0), String::new()),
            "{name}: status, and what was printed after the three lines"
        );
    }
}

#[test]
fn killed_demo_ends_its_nodes() {
    let demo = Demo::start(&["ord", "fra", "sin"]);
    assert_eq!(demo.end("KILL").0, None);
}

#[test]
fn killed_demo_node_is_restarted() {
    let mut demo = Demo::start(&["ord", "fra", "sin"]);
    for (at, amount) in [(0, 42), (1, 7), (2, -5)] {
        add(demo.http(at), amount);
    }
    (0..3).for_each(|at| total_is(demo.http(at), 44));
    let others = ["ord", "sin"].map(|region| demo.process(region).unwrap());
    for round in 1..=2 {
        let killed = demo.process("fra").unwrap();
        signal(killed, "KILL");
        let line = demo.next_line();
        assert_eq!(
            (&line["region"], &line["http"]),
            (&demo.nodes[1]["region"], &demo.nodes[1]["http"]),
            "round {round}: {line}"
        );
        assert_ne!(line["replica"], demo.nodes[1]["replica"], "a new run of the node");
        assert_ne!(demo.process("fra"), Some(killed));
        total_is(demo.http(1), 44);
        let page = get(demo.http(1), "/").body;
        let leads_to = |at| page.contains(&format!("<a href=\"http://{}/\"", demo.http(at)));
        assert!(leads_to(0) && leads_to(2), "{page}");
        let said = demo.said();
        assert_eq!(
            said.matches("The node of fra ended (signal: 9 (SIGKILL)). Restarting it in").count(),
            round,
            "{said}"
        );
    }
    add(demo.http(1), 6);
    (0..3).for_each(|at| total_is(demo.http(at), 50));
    assert_eq!(
        ["ord", "sin"].map(|region| demo.process(region).unwrap()),
        others,
        "they never stopped"
    );
    assert_eq!(demo.end("TERM"), (Some(0), String::new()));
}

#[test]
fn failing_demo_node_is_retried_with_growing_pauses() {
    let mut demo = Demo::start(&["ord", "fra"]);
    let fra = demo.http(1).to_owned();
    signal(demo.process("fra").unwrap(), "KILL");
    // Another program takes its port before the demo tries again.
    let taken = eventually("the port is free", PATIENCE, || {
        TcpListener::bind(&fra).map_err(|error| error.to_string())
    });
    for pause in [100, 200, 400, 800] {
        eventually("the next pause is longer", Duration::from_secs(30), || match demo.said() {
            said if said.contains(&format!("Restarting it in {pause} ms.")) => Ok(()),
            said => Err(said),
        });
    }
    let said = demo.said();
    assert!(said.contains(&format!("cannot serve on {fra}")), "{said}");
    total_is(demo.http(0), 0);
    drop(taken);
    assert_eq!(demo.next_line()["http"], fra);
    assert_eq!(get(&fra, "/healthz").status, 200);
    assert_eq!(demo.end("TERM"), (Some(0), String::new()));
}

#[test]
fn taken_port_ends_the_demo() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    // Reading its stderr to the end, as this does, waits for all of its nodes.
    let (code, stderr) =
        run(&["demo", "--regions", "ord,fra", "--port", &address.port().to_string()]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(&address.to_string()) && !stderr.contains("panicked"), "{stderr}");
}

#[test]
fn operators_list_members_and_make_a_node_leave() {
    let demo = Demo::start(&["ord", "fra"]);
    let admin = demo.nodes[0]["admin"].as_str().unwrap().to_owned();
    eventually("ord knows fra", PATIENCE, || {
        let (code, said, stderr) = run_in(&demo.runtime, &["members", "--admin", &admin]);
        assert_eq!(code, Some(0), "{stderr}");
        let regions: Vec<String> = said
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["region"].to_string()
            })
            .collect();
        if regions.len() == 2 { Ok(()) } else { Err(said) }
    });
    let (code, _, stderr) = run_in(&demo.runtime, &["members"]);
    assert_eq!(code, Some(2), "two nodes run there: {stderr}");
    assert!(stderr.contains("--admin"), "{stderr}");
    let (code, _, stderr) = run_in(&Runtime::new(), &["members"]);
    assert_eq!(code, Some(1), "none runs there: {stderr}");
    let (code, said, stderr) = run_in(&demo.runtime, &["leave", "--admin", &admin]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(said.contains("leaving"), "{said}");
}

#[test]
fn top_shows_nodes_with_equal_states() {
    let demo = Demo::start(&["ord", "fra", "sin"]);
    add(demo.http(0), 42);
    let frame = eventually("top shows three nodes that agree", Duration::from_secs(30), || {
        let (code, frame, stderr) = run_in(&demo.runtime, &["top", "--once"]);
        assert_eq!(code, Some(0), "{stderr}");
        if frame.contains("all states equal") && frame.contains("3 of 3 members live") {
            Ok(frame)
        } else {
            Err(frame)
        }
    });
    for node in &demo.nodes {
        let (region, replica) =
            (node["region"].as_str().unwrap(), node["replica"].as_str().unwrap());
        let lines: Vec<_> = frame.lines().filter(|line| line.starts_with(region)).collect();
        assert_eq!(lines.len(), 2, "{region} as a node and as a member:\n{frame}");
        assert!(lines[0].contains(" ok "), "{frame}");
        assert!(lines[1].contains(replica) && lines[1].contains(" live "), "{frame}");
    }
    assert!(
        frame.lines().count() <= 24 && frame.lines().all(|line| line.chars().count() <= 80),
        "{frame}"
    );
}

#[test]
fn top_of_one_node_compares_nothing() {
    let demo = Demo::start(&["ord", "fra"]);
    let admin = demo.nodes[1]["admin"].as_str().unwrap();
    let (code, frame, stderr) = run_in(&demo.runtime, &["top", "--once", "--admin", admin]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(frame.contains("1 node here") && frame.contains("none to compare it with"), "{frame}");
    let (code, _, stderr) = run_in(&demo.runtime, &["top", "--admin", admin]);
    assert_eq!(code, Some(2), "its output is no terminal here: {stderr}");
    assert!(stderr.contains("--once"), "{stderr}");
    assert_eq!(run_in(&Runtime::new(), &["top", "--once"]).0, Some(1), "no node runs there");
}

#[test]
fn early_hang_up_is_no_error() {
    let demo = Demo::start(&["ord"]);
    for of in ["top --once", "members", "list"] {
        let mut command = command(&demo.runtime);
        command
            .args(of.split(' '))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert!(
            ended.status.success() && ended.stderr.is_empty(),
            "{of}: {}",
            String::from_utf8_lossy(&ended.stderr)
        );
    }
}
