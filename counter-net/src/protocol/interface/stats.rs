//! A replicator's counts since it was made. They are plain numbers, for metrics and for the
//! simulator's cost checks.

use std::collections::BTreeMap;

use super::output::Refusal;

/// The kinds of messages, for counting bytes.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum MessageKind {
    /// Gossip that carries cells.
    GossipDelta,
    /// Gossip that carries announcements or suspicions.
    GossipPresence,
    /// A compare of hashes and its answer.
    Compare,
    /// A first question to a peer and its answer.
    Ask,
    /// A page of a pull and its request.
    Pull,
    /// A node tells a peer what it holds, because the peer lacks some of it or the node leaves.
    /// Also the answer.
    Tell,
    /// A question about how much of the asking writer a peer holds, perhaps with cells, and its
    /// answer.
    Ack,
    /// Confirmations of states: targets by gossip, and bits in requests and answers.
    Confirm,
    /// A further part of a long digest, and its answer.
    Digest,
    /// A question about the latest incarnation of the asking node, and its answer.
    Number,
    /// Refusals, and messages that could not be read.
    Other,
}

impl MessageKind {
    /// Every kind, for metrics that list them all.
    pub const ALL: [MessageKind; 11] = [
        MessageKind::GossipDelta,
        MessageKind::GossipPresence,
        MessageKind::Compare,
        MessageKind::Ask,
        MessageKind::Pull,
        MessageKind::Tell,
        MessageKind::Ack,
        MessageKind::Confirm,
        MessageKind::Digest,
        MessageKind::Number,
        MessageKind::Other,
    ];

    /// The kind as a metric's label: lower case, underscores.
    pub fn label(self) -> &'static str {
        match self {
            MessageKind::GossipDelta => "gossip_delta",
            MessageKind::GossipPresence => "gossip_presence",
            MessageKind::Compare => "compare",
            MessageKind::Ask => "ask",
            MessageKind::Pull => "pull",
            MessageKind::Tell => "tell",
            MessageKind::Ack => "hold",
            MessageKind::Confirm => "confirm",
            MessageKind::Digest => "digest",
            MessageKind::Number => "number",
            MessageKind::Other => "other",
        }
    }
}

/// Counts since the start, and the sizes of the queues now.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Bytes of payload received, by kind.
    pub bytes_in: BTreeMap<MessageKind, u64>,
    /// Bytes of payload handed out, by kind. Gossip counts once, however many peers it goes to.
    pub bytes_out: BTreeMap<MessageKind, u64>,
    /// Messages received.
    pub messages_in: u64,
    /// Messages handed out.
    pub messages_out: u64,
    /// Incarnations that a replica claims and none has folded yet.
    pub incarnations_ended: usize,
    /// Incarnations that this replica folded.
    pub incarnations_folded: u64,
    /// About how many bytes of cells each peer was sent to take over incarnations.
    pub retirement_bytes: u64,
    /// Steps of a successor that found no room in a cell.
    pub retirement_stalled: u64,
    /// Gossip of ended incarnations that was ignored.
    pub ended_ignored: u64,
    /// How often this node continued as a new writer while it ran.
    pub renewals: u64,
    /// Refused messages, by reason.
    pub refused: BTreeMap<Refusal, u64>,
    /// Flushes that wrote a version.
    pub flushes: u64,
    /// Cells that joins changed.
    pub cells_joined: u64,
    /// Batches of gossip that did not fit a payload and were left to anti-entropy.
    pub unpublished: u64,
    /// Rounds of anti-entropy begun.
    pub rounds: u64,
    /// Rounds that found both sides equal.
    pub rounds_equal: u64,
    /// Pulls begun.
    pub pulls: u64,
    /// Pages received.
    pub pages: u64,
    /// Pulls that ended before their last page.
    pub pulls_failed: u64,
    /// Deltas that arrived beyond a gap.
    pub gaps: u64,
    /// Deltas beyond a gap that were dropped for lack of room.
    pub gaps_dropped: u64,
    /// Equal version vectors with unequal state hashes.
    pub divergences: u64,
    /// Full pulls that repair a divergence.
    pub repairs: u64,
    /// Cells of equal version and unequal content.
    pub conflicts: u64,
    /// Suspicions published.
    pub suspicions: u64,
    /// Suspicions of this node that it refuted.
    pub refutations: u64,
    /// Deltas that wait beyond gaps now.
    pub gap_entries: usize,
    /// Their bytes now.
    pub gap_bytes: usize,
    /// Pulls in flight now.
    pub pulls_in_flight: usize,
    /// Cells staged now.
    pub staged_cells: usize,
    /// Callers that wait for copies or versions now.
    pub waits: usize,
    /// Outputs that wait to be polled now.
    pub outputs: usize,
}

/// Something that [`Stats`] counts.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(in crate::protocol) enum Counted {
    CellJoined,
    Conflict,
    Divergence,
    EndedIgnored,
    Flush,
    Gap,
    GapDropped,
    IncarnationFolded,
    Page,
    Pull,
    PullFailed,
    Refutation,
    Renewal,
    Repair,
    RetirementByte,
    RetirementStalled,
    Round,
    RoundEqual,
    Suspicion,
    Unpublished,
}

/// The sizes of the protocol's queues now.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(in crate::protocol) struct Sizes {
    pub gap_entries: usize,
    pub gap_bytes: usize,
    pub pulls_in_flight: usize,
    pub staged_cells: usize,
    pub waits: usize,
}

impl Stats {
    pub(in crate::protocol) fn count(&mut self, event: Counted, times: u64) {
        let count = match event {
            Counted::CellJoined => &mut self.cells_joined,
            Counted::Conflict => &mut self.conflicts,
            Counted::Divergence => &mut self.divergences,
            Counted::EndedIgnored => &mut self.ended_ignored,
            Counted::Flush => &mut self.flushes,
            Counted::Gap => &mut self.gaps,
            Counted::GapDropped => &mut self.gaps_dropped,
            Counted::IncarnationFolded => &mut self.incarnations_folded,
            Counted::Page => &mut self.pages,
            Counted::Pull => &mut self.pulls,
            Counted::PullFailed => &mut self.pulls_failed,
            Counted::Refutation => &mut self.refutations,
            Counted::Renewal => &mut self.renewals,
            Counted::Repair => &mut self.repairs,
            Counted::RetirementByte => &mut self.retirement_bytes,
            Counted::RetirementStalled => &mut self.retirement_stalled,
            Counted::Round => &mut self.rounds,
            Counted::RoundEqual => &mut self.rounds_equal,
            Counted::Suspicion => &mut self.suspicions,
            Counted::Unpublished => &mut self.unpublished,
        };
        *count += times;
    }

    pub(in crate::protocol) fn set_sizes(&mut self, sizes: Sizes) {
        let Sizes { gap_entries, gap_bytes, pulls_in_flight, staged_cells, waits } = sizes;
        (self.gap_entries, self.gap_bytes) = (gap_entries, gap_bytes);
        (self.pulls_in_flight, self.staged_cells) = (pulls_in_flight, staged_cells);
        self.waits = waits;
    }

    pub(in crate::protocol) fn refuse(&mut self, reason: Refusal) {
        *self.refused.entry(reason).or_default() += 1;
    }

    pub(in crate::protocol) fn count_in(&mut self, kind: MessageKind, bytes: usize) {
        self.messages_in += 1;
        *self.bytes_in.entry(kind).or_default() += bytes as u64;
    }

    pub(in crate::protocol) fn count_out(&mut self, kind: MessageKind, bytes: usize) {
        self.messages_out += 1;
        *self.bytes_out.entry(kind).or_default() += bytes as u64;
    }

    /// How many messages were refused, for any reason.
    pub fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }
}
