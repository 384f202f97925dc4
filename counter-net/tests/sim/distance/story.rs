//! A simulated cluster with a plain account of what it must show.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_net::sim::{Latency, Link, Sim, SimConfig};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MS: Duration = Duration::from_millis(1);
const COUNTERS: [&str; 2] = ["clicks", "likes"];
/// The pause between two comparisons of the nodes' claims with the truth.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Sums by counter and region. Every node has its own region and only adds, so a greater sum is a
/// later one.
pub(crate) type Sums = BTreeMap<(&'static str, usize), i128>;

/// True if every sum of `less` is reached in `more`.
pub(crate) fn has_all(more: &Sums, less: &Sums) -> bool {
    less.iter().all(|(key, sum)| more.get(key).is_some_and(|more| more >= sum))
}

pub(crate) struct Story {
    pub(crate) sim: Sim,
    pub(crate) dice: fastrand::Rng,
    /// The slowest round trip of the usual link.
    pub(crate) round_trip: Duration,
    /// True if some node is mute. Such a node confirms nothing.
    pub(crate) has_mute: bool,
    /// The sums that each dead node held when it died.
    graves: BTreeMap<usize, Sums>,
    by_node: BTreeMap<u64, usize>,
}

impl Story {
    /// The seed chooses the link: one machine, 200 ms, or between continents.
    pub(crate) fn new(seed: u64, config: SimConfig) -> Self {
        let link =
            [Link::loopback(), Link::apart(200 * MS), Link::wide()][seed as usize % 3].clone();
        let round_trip = link.latency.most * 2;
        let sim = Sim::new(SimConfig { seed, link, ..config });
        let dice = fastrand::Rng::with_seed(seed ^ 0x0d15_7a9c);
        Self {
            sim,
            dice,
            round_trip,
            has_mute: false,
            graves: BTreeMap::new(),
            by_node: BTreeMap::new(),
        }
    }

    /// Starts a node in its own region.
    pub(crate) fn start(&mut self) -> usize {
        let host = self.sim.start(&region(self.sim.len()));
        self.by_node.insert(self.sim.machine(host).expect("up").node().0, host);
        host
    }

    /// Starts a node, with clicks and viewers.
    pub(crate) fn start_busy(&mut self) -> usize {
        let host = self.start();
        self.click(host);
        let viewers = self.dice.u64(..9);
        self.sim.set_viewers(host, viewers);
        host
    }

    /// Starts a node that is gone at once, so its address refuses.
    pub(crate) fn start_dead(&mut self) -> usize {
        let host = self.start();
        self.kill(host);
        host
    }

    pub(crate) fn kill(&mut self, host: usize) {
        self.graves.insert(host, self.held(host));
        self.sim.crash(host);
    }

    pub(crate) fn click(&mut self, host: usize) {
        let (counter, amount) = (COUNTERS[self.dice.usize(..2)], self.dice.i64(1..30));
        self.sim.add(host, counter, amount);
    }

    pub(crate) fn up(&self) -> Vec<usize> {
        (0..self.sim.len()).filter(|host| self.sim.is_up(*host)).collect()
    }

    /// One of these at random.
    pub(crate) fn one_of(&mut self, hosts: &[usize]) -> usize {
        hosts[self.dice.usize(..hosts.len())]
    }

    pub(crate) fn is_synced(&self, host: usize) -> bool {
        self.sim.machine(host).is_some_and(|machine| machine.is_synced())
    }

    pub(crate) fn is_ready(&self, host: usize) -> bool {
        self.sim.machine(host).is_some_and(|machine| machine.readiness().is_ok())
    }

    /// The sums that a node holds now, or held when it died. Pending adds do not count.
    pub(crate) fn held(&self, host: usize) -> Sums {
        let Some(map) = self.sim.map(host) else {
            return self.graves.get(&host).cloned().unwrap_or_default();
        };
        let keys = COUNTERS
            .into_iter()
            .flat_map(|counter| (0..self.sim.len()).map(move |host| (counter, host)));
        keys.map(|key| (key, map.value(key.0, &region(key.1))))
            .filter(|(_, sum)| *sum != 0)
            .collect()
    }

    /// The live members that a node shows, itself left out.
    pub(crate) fn live_members(&self, host: usize) -> Vec<usize> {
        let members = self.sim.members(host);
        members
            .iter()
            .filter(|member| member.live)
            .filter_map(|member| self.by_node.get(&member.replica.node).copied())
            .filter(|other| *other != host)
            .collect()
    }

    /// The nodes that a node is connected to.
    pub(crate) fn peers(&self, host: usize) -> Vec<usize> {
        let members = self.sim.members(host);
        members
            .iter()
            .filter(|member| member.connected)
            .filter_map(|member| self.by_node.get(&member.replica.node).copied())
            .collect()
    }

    /// True if a node claims that all live members hold everything that it holds.
    pub(crate) fn claims(&mut self, host: usize) -> bool {
        self.sim.agreement(host).is_some_and(|agreement| {
            agreement.age == Some(Duration::ZERO) && agreement.confirmed == agreement.live
        })
    }

    /// Checks that no claim is false: every member that a node counts holds everything that the
    /// node holds, or did when it died.
    pub(crate) fn check_claims(&mut self) -> Result<(), String> {
        for host in self.up() {
            if !self.claims(host) {
                continue;
            }
            let (mine, members) = (self.held(host), self.live_members(host));
            let live = self.sim.agreement(host).expect("up").live;
            if live != members.len() {
                return Err(format!(
                    "at {:?} node {host} counts {live} members and shows {members:?}",
                    self.sim.now()
                ));
            }
            if let Some(other) =
                members.into_iter().find(|other| !has_all(&self.held(*other), &mine))
            {
                let theirs = self.held(other);
                return Err(format!(
                    "at {:?} node {host} claims that node {other} holds {mine:?}, and it has {theirs:?}",
                    self.sim.now()
                ));
            }
        }
        Ok(())
    }

    /// Lets time run and checks the claims of all nodes.
    pub(crate) fn run_for(&mut self, time: Duration) -> Result<(), String> {
        let end = self.sim.now() + time;
        while self.sim.now() < end {
            self.sim.run_for(LOOK_EVERY.min(end - self.sim.now()));
            self.check_claims()?;
        }
        self.sim.verdict().map_err(|failure| failure.to_string())
    }

    /// Lets time run until `done`, and checks the claims of all nodes.
    pub(crate) fn run_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<Duration, String> {
        let start = self.sim.now();
        while !done(self) {
            if self.sim.now() - start >= limit {
                return Err(format!("{what}: not within {limit:?}"));
            }
            self.run_for(LOOK_EVERY.min(start + limit - self.sim.now()))?;
        }
        Ok(self.sim.now() - start)
    }

    /// Checks that presence is right everywhere within 6 s of the last act and stays so, and that 2
    /// s later all nodes know that everything is confirmed.
    pub(crate) fn settles(&mut self) -> Result<(), String> {
        let last = self.sim.now();
        let right = self.run_until("presence", 6 * SECOND, |story| story.sim.presence_is_right());
        right.map_err(|late| format!("{late}; {}", self.views()))?;
        self.run_for(last + 6 * SECOND - self.sim.now())?;
        if !self.sim.presence_is_right() {
            return Err(format!("presence was right and no longer is; {}", self.views()));
        }
        let up = self.up();
        let known = self
            .run_until("agreement", 2 * SECOND, |story| up.iter().all(|host| story.claims(*host)));
        known.map_err(|late| {
            let claims: Vec<_> = up.iter().map(|host| (*host, self.sim.agreement(*host))).collect();
            let sums: Vec<_> = up
                .iter()
                .map(|host| {
                    (*host, self.live_members(*host), self.peers(*host), self.sim.versions(*host))
                })
                .collect();
            format!("{late}; {claims:?} {sums:?}")
        })?;
        if !self.sim.is_converged() {
            return Err("everybody claims agreement, and states differ".to_owned());
        }
        self.sim.check().map_err(|failure| failure.to_string())
    }

    /// The members and peers of each node, for the message of a failure.
    fn views(&self) -> String {
        let view = |host: usize| {
            format!(
                "node {host} shows {:?}, connected to {:?}",
                self.live_members(host),
                self.peers(host)
            )
        };
        self.up().into_iter().map(view).collect::<Vec<_>>().join("; ")
    }
}

pub(crate) fn region(host: usize) -> String {
    format!("r{host:03}")
}

/// A link on which every message takes `more` longer than half of this round trip.
pub(crate) fn slower(round_trip: Duration, more: Duration) -> Link {
    let each_way = round_trip / 2 + more;
    Link {
        latency: Latency { least: each_way, typical: each_way, most: each_way },
        ..Link::loopback()
    }
}
