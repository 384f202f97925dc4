//! Retirement as operators see it: how far it is, and the answer to `retire`.

use std::time::Duration;

use counter_net::{Copies, Incarnation, Node, ReplicaId, RetireError, Standing};
use serde_json::{Value, json};

/// The step that retirement waits for, as a sentence. `clean` if nothing is left to retire.
pub(crate) fn sentence(node: &Node) -> String {
    let incarnations = node.incarnations();
    let named =
        |incarnation: &Incarnation| format!("{} of {}", incarnation.replica, incarnation.region);
    let with_standing = |wanted: fn(&Standing) -> bool| -> Vec<&Incarnation> {
        incarnations.iter().filter(|incarnation| wanted(&incarnation.standing)).collect()
    };
    let ended = with_standing(|standing| matches!(standing, Standing::Ended(_)));
    let absent = with_standing(|standing| matches!(standing, Standing::Absent));
    let waited_for = incarnations.iter().find(|incarnation| incarnation.holds_up_folding);
    let orphan = incarnations
        .iter()
        .find(|incarnation| matches!(incarnation.standing, Standing::Ended(None)));
    match (ended.first(), waited_for, absent.first()) {
        (Some(first), Some(waited_for), _) if first.replica != waited_for.replica => {
            let ended = first_and_others(&ended, named(first));
            match waited_for.standing {
                Standing::Absent => format!(
                    "{ended} ended, and {} is absent and has not shown that it knows: restart it \
                     from its directory, or `retire` it if it is lost",
                    named(waited_for)
                ),
                _ => {
                    format!("{ended} ended, and {} has not shown that it knows", named(waited_for))
                }
            }
        }
        (Some(first), ..) => {
            let ended = first_and_others(&ended, named(first));
            match orphan {
                Some(orphan) => format!(
                    "{ended} ended, and nobody takes over {}: that needs a member that holds \
                     everything it held. `retire` it if there is none",
                    named(orphan)
                ),
                None => format!("{ended} ended and not folded yet"),
            }
        }
        (None, _, Some(first)) => {
            let waits = match node.tombstones() {
                0 => String::new(),
                tombstones => format!(". {tombstones} removed cells wait for that"),
            };
            format!(
                "{} absent: restart it from its directory, or `retire` it if it is lost{waits}",
                first_and_others(&absent, named(first))
            )
        }
        (None, _, None) => "clean".to_owned(),
    }
}

/// The subject of the sentence: the first incarnation by name, and the number of the others.
fn first_and_others(incarnations: &[&Incarnation], first: String) -> String {
    match incarnations.len() {
        1 => format!("{first} is"),
        several => format!("{first} and {} more are", several - 1),
    }
}

/// How long `retire` waits for another node to hold what it wrote.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(2);

/// Ends an incarnation that is lost for good. This node becomes its successor.
///
/// The answer comes once this is on the node's disk, if it has one, and at another live node, if
/// there is one. If that fails, a crash of this node would undo it, and the answer has a `warning`.
pub(crate) async fn retire(node: &Node, replica: &str, by_force: bool) -> Value {
    let ended = match replica.parse::<ReplicaId>() {
        Ok(ended) => ended,
        Err(_) => return json!({ "error": "this is not a replica: copy one from `members`" }),
    };
    let retired = if by_force { node.force_retire(ended) } else { node.retire(ended) };
    if let Err(error) = retired {
        let flag = if matches!(error, RetireError::Recent { .. }) { " (--force)" } else { "" };
        return json!({ "error": format!("{error}{flag}") });
    }
    let mut answer =
        json!({ "retired": ended.to_string(), "successor": node.info().replica.to_string() });
    if let Some(warning) = unconfirmed(node).await {
        answer["warning"] = warning.into();
    }
    answer
}

/// Returns a warning if the last change would be lost with this process.
async fn unconfirmed(node: &Node) -> Option<String> {
    if node.is_durable()
        && let Err(error) = node.durable().await
    {
        return Some(format!("this is not on the disk: {error}"));
    }
    let has_others = node.members().iter().any(|member| member.live);
    let confirmed = node.replicated(Copies::Nodes(2), CONFIRMED_WITHIN).await;
    match confirmed {
        Err(_) if has_others => Some(
            "no other node has confirmed this yet: if this node is lost now, retire the replica \
             again at another one"
                .to_owned(),
        ),
        _ => None,
    }
}
