//! The front's metrics, written after the node's own in the Prometheus text format.

use std::fmt::Write;

use crate::app::App;

/// Everything that a scrape of this node shows.
pub(crate) fn text(app: &App) -> String {
    let node = app.node.metrics_text();
    // The node's text ends as OpenMetrics does; ours goes before that end, and a plain Prometheus
    // scraper takes the mark for a comment.
    let mut text = node.trim_end().strip_suffix("# EOF").unwrap_or(&node).to_owned();
    let counts = &app.counts;
    let counters = [
        ("http_requests", "HTTP requests, sockets' openings included.", counts.requests.get()),
        ("adds", "Adds applied, by HTTP and by sockets.", counts.adds.get()),
        ("adds_refused", "Adds refused by the rate limit.", counts.adds_refused.get()),
        ("frames_sent", "Changes handed to sockets.", counts.frames_sent.get()),
        ("sockets_opened", "WebSockets opened.", counts.sockets_opened.get()),
        ("sockets_closed", "WebSockets that this side closed.", counts.sockets_closed.get()),
    ];
    for (name, help, value) in counters {
        // Writing to a String cannot fail.
        let _written = write!(
            text,
            "# HELP counter_web_{name}_total {help}\n# TYPE counter_web_{name}_total counter\ncounter_web_{name}_total {value}\n"
        );
    }
    let streams = app.stop.streams();
    let _written = write!(
        text,
        "# HELP counter_web_streams WebSockets and event streams that are open.\n# TYPE counter_web_streams gauge\ncounter_web_streams {streams}\n"
    );
    text
}
