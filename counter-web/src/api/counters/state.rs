//! `GET /api/counters/{name}`: one counter, with its regions.

use warp::http::header::HeaderMap;

use crate::api::fields::read_name;
use crate::api::json::CounterJson;
use crate::api::response::{ApiResult, json};
use crate::api::session;
use crate::app::App;

/// `GET /api/counters/{name}`.
pub(crate) async fn show_counter(app: &App, name: &str, headers: &HeaderMap) -> ApiResult {
    let name = read_name(name)?;
    let seen = session::read(headers)?;
    if let Some(seen) = &seen {
        session::catch_up(app, seen).await?;
    }
    let mut response = json(&CounterJson::from(&app.node.view(&name)));
    session::attach_token(app, seen, &name, &mut response);
    Ok(response)
}
