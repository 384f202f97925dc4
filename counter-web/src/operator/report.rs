//! The answer to the operators' command `status`, for `top`.

use counter_net::MetricsFormat;
use serde_json::{Value, json};

use crate::api::node::status;
use crate::app::App;
use crate::metrics;

/// Returns the fields of `/api/status`, the `state_hash`, and the text of `/metrics`.
pub(super) fn report(app: &App) -> Value {
    let mut status = status::status(app);
    if let Some(fields) = status.as_object_mut() {
        fields.insert(
            "state_hash".to_owned(),
            json!(app.node.view(&app.counter).state_hash.to_string()),
        );
        fields.insert("metrics".to_owned(), json!(metrics::text(app, MetricsFormat::Prometheus)));
    }
    status
}
