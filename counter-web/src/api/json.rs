//! The JSON of counters and regions, shared by HTTP, sockets and the page.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_net::{CounterView, RegionView};
use serde::{Serialize, Serializer};

/// The greatest integer that every JSON reader holds exactly, JavaScript among them.
const PLAIN_INTEGER_MAX: i128 = (1 << 53) - 1;

/// An integer, written as a JSON number within ±(2^53 - 1) and as a decimal string beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Integer(pub(crate) i128);

impl Serialize for Integer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0) {
            Ok(plain) if self.0.abs() <= PLAIN_INTEGER_MAX => serializer.serialize_i64(plain),
            _ => serializer.collect_str(&self.0),
        }
    }
}

/// Whole milliseconds, for a field whose name ends in `_ms`.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One region of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RegionJson {
    pub(crate) value: Integer,
    pub(crate) connected: u64,
    pub(crate) nodes: u64,
}

impl From<&RegionView> for RegionJson {
    fn from(region: &RegionView) -> Self {
        Self { value: Integer(region.value), connected: region.connected, nodes: region.nodes }
    }
}

/// Regions by code. Borrowed, because it exists only while it is serialised.
pub(crate) type RegionsJson<'a> = BTreeMap<&'a str, RegionJson>;

/// Returns all regions of `view`.
pub(crate) fn regions_json(view: &CounterView) -> RegionsJson<'_> {
    view.regions.iter().map(|(code, region)| (code.as_str(), region.into())).collect()
}

/// The answer to `GET /api/counters/{name}`.
#[derive(Serialize)]
pub(crate) struct CounterJson<'a> {
    pub(crate) name: &'a str,
    pub(crate) total: Integer,
    pub(crate) regions: RegionsJson<'a>,
    pub(crate) state_hash: String,
    pub(crate) synced: bool,
}

impl<'a> From<&'a CounterView> for CounterJson<'a> {
    fn from(view: &'a CounterView) -> Self {
        Self {
            name: &view.name,
            total: Integer(view.total),
            regions: regions_json(view),
            state_hash: view.state_hash.to_string(),
            synced: view.synced,
        }
    }
}

/// The answer to an add by HTTP.
#[derive(Serialize)]
pub(crate) struct AddedJson<'a> {
    pub(crate) total: Integer,
    pub(crate) region: &'a str,
    pub(crate) value: Integer,
    pub(crate) id: &'a str,
}

/// True if JSON text, provided that it is valid, is an object. Checked first, because serde also
/// reads a struct from an array of its fields in order.
pub(crate) fn is_object(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"{")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_integers_are_strings() {
        let text = |value| serde_json::to_string(&Integer(value)).unwrap();
        assert_eq!(text(PLAIN_INTEGER_MAX), "9007199254740991");
        assert_eq!(text(PLAIN_INTEGER_MAX + 1), "\"9007199254740992\"");
        assert_eq!(text(-PLAIN_INTEGER_MAX - 1), "\"-9007199254740992\"");
        assert_eq!(text(i128::MAX), format!("\"{}\"", i128::MAX));
    }
}
