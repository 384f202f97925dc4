//! A story as data: steps drawn from a seed before anything happens, so that one can be printed,
//! and left out.

use std::fmt;
use std::time::Duration;

use super::mix::Mix;

pub(super) const REGIONS: [&str; 3] = ["ord", "fra", "sin"];
const COUNTERS: [&str; 3] = ["clicks", "likes", "carts"];
/// Nodes that a story ever has.
pub(super) const NODES_MAX: usize = 12;

/// One act, and how long the world runs after it. Acts name nodes by number; one that is down, or
/// never was, does nothing.
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
    /// Sends an id that is new, or one sent before, counted back from the latest.
    Once {
        nodes: Vec<usize>,
        which: Which,
    },
    Names {
        node: usize,
        count: usize,
    },
    /// Kills a node; its directory holds all that it held, or what it had committed last.
    Crash {
        node: usize,
        keeps_all: bool,
    },
    Restart {
        node: usize,
    },
    /// Starts a node from a copy of its directory that was made so many commits ago.
    Restore {
        node: usize,
        back: usize,
    },
    /// Commits stop or go on; where they stop for want of room, adds are refused.
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

/// Whom a new node knows.
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

/// What the author of a story believes of its nodes.
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

    fn step(&mut self) {
        let mix = self.mix;
        let weights = [
            mix.add,
            mix.subtract,
            mix.reset,
            mix.id,
            mix.again,
            mix.twice,
            mix.crash,
            mix.restart,
            mix.kill,
            mix.newcomer,
            mix.lonely,
            mix.leave,
            mix.leave_behind,
            mix.cut,
            mix.cut_one_way,
            mix.heal,
            mix.hang,
            mix.retire,
            mix.retire_living,
            mix.lag,
            mix.restore,
            mix.names,
            mix.flood,
            mix.flood_twice,
            mix.full,
        ];
        let sum: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
        let mut at = self.dice.u32(..sum);
        let kind = weights.iter().position(|weight| match at.checked_sub(u32::from(*weight)) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        });
        self.act(kind.unwrap_or(0));
    }

    fn act(&mut self, kind: usize) -> Option<()> {
        match kind {
            0 | 1 => {
                let (node, counter) = (self.up()?, COUNTERS[self.dice.usize(..COUNTERS.len())]);
                self.push(Act::Add { node, counter, is_negative: kind == 1 });
            }
            2 => {
                let (node, key) = (self.up()?, self.dice.usize(..1000));
                self.push(Act::Reset { node, key });
            }
            3 => {
                let nodes = vec![self.up()?];
                self.new_id(nodes);
            }
            4 => {
                let (nodes, back) = (vec![self.up()?], self.dice.usize(..20));
                self.push(Act::Once { nodes, which: Which::Back(back) });
            }
            5 => {
                let nodes = vec![self.up()?, self.up()?];
                self.new_id(nodes);
            }
            6 => {
                let node = self.any(|node| node.is_up && node.has_directory)?;
                self.nodes[node].is_up = false;
                let keeps_all = !self.nodes[node].lags;
                self.push(Act::Crash { node, keeps_all });
            }
            7 => {
                let node = self.any(|node| !node.is_up && !node.is_gone)?;
                (self.nodes[node].is_up, self.nodes[node].lags) = (true, false);
                self.push(Act::Restart { node });
            }
            8 if self.up_count() > 2 => {
                let node = self.any(|node| node.is_up && !node.has_directory)?;
                (self.nodes[node].is_up, self.nodes[node].is_gone) = (false, !self.mix.named);
                self.push(Act::Crash { node, keeps_all: false });
            }
            9 if self.up_count() < 6 => drop(self.start(Knows::Everybody)?),
            10 if self.up_count() < 6 => {
                let known = self.up()?;
                self.start(Knows::Only(known))?;
            }
            11 if self.up_count() > 2 => self.leave(None)?,
            12 if self.up_count() > 1 && self.up_count() < 6 => {
                let leaver = self.any(|node| node.is_up && !node.has_directory)?;
                self.start(Knows::Only(leaver))?;
                if let Some(step) = self.steps.last_mut() {
                    step.pause = Duration::from_millis(self.dice.u64(0..400));
                }
                self.leave(Some(leaver))?;
            }
            13 => {
                let from: Vec<usize> = (0..self.nodes.len()).filter(|_| self.dice.bool()).collect();
                let to = (0..self.nodes.len()).filter(|node| !from.contains(node)).collect();
                self.push(Act::Cut { from, to, both_ways: true });
            }
            14 => {
                let (from, to) = (vec![self.up()?], vec![self.up()?]);
                self.push(Act::Cut { from, to, both_ways: false });
            }
            15 => self.push(Act::Heal),
            16 if self.up_count() > 3 => {
                let node = self.up()?;
                self.push(Act::Hang { node });
            }
            17 => {
                let (at, node) = (self.up()?, self.any(|node| node.is_gone)?);
                self.push(Act::Retire { at, node });
            }
            18 => {
                let (at, node) = (self.up()?, self.up()?);
                self.push(Act::Retire { at, node });
            }
            19 | 24 => {
                let node = self.any(|node| node.is_up && node.has_directory)?;
                self.nodes[node].lags = !self.nodes[node].lags;
                let lags = self.nodes[node].lags;
                self.push(Act::Lag { node, lags, is_full: lags && kind == 24 });
            }
            20 => {
                let node = self.any(|node| !node.is_up && node.has_directory && !node.is_gone)?;
                (self.nodes[node].is_up, self.nodes[node].lags) = (true, false);
                let back = self.dice.usize(1..30);
                self.push(Act::Restore { node, back });
            }
            21 => {
                let (node, count) = (self.up()?, self.dice.usize(1..6));
                self.push(Act::Names { node, count });
            }
            22 | 23 => {
                let mut nodes = vec![self.up()?];
                nodes.extend(self.up().filter(|_| kind == 23));
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
