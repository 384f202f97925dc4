//! One version of a counter, serialised once for every client that watches it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use counter_net::CounterView;

use crate::api::json::{Integer, RegionJson, RegionsJson, regions_json};
use crate::ws::frames::TextFrame;
use crate::ws::message::ServerMessage;

/// A version of the counter as frames. Clients that have the version before get only the regions
/// that changed; the others get all of them.
pub(crate) struct SnapshotFrame {
    version: u64,
    view: CounterView,
    made_at: Instant,
    /// The regions that differ from the version before.
    change: TextFrame,
    /// All regions. Made when the first client needs it.
    whole: OnceLock<TextFrame>,
}

impl SnapshotFrame {
    /// Version 0, with no change.
    pub(crate) fn first(view: CounterView) -> Self {
        let change = change_frame(&view, RegionsJson::new());
        Self { version: 0, change, view, made_at: Instant::now(), whole: OnceLock::new() }
    }

    /// The version after this one, in which the `changed` regions differ.
    pub(crate) fn next(&self, view: &CounterView, changed: RegionsJson<'_>) -> Self {
        Self {
            version: self.version + 1,
            change: change_frame(view, changed),
            view: view.clone(),
            made_at: Instant::now(),
            whole: OnceLock::new(),
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The counter as of this version.
    pub(crate) fn view(&self) -> &CounterView {
        &self.view
    }

    /// The time since this version was made.
    pub(crate) fn age(&self) -> Duration {
        self.made_at.elapsed()
    }

    /// All regions as a change, for a client that missed a version.
    pub(crate) fn whole(&self) -> &TextFrame {
        self.whole.get_or_init(|| change_frame(&self.view, regions_json(&self.view)))
    }

    /// The frame for a client that has version `sent`.
    pub(crate) fn since(&self, sent: u64) -> &TextFrame {
        if self.version == sent + 1 { &self.change } else { self.whole() }
    }

    /// The regions of `view` that differ from this version. Regions that are gone count 0.
    pub(crate) fn changed_regions<'a>(&'a self, view: &'a CounterView) -> RegionsJson<'a> {
        const GONE: RegionJson = RegionJson { value: Integer(0), connected: 0, nodes: 0 };
        let old = &self.view.regions;
        let gone = old
            .keys()
            .filter(|code| !view.regions.contains_key(*code))
            .map(|code| (code.as_str(), GONE));
        let changed = view.regions.iter().filter(|(code, region)| old.get(*code) != Some(region));
        changed.map(|(code, region)| (code.as_str(), region.into())).chain(gone).collect()
    }
}

fn change_frame(view: &CounterView, regions: RegionsJson<'_>) -> TextFrame {
    let message = ServerMessage::Change {
        total: Integer(view.total),
        regions,
        state_hash: view.state_hash.to_string(),
        synced: view.synced,
    };
    TextFrame::new(&message.to_json())
}
