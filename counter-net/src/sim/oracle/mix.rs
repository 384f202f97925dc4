//! The mixes: the kinds of stories, each by its cluster and by how often each step comes.

use std::time::Duration;

use crate::sim::Link;

/// The kind of cluster of a story, and how often each kind of step comes, as weights.
#[derive(Clone, Debug)]
pub struct Mix {
    /// The name that a campaign chooses it by.
    pub name: &'static str,
    /// The fewest and the most steps.
    pub steps: (usize, usize),
    /// The fewest and the most nodes at the start.
    pub nodes: (usize, usize),
    /// The share of nodes that have a directory, in percent.
    pub directories: u8,
    /// The links that a story may have.
    pub links: &'static [fn() -> Link],
    /// The longest pauses after a step, in milliseconds. Each step draws one of them.
    pub pauses: &'static [u64],
    /// The share of stories whose pages and payloads hold only a few cells, in percent.
    pub cramped: u8,
    /// The share of stories in which discovery takes its time and names nodes that are gone, in
    /// percent.
    pub stale: u8,
    /// How long a leaving node may take before its process ends anyway.
    pub patience: Duration,

    /// Adds.
    pub add: u8,
    /// Subtractions.
    pub subtract: u8,
    /// Resets of one region of a counter.
    pub reset: u8,
    /// New ids.
    pub id: u8,
    /// Ids that were sent before, now sent to any node.
    pub again: u8,
    /// New ids that are sent to two nodes at once.
    pub twice: u8,
    /// Kills of nodes with a directory.
    pub crash: u8,
    /// Starts of nodes that are down and may come back.
    pub restart: u8,
    /// Kills of nodes without a directory. A new one starts later.
    pub kill: u8,
    /// New nodes that know everybody.
    pub newcomer: u8,
    /// New nodes that know only one node, for some seconds.
    pub lonely: u8,
    /// Leaves of nodes without a directory.
    pub leave: u8,
    /// Leaves of a node that is the only one a newcomer knows.
    pub leave_behind: u8,
    /// Cuts into two sides.
    pub cut: u8,
    /// Cuts of one direction.
    pub cut_one_way: u8,
    /// Ends of all cuts.
    pub heal: u8,
    /// Nodes that from now on accept connections and say nothing, until the end.
    pub hang: u8,
    /// Retirements of nodes that are down for good.
    pub retire: u8,
    /// Retirements of nodes that run.
    pub retire_living: u8,
    /// Disks that start or stop to lag. Nothing is committed meanwhile.
    pub lag: u8,
    /// Disks that fill up or have room again. Nothing is committed meanwhile, and the node refuses
    /// adds.
    pub full: u8,
    /// Starts from an earlier copy of a directory.
    pub restore: u8,
    /// New names, a few at a time.
    pub names: u8,
    /// A few new ids at once at one node.
    pub flood: u8,
    /// A few new ids at once, sent to two nodes.
    pub flood_twice: u8,
    /// Removals of counters. At the end all counters are removed, and nothing may be left of them.
    pub remove: u8,
    /// Counters that are given a time at which they end.
    pub expire: u8,
    /// Adds to windows. At the end nothing may be left of them.
    pub visit: u8,

    /// How long counters live from their making, in milliseconds, by the prefix of their names. At
    /// the end nothing may be left of them.
    pub lifetimes: &'static [(&'static str, u64)],
    /// True if resets may hit counters of adds with ids.
    pub resets_ids: bool,
    /// The most counters that a node makes. The default if `None`.
    pub counters_max: Option<usize>,
    /// The dedup entries of a kind that are kept for each writer. The default if `None`.
    pub dedup_max: Option<usize>,
    /// The replicas that a digest may name. The default if `None`.
    pub digest_replicas_max: Option<usize>,
    /// The writers from which on digests are compared in buckets. The default if `None`.
    pub bucketed_min: Option<usize>,
    /// True if nodes without directories come back under their names.
    pub named: bool,
    /// True if at the end an operator retires the nodes that are down for good.
    pub operator: bool,
    /// True if at the end the state must name only replicas that run.
    pub clean: bool,
    /// True if at the end a majority of copies and a stable total must be reached.
    pub majority: bool,
    /// True if at the end only killed processes may be missing, and retiring the missing ones must
    /// clean the state and give a majority of copies.
    pub names_missing: bool,
}

const NEAR_AND_FAR: &[fn() -> Link] = &[Link::loopback, Link::wide, || Link::lossy(0.1)];

/// Two of three counters expire: one often within a cut, one after most of them.
const LIFETIMES: &[(&str, u64)] = &[("likes", 1_500), ("carts", 7_000)];

/// Adds and nothing else: the base of all mixes.
const CALM: Mix = Mix {
    name: "calm",
    steps: (60, 150),
    nodes: (3, 5),
    directories: 100,
    links: NEAR_AND_FAR,
    pauses: &[1, 20, 200, 800],
    cramped: 50,
    stale: 30,
    patience: Duration::from_secs(5),
    add: 30,
    subtract: 6,
    reset: 0,
    id: 0,
    again: 0,
    twice: 0,
    crash: 0,
    restart: 0,
    kill: 0,
    newcomer: 0,
    lonely: 0,
    leave: 0,
    leave_behind: 0,
    cut: 0,
    cut_one_way: 0,
    heal: 0,
    hang: 0,
    retire: 0,
    retire_living: 0,
    lag: 0,
    full: 0,
    restore: 0,
    names: 0,
    flood: 0,
    flood_twice: 0,
    remove: 0,
    expire: 0,
    visit: 0,
    lifetimes: &[],
    resets_ids: false,
    counters_max: None,
    dedup_max: None,
    digest_replicas_max: None,
    bucketed_min: None,
    named: false,
    operator: true,
    clean: true,
    majority: false,
    names_missing: false,
};

impl Mix {
    /// Cuts of both kinds, resets, newcomers.
    pub const PARTITIONS: Mix =
        Mix { name: "partitions", reset: 6, newcomer: 2, cut: 4, cut_one_way: 3, heal: 5, ..CALM };
    /// The same, with crashes of nodes that have directories.
    pub const CRASHES: Mix = Mix { name: "crashes", crash: 8, restart: 12, ..Self::PARTITIONS };
    /// The same, with kills of nodes without directories, which an operator retires.
    pub const KILLS: Mix =
        Mix { name: "kills", directories: 0, kill: 5, newcomer: 6, retire: 3, ..Self::PARTITIONS };
    /// The same, with ids that are sent again to other nodes. No node ends.
    pub const IDS: Mix = Mix { name: "ids", id: 10, again: 10, twice: 10, ..Self::PARTITIONS };

    /// Leaves while newcomers know nobody but the leaver.
    pub const LEAVES: Mix = Mix {
        name: "leaves",
        directories: 0,
        reset: 10,
        newcomer: 4,
        lonely: 3,
        leave: 4,
        leave_behind: 6,
        cramped: 100,
        ..CALM
    };
    /// More adds that are taken back than the dedup table keeps.
    pub const TAKEN_BACK: Mix = Mix {
        name: "taken back",
        flood_twice: 4,
        dedup_max: Some(16),
        again: 4,
        cut: 4,
        heal: 6,
        ..CALM
    };
    /// Ids sent twice while nodes with directories are killed.
    pub const IDS_AND_CRASHES: Mix = Mix {
        name: "ids and crashes",
        links: &[Link::wide, || Link::lossy(0.3)],
        pauses: &[1, 50, 400],
        add: 4,
        subtract: 0,
        id: 6,
        again: 6,
        twice: 16,
        crash: 10,
        restart: 16,
        cut: 3,
        heal: 6,
        ..CALM
    };
    /// A dedup table that fills up while nodes with directories are killed.
    pub const FULL_TABLES: Mix = Mix {
        name: "full tables",
        flood: 6,
        again: 20,
        dedup_max: Some(16),
        crash: 6,
        restart: 10,
        ..CALM
    };
    /// Leaves over links between continents, with peers that hang and without an operator.
    pub const ROLLS: Mix = Mix {
        name: "rolls",
        directories: 0,
        newcomer: 6,
        leave: 6,
        hang: 1,
        links: &[Link::wide],
        operator: false,
        cramped: 0,
        ..CALM
    };
    /// More counters than a node makes, on two sides of a cut.
    pub const NAMES: Mix = Mix {
        name: "names",
        names: 8,
        counters_max: Some(40),
        cut: 4,
        heal: 3,
        cramped: 0,
        ..CALM
    };
    /// Disks that lag behind what their nodes show.
    pub const LAGGING_DISKS: Mix =
        Mix { name: "lagging disks", reset: 10, lag: 6, full: 3, crash: 10, restart: 16, ..CALM };
    /// Resets of counters to which clients send the same add at two nodes.
    pub const RESETS_OF_IDS: Mix = Mix {
        name: "resets of ids",
        reset: 10,
        resets_ids: true,
        id: 6,
        twice: 14,
        cut: 4,
        heal: 6,
        ..CALM
    };
    /// The same while nodes crash, come back and leave.
    pub const RESETS_OF_IDS_AND_CRASHES: Mix = Mix {
        name: "resets of ids and crashes",
        again: 4,
        crash: 8,
        restart: 14,
        kill: 1,
        newcomer: 3,
        leave: 2,
        retire: 2,
        lag: 2,
        ..Self::RESETS_OF_IDS
    };
    /// Directories that are set back to an earlier time.
    pub const RESTORES: Mix =
        Mix { name: "restores", reset: 6, crash: 8, restart: 12, restore: 4, ..CALM };
    /// More incarnations than a digest may name.
    pub const LONG_DIGESTS: Mix = Mix {
        name: "long digests",
        directories: 30,
        kill: 8,
        newcomer: 10,
        digest_replicas_max: Some(12),
        clean: false,
        ..CALM
    };
    /// Kills of nodes without directories, and nobody who retires them.
    pub const NO_OPERATOR: Mix = Mix {
        name: "no operator",
        directories: 0,
        kill: 4,
        newcomer: 6,
        operator: false,
        clean: false,
        names_missing: true,
        ..CALM
    };
    /// Kills of nodes without directories, which come back under their names. Nobody retires them.
    pub const NAMED: Mix = Mix {
        name: "named",
        directories: 20,
        reset: 6,
        kill: 6,
        crash: 2,
        restart: 12,
        newcomer: 2,
        named: true,
        operator: false,
        majority: true,
        ..CALM
    };
    /// An operator who retires nodes that run.
    pub const RETIRED_ALIVE: Mix = Mix {
        name: "retired alive",
        cut: 6,
        heal: 4,
        retire_living: 4,
        pauses: &[20, 800, 4000],
        ..CALM
    };
    /// Nodes with directories that crash before their first commits and start again behind a cut.
    pub const FIRST_COMMITS: Mix = Mix {
        name: "first commits",
        nodes: (2, 3),
        add: 20,
        crash: 12,
        restart: 8,
        newcomer: 8,
        lag: 14,
        cut: 8,
        heal: 3,
        pauses: &[1, 20, 400, 4000],
        ..CALM
    };
    /// Directories of young nodes that are set back to a time when they knew nobody.
    pub const EARLY_RESTORES: Mix = Mix {
        name: "early restores",
        nodes: (2, 3),
        links: &[Link::wide],
        add: 40,
        reset: 6,
        crash: 12,
        restart: 3,
        restore: 12,
        newcomer: 6,
        pauses: &[100, 300],
        ..CALM
    };
    /// Removals while directories are set back to an earlier time.
    pub const REMOVALS_AND_RESTORES: Mix = Mix {
        name: "removals and restores",
        remove: 8,
        reset: 4,
        crash: 10,
        restart: 6,
        restore: 10,
        cut: 4,
        heal: 6,
        cramped: 100,
        ..CALM
    };
    /// Nodes without directories that come back under their names or are retired.
    pub const NAMED_AND_RETIRED: Mix = Mix {
        name: "named and retired",
        directories: 0,
        reset: 4,
        kill: 10,
        restart: 10,
        retire: 8,
        newcomer: 3,
        named: true,
        pauses: &[1, 20, 200, 1000],
        ..CALM
    };
    /// Everything except bounds and retirements of running nodes.
    pub const EVERYTHING: Mix = Mix {
        name: "everything",
        directories: 60,
        reset: 8,
        id: 5,
        again: 5,
        twice: 5,
        crash: 6,
        restart: 10,
        kill: 2,
        newcomer: 4,
        lonely: 2,
        leave: 3,
        leave_behind: 2,
        cut: 3,
        cut_one_way: 2,
        heal: 6,
        retire: 2,
        lag: 3,
        full: 1,
        ..CALM
    };

    /// Removals among cuts, newcomers and resets.
    pub const REMOVALS: Mix = Mix { name: "removals", remove: 8, reset: 4, ..Self::PARTITIONS };
    /// Removals while nodes with directories crash and lag.
    pub const REMOVALS_AND_CRASHES: Mix = Mix {
        name: "removals and crashes",
        remove: 8,
        reset: 4,
        crash: 8,
        restart: 12,
        lag: 3,
        newcomer: 2,
        ..CALM
    };
    /// Removals while nodes without directories leave, are killed, and come back under their names.
    pub const REMOVALS_AND_LEAVES: Mix = Mix {
        name: "removals and leaves",
        directories: 20,
        remove: 8,
        reset: 4,
        newcomer: 6,
        leave: 4,
        leave_behind: 2,
        kill: 3,
        retire: 3,
        ..CALM
    };
    /// Everything, with removals.
    pub const EVERYTHING_ENDS: Mix = Mix { name: "everything ends", remove: 8, ..Self::EVERYTHING };

    /// Counters that expire among cuts, newcomers, resets and removals.
    pub const EXPIRIES: Mix = Mix {
        name: "expiries",
        remove: 2,
        expire: 4,
        lifetimes: LIFETIMES,
        pauses: &[1, 20, 200, 800, 2000],
        ..Self::PARTITIONS
    };
    /// Counters that expire while nodes with directories crash and lag.
    pub const EXPIRIES_AND_CRASHES: Mix = Mix {
        name: "expiries and crashes",
        expire: 4,
        lifetimes: LIFETIMES,
        pauses: &[1, 20, 200, 800, 2000],
        ..Self::REMOVALS_AND_CRASHES
    };
    /// Counters that expire while nodes without directories leave and are killed.
    pub const EXPIRIES_AND_LEAVES: Mix = Mix {
        name: "expiries and leaves",
        expire: 4,
        lifetimes: LIFETIMES,
        pauses: &[1, 20, 200, 800, 2000],
        ..Self::REMOVALS_AND_LEAVES
    };
    /// Everything, with removals and counters that expire.
    pub const EVERYTHING_EXPIRES: Mix = Mix {
        name: "everything expires",
        expire: 4,
        lifetimes: LIFETIMES,
        pauses: &[1, 20, 200, 800, 2000],
        ..Self::EVERYTHING_ENDS
    };

    /// Everything, with removals and resets of counters to which clients send the same add at two
    /// nodes.
    pub const EVERYTHING_OF_IDS: Mix = Mix {
        name: "everything of ids",
        resets_ids: true,
        id: 8,
        twice: 10,
        ..Self::EVERYTHING_ENDS
    };
    /// The same with counters that expire.
    pub const EXPIRIES_OF_IDS: Mix = Mix {
        name: "expiries of ids",
        expire: 4,
        lifetimes: LIFETIMES,
        pauses: &[1, 20, 200, 800, 2000],
        ..Self::EVERYTHING_OF_IDS
    };

    /// Windows among cuts, newcomers and removals.
    pub const WINDOWS: Mix = Mix {
        name: "windows",
        visit: 16,
        remove: 2,
        pauses: &[1, 20, 200, 800, 2000],
        ..Self::PARTITIONS
    };
    /// Windows while nodes with directories crash and lag.
    pub const WINDOWS_AND_CRASHES: Mix = Mix {
        name: "windows and crashes",
        visit: 16,
        pauses: &[1, 20, 200, 800, 2000],
        ..Self::REMOVALS_AND_CRASHES
    };
    /// Windows while nodes without directories leave and are killed.
    pub const WINDOWS_AND_LEAVES: Mix = Mix {
        name: "windows and leaves",
        visit: 16,
        pauses: &[1, 20, 200, 800, 2000],
        ..Self::REMOVALS_AND_LEAVES
    };

    /// Everything, with digests that are always compared in buckets.
    pub const BUCKETS: Mix =
        Mix { name: "buckets", bucketed_min: Some(1), ..Self::EVERYTHING_ENDS };
    /// Leaves beside hung peers, with digests that are always compared in buckets.
    pub const BUCKETS_AND_ROLLS: Mix =
        Mix { name: "buckets and rolls", bucketed_min: Some(1), ..Self::ROLLS };

    /// Every mix.
    pub const ALL: &'static [Mix] = &[
        Self::PARTITIONS,
        Self::CRASHES,
        Self::KILLS,
        Self::IDS,
        Self::LEAVES,
        Self::TAKEN_BACK,
        Self::IDS_AND_CRASHES,
        Self::FULL_TABLES,
        Self::ROLLS,
        Self::NAMES,
        Self::LAGGING_DISKS,
        Self::RESETS_OF_IDS,
        Self::RESETS_OF_IDS_AND_CRASHES,
        Self::RESTORES,
        Self::LONG_DIGESTS,
        Self::NO_OPERATOR,
        Self::NAMED,
        Self::RETIRED_ALIVE,
        Self::FIRST_COMMITS,
        Self::EARLY_RESTORES,
        Self::REMOVALS_AND_RESTORES,
        Self::NAMED_AND_RETIRED,
        Self::EVERYTHING,
        Self::REMOVALS,
        Self::REMOVALS_AND_CRASHES,
        Self::REMOVALS_AND_LEAVES,
        Self::EVERYTHING_ENDS,
        Self::EXPIRIES,
        Self::EXPIRIES_AND_CRASHES,
        Self::EXPIRIES_AND_LEAVES,
        Self::EVERYTHING_EXPIRES,
        Self::EVERYTHING_OF_IDS,
        Self::EXPIRIES_OF_IDS,
        Self::WINDOWS,
        Self::WINDOWS_AND_CRASHES,
        Self::WINDOWS_AND_LEAVES,
        Self::BUCKETS,
        Self::BUCKETS_AND_ROLLS,
    ];

    /// The mix of this name.
    pub fn named(name: &str) -> Option<Mix> {
        Self::ALL.iter().find(|mix| mix.name == name).cloned()
    }
}
