//! The two text formats of metrics, and the choice between them by a request's `Accept` header.

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// A text format that Prometheus scrapes.
///
/// # Examples
///
/// ```
/// use counter_net::MetricsFormat;
///
/// let asked = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
/// assert_eq!(MetricsFormat::negotiate(Some(asked)), MetricsFormat::OpenMetrics);
/// assert_eq!(MetricsFormat::negotiate(None), MetricsFormat::Prometheus);
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum MetricsFormat {
    /// Prometheus text, version 0.0.4, which every scraper reads.
    #[default]
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

/// Weights of an `Accept` header for the two formats, in thousandths.
#[derive(Default)]
struct Weights {
    open_metrics: u32,
    /// The weight of the most specific range that covers `text/plain`.
    plain: Option<(Specificity, u32)>,
}

#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    Any,
    Text,
    Plain,
}

impl MetricsFormat {
    /// The format for a request with this `Accept` header.
    ///
    /// OpenMetrics only if the header names it, at no less weight than plain text.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let mut weights = Weights::default();
        for range in accept.unwrap_or_default().split(',') {
            weights.add(range);
        }
        let plain = weights.plain.map_or(0, |(_, weight)| weight);
        if weights.open_metrics > 0 && weights.open_metrics >= plain {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The `Content-Type` of a response in this format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Everything in `registry`, as one complete response.
    pub fn encode(self, registry: &Registry) -> String {
        let mut written = String::new();
        // A string takes every write, so only a broken collector of the caller's can fail. The
        // scrape then ends where that one failed.
        let _outcome = text::encode_registry(&mut written, registry);
        match self {
            Self::Prometheus => to_prometheus(&written),
            Self::OpenMetrics => written + "# EOF\n",
        }
    }
}

impl Weights {
    fn add(&mut self, range: &str) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let (mut weight, mut version) = (1_000, None);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("q") {
                let quality: f64 = value.parse().unwrap_or(0.0);
                weight = (quality.clamp(0.0, 1.0) * 1_000.0) as u32;
            } else if name.trim().eq_ignore_ascii_case("version") {
                version = Some(value);
            }
        }
        let specificity = match kind.to_ascii_lowercase().as_str() {
            "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => {
                self.open_metrics = self.open_metrics.max(weight);
                return;
            }
            "text/plain" if version.is_none_or(|version| version == "0.0.4") => Specificity::Plain,
            "text/*" => Specificity::Text,
            "*/*" => Specificity::Any,
            _ => return,
        };
        self.plain = self.plain.max(Some((specificity, weight)));
    }
}

/// Rewrites OpenMetrics as Prometheus text.
///
/// A counter's or info's family takes the suffix of its samples. Units and exemplars are left out:
/// Prometheus text has neither.
fn to_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + open_metrics.len() / 8);
    let mut help = None;
    let mut write = |parts: &[&str]| {
        parts.iter().for_each(|part| text.push_str(part));
        text.push('\n');
    };
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest.split_once(' ').unwrap_or((rest, "")));
        } else if let Some((family, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "stateset" => ("", "gauge"),
                "unknown" => ("", "untyped"),
                same => ("", same),
            };
            if let Some((_, help)) = help.take().filter(|(name, _)| *name == family) {
                write(&["# HELP ", family, suffix, " ", help]);
            }
            write(&["# TYPE ", family, suffix, " ", kind]);
        } else if !line.starts_with('#') {
            write(&[without_exemplar(line)]);
        }
    }
    text
}

/// A sample up to its exemplar. A label's value may contain ` # `, so quotes are respected.
fn without_exemplar(sample: &str) -> &str {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, character) in sample.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '#' if !is_quoted => return sample[..at].trim_end(),
            _ => {}
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_chooses_the_format() {
        use MetricsFormat::{OpenMetrics, Prometheus};
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,\
            */*;q=0.1";
        for (accept, format) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            ("text/html", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Prometheus),
            ("application/openmetrics-text;q=0", Prometheus),
            ("application/openmetrics-text;q=0.4, text/plain", Prometheus),
            ("application/openmetrics-text;q=0.4, */*, text/plain;q=0.3", OpenMetrics),
            ("text/plain;version=0.0.4, application/openmetrics-text", OpenMetrics),
            (prometheus_2, OpenMetrics),
        ] {
            assert_eq!(MetricsFormat::negotiate(Some(accept)), format, "{accept}");
        }
    }

    #[test]
    fn prometheus_text_names_families_by_their_samples() {
        let open_metrics = "# HELP a Adds.\n# TYPE a counter\n\
            a_total{b=\"\\\" # {\"} 2 # {c=\"d\"} 1\n\
            # HELP w_bytes Width.\n# TYPE w_bytes gauge\n# UNIT w_bytes bytes\nw_bytes 3\n\
            # HELP n Node.\n# TYPE n info\nn_info{x=\"#\"} 1\n";
        let prometheus = "# HELP a_total Adds.\n# TYPE a_total counter\na_total{b=\"\\\" # {\"} 2\n\
            # HELP w_bytes Width.\n# TYPE w_bytes gauge\nw_bytes 3\n\
            # HELP n_info Node.\n# TYPE n_info gauge\nn_info{x=\"#\"} 1\n";
        assert_eq!(to_prometheus(open_metrics), prometheus);
    }
}
