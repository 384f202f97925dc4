//! Runs a story in the simulator: its steps, then a time in which every fault heals, and then the
//! comparison of all nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use counter_core::{CounterMap, DEDUP_ENTRIES_MAX, ReplicaId};

use super::ids::Ids;
use super::ledger::{Ledger, Seen};
use super::mix::Mix;
use super::plot::{Act, Knows, REGIONS, Step, Which, steps};
use crate::protocol::{Copies, Input, ProtocolConfig, Replicator, Waited};
use crate::sim::{Failure, Link, Sim, SimConfig};

/// How long peace may take until all is equal, and until only the living are named.
const PEACE: Duration = Duration::from_secs(240);
/// The grain of time while something is waited for.
const SLICE: Duration = Duration::from_millis(50);
/// Copies of a directory that are kept to be restored.
const COPIES_MAX: usize = 32;

/// One seed's story.
#[derive(Clone, Debug)]
pub struct Story {
    mix: Mix,
    seed: u64,
    steps: Vec<Step>,
}

impl Story {
    /// The story of this seed, of this mix.
    pub fn new(mix: &Mix, seed: u64) -> Self {
        Self { mix: mix.clone(), seed, steps: steps(mix, seed) }
    }

    /// How many steps it has.
    #[expect(clippy::len_without_is_empty, reason = "a story begins with a node")]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Plays it to the end.
    ///
    /// # Errors
    /// The first thing that is wrong, whenever it is.
    pub fn play(&self) -> Result<(), Failure> {
        self.stage(false).play(&self.steps)
    }

    /// Plays it, and prints each step with what the nodes show after it.
    ///
    /// # Errors
    /// As [`play`](Self::play).
    pub fn print(&self) -> Result<(), Failure> {
        let mut stage = self.stage(true);
        let played = stage.play(&self.steps);
        println!("     {}", stage.shown());
        played
    }

    /// Leaves out steps for as long as what is left still fails. Takes at most `tries` plays.
    pub fn shrink(mut self, tries: usize) -> Self {
        let Err(failure) = self.play() else { return self };
        let kind = kind(&failure);
        let (mut left, mut size) = (tries, self.steps.len().div_ceil(2));
        while size > 0 && left > 0 {
            let mut at = 0;
            while at < self.steps.len() && left > 0 {
                let mut less = self.clone();
                less.steps.drain(at..(at + size).min(self.steps.len()));
                left -= 1;
                if less.play().is_err_and(|failure| self::kind(&failure) == kind) {
                    self = less
                } else {
                    at += size
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
        self
    }

    fn stage(&self, prints: bool) -> Stage<'_> {
        let mut dice = fastrand::Rng::with_seed(self.seed ^ 0x57a6_e000);
        let link = self.mix.links[dice.usize(..self.mix.links.len())]();
        let is_cramped = dice.u8(..100) < self.mix.cramped;
        let mut protocol = if is_cramped { cramped(&mut dice) } else { ProtocolConfig::default() };
        protocol.digest_replicas_max =
            self.mix.digest_replicas_max.unwrap_or(protocol.digest_replicas_max);
        // Alone, nobody can tell an earlier state of a disk from the latest: a node that is told of
        // peers waits for one of them.
        protocol.peers_named = self.mix.restore > 0;
        let is_stale = dice.u8(..100) < self.mix.stale;
        let discovery = Duration::from_millis(if is_stale { dice.u64(..2000) } else { 0 });
        let config = SimConfig {
            discovery,
            seed: self.seed,
            protocol,
            link,
            retirement: true,
            ..SimConfig::default()
        };
        let mut sim = Sim::new(SimConfig {
            named: self.mix.named,
            counters_max: self.mix.counters_max.unwrap_or(config.counters_max),
            dedup_max: self.mix.dedup_max.unwrap_or(DEDUP_ENTRIES_MAX),
            ..config
        });
        let ids = Ids::new(self.mix.dedup_max.unwrap_or(DEDUP_ENTRIES_MAX));
        sim.ledger = Some(Box::new(Ledger::with_ids(ids)));
        Stage {
            mix: &self.mix,
            sim,
            dice,
            actors: Vec::new(),
            leaving: Vec::new(),
            lost: Vec::new(),
            leaves_uncovered: 0,
            prints,
            names: 0,
            is_stale,
        }
    }
}

/// A failure's words, without the numbers and names in it.
fn kind(failure: &Failure) -> String {
    let text = failure.to_string();
    let words = text.lines().next().unwrap_or_default().split_whitespace();
    words
        .filter(|word| word.chars().all(|letter| letter.is_alphabetic() || letter == ','))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Pages and payloads of a few cells.
fn cramped(dice: &mut fastrand::Rng) -> ProtocolConfig {
    ProtocolConfig {
        payload_bytes_max: dice.usize(250..1000),
        page_bytes_max: dice.usize(200..1000),
        ask_bytes_max: dice.usize(100..1000),
        pulls_max: dice.usize(1..4),
        ..ProtocolConfig::default()
    }
}

/// A node of the story: its host in the simulator, and its directory.
struct Actor {
    number: usize,
    host: usize,
    directory: Option<Directory>,
    is_gone: bool,
}

/// What commits have written, the latest last.
#[derive(Default)]
struct Directory {
    copies: Vec<(CounterMap, Seen)>,
    lags: bool,
    /// The node refuses adds.
    is_full: bool,
    /// What the process had shown when it ended, where its directory holds all of that.
    at_end: Option<Seen>,
}

impl Directory {
    /// What a start from it goes on from.
    fn seen(&self) -> Option<&Seen> {
        self.at_end.as_ref().or_else(|| self.copies.last().map(|(_, seen)| seen))
    }
}

/// A node that leaves for good.
struct Leaving {
    host: usize,
    since: Duration,
    until: Duration,
    /// Who could have covered it all the time.
    company: Vec<usize>,
}

struct Stage<'a> {
    mix: &'a Mix,
    sim: Sim,
    dice: fastrand::Rng,
    actors: Vec<Actor>,
    leaving: Vec<Leaving>,
    /// What nodes had shown that were killed or left without being covered, and when.
    lost: Vec<(Duration, Seen)>,
    /// How many left without being covered.
    leaves_uncovered: usize,
    prints: bool,
    names: usize,
    /// Discovery knows nodes that are gone, and takes its time.
    is_stale: bool,
}

impl Stage<'_> {
    fn play(&mut self, steps: &[Step]) -> Result<(), Failure> {
        match self.play_all(steps) {
            Err(Failure::BadOutput(what))
                if what.contains("JoinRefused") && self.is_beyond_bounds() =>
            {
                Ok(())
            }
            played => played,
        }
    }

    /// Whether parts that were cut off from each other have made more counters than one node takes:
    /// from then on it may refuse them.
    fn is_beyond_bounds(&self) -> bool {
        let Some(counters_max) = self.mix.counters_max else { return false };
        let maps = || self.actors.iter().filter_map(|actor| self.sim.map(actor.host));
        let counters: BTreeSet<&str> = maps().flat_map(CounterMap::counters).collect();
        counters.len() > 2 * counters_max
    }

    fn play_all(&mut self, steps: &[Step]) -> Result<(), Failure> {
        for (at, step) in steps.iter().enumerate() {
            self.act(&step.act)?;
            let ran = self.run_for(step.pause);
            if self.prints {
                println!("{at:3} {:?} {step}\n     {}", self.sim.now(), self.shown());
            }
            ran?;
        }
        self.peace()
    }

    /// What each node holds (writers as node, incarnation and version; in brackets those that
    /// ended) and shows.
    fn shown(&self) -> String {
        let of = |actor: &Actor| {
            let map = self.sim.map(actor.host)?;
            let writer = |id: ReplicaId| {
                let node = self
                    .actors
                    .iter()
                    .find(|actor| self.sim.writer(actor.host).node == id.node)
                    .map_or(usize::MAX, |actor| actor.number);
                let held = format!("{node}.{}@{}", id.incarnation >> 32, map.seen_of(id));
                if map.is_ended(id) { format!("[{held}]") } else { held }
            };
            let signed = |value: i128| {
                if value < 0 { format!("-{:x}", -value) } else { format!("{value:x}") }
            };
            let values = map.counters().flat_map(|counter| {
                map.regions(counter).map(move |(region, value)| (counter, region, value))
            });
            let mut values: Vec<String> = values
                .map(|(counter, region, value)| format!("{counter}/{region} {}", signed(value)))
                .collect();
            values.sort();
            let writers: Vec<String> = map.replicas().map(writer).collect();
            Some(format!(
                "{:2} holds {} shows {}",
                actor.number,
                writers.join(" "),
                values.join(", ")
            ))
        };
        self.actors.iter().filter_map(of).collect::<Vec<_>>().join("\n     ")
    }

    fn ledger(&mut self) -> &mut Ledger {
        self.sim.ledger.as_mut().expect("a stage has one")
    }

    fn actor(&self, number: usize) -> Option<usize> {
        self.actors.iter().position(|actor| actor.number == number)
    }

    /// The host of a node that runs.
    fn up(&self, number: usize) -> Option<usize> {
        self.actors
            .iter()
            .find(|actor| actor.number == number)
            .map(|actor| actor.host)
            .filter(|host| self.sim.is_up(*host))
    }

    /// The host of a node that takes adds.
    fn taking(&self, number: usize) -> Option<usize> {
        let actor = &self.actors[self.actor(number)?];
        let is_full = actor.directory.as_ref().is_some_and(|directory| directory.is_full);
        (self.sim.is_up(actor.host) && !self.is_leaving(actor.host) && !is_full)
            .then_some(actor.host)
    }

    fn is_leaving(&self, host: usize) -> bool {
        self.leaving.iter().any(|leave| leave.host == host)
    }

    /// Lets time run. Nodes that leave end when they are through, and directories that do not lag
    /// commit.
    fn run_for(&mut self, time: Duration) -> Result<(), Failure> {
        let end = self.sim.now() + time;
        loop {
            let rest = end - self.sim.now();
            let slice = if self.leaving.is_empty() { rest } else { rest.min(SLICE) };
            self.sim.run_for(slice);
            self.sim.verdict()?;
            self.end_leaves()?;
            if self.sim.now() >= end {
                break;
            }
        }
        for at in 0..self.actors.len() {
            self.commit(at);
        }
        self.sim.verdict()
    }

    /// Whether a node may come back in an earlier state than its last one.
    fn has_copies(&self) -> bool {
        self.mix.lag > 0 || self.mix.restore > 0
    }

    fn commit(&mut self, at: usize) {
        let host = self.actors[at].host;
        let Some(map) = self.sim.map(host).filter(|_| self.has_copies()) else { return };
        let (map, seen) = (
            map.clone(),
            self.sim.ledger.as_ref().map(|ledger| ledger.owed(host)).unwrap_or_default(),
        );
        let Some(directory) =
            self.actors[at].directory.as_mut().filter(|directory| !directory.lags)
        else {
            return;
        };
        if directory.copies.len() == COPIES_MAX {
            directory.copies.remove(0);
        }
        directory.copies.push((map, seen));
        self.sim.commit(host);
    }

    /// Ends the processes that are through with leaving, and those that took too long.
    fn end_leaves(&mut self) -> Result<(), Failure> {
        for at in (0..self.leaving.len()).rev() {
            let host = self.leaving[at].host;
            if !self.sim.has_drained(host) && self.sim.now() < self.leaving[at].until {
                continue;
            }
            let leave = self.leaving.remove(at);
            let is_covered = self.sim.machine(host).is_some_and(Replicator::is_leave_covered);
            let is_late = !self.sim.has_drained(host);
            if is_late && leave.company.iter().any(|other| self.may_cover(*other)) {
                return Err(Failure::NotConverged(format!(
                    "node {host} left for {:?}, and nobody covers it\n{}",
                    self.mix.patience,
                    self.shown()
                )));
            }
            self.sim.crash(host);
            let seen = self.ledger().seen(host);
            self.ledger().ends(host);
            if is_covered {
                // A member may have covered it and have left alone, or been killed, since.
                let gone =
                    self.lost.iter().filter(|(at, _)| *at >= leave.since).map(|(_, seen)| seen);
                let down = self
                    .actors
                    .iter()
                    .filter(|actor| !self.sim.is_up(actor.host) && !actor.is_gone);
                let directories = down.filter_map(|actor| actor.directory.as_ref()?.seen());
                let survivors: Vec<&Seen> = directories.chain(gone).collect();
                self.sim.ledger.as_ref().map_or(Ok(()), |ledger| ledger.left(&seen, &survivors))?;
            } else {
                self.lost.push((self.sim.now(), seen));
                self.leaves_uncovered += 1;
            }
        }
        Ok(())
    }

    /// Who may cover a leaver: it runs, listens, stays and is synced.
    fn may_cover(&self, host: usize) -> bool {
        !self.is_leaving(host)
            && !self.sim.is_mute(host)
            && self.sim.machine(host).is_some_and(Replicator::is_synced)
    }

    /// Who may cover this leaver from now on. Nobody where links may be cut, or where it says
    /// nothing.
    fn company_of(&self, host: usize) -> Vec<usize> {
        let may_be_cut = self.mix.cut > 0 || self.mix.cut_one_way > 0 || self.mix.lonely > 0;
        let others = self
            .actors
            .iter()
            .map(|actor| actor.host)
            .filter(|other| *other != host && self.may_cover(*other));
        if may_be_cut || self.sim.is_mute(host) { Vec::new() } else { others.collect() }
    }

    fn act(&mut self, act: &Act) -> Result<(), Failure> {
        match act {
            Act::Start { node, region, has_directory, knows } => {
                self.start(*node, *region, *has_directory, knows)
            }
            Act::Add { node, counter, is_negative } => self.add(*node, counter, *is_negative),
            Act::Reset { node, key } => self.reset(*node, *key),
            Act::Once { nodes, which } => self.once(nodes, which)?,
            Act::Names { node, count } => {
                for _ in 0..*count {
                    self.names += 1;
                    let name = format!("name {}", self.names);
                    self.add(*node, &name, false);
                }
            }
            Act::Crash { node, keeps_all } => self.crash(*node, *keeps_all),
            Act::Restart { node } => self.restart(*node, None),
            // Alone, nobody can tell an earlier state of a disk from the latest.
            Act::Restore { node, back } => self.restart(
                *node,
                Some(*back).filter(|_| self.actors.iter().any(|actor| self.sim.is_up(actor.host))),
            ),
            Act::Lag { node, lags, is_full } => {
                let directory = self.actor(*node).and_then(|at| self.actors[at].directory.as_mut());
                directory
                    .into_iter()
                    .for_each(|directory| (directory.lags, directory.is_full) = (*lags, *is_full));
            }
            Act::Leave { node } => {
                if let Some(host) = self.up(*node).filter(|host| !self.is_leaving(*host)) {
                    self.sim.hand(host, Input::Leave { for_good: true }, None);
                    let since = self.sim.now();
                    self.leaving.push(Leaving {
                        host,
                        since,
                        until: since + self.mix.patience,
                        company: self.company_of(host),
                    });
                    if let Some(at) = self.actor(*node) {
                        self.actors[at].is_gone = true;
                    }
                }
            }
            Act::Retire { at, node } => {
                if let (Some(host), Some(lost)) = (self.up(*at), self.actor(*node)) {
                    let lost = self.actors[lost].host;
                    let writer = self.sim.writer(lost);
                    let may = host != lost
                        && self.knows_all(host)
                        && !self.is_given_up(host)
                        && !self.takes_over(lost);
                    if may && self.sim.retire(host, lost) && self.sim.is_up(lost) {
                        self.ledger().retired_alive(writer);
                    }
                }
            }
            Act::Cut { from, to, both_ways } => {
                let hosts = |numbers: &[usize]| -> Vec<usize> {
                    numbers
                        .iter()
                        .filter_map(|number| self.actor(*number))
                        .map(|at| self.actors[at].host)
                        .collect()
                };
                let (from, to) = (hosts(from), hosts(to));
                if *both_ways { self.sim.cut(&from, &to) } else { self.sim.cut_one_way(&from, &to) }
            }
            Act::Heal => self.heal(),
            Act::Hang { node } => {
                let Some(host) = self.up(*node) else { return Ok(()) };
                self.sim.mute(host);
                for leave in &mut self.leaving {
                    let hangs = leave.host == host;
                    leave.company.retain(|other| !hangs && *other != host);
                }
            }
        }
        Ok(())
    }

    /// Whether a node has heard of everybody who stays: an operator retires nobody where it has
    /// not.
    fn knows_all(&self, host: usize) -> bool {
        let Some(map) = self.sim.map(host) else { return false };
        self.actors
            .iter()
            .filter(|actor| !actor.is_gone)
            .all(|actor| map.record(self.sim.writer(actor.host)).is_some())
    }

    /// Whether a node is taking over what others that ended had counted. Who retires it while it
    /// runs may take over the same: a documented limit.
    fn takes_over(&self, host: usize) -> bool {
        let writer = self.sim.writer(host);
        self.sim.is_up(host)
            && self.sim.map(host).is_some_and(|map| !map.inheritance(writer).is_empty())
    }

    /// Whether somebody has retired a node that runs and has not heard of it. Nodes that retire
    /// each other do not agree again: likewise.
    fn is_given_up(&self, host: usize) -> bool {
        let writer = self.sim.writer(host);
        self.actors
            .iter()
            .filter_map(|actor| self.sim.map(actor.host))
            .any(|map| map.is_ended(writer))
    }

    fn start(&mut self, number: usize, region: usize, has_directory: bool, knows: &Knows) {
        let host = self.sim.start(REGIONS[region]);
        let writer = self.sim.writer(host);
        self.ledger().begins(host, writer, None);
        match knows {
            Knows::Everybody => self.connect(host, self.is_stale),
            Knows::Only(other) => {
                self.up(*other).into_iter().for_each(|other| self.sim.connect(host, other))
            }
        }
        let directory = has_directory.then(Directory::default);
        if has_directory && self.mix.lag > 0 {
            self.sim.commit(host);
        }
        self.actors.push(Actor { number, host, directory, is_gone: false });
    }

    /// Connects a host to everybody else who is up, as discovery does; a stale one names those who
    /// are gone as well.
    fn connect(&mut self, host: usize, is_stale: bool) {
        let others = self
            .actors
            .iter()
            .map(|actor| actor.host)
            .filter(|other| *other != host && (is_stale || self.sim.is_up(*other)));
        others.collect::<Vec<_>>().into_iter().for_each(|other| self.sim.connect(host, other));
    }

    /// Cuts end, and discovery has introduced all to all.
    fn heal(&mut self) {
        let hosts: Vec<usize> = self
            .actors
            .iter()
            .map(|actor| actor.host)
            .filter(|host| self.sim.is_up(*host))
            .collect();
        hosts.into_iter().for_each(|host| self.connect(host, false));
        self.sim.heal();
    }

    fn add(&mut self, number: usize, base: &str, is_negative: bool) {
        let Some(host) = self.taking(number) else { return };
        let (region, writer) = (self.sim.region(host).to_owned(), self.sim.writer(host));
        let (counter, amount) = self.ledger().next_add(base, &region);
        if self.sim.add_unwatched(host, &counter, if is_negative { -amount } else { amount }) {
            self.ledger().added(base, &region, writer, is_negative);
            self.sim.hand(host, Input::LocalChange, None);
        }
    }

    fn reset(&mut self, number: usize, pick: usize) {
        let Some(host) = self.taking(number) else { return };
        // Who has not caught up does not know all that a reset would clear, and refuses.
        if self.sim.machine(host).is_none_or(|machine| !machine.is_synced()) {
            return;
        }
        if self.mix.resets_ids && pick % 2 == 1 {
            return self.reset_ids(host, pick);
        }
        let Some((key, counter, region)) = self.ledger().key(pick) else { return };
        // What is pending is flushed and looked at before it is reset.
        self.sim.flush(host);
        if let Some(version) = self.sim.reset_unwatched(host, &counter, &region) {
            self.ledger().reset(host, key, version);
        }
        self.sim.hand(host, Input::LocalChange, None);
    }

    fn reset_ids(&mut self, host: usize, pick: usize) {
        let Some(counter) = self.ledger().ids.counter(pick) else { return };
        self.sim.flush(host);
        if self.sim.reset_unwatched(host, &counter, REGIONS[pick / 2 % REGIONS.len()]).is_some() {
            self.ledger().ids.cleared(&counter);
        }
        self.sim.hand(host, Input::LocalChange, None);
    }

    fn once(&mut self, numbers: &[usize], which: &Which) -> Result<(), Failure> {
        let id = match which {
            Which::New(text) => self.ledger().ids.make(text.clone()),
            Which::Back(back) => {
                let count = self.ledger().ids.len();
                if count == 0 {
                    return Ok(());
                }
                count - 1 - back % count
            }
        };
        for number in numbers {
            if let Some(host) = self.taking(*number) {
                self.send(host, id)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, host: usize, id: usize) -> Result<(), Failure> {
        let (text, counter, amount) = self.ledger().ids.add(id);
        let shows = self.sim.map(host).map_or(0, |map| {
            self.sim.ledger.as_ref().map_or(0, |ledger| ledger.ids.shows(map, id))
        });
        if let Some(how) = self.sim.add_once_unwatched(host, &text, &counter, amount) {
            let writer = self.sim.writer(host);
            self.ledger().ids.answered(id, writer, how, shows)?;
        }
        self.sim.hand(host, Input::LocalChange, None);
        Ok(())
    }

    fn crash(&mut self, number: usize, keeps_all: bool) {
        let (Some(host), Some(at)) = (self.up(number), self.actor(number)) else { return };
        self.leaving.retain(|leave| leave.host != host);
        if keeps_all && self.has_copies() {
            self.sim.commit(host);
        }
        self.sim.crash(host);
        let seen = self.ledger().ends(host);
        let actor = &mut self.actors[at];
        match actor.directory.as_mut() {
            Some(directory) => directory.at_end = keeps_all.then_some(seen),
            None => {
                actor.is_gone = !self.mix.named;
                self.lost.push((self.sim.now(), seen));
                self.note_parts();
            }
        }
    }

    /// Which nodes know each other, by way of others too; a directory whose node is down is one of
    /// them. Where they are not one whole, the ledger hears of the parts.
    fn note_parts(&mut self) {
        let stays = |actor: &&Actor| {
            self.sim.is_up(actor.host) || (actor.directory.is_some() && !actor.is_gone)
        };
        let hosts: Vec<usize> = self.actors.iter().filter(stays).map(|actor| actor.host).collect();
        let map = |host: usize| self.sim.map(host).or_else(|| self.sim.disk(host));
        let knows =
            |a: usize, b: usize| map(a).is_some_and(|map| map.record(self.sim.writer(b)).is_some());
        let mut parts: Vec<Vec<usize>> = Vec::new();
        for host in &hosts {
            let (known, others): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| {
                part.iter().any(|other| knows(*host, *other) || knows(*other, *host))
            });
            parts = others;
            parts.push(known.concat().into_iter().chain([*host]).collect());
        }
        if parts.len() > 1 {
            let staying: Vec<ReplicaId> = hosts.iter().map(|host| self.sim.writer(*host)).collect();
            let mut ledger = self.sim.ledger.take().expect("a stage has one");
            let map = |host: usize| self.sim.map(host).or_else(|| self.sim.disk(host));
            let maps: Vec<Vec<&CounterMap>> = parts
                .iter()
                .map(|part| part.iter().filter_map(|host| map(*host)).collect())
                .collect();
            ledger.killed_apart(&maps, |writer| !staying.contains(&writer));
            self.sim.ledger = Some(ledger);
        }
    }

    /// Starts a node again: from all that it held, from its last commit, or from an earlier one.
    fn restart(&mut self, number: usize, back: Option<usize>) {
        let Some(at) = self
            .actor(number)
            .filter(|at| !self.sim.is_up(self.actors[*at].host) && !self.actors[*at].is_gone)
        else {
            return;
        };
        let host = self.actors[at].host;
        let Some(directory) = self.actors[at].directory.as_mut() else {
            // It comes back under its name, with nothing.
            self.sim.restart(host, false);
            let writer = self.sim.writer(host);
            return self.ledger().begins(host, writer, None);
        };
        (directory.lags, directory.is_full) = (false, false);
        let whole = directory.at_end.take().filter(|_| back.is_none());
        let seen = match whole {
            Some(seen) => seen,
            None => {
                let kept = directory.copies.len().saturating_sub(back.unwrap_or(0)).max(1);
                directory.copies.truncate(kept);
                let (map, seen) = directory.copies.last().cloned().unwrap_or_default();
                self.sim.put_disk(host, map);
                seen
            }
        };
        self.sim.restart(host, true);
        let writer = self.sim.writer(host);
        // In an earlier state, which others have given up, it may show until it has caught up what
        // was reset since.
        self.ledger().begins(host, writer, Some(seen).filter(|_| back.is_none()));
    }

    /// All faults end, every directory comes back, clients send their ids again, and all must be
    /// equal and right.
    fn peace(&mut self) -> Result<(), Failure> {
        if self.prints {
            println!("peace");
        }
        self.sim.set_links(Link::loopback());
        self.sim.unmute_all();
        for directory in self.actors.iter_mut().filter_map(|actor| actor.directory.as_mut()) {
            (directory.lags, directory.is_full) = (false, false);
        }
        for number in self.actors.iter().map(|actor| actor.number).collect::<Vec<_>>() {
            self.restart(number, None);
        }
        self.heal();
        while !self.leaving.is_empty() {
            self.run_for(SLICE)?;
        }
        if self.actors.iter().all(|actor| !self.sim.is_up(actor.host)) {
            return Ok(());
        }
        self.wait("equal", |stage| stage.sim.is_converged() && stage.all_synced())?;
        self.sim.ledger.as_mut().expect("a stage has one").compare()?;
        let hosts: Vec<usize> = self
            .actors
            .iter()
            .map(|actor| actor.host)
            .filter(|host| self.sim.is_up(*host))
            .collect();
        for id in 0..self.ledger().ids.len() {
            let host = hosts[self.dice.usize(..hosts.len())];
            self.send(host, id)?;
        }
        self.wait("equal after the ids were sent again", |stage| stage.sim.is_converged())?;
        if self.mix.clean {
            self.wait("clean", |stage| {
                // A node that leaves uncovered says so, and may have been the only one to know of
                // another that left.
                if stage.mix.operator || stage.leaves_uncovered > 0 {
                    stage.sim.retire_absent(hosts[0]);
                }
                hosts.iter().all(|host| {
                    stage.sim.map(*host).is_some_and(|map| map.replicas().count() == hosts.len())
                }) && stage.sim.is_converged()
            })?;
        }
        self.ledger().compare()?;
        let ids = self.sim.ledger.as_ref().map(|ledger| &ledger.ids);
        hosts
            .iter()
            .filter_map(|host| self.sim.map(*host))
            .try_for_each(|map| ids.map_or(Ok(()), |ids| ids.check(map)))?;
        if self.mix.names_missing {
            self.check_missing(&hosts)?;
        }
        if self.mix.majority || self.mix.names_missing {
            self.check_majority(hosts[0])?;
        }
        self.sim.verdict()
    }

    fn all_synced(&self) -> bool {
        let up = self.actors.iter().filter_map(|actor| self.sim.machine(actor.host));
        up.into_iter().all(|machine| machine.is_synced() && machine.readiness().is_ok())
    }

    /// Lets time run until something is so.
    fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) -> Result<(), Failure> {
        let end = self.sim.now() + PEACE;
        loop {
            self.run_for(SLICE)?;
            if done(self) {
                return Ok(());
            }
            if self.sim.now() >= end {
                let shown = self.shown();
                return Err(Failure::NotConverged(format!(
                    "not {what} after {PEACE:?} of peace\n{shown}"
                )));
            }
        }
    }

    /// What kills left is bounded, and named: one enrolled replica for each node that was killed.
    /// Once these are retired, nothing is left.
    fn check_missing(&mut self, hosts: &[usize]) -> Result<(), Failure> {
        let up: Vec<ReplicaId> = hosts.iter().map(|host| self.sim.writer(*host)).collect();
        let mut killed: Vec<ReplicaId> = self
            .actors
            .iter()
            .map(|actor| self.sim.writer(actor.host))
            .filter(|id| !up.contains(id))
            .collect();
        killed.sort_unstable();
        let missing: Vec<ReplicaId> = self.sim.missing(hosts[0]);
        if let Some(id) = missing.iter().find(|id| killed.binary_search(id).is_err()) {
            return Err(Failure::NotConverged(format!(
                "{id} is missing, and no process that was killed wrote as it\n{}",
                self.shown()
            )));
        }
        self.wait("clean once those are retired that are missing", |stage| {
            stage.sim.retire_absent(hosts[0]);
            hosts.iter().all(|host| {
                stage.sim.map(*host).is_some_and(|map| map.replicas().count() == hosts.len())
            }) && stage.sim.is_converged()
        })
    }

    /// Healthy nodes know a majority of copies and a stable total.
    fn check_majority(&mut self, host: usize) -> Result<(), Failure> {
        let waiting = self.sim.await_copies(host, Copies::Majority, Duration::from_secs(30));
        let _ = self.sim.stable_total(host, "clicks");
        self.run_for(Duration::from_secs(31))?;
        let (waited, stable) = (self.sim.waited(waiting), self.sim.stable_total(host, "clicks"));
        match (waited, stable) {
            (Some(Waited::Reached), Some(_)) => Ok(()),
            (waited, stable) => Err(Failure::NotConverged(format!(
                "a majority of copies: {waited:?}, a stable total: {stable:?}"
            ))),
        }
    }
}
