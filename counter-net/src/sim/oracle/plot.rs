//! The plot: a story as data. Its steps are drawn from a seed before the first one is played, so
//! that a step can be printed or left out.

use std::fmt;
use std::time::Duration;

use super::mix::Mix;

pub(super) const REGIONS: [&str; 3] = ["ord", "fra", "sin"];
const COUNTERS: [&str; 3] = ["clicks", "likes", "carts"];
/// The most nodes that a story has.
pub(super) const NODES_MAX: usize = 12;

/// One act, and how long the world runs after it. Acts name nodes by number. An act of a node that
/// is down or does not exist does nothing.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub act: Act,
    pub pause: Duration,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    Start {
        node: usize,
        region: usize,
        has_directory: bool,
        knows: Knows,
    },
    Add {
        node: usize,
        counter: &'static str,
        is_negative: bool,
    },
    /// Adds to a window.
    Visit {
        node: usize,
    },
    Reset {
        node: usize,
        key: usize,
    },
    /// Removes the counter of a key.
    Remove {
        node: usize,
        key: usize,
    },
    /// Has the counter of a key end after this time.
    Expire {
        node: usize,
        key: usize,
        after: Duration,
    },
    /// Sends a new id, or an earlier one, counted back from the latest.
    Once {
        nodes: Vec<usize>,
        which: Which,
    },
    Names {
        node: usize,
        count: usize,
    },
    /// Kills a node. Its directory holds everything that it held, or only its last commit.
    Crash {
        node: usize,
        keeps_all: bool,
    },
    Restart {
        node: usize,
    },
    /// Starts a node from a copy of its directory that was made `back` commits ago.
    Restore {
        node: usize,
        back: usize,
    },
    /// Stops a node's commits, or resumes them. If they stop because the disk is full, adds are
    /// refused.
    Lag {
        node: usize,
        lags: bool,
        is_full: bool,
    },
    Leave {
        node: usize,
    },
    Retire {
        at: usize,
        node: usize,
    },
    Cut {
        from: Vec<usize>,
        to: Vec<usize>,
        both_ways: bool,
    },
    Heal,
    Hang {
        node: usize,
    },
}

/// The nodes that a new node knows.
#[derive(Clone, Debug)]
pub(super) enum Knows {
    Everybody,
    Only(usize),
}

#[derive(Clone, Debug)]
pub(super) enum Which {
    New(String),
    Back(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, then {:?}", self.act, self.pause)
    }
}

/// The author of a story, with what it believes of the nodes.
struct Author<'a> {
    mix: &'a Mix,
    dice: fastrand::Rng,
    steps: Vec<Step>,
    nodes: Vec<PlannedNode>,
    ids: usize,
    clients: [u64; 3],
}

#[derive(Clone)]
struct PlannedNode {
    has_directory: bool,
    is_up: bool,
    is_gone: bool,
    lags: bool,
}

/// The kind of a step. [`weights`] gives its share in a mix, and [`Author::act`] its act.
#[derive(Copy, Clone, PartialEq, Eq)]
enum StepKind {
    Add,
    Subtract,
    Reset,
    Id,
    Again,
    Twice,
    Crash,
    Restart,
    Kill,
    Newcomer,
    Lonely,
    Leave,
    LeaveBehind,
    Cut,
    CutOneWay,
    Heal,
    Hang,
    Retire,
    RetireLiving,
    Lag,
    Restore,
    Names,
    Flood,
    FloodTwice,
    Full,
    Remove,
    Expire,
    Visit,
}

/// The weight of each kind. The order is part of every seed's story.
fn weights(mix: &Mix) -> [(u8, StepKind); 28] {
    [
        (mix.add, StepKind::Add),
        (mix.subtract, StepKind::Subtract),
        (mix.reset, StepKind::Reset),
        (mix.id, StepKind::Id),
        (mix.again, StepKind::Again),
        (mix.twice, StepKind::Twice),
        (mix.crash, StepKind::Crash),
        (mix.restart, StepKind::Restart),
        (mix.kill, StepKind::Kill),
        (mix.newcomer, StepKind::Newcomer),
        (mix.lonely, StepKind::Lonely),
        (mix.leave, StepKind::Leave),
        (mix.leave_behind, StepKind::LeaveBehind),
        (mix.cut, StepKind::Cut),
        (mix.cut_one_way, StepKind::CutOneWay),
        (mix.heal, StepKind::Heal),
        (mix.hang, StepKind::Hang),
        (mix.retire, StepKind::Retire),
        (mix.retire_living, StepKind::RetireLiving),
        (mix.lag, StepKind::Lag),
        (mix.restore, StepKind::Restore),
        (mix.names, StepKind::Names),
        (mix.flood, StepKind::Flood),
        (mix.flood_twice, StepKind::FloodTwice),
        (mix.full, StepKind::Full),
        (mix.remove, StepKind::Remove),
        (mix.expire, StepKind::Expire),
        (mix.visit, StepKind::Visit),
    ]
}

/// The steps of a seed's story.
pub(super) fn steps(mix: &Mix, seed: u64) -> Vec<Step> {
    let dice = fastrand::Rng::with_seed(seed ^ 0x0a1c_1e5e);
    let mut author =
        Author { mix, dice, steps: Vec::new(), nodes: Vec::new(), ids: 0, clients: [0; 3] };
    author.write();
    author.steps
}

impl Author<'_> {
    fn write(&mut self) {
        for _ in 0..self.dice.usize(self.mix.nodes.0..=self.mix.nodes.1) {
            self.start(Knows::Everybody);
        }
        if let Some(last) = self.steps.last_mut() {
            last.pause = Duration::from_millis(1500);
        }
        for _ in 0..self.dice.usize(self.mix.steps.0..=self.mix.steps.1) {
            self.step();
        }
    }

    fn push(&mut self, act: Act) {
        let most = self.mix.pauses[self.dice.usize(..self.mix.pauses.len())];
        let pause = Duration::from_millis(self.dice.u64(0..=most));
        self.steps.push(Step { act, pause });
    }

    fn start(&mut self, knows: Knows) -> Option<usize> {
        let node = self.nodes.len();
        if node == NODES_MAX.max(self.mix.digest_replicas_max.unwrap_or(0) * 2) {
            return None;
        }
        let has_directory = self.dice.u8(..100) < self.mix.directories;
        self.nodes.push(PlannedNode { has_directory, is_up: true, is_gone: false, lags: false });
        let region = self.dice.usize(..REGIONS.len());
        self.push(Act::Start { node, region, has_directory, knows });
        Some(node)
    }

    fn any(&mut self, fits: impl Fn(&PlannedNode) -> bool) -> Option<usize> {
        let fitting: Vec<usize> =
            (0..self.nodes.len()).filter(|node| fits(&self.nodes[*node])).collect();
        (!fitting.is_empty()).then(|| fitting[self.dice.usize(..fitting.len())])
    }

    fn up(&mut self) -> Option<usize> {
        self.any(|node| node.is_up)
    }

    fn up_count(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_up).count()
    }

    /// Draws one step, or several that belong together. Draws nothing if no node fits.
    fn step(&mut self) {
        let weights = weights(self.mix);
        let sum: u32 = weights.iter().map(|(weight, _)| u32::from(*weight)).sum();
        let mut at = self.dice.u32(..sum);
        for (weight, kind) in weights {
            match at.checked_sub(u32::from(weight)) {
                Some(rest) => at = rest,
                None => {
                    self.act(kind);
                    return;
                }
            }
        }
    }

    fn act(&mut self, kind: StepKind) -> Option<()> {
        match kind {
            StepKind::Add | StepKind::Subtract => {
                let (node, counter) = (self.up()?, COUNTERS[self.dice.usize(..COUNTERS.len())]);
                self.push(Act::Add { node, counter, is_negative: kind == StepKind::Subtract });
            }
            StepKind::Visit => {
                let node = self.up()?;
                self.push(Act::Visit { node });
            }
            StepKind::Reset => {
                let (node, key) = (self.up()?, self.dice.usize(..1000));
                self.push(Act::Reset { node, key });
            }
            StepKind::Remove => {
                let (node, key) = (self.up()?, self.dice.usize(..1000));
                self.push(Act::Remove { node, key });
            }
            StepKind::Expire => {
                let (node, key) = (self.up()?, self.dice.usize(..1000));
                let after = Duration::from_millis(self.dice.u64(0..8_000));
                self.push(Act::Expire { node, key, after });
            }
            StepKind::Id => {
                let nodes = vec![self.up()?];
                self.new_id(nodes);
            }
            StepKind::Again => {
                let (nodes, back) = (vec![self.up()?], self.dice.usize(..20));
                self.push(Act::Once { nodes, which: Which::Back(back) });
            }
            StepKind::Twice => {
                let nodes = vec![self.up()?, self.up()?];
                self.new_id(nodes);
            }
            StepKind::Crash => {
                let node = self.any(|node| node.is_up && node.has_directory)?;
                self.nodes[node].is_up = false;
                let keeps_all = !self.nodes[node].lags;
                self.push(Act::Crash { node, keeps_all });
            }
            StepKind::Restart => {
                let node = self.any(|node| !node.is_up && !node.is_gone)?;
                (self.nodes[node].is_up, self.nodes[node].lags) = (true, false);
                self.push(Act::Restart { node });
            }
            StepKind::Kill if self.up_count() > 2 => {
                let node = self.any(|node| node.is_up && !node.has_directory)?;
                (self.nodes[node].is_up, self.nodes[node].is_gone) = (false, !self.mix.named);
                self.push(Act::Crash { node, keeps_all: false });
            }
            StepKind::Newcomer if self.up_count() < 6 => drop(self.start(Knows::Everybody)?),
            StepKind::Lonely if self.up_count() < 6 => {
                let known = self.up()?;
                self.start(Knows::Only(known))?;
            }
            StepKind::Leave if self.up_count() > 2 => self.leave(None)?,
            StepKind::LeaveBehind if self.up_count() > 1 && self.up_count() < 6 => {
                let leaver = self.any(|node| node.is_up && !node.has_directory)?;
                self.start(Knows::Only(leaver))?;
                if let Some(step) = self.steps.last_mut() {
                    step.pause = Duration::from_millis(self.dice.u64(0..400));
                }
                self.leave(Some(leaver))?;
            }
            StepKind::Cut => {
                let from: Vec<usize> = (0..self.nodes.len()).filter(|_| self.dice.bool()).collect();
                let to = (0..self.nodes.len()).filter(|node| !from.contains(node)).collect();
                self.push(Act::Cut { from, to, both_ways: true });
            }
            StepKind::CutOneWay => {
                let (from, to) = (vec![self.up()?], vec![self.up()?]);
                self.push(Act::Cut { from, to, both_ways: false });
            }
            StepKind::Heal => self.push(Act::Heal),
            StepKind::Hang if self.up_count() > 3 => {
                let node = self.up()?;
                self.push(Act::Hang { node });
            }
            StepKind::Retire => {
                let is_lost = |node: &PlannedNode| !node.is_up && !node.has_directory;
                let (at, node) = (self.up()?, self.any(is_lost)?);
                self.push(Act::Retire { at, node });
            }
            StepKind::RetireLiving => {
                let (at, node) = (self.up()?, self.up()?);
                self.push(Act::Retire { at, node });
            }
            StepKind::Lag | StepKind::Full => {
                let node = self.any(|node| node.is_up && node.has_directory)?;
                self.nodes[node].lags = !self.nodes[node].lags;
                let lags = self.nodes[node].lags;
                self.push(Act::Lag { node, lags, is_full: lags && kind == StepKind::Full });
            }
            StepKind::Restore => {
                let node = self.any(|node| !node.is_up && node.has_directory && !node.is_gone)?;
                (self.nodes[node].is_up, self.nodes[node].lags) = (true, false);
                let back = self.dice.usize(1..30);
                self.push(Act::Restore { node, back });
            }
            StepKind::Names => {
                let (node, count) = (self.up()?, self.dice.usize(1..6));
                self.push(Act::Names { node, count });
            }
            StepKind::Flood | StepKind::FloodTwice => {
                let mut nodes = vec![self.up()?];
                nodes.extend(self.up().filter(|_| kind == StepKind::FloodTwice));
                for _ in 0..self.dice.usize(4..24) {
                    self.new_id(nodes.clone());
                    if let Some(step) = self.steps.last_mut() {
                        step.pause = Duration::ZERO;
                    }
                }
            }
            _ => {}
        }
        Some(())
    }

    fn leave(&mut self, leaver: Option<usize>) -> Option<()> {
        let node = leaver.or_else(|| self.any(|node| node.is_up && !node.has_directory))?;
        (self.nodes[node].is_up, self.nodes[node].is_gone) = (false, true);
        self.push(Act::Leave { node });
        Some(())
    }

    fn new_id(&mut self, nodes: Vec<usize>) {
        self.ids += 1;
        let text = if self.dice.u8(..3) == 0 {
            format!("single {}", self.ids)
        } else {
            let client = self.dice.usize(..self.clients.len());
            self.clients[client] += 1;
            format!("tab {client}:{}", self.clients[client])
        };
        self.push(Act::Once { nodes, which: Which::New(text) });
    }
}
