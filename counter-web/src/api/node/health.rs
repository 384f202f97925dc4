//! `GET /healthz` and `GET /readyz`: the probes of an operator's tools.

use crate::api::error::ApiError;
use crate::api::response::{ApiResult, typed};
use crate::app::App;

/// `GET /healthz`: 200 while this process runs.
pub(crate) fn show_health() -> ApiResult {
    Ok(typed("text/plain; charset=utf-8", "ok\n".to_owned()))
}

/// `GET /readyz`: 200 if this node may serve and is not stopping.
pub(crate) fn show_readiness(app: &App) -> ApiResult {
    if app.stop.is_stopping() {
        return Err(ApiError::stopping());
    }
    app.node.readiness().map_err(|why| ApiError::not_ready(why.to_string()))?;
    Ok(typed("text/plain; charset=utf-8", "ready\n".to_owned()))
}
