//! What each HTTP request does, on parts that are already read and judged; and the one place where
//! an add is applied.

use std::time::Duration;

use bytes::Bytes;
use counter_net::{Counter, Lag, Member, MetricsFormat, Once};
use serde::{Deserialize, Serialize};
use warp::http::header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderValue, LOCATION, VARY};
use warp::http::{Response, StatusCode};

use crate::access::Caller;
use crate::answer::{Answer, typed};
use crate::app::App;
use crate::code::Code;
use crate::incarnations;
use crate::metrics;
use crate::model::{
    AddedJson, Amount, CounterJson, Integer, add_id, form_value, fresh_id, is_answered, is_object,
    read_name,
};
use crate::page;
use crate::rejection::ApiError;
use crate::session;

/// How long the first page waits for this node to be ready.
const READY_WAIT: Duration = Duration::from_secs(5);

/// Applies one add, or finds that an add with its id was applied before; returns which.
///
/// # Errors
///
/// Where the node has no room for the amount, or cannot know any more whether the id was applied;
/// nothing was added.
pub(crate) fn apply_add(
    app: &App,
    counter: &Counter,
    id: &str,
    amount: Amount,
) -> Result<Once, ApiError> {
    if is_answered(id) {
        return Ok(Once::Repeated);
    }
    let once = counter.add_once(id, amount.get()).map_err(ApiError::of_add)?;
    match once {
        Once::Applied => app.counts.adds.one(),
        Once::Repeated => {}
        Once::CannotTell => return Err(ApiError::cannot_tell()),
    }
    Ok(once)
}

/// Applies one add whose sender gave no id: a repeat of it could not be told.
fn apply_new(app: &App, counter: &Counter, amount: Amount) -> Result<(), ApiError> {
    let size = amount.get().unsigned_abs();
    let applied = if amount.get() > 0 { counter.add(size) } else { counter.subtract(size) };
    applied.map_err(ApiError::of_add)?;
    app.counts.adds.one();
    Ok(())
}

/// `GET /` and `GET /c/{name}`: the page with everything that this node knows. No name means the
/// page's own counter.
///
/// # Errors
///
/// 404 for a counter that does not exist and that the caller may not make.
pub(crate) async fn show_page(app: &App, caller: &Caller, name: Option<&str>) -> Answer {
    // A node that cannot catch up serves what it has, and says so on the page.
    let _ready = tokio::time::timeout(READY_WAIT, app.node.ready()).await;
    let named = name.map(read_name).transpose()?;
    if let Some(name) = &named
        && !app.node.exists(name)
        && !caller.may_create(name)
    {
        return Err(ApiError::no_counter());
    }
    let html = match &named {
        Some(name) => page::render(app, name, "../"),
        None => page::render(app, &app.counter, ""),
    };
    let mut page = typed("text/html; charset=utf-8", html);
    // Not no-store: browsers keep such a page out of their back-forward cache.
    page.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(page)
}

/// `POST` to either page: its forms, for those without JavaScript. `name` is as the path has it.
pub(crate) async fn add_by_form(
    app: &App,
    caller: &Caller,
    name: Option<&str>,
    body: &[u8],
) -> Answer {
    let form =
        std::str::from_utf8(body).map_err(|_| ApiError::bad_amount("the form is not UTF-8"))?;
    let amount = match form_value(form, "amount") {
        Some(Ok(amount)) => Amount::parse(&amount)?,
        _ => return Err(ApiError::bad_amount("the form has no amount")),
    };
    let named = name.map(read_name).transpose()?;
    add(app, caller, named.as_deref().unwrap_or(&app.counter), None, amount).await?;
    Ok(see_other(name.unwrap_or_default()))
}

/// Sends the browser to this name beside the request's path, which a proxy may have moved.
fn see_other(name: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    // A path of a request is of characters that a header may have.
    let beside =
        HeaderValue::from_str(&format!("./{name}")).unwrap_or(HeaderValue::from_static("./"));
    response.headers_mut().insert(LOCATION, beside);
    response
}

/// `GET /api/counters/{name}`.
pub(crate) async fn show_counter(app: &App, name: &str, headers: &HeaderMap) -> Answer {
    let name = read_name(name)?;
    let seen = session::read(headers)?;
    if let Some(seen) = &seen {
        session::catch_up(app, seen).await?;
    }
    let mut answer = json(&CounterJson::from(&app.node.view(&name)))?;
    session::give(app, seen, &name, &mut answer);
    Ok(answer)
}

/// The body of an add.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddBody {
    amount: Option<serde_json::Value>,
}

/// `POST /api/counters/{name}/add`.
pub(crate) async fn add_by_api(
    app: &App,
    caller: &Caller,
    name: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Answer {
    let name = read_name(name)?;
    if !is_object(body) {
        return Err(ApiError::bad_request(
            Code::BadJson,
            "the body is no JSON object: write {\"amount\":1}",
        ));
    }
    let body: AddBody = serde_json::from_slice(body).map_err(|error| ApiError::bad_json(&error))?;
    let amount = Amount::read(body.amount.as_ref())?;
    let key = headers
        .get("idempotency-key")
        .map(|key| key.to_str().map_err(|_| ApiError::bad_id()))
        .transpose()?;
    key.map_or(Ok(()), add_id)?;
    let seen = session::read(headers)?;
    add(app, caller, &name, key, amount).await?;
    let id = key.map_or_else(fresh_id, str::to_owned);
    let view = app.node.view(&name);
    let value = view.regions.get(&app.region).map_or(0, |region| region.value);
    let mut answer = json(&AddedJson {
        total: Integer(view.total),
        region: &app.region,
        value: Integer(value),
        id: &id,
    })?;
    session::give(app, seen, &name, &mut answer);
    Ok(answer)
}

/// Applies an add, and waits until it is on the disk where a data directory is set.
async fn add(
    app: &App,
    caller: &Caller,
    name: &str,
    id: Option<&str>,
    amount: Amount,
) -> Result<(), ApiError> {
    caller.check_token()?;
    caller.take_add(&app.limits).inspect_err(|_| app.counts.adds_refused.one())?;
    let counter = app.open(name, caller)?;
    match id {
        Some(id) => {
            apply_add(app, &counter, id, amount)?;
        }
        None => apply_new(app, &counter, amount)?,
    }
    app.hub.added(name);
    counter.durable().await.map_err(|error| ApiError::not_durable(error.to_string()))
}

/// `POST /api/counters/{name}/reset`: sets the counter back by what this node has seen of it.
pub(crate) async fn reset(app: &App, caller: &Caller, name: &str) -> Answer {
    #[derive(Serialize)]
    struct ResetJson {
        total: Integer,
    }
    caller.check_operator()?;
    let name = read_name(name)?;
    if app.node.exists(&name) {
        let counter = app.open(&name, caller)?;
        counter.reset().map_err(ApiError::of_add)?;
        app.hub.added(&name);
        counter.durable().await.map_err(|error| ApiError::not_durable(error.to_string()))?;
    }
    json(&ResetJson { total: Integer(app.node.view(&name).total) })
}

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
    /// What keeps this node from others, in sentences; empty where nothing does.
    trouble: String,
    /// `clean`, or what retirement waits for.
    retirement: String,
    agreement: AgreementJson,
    members: Vec<MemberJson<'a>>,
}

/// How far the live members have confirmed what this node holds.
#[derive(Serialize)]
struct AgreementJson {
    /// Live members, this node left out, that confirmed the state that is being confirmed now.
    confirmed: usize,
    of: usize,
    /// All that this node held so long ago is held by every live member; 0 where that is all that
    /// it holds now, null where nothing is known yet.
    age_ms: Option<u64>,
}

/// One member, as `/api/status` and `counter-web members` show it.
#[derive(Serialize)]
pub(crate) struct MemberJson<'a> {
    replica: String,
    region: &'a str,
    connected: u64,
    last_heard_ms: u64,
    live: bool,
    /// It said good-bye.
    left: bool,
    /// It was asked two seconds ago or more whether it holds what this node held then, and has not
    /// confirmed.
    late: bool,
    /// Changes that one of the two holds and the other did not, as of what was last heard of it;
    /// null where nothing was.
    lag_versions: Option<u64>,
    /// Cells that it lacked when last heard, at most 10,000, and for how long this node had held
    /// the first of them; null where nothing was heard.
    lag_cells: Option<usize>,
    lag_ms: Option<u64>,
}

impl<'a> From<&'a Member> for MemberJson<'a> {
    fn from(member: &'a Member) -> Self {
        let lag = if member.last_heard.is_zero() { Some(Lag::default()) } else { member.lag };
        Self {
            replica: member.replica.to_string(),
            region: &member.region,
            connected: if member.live { member.viewers } else { 0 },
            last_heard_ms: u64::try_from(member.last_heard.as_millis()).unwrap_or(u64::MAX),
            live: member.live,
            left: member.left,
            late: false,
            lag_versions: if member.last_heard.is_zero() {
                Some(0)
            } else {
                member.lag.as_ref().map(|lag| lag.versions_behind + lag.versions_ahead)
            },
            lag_cells: lag.map(|lag| lag.cells_behind),
            lag_ms: lag.map(|lag| u64::try_from(lag.time_behind.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// `GET /api/status`.
pub(crate) fn show_status(app: &App) -> Answer {
    with_status(app, |status| json(status))
}

/// The same for the operators' socket.
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
        retirement: incarnations::retirement(&app.node),
        agreement: AgreementJson {
            confirmed: agreement.confirmed,
            of: agreement.of,
            // Rounded up: 0 says that nothing is left to confirm.
            age_ms: agreement
                .age
                .map(|age| u64::try_from(age.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)),
        },
        members: members
            .iter()
            .map(|member| MemberJson { late: is_late(member), ..MemberJson::from(member) })
            .collect(),
    })
}

/// `POST /partition`, the page's switch: cuts this node from all others (`cut=1`) or heals that
/// (`cut=0`).
pub(crate) fn switch_partition(app: &App, caller: &Caller, body: &[u8]) -> Answer {
    if !app.partition_switch {
        return Err(ApiError::no_switch());
    }
    caller.take_add(&app.limits)?;
    let isolated = match std::str::from_utf8(body).ok().and_then(|form| form_value(form, "cut")) {
        Some(Ok(cut)) if cut == "1" => true,
        Some(Ok(cut)) if cut == "0" => false,
        _ => {
            return Err(ApiError::bad_request(
                Code::BadForm,
                "the form says neither cut=1, to cut this node off, nor cut=0, to heal",
            ));
        }
    };
    app.node.set_isolated(isolated);
    Ok(see_other(""))
}

/// `GET /api/openapi.json`: the contract of everything here, for programs.
pub(crate) fn show_openapi() -> Answer {
    Ok(typed(
        "application/json",
        include_str!("../assets/openapi.json").replacen("VERSION", env!("CARGO_PKG_VERSION"), 1),
    ))
}

/// `GET /healthz`: this process answers.
pub(crate) fn show_health() -> Answer {
    Ok(typed("text/plain; charset=utf-8", "ok\n".to_owned()))
}

/// `GET /readyz`: this node may serve, and is not stopping.
pub(crate) fn show_readiness(app: &App) -> Answer {
    if app.stop.is_said() {
        return Err(ApiError::stopping());
    }
    app.node.readiness().map_err(|why| ApiError::not_ready(why.to_string()))?;
    Ok(typed("text/plain; charset=utf-8", "ready\n".to_owned()))
}

/// `GET /metrics`, in the format that `Accept` asks for.
pub(crate) fn show_metrics(app: &App, headers: &HeaderMap) -> Answer {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = MetricsFormat::negotiate(accept);
    let mut answer = typed(format.content_type(), metrics::text(app, format));
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(answer)
}

fn json(value: &impl Serialize) -> Answer {
    Ok(typed("application/json", serde_json::to_string(value).unwrap_or_default()))
}
