//! Resets and removals of counters, for operators over HTTP and over their socket.

use serde::Serialize;

use crate::access::Caller;
use crate::api::error::ApiError;
use crate::api::fields::read_name;
use crate::api::json::Integer;
use crate::api::response::{ApiResult, json};
use crate::app::App;

/// `POST /api/counters/{name}/reset`: resets the counter by the amounts that this node has seen.
pub(crate) async fn reset(app: &App, caller: &Caller, name: &str) -> ApiResult {
    clear(app, caller, name, Clearing::Reset).await
}

/// `DELETE /api/counters/{name}`: removes the counter as far as this node has seen it.
pub(crate) async fn remove(app: &App, caller: &Caller, name: &str) -> ApiResult {
    caller.check_own_site()?;
    clear(app, caller, name, Clearing::Removal).await
}

async fn clear(app: &App, caller: &Caller, name: &str, clearing: Clearing) -> ApiResult {
    #[derive(Serialize)]
    struct ClearedJson {
        total: Integer,
    }
    caller.check_operator()?;
    let name = read_name(name)?;
    Ok(json(&ClearedJson { total: Integer(clear_counter(app, &name, clearing).await?) }))
}

/// What becomes of a counter whose amounts are cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clearing {
    /// It stays.
    Reset,
    /// It goes, with its name.
    Removal,
}

/// Resets or removes a counter, if it exists, as far as this node has seen it. Returns its total.
///
/// # Errors
///
/// If this node has not caught up, is stopping, or cannot write to its disk.
pub(crate) async fn clear_counter(
    app: &App,
    name: &str,
    clearing: Clearing,
) -> Result<i128, ApiError> {
    if app.node.exists(name) {
        match clearing {
            Clearing::Reset => app.node.reset(name),
            Clearing::Removal => app.node.remove(name),
        }
        .map_err(ApiError::of_add)?;
        app.topics.added(name);
        app.node.durable().await.map_err(|error| ApiError::not_durable(&error))?;
    }
    Ok(app.node.total(name))
}
