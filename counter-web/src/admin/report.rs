//! What a node says of itself to `top`: its status, its state hash and its metrics, over the
//! operators' socket.

use counter_net::MetricsFormat;
use serde_json::{Value, json};

use crate::app::App;
use crate::{handlers, metrics};

/// The answer to the operators' command `status`: what `/api/status` shows, `state_hash`, and the
/// text of `/metrics`.
pub(super) fn report(app: &App) -> Value {
    let mut status = handlers::status(app);
    if let Some(fields) = status.as_object_mut() {
        fields.insert(
            "state_hash".to_owned(),
            json!(app.node.view(&app.counter).state_hash.to_string()),
        );
        fields.insert("metrics".to_owned(), json!(metrics::text(app, MetricsFormat::Prometheus)));
    }
    status
}
