//! Samples of the nodes' status, and the picture that two of them make: rates, members, and whether
//! the states are equal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::Value;

use crate::cli::exit::CommandError;

/// One node's answer to `status`.
#[derive(Clone, Debug)]
pub(super) struct NodeSample {
    pub(super) region: String,
    pub(super) replica: String,
    cluster: String,
    synced: bool,
    in_touch: bool,
    trouble: String,
    /// `clean`, or the step that retirement waits for.
    retirement: String,
    peers: u64,
    state_hash: String,
    members: Vec<MemberLine>,
    /// Sums over the labels of each metric.
    metrics: BTreeMap<String, f64>,
    at: Instant,
}

/// A member, as one node knows it, or as the nodes together know it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MemberLine {
    pub(super) region: String,
    pub(super) replica: String,
    pub(super) live: bool,
    pub(super) viewers: u64,
    pub(super) heard_ms: u64,
    /// Versions that only one of the two nodes held when this member was last heard from. `None` if
    /// it was never heard from.
    pub(super) lag: Option<u64>,
    /// The time for which it had lacked the oldest of them.
    pub(super) behind_ms: Option<u64>,
}

/// A node's line.
#[derive(Debug)]
pub(super) struct NodeLine {
    pub(super) region: String,
    pub(super) replica: String,
    /// `ok`, or the problem.
    pub(super) standing: &'static str,
    pub(super) peers: u64,
    /// This rate and the next three are per second: adds, joined cells, and payload bytes.
    pub(super) adds: f64,
    pub(super) joined: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
    /// Divergences, conflicts and alarms since its start. More than 0 means a fault.
    pub(super) faults: f64,
    pub(super) state_hash: String,
}

/// The comparison of the nodes' states.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StateComparison {
    /// Only one node answered.
    Alone,
    Equal,
    /// The hashes differ: changes are under way, or a node is cut off.
    Differs,
    /// A node has seen a peer with an equal version vector and an unequal hash.
    Diverged,
}

/// The content of a frame.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) cluster: String,
    pub(super) nodes: Vec<NodeLine>,
    pub(super) members: Vec<MemberLine>,
    pub(super) states: StateComparison,
    /// Why nodes cannot reach others, each with the region of the node.
    pub(super) troubles: Vec<String>,
    /// The step that retirement waits for, from the first node that reports one.
    pub(super) retirement: Option<String>,
    /// Why the picture is out of date, if it is.
    pub(super) stale: Option<String>,
}

impl NodeSample {
    /// Reads an answer. Missing fields, as from another release, are empty or 0.
    pub(super) fn read(answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Self {
            region: text("region"),
            replica: text("replica"),
            cluster: text("cluster"),
            synced: answer["synced"].as_bool().unwrap_or(false),
            in_touch: answer["in_touch"].as_bool().unwrap_or(true),
            trouble: text("trouble"),
            retirement: text("retirement"),
            peers: answer["peers"].as_u64().unwrap_or(0),
            state_hash: text("state_hash"),
            members: answer["members"]
                .as_array()
                .into_iter()
                .flatten()
                .map(MemberLine::read)
                .collect(),
            metrics: sums(answer["metrics"].as_str().unwrap_or_default()),
            at: Instant::now(),
        }
    }

    fn metric(&self, name: &str) -> f64 {
        self.metrics.get(name).copied().unwrap_or(0.0)
    }

    /// The growth of a metric per second since `before`. 0 for a new or restarted node.
    fn rate(&self, before: Option<&Self>, name: &str) -> f64 {
        let Some(before) = before else { return 0.0 };
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        if seconds > 0.0 {
            (self.metric(name) - before.metric(name)).max(0.0) / seconds
        } else {
            0.0
        }
    }

    fn faults(&self) -> f64 {
        ["counter_divergences_total", "counter_conflicts_total", "counter_alarms_total"]
            .iter()
            .map(|name| self.metric(name))
            .sum()
    }

    fn line(&self, before: Option<&Self>) -> NodeLine {
        let standing = match (self.synced, self.in_touch) {
            (_, false) => "alone",
            (false, true) => "syncing",
            (true, true) => "ok",
        };
        NodeLine {
            region: self.region.clone(),
            replica: self.replica.clone(),
            standing,
            peers: self.peers,
            adds: self.rate(before, "counter_adds_total"),
            joined: self.rate(before, "counter_cells_joined_total"),
            bytes_in: self.rate(before, "counter_payload_bytes_total in"),
            bytes_out: self.rate(before, "counter_payload_bytes_total out"),
            faults: self.faults(),
            state_hash: self.state_hash.clone(),
        }
    }
}

impl MemberLine {
    fn read(member: &Value) -> Self {
        let text = |name: &str| member[name].as_str().unwrap_or_default().to_owned();
        Self {
            region: text("region"),
            replica: text("replica"),
            live: member["live"].as_bool().unwrap_or(false),
            viewers: member["connected"].as_u64().unwrap_or(0),
            heard_ms: member["last_heard_ms"].as_u64().unwrap_or(0),
            lag: member["lag_versions"].as_u64(),
            behind_ms: member["lag_ms"].as_u64(),
        }
    }

    /// Keeps the worse values of two nodes: the longer silence and the greater lag.
    fn join(&mut self, other: &Self) {
        self.live |= other.live;
        self.viewers = self.viewers.max(other.viewers);
        self.heard_ms = self.heard_ms.max(other.heard_ms);
        self.lag = self.lag.max(other.lag);
        self.behind_ms = self.behind_ms.max(other.behind_ms);
    }
}

impl Picture {
    /// The picture of `now`, with rates since `before`.
    pub(super) fn of(before: &[NodeSample], now: &[NodeSample]) -> Self {
        let earlier =
            |sample: &NodeSample| before.iter().find(|earlier| earlier.replica == sample.replica);
        let mut members: BTreeMap<(String, String), MemberLine> = BTreeMap::new();
        for member in now.iter().flat_map(|sample| &sample.members) {
            let key = (member.region.clone(), member.replica.clone());
            members
                .entry(key)
                .and_modify(|known| known.join(member))
                .or_insert_with(|| member.clone());
        }
        Self {
            cluster: now
                .iter()
                .map(|sample| sample.cluster.as_str())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
                .join(", "),
            nodes: now.iter().map(|sample| sample.line(earlier(sample))).collect(),
            members: members.into_values().collect(),
            states: compare(now),
            troubles: now
                .iter()
                .filter(|sample| !sample.trouble.is_empty())
                .map(|sample| format!("{}: {}", sample.region, sample.trouble))
                .collect(),
            retirement: now
                .iter()
                .find(|sample| !matches!(&*sample.retirement, "" | "clean"))
                .map(|sample| format!("retirement, by {}: {}", sample.region, sample.retirement)),
            stale: None,
        }
    }

    /// Marks the picture as out of date, with the reason.
    pub(super) fn stale(&mut self, failure: &CommandError) {
        self.stale = Some(failure.to_string());
    }
}

fn compare(now: &[NodeSample]) -> StateComparison {
    let hashes: BTreeSet<&str> = now.iter().map(|sample| sample.state_hash.as_str()).collect();
    if now.iter().any(|sample| sample.metric("counter_divergences_total") > 0.0) {
        StateComparison::Diverged
    } else if now.len() < 2 {
        StateComparison::Alone
    } else if hashes.len() == 1 {
        StateComparison::Equal
    } else {
        StateComparison::Differs
    }
}

/// The sum of each metric over its labels. A metric with a direction has one sum for each.
fn sums(text: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let direction = labels.split("direction=\"").nth(1).and_then(|rest| rest.split('"').next());
        let name =
            direction.map_or_else(|| name.to_owned(), |direction| format!("{name} {direction}"));
        *sums.entry(name).or_insert(0.0) += value.parse().unwrap_or(0.0);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample(region: &str, hash: &str, metrics: &str) -> NodeSample {
        let replica = format!("{region}-1");
        let members = json!([{
            "region": "ord", "replica": "ord-1", "live": true, "last_heard_ms": 7,
            "lag_versions": region.len(), "lag_ms": 10 * region.len(),
        }]);
        NodeSample::read(&json!({
            "region": region, "replica": replica, "synced": true, "state_hash": hash,
            "metrics": metrics, "members": members,
        }))
    }

    #[test]
    fn metrics_are_summed_by_direction() {
        let text = "# HELP x\n\
                    counter_payload_bytes_total{direction=\"in\",kind=\"pull\"} 5\n\
                    counter_payload_bytes_total{kind=\"ask\",direction=\"in\"} 2\n\
                    counter_payload_bytes_total{direction=\"out\",kind=\"ask\"} 1\n\
                    counter_adds_total 9\n";
        let sums = sums(text);
        assert_eq!(sums.get("counter_payload_bytes_total in"), Some(&7.0));
        assert_eq!(sums.get("counter_payload_bytes_total out"), Some(&1.0));
        assert_eq!(sums.get("counter_adds_total"), Some(&9.0));
    }

    #[test]
    fn states_are_compared() {
        let of = |samples: &[NodeSample]| Picture::of(samples, samples).states;
        let (ord, fra) = (sample("ord", "a", ""), sample("fra", "b", ""));
        assert_eq!(of(std::slice::from_ref(&ord)), StateComparison::Alone);
        assert_eq!(of(&[ord.clone(), sample("fra", "a", "")]), StateComparison::Equal);
        assert_eq!(of(&[ord.clone(), fra]), StateComparison::Differs);
        assert_eq!(
            of(&[ord, sample("fra", "a", "counter_divergences_total 1")]),
            StateComparison::Diverged
        );
    }

    #[test]
    fn shared_member_shows_the_greater_lag() {
        let picture = Picture::of(&[], &[sample("ord", "a", ""), sample("frankfurt", "a", "")]);
        assert_eq!(
            picture.members.iter().map(|member| (member.lag, member.behind_ms)).collect::<Vec<_>>(),
            [(Some(9), Some(90))]
        );
    }

    #[test]
    fn trouble_is_shown_with_its_region() {
        let mut lonely = sample("ord", "a", "");
        lonely.trouble = "Peer x: connection refused.".to_owned();
        lonely.retirement = "x of iad is absent".to_owned();
        let picture = Picture::of(&[], &[lonely, sample("fra", "a", "")]);
        assert_eq!(picture.troubles, ["ord: Peer x: connection refused."]);
        assert_eq!(picture.retirement.as_deref(), Some("retirement, by ord: x of iad is absent"));
    }

    #[test]
    fn restarted_node_has_no_negative_rate() {
        let (before, mut now) = (
            sample("ord", "a", "counter_adds_total 100"),
            sample("ord", "a", "counter_adds_total 3"),
        );
        now.at = before.at + std::time::Duration::from_secs(1);
        assert_eq!(
            Picture::of(std::slice::from_ref(&before), std::slice::from_ref(&now)).nodes[0].adds,
            0.0
        );
        let more = NodeSample { metrics: sums("counter_adds_total 150"), ..now };
        assert_eq!(Picture::of(&[before], &[more]).nodes[0].adds, 50.0);
    }
}
