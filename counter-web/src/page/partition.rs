//! The page's switch that cuts this node off from all others.

use crate::access::Caller;
use crate::api::code::Code;
use crate::api::error::ApiError;
use crate::api::fields::form_value;
use crate::api::response::{ApiResult, see_other};
use crate::app::App;

/// `POST /partition`, the page's switch: cuts this node off from all others (`cut=1`), or heals
/// (`cut=0`).
pub(crate) fn switch_partition(app: &App, caller: &Caller, body: &[u8]) -> ApiResult {
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
