//! `GET /api/status`: this node and its members.

use counter_net::Member;
use serde::Serialize;

use crate::api::response::{ApiResult, json};
use crate::app::App;
use crate::operator::members::MemberJson;
use crate::operator::retirement;

#[derive(Serialize)]
struct StatusJson<'a> {
    region: &'a str,
    replica: String,
    peer_id: &'a str,
    cluster: &'a str,
    version: &'a str,
    gossip: &'a [String],
    peers: usize,
    synced: bool,
    in_touch: bool,
    uptime_seconds: u64,
    /// Cut off from the other nodes on purpose.
    isolated: bool,
    /// Why this node cannot reach others, in sentences, or empty.
    trouble: String,
    /// `clean`, or the step that retirement waits for.
    retirement: String,
    agreement: ConfirmedJson,
    members: Vec<MemberJson<'a>>,
}

/// How far the live members have confirmed this node's state.
#[derive(Serialize)]
struct ConfirmedJson {
    /// The other live members that confirmed the current target.
    confirmed: usize,
    of: usize,
    /// The age of the newest state that every live member holds. 0 if that is the present state,
    /// null if nothing is known yet.
    age_ms: Option<u64>,
}

/// `GET /api/status`.
pub(crate) fn show_status(app: &App) -> ApiResult {
    Ok(with_status(app, |status| json(status)))
}

/// The same, for the operators' socket.
pub(crate) fn status(app: &App) -> serde_json::Value {
    with_status(app, |status| serde_json::to_value(status).unwrap_or_default())
}

fn with_status<T>(app: &App, show: impl FnOnce(&StatusJson<'_>) -> T) -> T {
    let (info, members, agreement) = (app.node.info(), app.node.members(), app.node.agreement());
    let is_late = |member: &Member| agreement.late.contains(&member.replica);
    show(&StatusJson {
        region: &info.region,
        replica: info.replica.to_string(),
        peer_id: &info.peer_id,
        cluster: &info.cluster,
        version: &info.release,
        gossip: &info.addresses,
        peers: info.peers,
        synced: app.node.is_synced(),
        in_touch: info.in_touch,
        uptime_seconds: info.uptime.as_secs(),
        isolated: app.node.is_isolated(),
        trouble: info.trouble.clone().unwrap_or_default(),
        retirement: retirement::sentence(&app.node),
        agreement: ConfirmedJson {
            confirmed: agreement.confirmed,
            of: agreement.live,
            // Rounded up, because 0 means that nothing is left to confirm.
            age_ms: agreement
                .age
                .map(|age| u64::try_from(age.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)),
        },
        members: members.iter().map(|member| MemberJson::new(member, is_late(member))).collect(),
    })
}
