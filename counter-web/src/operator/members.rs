//! The replicas that operators see: the answer to `members`.

use std::collections::BTreeMap;

use counter_net::{Incarnation, Lag, Member, Node, ReplicaId, Standing};
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::json::milliseconds;

/// One member, as `/api/status` and `counter-web members` show it.
#[derive(Serialize)]
pub(crate) struct MemberJson<'a> {
    replica: String,
    region: &'a str,
    connected: u64,
    last_heard_ms: u64,
    live: bool,
    /// It announced that it stops.
    left: bool,
    /// It has not confirmed a state that this node had two seconds ago.
    late: bool,
    /// Versions that only one of the two nodes held when this member was last heard from. Null if
    /// it was never heard from.
    lag_versions: Option<u64>,
    /// Cells that it lacked when last heard from, counted up to 10,000. `lag_ms` is the time for
    /// which this node had then held the first of them. Both are null if it was never heard from.
    lag_cells: Option<usize>,
    lag_ms: Option<u64>,
}

impl<'a> MemberJson<'a> {
    /// `late` comes from the confirmations, which only the status reads.
    pub(crate) fn new(member: &'a Member, late: bool) -> Self {
        let lag = if member.last_heard.is_zero() { Some(Lag::default()) } else { member.lag };
        Self {
            replica: member.replica.to_string(),
            region: &member.region,
            connected: if member.live { member.viewers } else { 0 },
            last_heard_ms: milliseconds(member.last_heard),
            live: member.live,
            left: member.left,
            late,
            lag_versions: if member.last_heard.is_zero() {
                Some(0)
            } else {
                member.lag.as_ref().map(|lag| lag.versions_behind + lag.versions_ahead)
            },
            lag_cells: lag.map(|lag| lag.cells_behind),
            lag_ms: lag.map(|lag| milliseconds(lag.time_behind)),
        }
    }
}

/// Returns an object for every replica that is a member or counts for retirement, in the order of
/// replicas.
pub(crate) fn members(node: &Node) -> Value {
    let members = node.members();
    let mut lines: BTreeMap<ReplicaId, Value> = members
        .iter()
        .map(|member| {
            let mut line = json!(MemberJson::new(member, false));
            line["standing"] = json!(match member {
                Member { live: true, .. } => "live",
                Member { left: true, .. } => "left",
                _ => "absent",
            });
            (member.replica, line)
        })
        .collect();
    for incarnation in node.incarnations() {
        let line = lines.entry(incarnation.replica).or_insert_with(
            || json!({ "replica": incarnation.replica.to_string(), "region": incarnation.region }),
        );
        describe(line, &incarnation);
    }
    lines.into_values().collect()
}

fn describe(line: &mut Value, incarnation: &Incarnation) {
    line["standing"] = json!(incarnation.standing.label());
    if let Standing::Ended(successor) = incarnation.standing {
        line["successor"] = json!(successor.map(|successor| successor.to_string()));
    }
    if incarnation.holds_up_folding {
        line["holds_up_folding"] = json!(true);
    }
}
