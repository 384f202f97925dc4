//! Presence through kills and starts: every node shows the live nodes and their viewers, and nobody
//! else.

use std::collections::BTreeSet;
use std::time::Duration;

use counter_net::sim::SimConfig;

use crate::story::{MS, SECOND, Story};
use crate::{live_through, seeds};

/// A node that was up for this long has heard of the others, and needs nobody it found at its
/// start.
const JOINED: Duration = Duration::from_secs(5);

/// A node of a story: when it was started, and whom its discovery found.
struct Found {
    host: usize,
    at: Duration,
    found: Vec<usize>,
}

/// Up to five nodes, killed and started in any order.
struct Churn {
    story: Story,
    nodes: Vec<Found>,
}

impl Churn {
    fn new(seed: u64) -> Self {
        let mut churn = Self { story: Story::new(seed, SimConfig::default()), nodes: Vec::new() };
        (0..5).for_each(|_| churn.start());
        churn
    }

    /// A new node that finds one or two others, which may be dead.
    fn start(&mut self) {
        let all: Vec<usize> = self.nodes.iter().map(|node| node.host).collect();
        let host = self.story.start_busy();
        let count = self.story.dice.usize(1..=2).min(all.len());
        let found = (0..count).map(|_| self.story.one_of(&all)).collect();
        self.nodes.push(Found { host, at: self.story.sim.now(), found });
        self.nodes[self.nodes.len() - 1]
            .found
            .iter()
            .for_each(|other| self.story.sim.connect(host, *other));
        self.find_again();
    }

    fn kill(&mut self) {
        let up = self.story.up();
        if up.len() > 1 {
            let host = self.story.one_of(&up);
            self.story.kill(host);
            self.find_again();
        }
    }

    /// Discovery goes on: a young node that found only nodes that are dead by now finds the oldest
    /// one.
    fn find_again(&mut self) {
        let oldest = self.story.up()[0];
        for node in &mut self.nodes {
            let is_young = self.story.sim.now() < node.at + JOINED;
            let is_lost = node.found.iter().all(|other| !self.story.sim.is_up(*other));
            if self.story.sim.is_up(node.host) && node.host != oldest && is_young && is_lost {
                node.found.push(oldest);
                self.story.sim.connect(node.host, oldest);
            }
        }
    }

    fn act(&mut self) {
        let count = self.story.up().len();
        match self.story.dice.u8(..8) {
            0..=2 if count > 1 => self.kill(),
            3..=5 if count < 5 => self.start(),
            6 => {
                let up = self.story.up();
                let (host, viewers) = (self.story.one_of(&up), self.story.dice.u64(..9));
                self.story.sim.set_viewers(host, viewers);
            }
            _ => {
                let up = self.story.up();
                let host = self.story.one_of(&up);
                self.story.click(host);
            }
        }
    }
}

fn any_order(seed: u64) -> Result<(), String> {
    let mut churn = Churn::new(seed);
    let settled = churn.story.dice.u32(..4000);
    churn.story.run_for(settled * MS)?;
    for _ in 0..churn.story.dice.usize(4..=16) {
        churn.act();
        let most = [1, 100, 1000, 4000][churn.story.dice.usize(..4)];
        let pause = churn.story.dice.u32(..=most);
        churn.story.run_for(pause * MS)?;
    }
    churn.act();
    churn.story.settles()
}

#[test]
fn any_order_of_kills_and_starts_is_shown_within_six_seconds() {
    live_through(
        "presence::any_order_of_kills_and_starts_is_shown_within_six_seconds",
        0..300,
        any_order,
    );
}

#[test]
#[ignore = "takes minutes; run it in release"]
fn ten_thousand_orders_of_kills_and_starts() {
    live_through(
        "presence::ten_thousand_orders_of_kills_and_starts",
        1_000_000..1_000_000 + seeds(10_000),
        any_order,
    );
}

/// A target names whoever wrote, and a node counted that as a confirmation once the writer came to
/// be live.
#[test]
fn a_member_that_is_named_has_not_confirmed() {
    live_through(
        "presence::a_member_that_is_named_has_not_confirmed",
        1_000_076..1_000_077,
        any_order,
    );
}

/// The last thing that a node lacked of a target was a record, which has no cells.
#[test]
fn a_target_is_covered_by_a_record() {
    live_through("presence::a_target_is_covered_by_a_record", 1_001_224..1_001_225, any_order);
}

/// Three nodes with viewers are killed and replaced in turn, three times: each new one finds the
/// one before and one that is dead.
fn replaced_in_turn(seed: u64) -> Result<(), String> {
    let mut story = Story::new(seed, SimConfig::default());
    let mut nodes: Vec<usize> = (0..3).map(|_| story.start_busy()).collect();
    story.sim.connect_all();
    story.run_for(5 * SECOND)?;
    let pause = [300, 1500, 4000][story.dice.usize(..3)];
    for at in 0..9 {
        let dead = nodes[at % 3];
        story.kill(dead);
        nodes[at % 3] = story.start_busy();
        let fresh = nodes[at % 3];
        story.sim.connect(fresh, nodes[(at + 2) % 3]);
        story.sim.connect(fresh, dead);
        // The next one is killed once this one has joined, or long before that.
        story.run_until("joining", 6 * SECOND, |story| story.is_synced(fresh))?;
        story.run_for(pause * MS)?;
    }
    story.settles()
}

#[test]
fn nodes_that_are_replaced_in_turn_leave_no_ghosts() {
    live_through(
        "presence::nodes_that_are_replaced_in_turn_leave_no_ghosts",
        0..30,
        replaced_in_turn,
    );
}

/// Of 80 nodes with 6 dials each, a few die at once with everybody that they were connected to.
/// Nobody who incarnations sees the connections of those few close.
fn whole_neighbourhoods(seed: u64) -> Result<(), String> {
    let mut story = Story::new(seed, SimConfig { dials: 6, ..SimConfig::default() });
    let nodes: Vec<usize> = (0..80).map(|_| story.start_busy()).collect();
    story.sim.connect_all();
    story.sim.run_for(8 * SECOND);
    if !story.sim.presence_is_right() {
        return Err("not right before anybody died".to_owned());
    }
    let mut dying = BTreeSet::new();
    while dying.len() < 12 {
        let centre = story.one_of(&nodes);
        dying.insert(centre);
        dying.extend(story.peers(centre));
    }
    dying.iter().for_each(|host| story.kill(*host));
    let limit = 10 * SECOND;
    let start = story.sim.now();
    while !story.sim.presence_is_right() {
        if story.sim.now() - start >= limit {
            let ghosts: BTreeSet<usize> = story
                .up()
                .into_iter()
                .flat_map(|host| story.live_members(host))
                .filter(|host| dying.contains(host))
                .collect();
            return Err(format!("{} died, and {ghosts:?} are still shown", dying.len()));
        }
        story.sim.run_for(100 * MS);
    }
    println!(
        "seed {seed}: {} of 80 died, and nobody shows them after {:?}",
        dying.len(),
        story.sim.now() - start
    );
    story.sim.verdict().map_err(|failure| failure.to_string())
}

#[test]
fn whole_neighbourhoods_that_die_are_gone_within_ten_seconds() {
    live_through(
        "presence::whole_neighbourhoods_that_die_are_gone_within_ten_seconds",
        1..2,
        whole_neighbourhoods,
    );
}

#[test]
#[ignore = "takes minutes; run it in release"]
fn many_neighbourhoods_die() {
    live_through("presence::many_neighbourhoods_die", 100..100 + seeds(100), whole_neighbourhoods);
}
