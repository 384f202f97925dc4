//! `GET /metrics`: the node's metrics and the front's own, in one registry.

use counter_net::MetricsFormat;
use counter_net::prometheus_client::metrics::counter::ConstCounter;
use counter_net::prometheus_client::metrics::gauge::ConstGauge;
use counter_net::prometheus_client::registry::Registry;
use warp::http::header::{ACCEPT, HeaderMap, HeaderValue, VARY};

use crate::api::response::{ApiResult, typed};
use crate::app::App;

/// `GET /metrics`.
pub(crate) fn show_metrics(app: &App, headers: &HeaderMap) -> ApiResult {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = MetricsFormat::negotiate(accept);
    let mut answer = typed(format.content_type(), text(app, format));
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(answer)
}

/// Returns the text of a scrape.
pub(crate) fn text(app: &App, format: MetricsFormat) -> String {
    let mut registry = Registry::default();
    app.node.register(&mut registry);
    let front = registry.sub_registry_with_prefix("counter_web");
    let counts = &app.counts;
    let counters = [
        ("http_requests", "HTTP requests, including those that open sockets", &counts.requests),
        ("adds", "Adds applied, over HTTP and over sockets", &counts.adds),
        ("adds_refused", "Adds refused by the rate limit", &counts.adds_refused),
        ("frames_sent", "Changes sent to sockets", &counts.frames_sent),
        ("sockets_opened", "WebSockets opened", &counts.sockets_opened),
        ("sockets_closed", "WebSockets that the node closed", &counts.sockets_closed),
    ];
    for (name, help, count) in counters {
        front.register(name, help, ConstCounter::new(count.get()));
    }
    let streams = app.stop.streams();
    front.register("streams", "Open WebSockets and event streams", ConstGauge::new(streams));
    let topics = ConstGauge::new(app.topics.count() as i64);
    front.register("topics", "Counters that WebSockets and event streams follow", topics);
    format.encode(&registry)
}
