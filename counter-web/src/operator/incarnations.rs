//! What operators see of the replicas' incarnations, and how they end one: the answers to `members`
//! and `retire`.

use std::collections::BTreeMap;

use counter_net::{Incarnation, Member, Node, ReplicaId, Standing};
use serde_json::{Value, json};

use crate::api::handlers::MemberJson;

/// Every replica that is a member or counts for retirement, one object each, in the order of
/// replicas.
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

/// What retirement waits for, as a sentence; `clean` where nobody is left to retire.
pub(crate) fn retirement(node: &Node) -> String {
    let incarnations = node.incarnations();
    let named =
        |incarnation: &Incarnation| format!("{} of {}", incarnation.replica, incarnation.region);
    let of_standing = |wanted: fn(&Standing) -> bool| -> Vec<&Incarnation> {
        incarnations.iter().filter(|incarnation| wanted(&incarnation.standing)).collect()
    };
    let ended = of_standing(|standing| matches!(standing, Standing::Ended(_)));
    let absent = of_standing(|standing| matches!(standing, Standing::Absent));
    let waited_for = incarnations.iter().find(|incarnation| incarnation.holds_up_folding);
    match (ended.first(), waited_for, absent.first()) {
        (Some(first), Some(waited_for), _) if first.replica != waited_for.replica => {
            format!(
                "{} ended, and {} has not shown that it knows",
                count(&ended, named(first)),
                named(waited_for)
            )
        }
        (Some(first), ..) => format!("{} ended and not folded yet", count(&ended, named(first))),
        (None, _, Some(first)) => {
            format!(
                "{} absent: start it again from its directory, or say `retire` where it is lost",
                count(&absent, named(first))
            )
        }
        (None, _, None) => "clean".to_owned(),
    }
}

/// The first of them by its name, and how many more there are.
fn count(incarnations: &[&Incarnation], first: String) -> String {
    match incarnations.len() {
        1 => format!("{first} is"),
        several => format!("{first} and {} more are", several - 1),
    }
}

/// Ends an incarnation that is lost for good; this node is its successor.
pub(crate) fn retire(node: &Node, replica: &str, by_force: bool) -> Value {
    let ended = match replica.parse::<ReplicaId>() {
        Ok(ended) => ended,
        Err(_) => return json!({ "error": "this is no replica: write one as `members` shows it" }),
    };
    let retired = if by_force { node.force_retire(ended) } else { node.retire(ended) };
    match retired {
        Ok(()) => {
            json!({ "retired": ended.to_string(), "successor": node.info().replica.to_string() })
        }
        Err(error) => json!({ "error": error.to_string() }),
    }
}
