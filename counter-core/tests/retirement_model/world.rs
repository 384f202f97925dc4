//! Every reachable world: three nodes, copies of messages that they once sent, and the events that
//! may still happen.

use std::collections::{HashMap, VecDeque};

use crate::node::{INCARNATIONS, Message, Node, Rules};

/// The event that makes a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The first node restarts from its directory and claims its previous incarnation.
    Restart,
    /// The first node is lost with its disk, and an operator retires it at the second.
    Loss,
    /// As a loss, and a new node joins in its place.
    Replacement,
}

/// The events that may happen, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) change: Change,
    pub(crate) adds: u8,
    pub(crate) resets: u8,
    pub(crate) counters: usize,
    /// For this many states of a node, their messages are also delivered late, any number of times.
    pub(crate) late: usize,
    /// True if all nodes keep digests and forget what was cleared; false if only the successor
    /// does.
    pub(crate) all_forget: bool,
}

const SLOTS: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct World {
    nodes: [u32; SLOTS],
    late: [u32; 2],
    adds: u8,
    resets: u8,
    lates: u8,
    changed: bool,
    claimed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    Add(usize),
    Reset(usize),
    Restart,
    Lose,
    Claim,
    Work,
    Receive(u32),
}

/// Nodes and messages by number, and the node that results from an act on a node. The real types
/// run each once.
struct Known {
    rules: Rules,
    bounds: Bounds,
    nodes: Vec<Node>,
    node_numbers: HashMap<Vec<u8>, u32>,
    messages: Vec<Message>,
    message_numbers: HashMap<Vec<u8>, u32>,
    messages_of: HashMap<(u32, bool), Vec<u32>>,
    after: HashMap<(u32, Act), u32>,
    wrong: Option<String>,
}

pub(crate) struct Outcome {
    pub(crate) worlds: usize,
    pub(crate) nodes: usize,
    pub(crate) steps: usize,
    /// The first error, and the history that led to it.
    pub(crate) wrong: Option<String>,
}

impl Known {
    fn number(&mut self, node: Node) -> u32 {
        let next = self.nodes.len() as u32;
        let number = *self.node_numbers.entry(node.bytes()).or_insert(next);
        if number == next {
            self.wrong = self.wrong.take().or_else(|| node.wrong());
            self.nodes.push(node);
        }
        number
    }

    /// The messages of a node, to receivers that keep digests and to those that do not.
    fn messages_of(&mut self, node: u32, with_digest: bool) -> Vec<u32> {
        if let Some(numbers) = self.messages_of.get(&(node, with_digest)) {
            return numbers.clone();
        }
        let mut numbers: Vec<u32> = Vec::new();
        for message in self.nodes[node as usize].messages(with_digest) {
            let next = self.messages.len() as u32;
            let number = *self.message_numbers.entry(message.bytes()).or_insert(next);
            if number == next {
                self.messages.push(message);
            }
            numbers.push(number);
        }
        self.messages_of.insert((node, with_digest), numbers.clone());
        numbers
    }

    fn after(&mut self, node: u32, act: Act, keeps_digests: bool) -> u32 {
        if let Some(&after) = self.after.get(&(node, act)) {
            return after;
        }
        let mut next = self.nodes[node as usize].clone();
        match act {
            Act::Add(counter) => next.add(counter),
            Act::Reset(counter) => next.reset(counter),
            Act::Restart => next = next.restarted(INCARNATIONS[3]),
            Act::Lose => next = Node::new(INCARNATIONS[4]),
            Act::Claim => next.claim(INCARNATIONS[0]),
            Act::Work => next.work(self.rules),
            Act::Receive(message) => next.receive(&self.messages[message as usize], keeps_digests),
        }
        let after = self.number(next);
        self.after.insert((node, act), after);
        after
    }
}

pub(crate) struct Model {
    known: Known,
    worlds: Vec<World>,
    numbers: HashMap<World, u32>,
    /// The world and the act from which each world was first reached.
    from: Vec<(u32, usize, Act)>,
    open: VecDeque<u32>,
}

impl Model {
    pub(crate) fn new(bounds: Bounds, rules: Rules) -> Self {
        let mut known = Known {
            rules,
            bounds,
            nodes: Vec::new(),
            node_numbers: HashMap::new(),
            messages: Vec::new(),
            message_numbers: HashMap::new(),
            messages_of: HashMap::new(),
            after: HashMap::new(),
            wrong: None,
        };
        let fresh: Vec<Node> =
            INCARNATIONS[..SLOTS].iter().map(|incarnation| Node::new(*incarnation)).collect();
        let nodes = std::array::from_fn(|at| {
            let mut node = fresh[at].clone();
            fresh.iter().for_each(|other| node.receive(&other.messages(true)[0], true));
            known.number(node)
        });
        let first = World {
            nodes,
            late: [u32::MAX; 2],
            adds: 0,
            resets: 0,
            lates: 0,
            changed: false,
            claimed: false,
        };
        let mut model = Self {
            known,
            worlds: Vec::new(),
            numbers: HashMap::new(),
            from: Vec::new(),
            open: VecDeque::new(),
        };
        model.reach(first, (0, 0, Act::Work));
        model
    }

    fn reach(&mut self, world: World, from: (u32, usize, Act)) {
        let next = self.worlds.len() as u32;
        self.numbers.entry(world).or_insert_with(|| {
            self.worlds.push(world);
            self.from.push(from);
            self.open.push_back(next);
            next
        });
    }

    /// The node that may become a successor.
    fn successor(&self) -> usize {
        match self.known.bounds.change {
            Change::Restart => 0,
            Change::Loss | Change::Replacement => 1,
        }
    }

    fn keeps_digests(&self, at: usize) -> bool {
        self.known.bounds.all_forget || at == self.successor()
    }

    /// Breadth first, so that an error comes with the fewest steps. Stops at an error, or when all
    /// worlds were visited.
    pub(crate) fn run(mut self) -> Outcome {
        while let Some(number) = self.open.pop_front() {
            self.expand(number);
            if let Some(wrong) = self.known.wrong.take() {
                let path = self.path(self.worlds.len() as u32 - 1);
                return self.outcome(Some(format!("{wrong}\n{path}")));
            }
        }
        self.outcome(None)
    }

    fn outcome(self, wrong: Option<String>) -> Outcome {
        Outcome {
            worlds: self.worlds.len(),
            nodes: self.known.nodes.len(),
            steps: self.known.after.len(),
            wrong,
        }
    }

    fn path(&self, mut number: u32) -> String {
        let mut steps = Vec::new();
        while number != 0 {
            let (from, at, act) = self.from[number as usize];
            steps.push(format!("  node {at}: {act:?}"));
            number = from;
        }
        steps.reverse();
        steps.join("\n")
    }

    /// A lost node does nothing more, unless a new one replaces it.
    fn present(&self, world: World) -> std::ops::Range<usize> {
        let lost = world.changed && self.known.bounds.change == Change::Loss;
        usize::from(lost)..SLOTS
    }

    fn step(&mut self, number: u32, at: usize, act: Act, changes: impl FnOnce(&mut World)) {
        if self.known.wrong.is_some() {
            return;
        }
        let mut world = self.worlds[number as usize];
        let after = self.known.after(world.nodes[at], act, self.keeps_digests(at));
        if after != world.nodes[at] || act == Act::Claim {
            world.nodes[at] = after;
            changes(&mut world);
            self.reach(world, (number, at, act));
        }
    }

    fn expand(&mut self, number: u32) {
        let (world, bounds) = (self.worlds[number as usize], self.known.bounds);
        for at in self.present(world) {
            for counter in 0..bounds.counters {
                if world.adds < bounds.adds {
                    self.step(number, at, Act::Add(counter), |world| world.adds += 1);
                }
                if world.resets < bounds.resets {
                    self.step(number, at, Act::Reset(counter), |world| world.resets += 1);
                }
            }
            if self.keeps_digests(at) {
                self.step(number, at, Act::Work, |_| {});
            }
            self.deliveries(number, at);
        }
        if !world.changed {
            let act = if bounds.change == Change::Restart { Act::Restart } else { Act::Lose };
            self.step(number, 0, act, |world| world.changed = true);
        } else if !world.claimed && bounds.change != Change::Restart {
            self.step(number, 1, Act::Claim, |world| world.claimed = true);
        }
        for node in world
            .nodes
            .into_iter()
            .filter(|node| usize::from(world.lates) < bounds.late && !world.late.contains(node))
        {
            let mut world = world;
            world.late[usize::from(world.lates)] = node;
            world.lates += 1;
            world.late.sort_unstable();
            self.reach(world, (number, 0, Act::Receive(u32::MAX)));
        }
    }

    fn deliveries(&mut self, number: u32, at: usize) {
        let world = self.worlds[number as usize];
        let now = self.present(world).filter(|&from| from != at).map(|from| world.nodes[from]);
        let senders: Vec<u32> =
            now.chain(world.late.into_iter().filter(|&late| late != u32::MAX)).collect();
        for sender in senders {
            for message in self.known.messages_of(sender, self.keeps_digests(at)) {
                self.step(number, at, Act::Receive(message), |_| {});
            }
        }
    }
}
