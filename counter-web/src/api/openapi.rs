//! `GET /api/openapi.json`: the description of this API for programs.

use crate::api::response::{ApiResult, typed};

/// `GET /api/openapi.json`: the API for programs.
pub(crate) fn show_openapi() -> ApiResult {
    Ok(typed(
        "application/json",
        include_str!("../../assets/openapi.json").replacen("VERSION", env!("CARGO_PKG_VERSION"), 1),
    ))
}
