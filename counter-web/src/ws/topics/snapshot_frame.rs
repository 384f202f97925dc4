//! One version of a counter, serialised once for every client that watches it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use counter_net::CounterView;

use crate::api::json::{Integer, RegionJson, RegionsJson, regions_json};
use crate::ws::wire::frames::TextFrame;
use crate::ws::wire::message::ServerMessage;

/// Whether a change names its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// For a client of one counter.
    Plain,
    /// For a client that watches several.
    Named,
}

/// A version of the counter as frames. Clients that have the previous version get only the regions
/// that changed; the others get all of them. A frame is made when the first client needs it.
pub(crate) struct SnapshotFrame {
    version: u64,
    view: CounterView,
    made_at: Instant,
    /// The codes of the regions that differ from the previous version.
    changed: Vec<String>,
    plain: ChangeFrames,
    named: ChangeFrames,
}

/// The changes to one version, in one [`Naming`].
#[derive(Default)]
struct ChangeFrames {
    /// The regions that differ from the previous version.
    last: OnceLock<TextFrame>,
    /// All regions.
    whole: OnceLock<TextFrame>,
}

impl SnapshotFrame {
    /// Version 0, with no change.
    pub(crate) fn first(view: CounterView) -> Self {
        Self::new(0, view, Vec::new())
    }

    /// The version after this one, in which the `changed` regions differ.
    pub(crate) fn next(&self, view: &CounterView, changed: Vec<String>) -> Self {
        Self::new(self.version + 1, view.clone(), changed)
    }

    fn new(version: u64, view: CounterView, changed: Vec<String>) -> Self {
        let (plain, named) = Default::default();
        Self { version, view, made_at: Instant::now(), changed, plain, named }
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
    pub(crate) fn whole(&self, naming: Naming) -> &TextFrame {
        let all = || self.change(naming, regions_json(&self.view));
        self.changes(naming).whole.get_or_init(all)
    }

    /// The frame for a client that has version `sent`.
    pub(crate) fn since(&self, sent: u64, naming: Naming) -> &TextFrame {
        if self.version != sent + 1 {
            return self.whole(naming);
        }
        let last = || self.change(naming, self.last_regions());
        self.changes(naming).last.get_or_init(last)
    }

    /// The codes of the regions that differ between this version and `view`, gone ones included.
    pub(crate) fn changed_regions(&self, view: &CounterView) -> Vec<String> {
        let old = &self.view.regions;
        let gone = old.keys().filter(|code| !view.regions.contains_key(*code));
        let changed = view.regions.iter().filter(|(code, region)| old.get(*code) != Some(region));
        changed.map(|(code, _)| code).chain(gone).cloned().collect()
    }

    fn changes(&self, naming: Naming) -> &ChangeFrames {
        match naming {
            Naming::Plain => &self.plain,
            Naming::Named => &self.named,
        }
    }

    /// The regions that differ from the previous version. Regions that are gone count 0.
    fn last_regions(&self) -> RegionsJson<'_> {
        const GONE: RegionJson = RegionJson { value: Integer(0), connected: 0, nodes: 0 };
        let region = |code: &String| self.view.regions.get(code).map_or(GONE, RegionJson::from);
        self.changed.iter().map(|code| (code.as_str(), region(code))).collect()
    }

    fn change(&self, naming: Naming, regions: RegionsJson<'_>) -> TextFrame {
        let message = ServerMessage::Change {
            counter: (naming == Naming::Named).then_some(&self.view.name),
            total: Integer(self.view.total),
            regions,
            state_hash: self.view.state_hash.to_string(),
            synced: self.view.synced,
        };
        TextFrame::new(message.to_json())
    }
}
