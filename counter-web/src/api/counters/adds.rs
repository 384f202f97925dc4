//! Adds over HTTP, and the one place where a single add is applied.

use counter_net::{AddOutcome, Counter};
use serde::Deserialize;
use warp::http::header::HeaderMap;

use crate::access::Caller;
use crate::api::error::ApiError;
use crate::api::fields::{
    Amount, check_id, form_value, fresh_id, is_generated, read_name, read_object,
};
use crate::api::json::{AddedJson, Integer};
use crate::api::response::{ApiResult, json, see_other};
use crate::api::session;
use crate::app::App;

/// Applies one add, or returns [`AddOutcome::Repeated`] if its id was applied before.
///
/// # Errors
///
/// If the node has no room for the amount, or its dedup table no longer reaches back to the id.
/// Nothing was added.
pub(crate) fn apply_add(
    app: &App,
    counter: &Counter,
    id: &str,
    amount: Amount,
) -> Result<AddOutcome, ApiError> {
    if is_generated(id) {
        return Ok(AddOutcome::Repeated);
    }
    let added = counter.add_once(id, amount.get());
    let outcome = added.map_err(|error| ApiError::of_add_to(&app.node, counter.name(), error))?;
    match outcome {
        AddOutcome::Applied => app.counts.adds.increment(),
        AddOutcome::Repeated => {}
        AddOutcome::CannotTell => return Err(ApiError::cannot_tell()),
    }
    Ok(outcome)
}

/// Applies one add without an id. If the client sends it again, it counts again.
fn apply_new(app: &App, counter: &Counter, amount: Amount) -> Result<(), ApiError> {
    let size = amount.get().unsigned_abs();
    let applied = if amount.get() > 0 { counter.add(size) } else { counter.subtract(size) };
    applied.map_err(|error| ApiError::of_add_to(&app.node, counter.name(), error))?;
    app.counts.adds.increment();
    Ok(())
}

/// `POST` to either page: its form, for browsers without JavaScript. `name` is still
/// percent-encoded.
pub(crate) async fn add_by_form(
    app: &App,
    caller: &Caller,
    name: Option<&str>,
    body: &[u8],
) -> ApiResult {
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
) -> ApiResult {
    let name = read_name(name)?;
    let body: AddBody = read_object(body, "{\"amount\":1}")?;
    let amount = Amount::read(body.amount.as_ref())?;
    let key = headers
        .get("idempotency-key")
        .map(|key| key.to_str().map_err(|_| ApiError::bad_id()))
        .transpose()?;
    key.map_or(Ok(()), check_id)?;
    let seen = session::read(headers)?;
    add(app, caller, &name, key, amount).await?;
    let id = key.map_or_else(fresh_id, str::to_owned);
    let view = app.node.view(&name);
    let mut response = json(&AddedJson {
        total: Integer(view.total),
        region: &app.region,
        value: Integer(app.value_here(&view)),
        id: &id,
    });
    session::attach_token(app, seen, &name, &mut response);
    Ok(response)
}

/// Applies an add. With a data directory, waits until it is on the disk.
async fn add(
    app: &App,
    caller: &Caller,
    name: &str,
    id: Option<&str>,
    amount: Amount,
) -> Result<(), ApiError> {
    caller.check_token()?;
    caller.take_add(&app.limits).inspect_err(|_| app.counts.adds_refused.increment())?;
    let counter = app.open(name, caller)?;
    match id {
        Some(id) => {
            apply_add(app, &counter, id, amount)?;
        }
        None => apply_new(app, &counter, amount)?,
    }
    app.topics.added(name);
    counter.durable().await.map_err(|error| ApiError::not_durable(&error))
}
