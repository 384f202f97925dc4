//! The answers to the operator's commands about counters: `list`, `reset` and `remove`.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::counters::clearing::{Clearing, clear_counter};
use crate::api::counters::listing::{CountersJson, LIMIT_MAX};
use crate::api::json::Integer;
use crate::app::App;

/// The argument of `list`, as JSON: names may have spaces.
#[derive(Deserialize, serde::Serialize)]
pub(super) struct ListArgument {
    pub(super) prefix: String,
    /// The name after which the page starts.
    pub(super) after: String,
}

/// Returns a page of counters.
pub(super) async fn list(app: &App, argument: &str) -> Value {
    let Ok(ListArgument { prefix, after }) = serde_json::from_str(argument) else {
        return json!({ "error": "write list {\"prefix\":\"\",\"after\":\"\"}" });
    };
    let node = app.node.clone();
    let listed = tokio::task::spawn_blocking(move || {
        CountersJson::by_name(&node, &prefix, &after, LIMIT_MAX)
    });
    match listed.await {
        Ok(counters) => json!(counters),
        Err(_) => json!({ "error": "this node is stopping" }),
    }
}

/// Resets or removes a counter as far as this node has seen it. The argument is its name, as JSON.
pub(super) async fn clear(app: &App, argument: &str, clearing: Clearing) -> Value {
    let Ok(name) = serde_json::from_str::<String>(argument) else {
        return json!({ "error": "write reset \"NAME\" or remove \"NAME\"" });
    };
    if !app.node.exists(&name) {
        let why = format!("there is no counter {name:?}: `counter-web list` names all");
        return json!({ "error": why });
    }
    match clear_counter(app, &name, clearing).await {
        Ok(total) => json!({ "total": Integer(total) }),
        Err(error) => json!({ "error": error.message }),
    }
}
