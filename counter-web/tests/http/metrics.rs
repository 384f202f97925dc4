//! The operator's guide, the dashboard and the alarms use exactly the metrics of a real node.

#[path = "../../../counter-net/tests/exposition/mod.rs"]
mod exposition;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::support::eventually;
use crate::support::http::{add, get, request};
use crate::support::process::{Node, Runtime, cluster};
use serde_json::Value;
use yaml_rust2::YamlLoader;

/// Metrics that a healthy pair of nodes may lack: they need a peer that breaks the protocol, or
/// gossip without a mesh. counter-net tests them.
const NOT_HERE: [&str; 2] = ["counter_rejected_input_total", "counter_publish_failed_total"];

/// The names of metrics, with their labels.
type MetricNames = BTreeMap<String, BTreeSet<String>>;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The names in a scrape.
fn printed(text: &str) -> MetricNames {
    let mut names = MetricNames::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, rest) = line.split_once(['{', ' ']).expect("a value");
        let labels = rest
            .split("=\"")
            .filter_map(|part| part.rsplit([',', '"', '}']).next())
            .filter(|label| label.starts_with(char::is_alphabetic));
        names.entry(name.to_owned()).or_default().extend(labels.map(str::to_owned));
    }
    names
}

/// The names in the guide's table.
fn explained() -> MetricNames {
    let guide = read("docs/operate.md");
    let table = guide
        .split("\n## Metrics\n")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .expect("the chapter on metrics");
    let codes = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| line.split('|').nth(1).unwrap_or("").split('`').skip(1).step_by(2));
    let entry = |code: &str| {
        let (name, labels) = code.split_once('{').unwrap_or((code, ""));
        (
            name.to_owned(),
            labels
                .trim_end_matches('}')
                .split(',')
                .filter(|label| !label.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    };
    codes.map(entry).collect()
}

/// Our metrics in a query.
fn queried(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("counter_")).map(str::to_owned).collect()
}

/// The metrics of two nodes after every event that can happen without a broken release.
fn scrape() -> MetricNames {
    let name = cluster();
    let stored = Runtime::new();
    let directory = stored.path().join("ord").display().to_string();
    let ord =
        Node::start_with(&name, "ord", &[], &["--http", "127.0.0.1:0", "--data-dir", &directory]);
    add(&ord.http, 1);
    let fra = Node::start(&name, "fra", &[&ord]);
    let port = ord.gossip.split('/').nth(4).expect("a port");
    eventually(
        "the nodes know each other, and a stranger was refused",
        Duration::from_secs(30),
        || {
            add(&fra.http, 1);
            let mut stranger = TcpStream::connect(format!("127.0.0.1:{port}"))
                .map_err(|error| error.to_string())?;
            // The node may have closed it already.
            let _sent = stranger.write_all(b"GET / HTTP/1.1\r\n\r\n");
            let text = get(&ord.http, "/metrics").body;
            let seen = [
                "counter_member_lag_versions{",
                "counter_payload_bytes_total{",
                "counter_rejected_connections_total{",
            ];
            if seen.iter().all(|name| text.contains(name)) { Ok(printed(&text)) } else { Err(text) }
        },
    )
}

#[test]
fn page_is_valid_in_the_format_that_accept_asks_for() {
    let node = Node::start(&cluster(), "ord", &[]);
    add(&node.http, 1);
    // Prometheus 3 sends this.
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        application/openmetrics-text;version=0.0.1;q=0.5,\
        text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let page = |accept| request(&node.http, "GET", "/metrics", &[("Accept", accept)], "");
    for (accept, content_type) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (prometheus_3, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ] {
        let answer = page(accept);
        let head = answer.head.to_ascii_lowercase();
        assert!(head.contains(&format!("content-type: {content_type}\r\n")), "{head}");
        assert!(head.contains("vary: accept\r\n"), "{head}");
        let families = if content_type.starts_with("text") {
            exposition::prometheus(&answer.body)
        } else {
            exposition::open_metrics(&answer.body)
        };
        let families = families.unwrap_or_else(|fault| panic!("{accept}: {fault}"));
        for (name, kind) in [
            ("counter_adds_total", "counter"),
            ("counter_web_adds_total", "counter"),
            ("counter_web_streams", "gauge"),
        ] {
            let is_it = |family: &exposition::Family| {
                family.kind == kind && family.samples.contains_key(name)
            };
            assert!(families.values().any(is_it), "{accept}: {name}");
        }
    }
}

#[test]
fn guide_explains_every_metric() {
    let (mut seen, explained) = (scrape(), explained());
    for name in NOT_HERE {
        seen.entry(name.to_owned()).or_default().insert("reason".to_owned());
    }
    assert_eq!(explained, seen, "explained in docs/operate.md, and printed by a node");
}

#[test]
fn dashboard_queries_metrics_that_exist() {
    let explained = explained();
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries: Vec<&str> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"))
        .map(|target| target["expr"].as_str().expect("expr"))
        .collect();
    assert!(queries.len() > 20);
    for query in &queries {
        let names = queried(query);
        assert!(
            !names.is_empty() && names.iter().all(|name| explained.contains_key(name)),
            "{query}"
        );
    }
    let cells: BTreeSet<_> = panels
        .iter()
        .map(|panel| (panel["gridPos"]["x"].as_i64(), panel["gridPos"]["y"].as_i64()))
        .collect();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_i64()).collect();
    assert_eq!((cells.len(), ids.len()), (panels.len(), panels.len()), "no panel lies on another");
}

#[test]
fn alarms_match_the_guide() {
    let (explained, guide) = (explained(), read("docs/operate.md"));
    let rules = YamlLoader::load_from_str(&read("deploy/alerts.yaml")).expect("YAML");
    let rules = rules[0]["groups"][0]["rules"].as_vec().expect("rules");
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for rule in rules {
        let (name, query) =
            (rule["alert"].as_str().expect("a name"), rule["expr"].as_str().expect("a query"));
        let metrics = queried(query);
        assert!(
            !metrics.is_empty() && metrics.iter().all(|metric| explained.contains_key(metric)),
            "{name}: {query}"
        );
        assert!(rule["annotations"]["summary"].as_str().is_some(), "{name}");
        names.insert(name);
    }
    let table = guide.split("\n## Alarms\n").nth(1).expect("the chapter on alarms");
    let told: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next())
        .filter(|name| name.starts_with("Counter"))
        .collect();
    assert_eq!(told, names);
}
