//! Random histories of repeats among nodes that restart, are lost, and take over from each other.

use std::collections::BTreeMap;

use counter_core::{AbsorbRound, AddOutcome, Delta, Replica, ReplicaId, VersionVector};

use super::repeats::{replica, restart};

/// Nodes that restart with and without their disks, absorb each other, lose and double deltas, and
/// receive the same ids.
struct Story {
    rng: fastrand::Rng,
    nodes: Vec<Node>,
    net: Vec<(usize, Message)>,
    /// Node numbers for nodes that come without a disk.
    next: u64,
    /// Every id that was ever applied, with its amount.
    sent: BTreeMap<String, i64>,
    absorbs: usize,
}

struct Node {
    replica: Replica,
    work: Option<AbsorbRound>,
    begun: bool,
    shown: BTreeMap<ReplicaId, VersionVector>,
}

#[derive(Clone)]
enum Message {
    Delta(Box<Delta>),
    Digest(ReplicaId, VersionVector),
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut story = Self {
            rng: fastrand::Rng::with_seed(seed),
            nodes: Vec::new(),
            net: Vec::new(),
            next: 10,
            sent: BTreeMap::new(),
            absorbs: 0,
        };
        story.nodes = (0..4).map(|node| Node::new(replica(node + 1, 1))).collect();
        story.meet_all();
        story
    }

    fn step(&mut self) {
        let at = self.rng.usize(..self.nodes.len());
        match self.rng.u8(..20) {
            0..=5 => self.add(at),
            6..=8 => self.send(at),
            9..=12 => self.deliver(),
            13 | 14 => {
                let shown = Message::Digest(
                    self.nodes[at].replica.id(),
                    self.nodes[at].replica.map().version_vector(),
                );
                (0..self.nodes.len())
                    .filter(|to| *to != at)
                    .for_each(|to| self.net.push((to, shown.clone())));
            }
            15 | 16 => self.work(at),
            17 if self.rng.u8(..3) == 0 => self.restart(at),
            18 if self.rng.u8(..8) == 0 => self.lose(at),
            19 if self.rng.u8(..4) == 0 => self.meet_all(),
            _ => {}
        }
    }

    fn add(&mut self, at: usize) {
        let number = self.rng.u64(1..40);
        let id = if number < 30 {
            format!("tab {}:{}", number % 3, number / 3 + 1)
        } else {
            format!("single {number}")
        };
        let amount = number as i64 * 2 - 41;
        if self.nodes[at].replica.add_once(&id, &id, amount).unwrap() == AddOutcome::Applied {
            self.sent.insert(id, amount);
        }
    }

    fn send(&mut self, at: usize) {
        let to = self.rng.usize(..self.nodes.len());
        let (from, known) =
            (&self.nodes[at].replica, self.nodes[to].replica.map().version_vector());
        let delta = match self.rng.bool() {
            true => from.map().delta_since(&known),
            false => from.map().delta_of(from.id(), known.get(from.id())).unwrap_or_default(),
        };
        self.net.push((to, Message::Delta(Box::new(delta))));
    }

    fn deliver(&mut self) {
        if self.net.is_empty() {
            return;
        }
        let which = self.rng.usize(..self.net.len());
        let again = self.rng.u8(..5) == 0;
        let (to, message) =
            if again { self.net[which].clone() } else { self.net.swap_remove(which) };
        self.nodes[to].take(message);
    }

    /// One step of a successor, as the protocol lets it.
    fn work(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if !node.begun && node.replica.rebase(self.rng.usize(1..300)) > 0 {
            return;
        }
        node.work = node.replica.absorb_round(node.work.take());
        let Some(mut work) = node.work.take() else { return };
        let agreed = |node: &Node, upto| {
            let map = node.replica.map();
            map.first_disagreeing(node.replica.id(), upto, |replica| node.shown.get(&replica))
                .is_none()
        };
        let may_go_on = node.begun && work.absorbed().is_none()
            || agreed(node, work.absorbed().unwrap_or(node.replica.version()));
        if !may_go_on {
            node.work = Some(work);
        } else if work.absorbed().is_some() {
            node.begun = false;
            node.replica.fold(&mut work).unwrap();
            self.absorbs += 1;
        } else {
            node.begun = true;
            node.replica.absorb(&mut work, self.rng.usize(..300)).unwrap();
            node.work = Some(work);
        }
    }

    fn restart(&mut self, at: usize) {
        let id = self.nodes[at].replica.id();
        self.nodes[at] = Node::new(restart(&self.nodes[at].replica));
        self.forget(id);
    }

    /// A node is lost for good. Another takes its place, and an operator retires it at some node.
    fn lose(&mut self, at: usize) {
        let id = self.nodes[at].replica.id();
        self.next += 1;
        self.nodes[at] = Node::new(replica(self.rng.u64(..2) * 100 + self.next, 1));
        self.forget(id);
        let other = (at + 1 + self.rng.usize(..self.nodes.len() - 1)) % self.nodes.len();
        let (from, to) = (other, at);
        let delta = self.nodes[from].replica.map().delta_since(&VersionVector::new());
        self.nodes[to].take(Message::Delta(Box::new(delta)));
        let delta = self.nodes[to].replica.map().delta_since(&VersionVector::new());
        self.nodes[from].take(Message::Delta(Box::new(delta)));
        self.nodes[from].replica.claim(id);
        // Every node that joined through a retired one must be known elsewhere: docs/retirement.md.
        let record = self.nodes[to].replica.map().delta_of(self.nodes[to].replica.id(), 0).unwrap();
        self.nodes.iter_mut().for_each(|node| node.take(Message::Delta(Box::new(record.clone()))));
    }

    /// The messages of a process that is gone do not arrive: its connections are gone too.
    fn forget(&mut self, id: ReplicaId) {
        self.net.retain(|(_, message)| !matches!(message, Message::Digest(of, _) if *of == id));
    }

    fn meet_all(&mut self) {
        for _ in 0..3 {
            for from in 0..self.nodes.len() {
                for to in 0..self.nodes.len() {
                    let delta = self.nodes[from]
                        .replica
                        .map()
                        .delta_since(&self.nodes[to].replica.map().version_vector());
                    self.nodes[to].take(Message::Delta(Box::new(delta)));
                }
            }
        }
    }

    fn finish(&mut self, seed: u64) {
        self.meet_all();
        let ids: Vec<ReplicaId> = self.nodes.iter().map(|node| node.replica.id()).collect();
        // Incarnations of nodes that were lost together with the node that had retired them.
        let lost: Vec<ReplicaId> = self.nodes[0]
            .replica
            .map()
            .enrolled()
            .filter(|replica| !ids.contains(replica))
            .collect();
        for replica in lost {
            self.nodes[0].replica.claim(replica);
        }
        for _ in 0..400 {
            self.meet_all();
            // All their claimants have ended.
            for incarnation in self.nodes[0].replica.map().without_successor() {
                self.nodes[0].replica.claim(incarnation);
            }
            let shown: Vec<_> = self
                .nodes
                .iter()
                .map(|node| (node.replica.id(), node.replica.map().version_vector()))
                .collect();
            for (id, vector) in &shown {
                self.nodes
                    .iter_mut()
                    .for_each(|node| node.take(Message::Digest(*id, vector.clone())));
            }
            (0..self.nodes.len()).for_each(|at| self.work(at));
            self.meet_all();
            if self.nodes[0].replica.map().replicas().all(|replica| ids.contains(&replica)) {
                break;
            }
        }
        self.meet_all();
        for (id, amount) in self.sent.clone() {
            let at = self.rng.usize(..self.nodes.len());
            self.nodes[at].replica.add_once(&id, &id, amount).unwrap();
        }
        self.meet_all();
        let hash = self.nodes[0].replica.state_hash();
        for node in &mut self.nodes {
            for (id, amount) in &self.sent {
                assert_eq!(node.replica.total(id), i128::from(*amount), "seed {seed}, {id}");
            }
            assert_eq!(node.replica.state_hash(), hash, "seed {seed}");
        }
        assert!(
            self.nodes[0].replica.map().replicas().all(|replica| ids.contains(&replica)),
            "seed {seed}: all are folded"
        );
    }
}

impl Node {
    fn new(replica: Replica) -> Self {
        Self { replica, work: None, begun: false, shown: BTreeMap::new() }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Delta(delta) => drop(self.replica.join_delta(*delta).unwrap()),
            Message::Digest(id, vector) => drop(self.shown.insert(id, vector)),
        }
    }
}

/// `STORY_SEEDS` sets the number of seeds.
#[test]
fn random_repeats_and_successors_end_exact() {
    let number = |name: &str, usual| {
        std::env::var(name).ok().map_or(usual, |text| text.parse().expect("a number"))
    };
    let (first, count) = (number("STORY_FIRST", 0), number("STORY_SEEDS", 300));
    let mut absorbs = 0;
    for seed in first..first + count {
        let mut story = Story::new(seed);
        (0..300).for_each(|_| story.step());
        story.finish(seed);
        absorbs += story.absorbs;
    }
    println!("{absorbs} folds");
    assert!(absorbs as u64 > count);
}
