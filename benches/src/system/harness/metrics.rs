//! A node's own metrics, read from its text.

use super::http::Http;
use crate::system::{MeasureFailure, Measured};

/// One reading of `/metrics`.
#[derive(Debug)]
pub(in crate::system) struct Metrics(String);

impl Metrics {
    pub(in crate::system) async fn read(http: &mut Http) -> Measured<Self> {
        let (status, body) = http.get("/metrics").await?;
        match status {
            200 => Ok(Self(String::from_utf8_lossy(&body).into_owned())),
            other => Err(MeasureFailure(format!("the node answers /metrics with {other}"))),
        }
    }

    /// A reading that was made elsewhere.
    pub(in crate::system) fn of_text(text: String) -> Self {
        Self(text)
    }

    /// The sum of all samples with this name and all these labels.
    pub(in crate::system) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let lines = self.0.lines().filter(|line| {
            let rest =
                line.strip_prefix(name).map(|rest| rest.strip_prefix("_total").unwrap_or(rest));
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}
