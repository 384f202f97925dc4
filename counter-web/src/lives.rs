//! What operators see of the replicas' lives, and how they end one: the answers to `members` and `retire`.

use std::collections::BTreeMap;

use counter_net::{Life, Member, Node, ReplicaId, Standing};
use serde_json::{Value, json};

use crate::handlers::MemberJson;

/// Every replica that is a member or counts for retirement, one object each, in the order of replicas.
pub(crate) fn members(node: &Node) -> Value {
    let members = node.members();
    let mut lines: BTreeMap<ReplicaId, Value> = members
        .iter()
        .map(|member| {
            let mut line = json!(MemberJson::from(member));
            line["standing"] = json!(match member {
                Member { live: true, .. } => "live",
                Member { left: true, .. } => "left",
                _ => "absent",
            });
            (member.replica, line)
        })
        .collect();
    for life in node.lives() {
        let line = lines.entry(life.replica).or_insert_with(|| json!({ "replica": life.replica.to_string(), "region": life.region }));
        describe(line, &life);
    }
    lines.into_values().collect()
}

fn describe(line: &mut Value, life: &Life) {
    line["standing"] = json!(life.standing.label());
    if let Standing::Ended(heir) = life.standing {
        line["heir"] = json!(heir.map(|heir| heir.to_string()));
    }
    if life.holds_up_folding {
        line["holds_up_folding"] = json!(true);
    }
}

/// Ends a life that is lost for good; this node is its heir.
pub(crate) fn retire(node: &Node, replica: &str) -> Value {
    let ended = match replica.parse::<ReplicaId>() {
        Ok(ended) => ended,
        Err(_) => return json!({ "error": "this is no replica: write one as `members` shows it" }),
    };
    match node.retire(ended) {
        Ok(()) => json!({ "retired": ended.to_string(), "heir": node.info().replica.to_string() }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}
