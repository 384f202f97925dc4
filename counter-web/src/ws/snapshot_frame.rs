//! What a room shows of its counter: one look at the node, serialised once for all who watch.

use std::sync::OnceLock;
use std::time::Instant;

use counter_net::CounterView;

use crate::api::model::{Integer, RegionJson, RegionsJson, ServerMessage, regions_json};
use crate::ws::frames::{Frame, text_frame};

/// What the room showed last, and its two serialised forms.
pub(crate) struct Shown {
    pub(crate) version: u64,
    pub(crate) view: CounterView,
    pub(crate) at: Instant,
    /// The regions that differ from the version before.
    change: Frame,
    /// All regions, for a follower that missed a version; made when the first such asks.
    whole: OnceLock<Frame>,
}

impl Shown {
    /// Version 0: nothing differs.
    pub(crate) fn first(view: CounterView) -> Self {
        Self {
            version: 0,
            change: change_frame(&view, RegionsJson::new()),
            view,
            at: Instant::now(),
            whole: OnceLock::new(),
        }
    }

    /// The version after this one, where `changed` regions differ.
    pub(crate) fn then(&self, view: &CounterView, changed: RegionsJson<'_>) -> Self {
        let change = change_frame(view, changed);
        Self {
            version: self.version + 1,
            change,
            view: view.clone(),
            at: Instant::now(),
            whole: OnceLock::new(),
        }
    }

    /// All regions as a change, for who missed a version.
    pub(crate) fn whole(&self) -> &Frame {
        self.whole.get_or_init(|| change_frame(&self.view, regions_json(&self.view)))
    }

    /// What to show to a follower who saw version `seen` last.
    pub(crate) fn since(&self, seen: u64) -> &Frame {
        if self.version == seen + 1 { &self.change } else { self.whole() }
    }
}

/// What is shown of a region that has no value, viewer or node any more.
const GONE: RegionJson = RegionJson { value: Integer(0), connected: 0, nodes: 0 };

/// The regions of `new` that differ from `old`, and those that are no longer there as zeros.
pub(crate) fn changed_regions<'a>(old: &'a CounterView, new: &'a CounterView) -> RegionsJson<'a> {
    let gone = old
        .regions
        .keys()
        .filter(|code| !new.regions.contains_key(*code))
        .map(|code| (code.as_str(), GONE));
    let changed =
        new.regions.iter().filter(|(code, region)| old.regions.get(*code) != Some(region));
    changed.map(|(code, region)| (code.as_str(), region.into())).chain(gone).collect()
}

fn change_frame(view: &CounterView, regions: RegionsJson<'_>) -> Frame {
    let message = ServerMessage::Change {
        total: Integer(view.total),
        regions,
        state_hash: view.state_hash.to_string(),
        synced: view.synced,
    };
    text_frame(&message.to_json())
}
