//! A fresh node far from its peers. It is ready soon, but never before it has every region's
//! numbers.

use std::time::Duration;

use crate::far::{
    AMOUNTS, KEY, Probe, Recipe, apart, none_failed, ready_max, round_trips, run_alone, sources,
};
use crate::name_server::NameServer;
use crate::support::http::{get, row};
use crate::support::network::apart::{Apart, GOSSIP_PORT, place, replace};
use crate::support::network::distance::DelayProxy;
use crate::support::process::{Node, Runtime, cluster};

const USUAL: [u64; 4] = [100, 160, 240, 320];
/// The time after which a node that is not ready has failed.
const GIVE_UP: Duration = Duration::from_secs(15);

/// Starts a node that should learn the first `count` amounts. Returns the errors.
pub(crate) fn arrive(
    recipe: &Recipe,
    runtime: &Runtime,
    count: usize,
    round_trip: Duration,
    case: &str,
) -> Vec<String> {
    let amounts = &AMOUNTS[..count];
    let total: i64 = amounts.iter().map(|(_, amount)| amount).sum();
    let node = recipe.start(runtime);
    let line = node.started.elapsed();
    let page = first_page(&node);
    let (mut probe, mut failures) = (Probe::open(&node), Vec::new());
    let first = loop {
        let moment = probe.ask();
        if moment.ready || moment.at > GIVE_UP {
            break moment;
        }
    };
    let (page_at, html) = page.join().unwrap();
    println!(
        "{case}: its line after {line:?}, ready after {:?} with {}, its page after {page_at:?}",
        first.at, first.counter["total"]
    );
    if first.at > ready_max(round_trip) {
        failures.push(format!(
            "{case}: ready after {:?}, and {:?} were allowed",
            first.at,
            ready_max(round_trip)
        ));
    }
    if first.counter["total"] != total || first.counter["synced"] != true {
        failures.push(format!("{case}: ready too early, with {}", first.counter));
    }
    let missing: Vec<&str> = amounts
        .iter()
        .filter(|(region, amount)| row(&html, region) != Some(amount.to_string()))
        .map(|(region, _)| *region)
        .collect();
    if !missing.is_empty() || !html.contains(&format!("id=\"total\">{total}<")) {
        failures.push(format!(
            "{case}: its first page came after {page_at:?} and lacks {missing:?} \
            or the total {total}"
        ));
    }
    failures
}

/// The time of the first page, and the page.
fn first_page(node: &Node) -> std::thread::JoinHandle<(Duration, String)> {
    let (http, started) = (node.http.clone(), node.started);
    std::thread::spawn(move || {
        let html = get(&http, "/").body;
        (started.elapsed(), html)
    })
}

#[test]
fn fresh_node_has_all_numbers_before_it_is_ready() {
    let _alone = run_alone();
    let (runtime, cluster) = (Runtime::new(), cluster());
    let mut failures = Vec::new();
    for count in [1, 3] {
        let name = format!("{cluster}-{count}");
        let nodes = sources(&runtime, &name, count, |_| None);
        let proxies: Vec<DelayProxy> = nodes
            .iter()
            .map(|node| DelayProxy::to(gossip(node), Duration::ZERO).unwrap())
            .collect();
        let recipe = Recipe::new(&name, "syd").key(KEY);
        // The cost of a start without distance.
        for round_trip in [vec![Duration::ZERO], round_trips(&USUAL)].concat() {
            proxies.iter().for_each(|proxy| proxy.set(|now| now.way = round_trip / 2).unwrap());
            let named = recipe.clone().peers(proxies.iter().map(DelayProxy::multiaddr));
            failures.extend(arrive(
                &named,
                &runtime,
                count,
                round_trip,
                &format!("{count} by --peer, {round_trip:?}"),
            ));
            if count == 1 {
                let found = recipe
                    .clone()
                    .discover(&format!("dns:localhost:{}", proxies[0].address().port()));
                failures.extend(arrive(
                    &found,
                    &runtime,
                    count,
                    round_trip,
                    &format!("{count} by DNS, {round_trip:?}"),
                ));
            }
        }
    }
    none_failed(&failures);
}

/// A connection is lost between the handshake and the first answer. A node once took that for
/// having no peers, and called itself synced with a total of 0.
#[test]
fn connection_lost_early_is_not_absence() {
    let _alone = run_alone();
    let (runtime, cluster) = (Runtime::new(), cluster());
    let nodes = sources(&runtime, &cluster, 1, |_| None);
    let mut failures = Vec::new();
    for round_trip in round_trips(&[100]) {
        let proxy = DelayProxy::to(gossip(&nodes[0]), round_trip / 2).unwrap();
        let recipe = Recipe::new(&cluster, "syd")
            .key(KEY)
            .discover(&format!("dns:localhost:{}", proxy.address().port()));
        // From the end of the handshake's first round trip to after the first answer.
        for quarters in 6..=24 {
            let (node, cut_at) = (recipe.start(&runtime), round_trip * quarters / 4);
            let mut probe = Probe::open(&node);
            let mut cut = false;
            loop {
                let moment = probe.ask();
                if moment.counter["total"] != AMOUNTS[0].1
                    && (moment.ready || moment.counter["synced"] == true)
                {
                    failures.push(format!(
                        "{round_trip:?}, cut after {cut_at:?}: at {:?} it says {}",
                        moment.at, moment.counter
                    ));
                    break;
                }
                if !cut && moment.at >= cut_at {
                    proxy.cut().unwrap();
                    cut = true;
                }
                if moment.ready || moment.at > GIVE_UP {
                    break;
                }
            }
        }
    }
    none_failed(&failures);
}

#[test]
fn fresh_node_finds_all_peers_of_a_name() {
    let _alone = run_alone();
    apart("fresh::fresh_node_finds_all_peers_of_a_name", || {
        let apart = Apart::new(Duration::ZERO).unwrap();
        let server = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let names = server.block_on(NameServer::start("127.0.0.53:53"));
        replace("/etc/resolv.conf", "nameserver 127.0.0.53\n").unwrap();
        let (runtime, cluster) = (Runtime::new(), cluster());
        apart.remove_all().unwrap();
        let _nodes = sources(&runtime, &cluster, AMOUNTS.len(), |node| Some(place(node)));
        (0..AMOUNTS.len()).for_each(|node| names.show(place(node).ip()));
        let mut failures = Vec::new();
        for round_trip in [vec![Duration::ZERO], round_trips(&USUAL)].concat() {
            apart.set(|now| now.way = round_trip / 2).unwrap();
            let recipe = Recipe::new(&cluster, "syd").key(KEY).listen(place(AMOUNTS.len()));
            let recipe = recipe.discover(&format!("dns:peers.test:{GOSSIP_PORT}"));
            failures.extend(arrive(
                &recipe,
                &runtime,
                AMOUNTS.len(),
                round_trip,
                &format!("3 by DNS, {round_trip:?}"),
            ));
        }
        none_failed(&failures);
    });
}

/// The gossip address in a node's JSON line.
pub(crate) fn gossip(node: &Node) -> std::net::SocketAddr {
    let mut parts = node.gossip.split('/').skip(2).step_by(2);
    let (ip, port) = (parts.next().unwrap(), parts.next().unwrap());
    format!("{ip}:{port}").parse().unwrap()
}
