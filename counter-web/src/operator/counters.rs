//! Counters as operators see them: the answers to `list` and `reset`. An operator's command about
//! counters has its function here.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::adds::reset_counter;
use crate::api::json::Integer;
use crate::api::listing::{CountersJson, LIMIT_MAX};
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

/// Resets a counter by the amounts that this node has seen. The argument is its name, as JSON.
pub(super) async fn reset(app: &App, argument: &str) -> Value {
    let Ok(name) = serde_json::from_str::<String>(argument) else {
        return json!({ "error": "write reset \"NAME\"" });
    };
    if !app.node.exists(&name) {
        return json!({ "error": format!("there is no counter {name:?}: `counter-web list` names all") });
    }
    match reset_counter(app, &name).await {
        Ok(total) => json!({ "total": Integer(total) }),
        Err(error) => json!({ "error": error.message }),
    }
}
