//! Limits over HTTP: a service asks whether one more action stays within the limit of a sliding
//! window.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::Caller;
use crate::api::code::Code;
use crate::api::error::ApiError;
use crate::api::fields::{Amount, read_name, read_object};
use crate::api::json::{Integer, milliseconds};
use crate::api::response::{ApiResult, json};
use crate::app::App;

/// The longest window, in seconds: a day.
const WINDOW_S_MAX: u64 = 24 * 3_600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SentCheck {
    amount: Option<serde_json::Value>,
    limit: Option<serde_json::Value>,
    window_s: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct CheckJson {
    allowed: bool,
    remaining: Integer,
    retry_after_ms: u64,
}

/// `POST /api/limits/{name}/check`: adds the amount if the window then holds at most the limit.
pub(crate) fn check(app: &App, caller: &Caller, name: &str, body: &[u8]) -> ApiResult {
    caller.check_service()?;
    let name = read_name(name)?;
    let sent: SentCheck = read_object(body, "{\"amount\":1,\"limit\":100,\"window_s\":60}")?;
    let amount = u64::try_from(Amount::read(sent.amount.as_ref())?.get())
        .map_err(|_| ApiError::bad_amount("a check takes no negative amount"))?;
    let bad = |what: &str| ApiError::bad_request(Code::BadRequest, what);
    let limit = sent
        .limit
        .and_then(|limit| limit.as_u64())
        .ok_or_else(|| bad("limit is an integer, 0 or more"))?;
    let window = sent
        .window_s
        .and_then(|seconds| seconds.as_u64())
        .filter(|seconds| (1..=WINDOW_S_MAX).contains(seconds))
        .and_then(|seconds| app.node.window(&name, Duration::from_secs(seconds)))
        .ok_or_else(|| bad("window_s is an integer from 1 to 86,400"))?;
    let checked = window.check(amount, limit).map_err(ApiError::of_add)?;
    Ok(json(&CheckJson {
        allowed: checked.allowed,
        remaining: Integer(checked.remaining.into()),
        retry_after_ms: milliseconds(checked.retry_after),
    }))
}
