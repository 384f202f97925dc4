//! The plot: a story as data. Its steps are drawn from a seed before anything happens, so that a
//! step can be printed or left out.

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
    Reset {
        node: usize,
        key: usize,
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
    /// Stops a node's commits, or lets them go on. If they stop because the disk is full, adds are
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
    nodes: Vec<Node>,
    ids: usize,
    clients: [u64; 3],
}

#[derive(Clone)]
struct Node {
    has_directory: bool,
    is_up: bool,
    is_gone: bool,
    lags: bool,
}

/// What a step is about.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Kind {
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
}

/// The weight of each kind. The order is part of every seed's story.
fn weights(mix: &Mix) -> [(u8, Kind); 25] {
    [
        (mix.add, Kind::Add),
        (mix.subtract, Kind::Subtract),
        (mix.reset, Kind::Reset),
        (mix.id, Kind::Id),
        (mix.again, Kind::Again),
        (mix.twice, Kind::Twice),
        (mix.crash, Kind::Crash),
        (mix.restart, Kind::Restart),
        (mix.kill, Kind::Kill),
        (mix.newcomer, Kind::Newcomer),
        (mix.lonely, Kind::Lonely),
        (mix.leave, Kind::Leave),
        (mix.leave_behind, Kind::LeaveBehind),
        (mix.cut, Kind::Cut),
        (mix.cut_one_way, Kind::CutOneWay),
        (mix.heal, Kind::Heal),
        (mix.hang, Kind::Hang),
        (mix.retire, Kind::Retire),
        (mix.retire_living, Kind::RetireLiving),
        (mix.lag, Kind::Lag),
        (mix.restore, Kind::Restore),
        (mix.names, Kind::Names),
        (mix.flood, Kind::Flood),
        (mix.flood_twice, Kind::FloodTwice),
        (mix.full, Kind::Full),
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
        self.nodes.push(Node { has_directory, is_up: true, is_gone: false, lags: false });
        let region = self.dice.usize(..REGIONS.len());
        self.push(Act::Start { node, region, has_directory, knows });
        Some(node)
    }

    fn any(&mut self, fits: impl Fn(&Node) -> bool) -> Option<usize> {
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

    fn act(&mut self, kind: Kind) -> Option<()> {
        match kind {
            Kind::Add | Kind::Subtract => {
                let (node, counter) = (self.up()?, COUNTERS[self.dice.usize(..COUNTERS.len())]);
                self.push(Act::Add { node, counter, is_negative: kind == Kind::Subtract });
            }
            Kind::Reset => {
                let (node, key) = (self.up()?, self.dice.usize(..1000));
                self.push(Act::Reset { node, key });
            }
            Kind::Id => {
                let nodes = vec![self.up()?];
                self.new_id(nodes);
            }
            Kind::Again => {
                let (nodes, back) = (vec![self.up()?], self.dice.usize(..20));
                self.push(Act::Once { nodes, which: Which::Back(back) });
            }
            Kind::Twice => {
                let nodes = vec![self.up()?, self.up()?];
                self.new_id(nodes);
            }
            Kind::Crash => {
                let node = self.any(|node| node.is_up && node.has_directory)?;
                self.nodes[node].is_up = false;
                let keeps_all = !self.nodes[node].lags;
                self.push(Act::Crash { node, keeps_all });
            }
            Kind::Restart => {
                let node = self.any(|node| !node.is_up && !node.is_gone)?;
                (self.nodes[node].is_up, self.nodes[node].lags) = (true, false);
                self.push(Act::Restart { node });
            }
            Kind::Kill if self.up_count() > 2 => {
                let node = self.any(|node| node.is_up && !node.has_directory)?;
                (self.nodes[node].is_up, self.nodes[node].is_gone) = (false, !self.mix.named);
                self.push(Act::Crash { node, keeps_all: false });
            }
            Kind::Newcomer if self.up_count() < 6 => drop(self.start(Knows::Everybody)?),
            Kind::Lonely if self.up_count() < 6 => {
                let known = self.up()?;
                self.start(Knows::Only(known))?;
            }
            Kind::Leave if self.up_count() > 2 => self.leave(None)?,
            Kind::LeaveBehind if self.up_count() > 1 && self.up_count() < 6 => {
                let leaver = self.any(|node| node.is_up && !node.has_directory)?;
                self.start(Knows::Only(leaver))?;
                if let Some(step) = self.steps.last_mut() {
                    step.pause = Duration::from_millis(self.dice.u64(0..400));
                }
                self.leave(Some(leaver))?;
            }
            Kind::Cut => {
                let from: Vec<usize> = (0..self.nodes.len()).filter(|_| self.dice.bool()).collect();
                let to = (0..self.nodes.len()).filter(|node| !from.contains(node)).collect();
                self.push(Act::Cut { from, to, both_ways: true });
            }
            Kind::CutOneWay => {
                let (from, to) = (vec![self.up()?], vec![self.up()?]);
                self.push(Act::Cut { from, to, both_ways: false });
            }
            Kind::Heal => self.push(Act::Heal),
            Kind::Hang if self.up_count() > 3 => {
                let node = self.up()?;
                self.push(Act::Hang { node });
            }
            Kind::Retire => {
                let (at, node) = (self.up()?, self.any(|node| node.is_gone)?);
                self.push(Act::Retire { at, node });
            }
            Kind::RetireLiving => {
                let (at, node) = (self.up()?, self.up()?);
                self.push(Act::Retire { at, node });
            }
            Kind::Lag | Kind::Full => {
                let node = self.any(|node| node.is_up && node.has_directory)?;
                self.nodes[node].lags = !self.nodes[node].lags;
                let lags = self.nodes[node].lags;
                self.push(Act::Lag { node, lags, is_full: lags && kind == Kind::Full });
            }
            Kind::Restore => {
                let node = self.any(|node| !node.is_up && node.has_directory && !node.is_gone)?;
                (self.nodes[node].is_up, self.nodes[node].lags) = (true, false);
                let back = self.dice.usize(1..30);
                self.push(Act::Restore { node, back });
            }
            Kind::Names => {
                let (node, count) = (self.up()?, self.dice.usize(1..6));
                self.push(Act::Names { node, count });
            }
            Kind::Flood | Kind::FloodTwice => {
                let mut nodes = vec![self.up()?];
                nodes.extend(self.up().filter(|_| kind == Kind::FloodTwice));
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
