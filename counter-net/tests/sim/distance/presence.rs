//! Presence through kills and starts. Every node shows the live nodes with their viewers, and
//! nobody else.

use std::collections::BTreeSet;
use std::time::Duration;

use counter_net::sim::SimConfig;

use super::story::{MS, SECOND, Story};
use super::{run_stories, seeds};

/// A node that was up for this long has heard of the others. It needs nobody that it found at its
/// start.
const JOINED: Duration = Duration::from_secs(5);

/// A node of a story, with the time of its start and the nodes that its discovery found.
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

    /// Starts a node that finds one or two others, which may be dead.
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

    /// Discovery continues. A young node that found only nodes that are dead by now finds the
    /// oldest one.
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
fn kills_and_starts_are_shown_within_six_seconds() {
    run_stories("presence::kills_and_starts_are_shown_within_six_seconds", 0..300, any_order);
}

#[test]
#[ignore = "takes minutes; run it in release"]
fn ten_thousand_orders_of_kills_and_starts() {
    run_stories(
        "presence::ten_thousand_orders_of_kills_and_starts",
        1_000_000..1_000_000 + seeds(10_000),
        any_order,
    );
}

/// A target names all writers. A node took that as a confirmation once such a writer became live.
#[test]
fn named_member_has_not_confirmed() {
    run_stories("presence::named_member_has_not_confirmed", 1_000_076..1_000_077, any_order);
}

/// The last thing that a node lacked of a target was a record without cells.
#[test]
fn record_alone_can_complete_a_target() {
    run_stories("presence::record_alone_can_complete_a_target", 1_001_224..1_001_225, any_order);
}

/// Three nodes with viewers are killed and replaced in turn, three times. Each new one finds the
/// one before it and a dead one.
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
        // The next one is killed soon or long after this one has joined.
        story.run_until("joining", 6 * SECOND, |story| story.is_synced(fresh))?;
        story.run_for(pause * MS)?;
    }
    story.settles()
}

#[test]
fn nodes_replaced_in_turn_leave_no_ghosts() {
    run_stories("presence::nodes_replaced_in_turn_leave_no_ghosts", 0..30, replaced_in_turn);
}

/// There are 80 nodes with 6 dials each. A few die at once, together with all nodes that they were
/// connected to. So no survivor sees their connections close.
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
        "seed {seed}: {} of 80 died, and nobody shows them {:?} later",
        dying.len(),
        story.sim.now() - start
    );
    story.sim.verdict().map_err(|failure| failure.to_string())
}

#[test]
fn dead_neighbourhoods_are_gone_within_ten_seconds() {
    run_stories(
        "presence::dead_neighbourhoods_are_gone_within_ten_seconds",
        1..2,
        whole_neighbourhoods,
    );
}

#[test]
#[ignore = "takes minutes; run it in release"]
fn many_neighbourhoods_die() {
    run_stories("presence::many_neighbourhoods_die", 100..100 + seeds(100), whole_neighbourhoods);
}
