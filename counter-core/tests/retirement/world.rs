//! Nodes with their disks, operators, and messages that are lost, doubled and late.

use std::collections::BTreeMap;

use counter_core::{AbsorbRound, CounterMap, Delta, Replica, ReplicaId, VersionVector};
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::units::{COUNTERS, CellUnits, History, REGION, own_version};

/// Rules that can be broken on purpose.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) absorb_when_final: bool,
    pub(crate) fold_when_all_hold_it: bool,
    /// A digest counts as far as its sender has committed it. A node that serves another has
    /// committed that it knows it.
    pub(crate) promises_are_committed: bool,
}

pub(crate) const ALL: Rules =
    Rules { absorb_when_final: true, fold_when_all_hold_it: true, promises_are_committed: true };

struct Node {
    replica: Replica,
    digests: BTreeMap<ReplicaId, VersionVector>,
    work: Option<AbsorbRound>,
    /// The disk that a restart finds.
    disk: CounterMap,
    /// Down, with its directory.
    away: bool,
    /// Retired while it was away. Back with its old directory, and not caught up with any of the
    /// others yet.
    behind: bool,
}

#[derive(Clone)]
struct Message {
    from: ReplicaId,
    knows: VersionVector,
    /// The part of `knows` that the sender has committed.
    promised: VersionVector,
    delta: Delta,
    hello: bool,
}

struct World {
    rng: TestRng,
    rules: Rules,
    nodes: Vec<Node>,
    net: Vec<Message>,
    history: History,
    /// One in this many steps of a node begins with a commit.
    commits: usize,
    /// The steps in 24 that begin with a reset.
    resets: usize,
    units: u64,
    restarts: u64,
    /// How often a retired node came back.
    returns: usize,
    folds: usize,
    wrong: usize,
}

fn below(rng: &mut TestRng, bound: usize) -> usize {
    use proptest::prelude::Rng;
    (rng.next_u64() % bound as u64) as usize
}

impl World {
    fn new(seed: u64, rules: Rules) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let count = 2 + below(&mut rng, 3) as u64;
        let nodes = (0..count)
            .map(|at| node(Replica::new(ReplicaId::new(at, 1 << 32), REGION).unwrap()))
            .collect();
        let resets = 1 + below(&mut rng, 5);
        let commits = [1, 3, 12][below(&mut rng, 3)];
        let mut world = Self {
            rng,
            rules,
            nodes,
            net: Vec::new(),
            history: History::default(),
            commits,
            resets,
            units: 0,
            restarts: 0,
            returns: 0,
            folds: 0,
            wrong: 0,
        };
        for to in 0..world.nodes.len() {
            for from in 0..world.nodes.len() {
                let hello = world.hello(from);
                world.deliver(to, &hello);
            }
        }
        (0..world.nodes.len()).for_each(|at| world.commit(at));
        world
    }

    fn any_node(&mut self) -> usize {
        below(&mut self.rng, self.nodes.len())
    }

    fn add(&mut self, at: usize) {
        let counter = below(&mut self.rng, COUNTERS.len());
        self.units += 1;
        let unit = self.units;
        self.nodes[at].replica.add(COUNTERS[counter], 1).unwrap();
        self.nodes[at].replica.flush();
        self.history
            .note(&self.nodes[at].replica, counter, |cell_units| cell_units.units.extend([unit]));
    }

    fn reset(&mut self, at: usize) {
        let counter = below(&mut self.rng, COUNTERS.len());
        let seen = self.history.held(self.nodes[at].replica.map(), counter);
        if self.nodes[at].behind {
            return;
        }
        if self.nodes[at].replica.reset(COUNTERS[counter], REGION).unwrap().is_some() {
            self.history.note(&self.nodes[at].replica, counter, |cell_units| {
                cell_units.reset.extend(seen.units)
            });
        }
    }

    /// The next incarnation from the same directory: with all cells, and without the digests of the
    /// others.
    fn restart(&mut self, at: usize) {
        self.restarts += 1;
        let old = self.nodes[at].replica.id();
        let map = self.nodes[at].disk.clone();
        let mut replica = Replica::with_map(old.next_incarnation(), REGION, map).unwrap();
        replica.claim(old);
        self.nodes[at] =
            Node { behind: self.nodes[at].away || self.nodes[at].behind, ..node(replica) };
    }

    /// A node is lost with its disk. An operator retires its incarnation at one of the others, and
    /// a new node joins by pulling from one of them.
    fn lose(&mut self, at: usize) {
        let lost = self.nodes[at].replica.id();
        let other = |rng: &mut TestRng, count: usize| (at + 1 + below(rng, count - 1)) % count;
        let (successor, source) =
            (other(&mut self.rng, self.nodes.len()), other(&mut self.rng, self.nodes.len()));
        let (knew, knows) = (self.nodes[at].replica.map(), self.nodes[successor].replica.map());
        if knew.replicas().any(|writer| knows.seen_of(writer) == 0 && !knows.is_folded(writer)) {
            // A node that retires another must know everyone who joined through it.
            return;
        }
        if self.nodes[successor].away || self.nodes[source].away {
            return;
        }
        self.restarts += 1;
        self.nodes[successor].replica.claim(lost);
        self.nodes[at] =
            node(Replica::new(ReplicaId::new(100 + self.restarts, 1 << 32), REGION).unwrap());
        let hello = self.hello(at);
        self.deliver(source, &hello);
        // A node serves only those that its disk knows.
        self.commit(source);
        let all = self.message_from(source, true);
        self.deliver(at, &all);
    }

    /// An operator retires a node that is only away. It will come back from its directory, as an
    /// incarnation that claims the one before.
    fn retire_and_stay_away(&mut self, at: usize) {
        let away = self.nodes[at].replica.id();
        let successor = (at + 1 + below(&mut self.rng, self.nodes.len() - 1)) % self.nodes.len();
        let (knew, knows) = (self.nodes[at].replica.map(), self.nodes[successor].replica.map());
        // A retired node takes with it everything that it alone holds.
        let unknown = knew
            .replicas()
            .any(|writer| knows.seen_of(writer) < knew.seen_of(writer) && !knows.is_folded(writer));
        // Two nodes that were retired at each other and have not met since would both be
        // successors.
        let met = knew.seen_of(self.nodes[successor].replica.id()) > 0;
        if !unknown && met && !self.nodes[successor].away {
            self.nodes[successor].replica.claim(away);
            self.nodes[at].away = true;
            self.returns += 1;
        }
    }

    fn commit(&mut self, at: usize) {
        self.nodes[at].disk = self.nodes[at].replica.map().clone();
    }

    fn hello(&self, from: usize) -> Message {
        let replica = &self.nodes[from].replica;
        let mut delta = replica.map().delta_since(&VersionVector::new());
        delta.retain(|writer| writer == replica.id());
        Message {
            from: replica.id(),
            knows: VersionVector::new(),
            promised: VersionVector::new(),
            delta,
            hello: true,
        }
    }

    /// Some or all of the cells that the sender holds and the receiver may lack, with the sender's
    /// whole digest.
    fn message_from(&mut self, from: usize, whole: bool) -> Message {
        let any = self.any_node();
        let rng = &mut self.rng;
        let known = if whole || below(rng, 3) == 0 {
            VersionVector::new()
        } else {
            self.nodes[any].replica.map().version_vector()
        };
        let own = self.nodes[from].replica.id();
        let mut delta = self.nodes[from].replica.map().delta_since(&known);
        if !whole && below(rng, 3) > 0 {
            let solo = below(rng, 3) == 0;
            delta.retain(|writer| if solo { writer == own } else { below(rng, 2) == 0 });
        }
        let knows = self.nodes[from].replica.map().version_vector();
        let promised = if self.rules.promises_are_committed {
            self.nodes[from].disk.version_vector()
        } else {
            knows.clone()
        };
        Message { from: own, knows, promised, delta, hello: false }
    }

    fn deliver(&mut self, at: usize, message: &Message) {
        let node = &mut self.nodes[at];
        let (own, map) = (node.replica.id(), node.replica.map());
        let known_before_served =
            message.hello || message.promised.get(own) > 0 || map.is_folded(own);
        if message.from == own || map.is_ended(message.from) || !known_before_served {
            return;
        }
        node.replica.join_delta(message.delta.clone()).unwrap();
        if !message.hello {
            node.digests.entry(message.from).or_default().join(&message.promised);
            let map = node.replica.map();
            node.behind &= message
                .knows
                .iter()
                .any(|(writer, version)| map.seen_of(writer) < version && !map.is_folded(writer));
        }
    }

    fn agreed(&self, at: usize, upto: u64) -> bool {
        let Node { replica, digests, disk, .. } = &self.nodes[at];
        let own_disk = !self.rules.promises_are_committed
            || replica.map().agrees(replica.id(), upto, &disk.version_vector());
        own_disk
            && replica
                .map()
                .first_disagreeing(replica.id(), upto, |member| digests.get(&member))
                .is_none()
    }

    /// One step of a successor, of a single cell.
    fn work(&mut self, at: usize) {
        let record = |node: &Node| {
            node.replica.map().record(node.replica.id()).map_or(0, |record| record.version)
        };
        if below(&mut self.rng, 4) == 0 {
            // Claims of ended claimants are not passed on: any replica claims anew.
            let waiting = self.nodes[at].replica.map().without_successor();
            for incarnation in waiting {
                self.nodes[at].replica.claim(incarnation);
            }
        }
        let under_way = self.nodes[at].work.take();
        let Some(mut work) = self.nodes[at].replica.absorb_round(under_way) else {
            if self.agreed(at, record(&self.nodes[at])) {
                self.forget(at);
            }
            return;
        };
        let before: Vec<CellUnits> = (0..COUNTERS.len())
            .map(|counter| {
                let map = self.nodes[at].replica.map();
                self.history.held_of(map, counter, |id| work.incarnations().contains(&id))
            })
            .collect();
        let known: Vec<CellUnits> = (0..COUNTERS.len())
            .map(|counter| self.history.held(self.nodes[at].replica.map(), counter))
            .collect();
        let versions: Vec<u64> = (0..COUNTERS.len())
            .map(|counter| own_version(&self.nodes[at].replica, counter))
            .collect();
        let mut done = false;
        if work.is_folded() {
            done = self.nodes[at].replica.rebase(1) == 0;
        } else if let Some(absorbed) = work.absorbed() {
            if !self.rules.fold_when_all_hold_it || self.agreed(at, absorbed) {
                self.nodes[at].replica.fold(&mut work).unwrap();
                self.folds += 1;
            }
        } else if !self.rules.absorb_when_final || self.agreed(at, record(&self.nodes[at])) {
            self.nodes[at].replica.absorb(&mut work, 1).unwrap();
        }
        let absorbing =
            work.absorbed().is_none_or(|absorbed| absorbed == self.nodes[at].replica.version())
                && !work.is_folded();
        for (counter, theirs) in before.into_iter().enumerate() {
            let moved = own_version(&self.nodes[at].replica, counter) != versions[counter];
            self.history.note(&self.nodes[at].replica, counter, |cell_units| {
                if moved && absorbing {
                    cell_units.units.extend(theirs.units);
                    cell_units.reset.extend(theirs.reset);
                } else if moved {
                    // A rebased cell clears of itself everything that its writer then knew as
                    // cleared.
                    cell_units.reset.extend(
                        cell_units
                            .units
                            .intersection(&known[counter].reset)
                            .copied()
                            .collect::<Vec<_>>(),
                    );
                }
            });
        }
        self.nodes[at].work = (!done).then_some(work);
    }

    fn forget(&mut self, at: usize) {
        self.nodes[at].replica.forget_cleared(1);
        (0..COUNTERS.len())
            .for_each(|counter| self.history.note(&self.nodes[at].replica, counter, |_| {}));
    }

    fn check(&mut self) {
        // A node that others had given up shows its old state until it has caught up. From then on
        // it is exact.
        for node in self.nodes.iter().filter(|node| !node.behind) {
            for (counter, name) in COUNTERS.iter().enumerate() {
                let CellUnits { units, reset } = self.history.held(node.replica.map(), counter);
                let want = units.difference(&reset).count() as i128;
                let cells = node.replica.map().pn_counter(name, REGION);
                self.wrong += usize::from(
                    node.replica.map().value(name, REGION) != want || cells.value() != want,
                );
            }
        }
    }

    fn step(&mut self) {
        let at = self.any_node();
        if self.nodes[at].away {
            if below(&mut self.rng, 12) == 0 {
                self.restart(at);
            }
            return self.check();
        }
        if below(&mut self.rng, 24) < self.resets {
            self.reset(at);
        }
        if below(&mut self.rng, self.commits) == 0 {
            self.commit(at);
        }
        match below(&mut self.rng, 23) {
            0..=3 => self.add(at),
            4 => match below(&mut self.rng, 6) {
                0..=1 => self.restart(at),
                2 => self.lose(at),
                3 => self.retire_and_stay_away(at),
                _ => {}
            },
            5..=8 => {
                let message = if below(&mut self.rng, 3) == 0 {
                    self.hello(at)
                } else {
                    self.message_from(at, false)
                };
                self.net.push(message);
            }
            9..=14 => self.work(at),
            _ if !self.net.is_empty() => {
                let which = below(&mut self.rng, self.net.len());
                let message = self.net[which].clone();
                if below(&mut self.rng, 5) < 3 {
                    self.net.swap_remove(which);
                }
                self.deliver(at, &message);
            }
            _ => {}
        }
        self.check();
    }

    /// Everyone hears everyone until nothing is left to retire. The first node retires the
    /// incarnations that nobody claims.
    fn settle(&mut self) {
        (0..self.nodes.len())
            .filter(|&at| self.nodes[at].away)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|at| self.restart(at));
        let live: Vec<ReplicaId> = self.nodes.iter().map(|node| node.replica.id()).collect();
        for _ in 0..60 {
            // The operator finds the incarnations of which only a lost node knew that they ended.
            let gone: Vec<ReplicaId> = self.nodes[0]
                .replica
                .map()
                .enrolled()
                .filter(|incarnation| !live.contains(incarnation))
                .collect();
            gone.into_iter().for_each(|incarnation| {
                self.nodes[0].replica.claim(incarnation);
            });
            for at in 0..self.nodes.len() {
                for from in 0..self.nodes.len() {
                    let messages = [self.hello(from), self.message_from(from, true)];
                    messages.iter().for_each(|message| self.deliver(at, message));
                }
                for _ in 0..6 {
                    self.commit(at);
                    self.work(at);
                }
            }
            self.check();
        }
    }
}

fn node(replica: Replica) -> Node {
    let disk = replica.map().clone();
    Node { replica, digests: BTreeMap::new(), work: None, disk, away: false, behind: false }
}

/// What a whole history showed.
pub(crate) struct Outcome {
    /// Values that were wrong at some step.
    pub(crate) wrong: usize,
    /// The most writers that a node knows besides the living.
    pub(crate) left: usize,
    /// True if the nodes' states are not the same in the end.
    pub(crate) differ: bool,
    pub(crate) restarts: u64,
    pub(crate) returns: usize,
    pub(crate) folds: usize,
}

/// Runs the history of a seed to its end.
pub(crate) fn run(seed: u64, rules: Rules) -> Outcome {
    let mut world = World::new(seed, rules);
    for _ in 0..60 + below(&mut world.rng, 340) {
        world.step();
    }
    world.settle();
    let states: Vec<_> = world
        .nodes
        .iter_mut()
        .map(|node| (node.replica.map().version_vector(), node.replica.state_hash()))
        .collect();
    let left = world
        .nodes
        .iter()
        .map(|node| node.replica.map().replicas().count() - world.nodes.len())
        .max()
        .unwrap_or(0);
    Outcome {
        wrong: world.wrong,
        left,
        differ: states.iter().any(|state| *state != states[0]),
        restarts: world.restarts,
        returns: world.returns,
        folds: world.folds,
    }
}
