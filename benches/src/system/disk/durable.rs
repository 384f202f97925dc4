//! Durable adds a second by the number of concurrent committers, beside redb's own single puts and
//! the bare `fdatasync` below both.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use counter_net::{Counter, Discovery, Node};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::system::harness::process::cluster_name;
use crate::system::harness::scratch::ScratchDirectory;
use crate::system::{MeasureFailure, Measured};

/// Adds a second, for each slice of time.
#[derive(Clone, Debug, Default)]
pub struct DurableRates {
    /// Ours: each committer adds, waits until the add is on the disk, and adds again.
    pub ours: Vec<f64>,
    /// redb: each committer runs transactions of one put, durable at commit.
    pub redb: Vec<f64>,
    /// True if redb held all puts afterwards.
    pub redb_right: bool,
    /// A file that grows by 8 bytes and is made durable, one for all committers. No group commit
    /// beats that.
    pub disk: Vec<f64>,
}

const SLICES: u32 = 5;
const TABLE: TableDefinition<'_, u64, u64> = TableDefinition::new("counters");

/// Measures each contender with `committers` at once for `time`, in slices that take turns. Then
/// checks that everything is there after a restart.
///
/// # Errors
/// A directory that cannot be written, or adds of ours that differ from the acknowledged ones.
pub async fn durable(committers: usize, time: Duration) -> Measured<DurableRates> {
    let scratch = ScratchDirectory::new()?;
    let slice = time / SLICES;
    let directory = scratch.path().join("node");
    // A directory works only with the cluster that wrote it.
    let cluster = cluster_name();
    let node = start(&cluster, &directory).await?;
    let counter = node.counter("durable").map_err(failure)?;
    let database = Database::create(scratch.path().join("peer.redb")).map_err(failure)?;
    let mut file = File::create(scratch.path().join("bare"))?;
    let (mut rates, mut added, mut put) = (DurableRates::default(), 0, 0);
    for _ in 0..SLICES {
        let ours = adds(&counter, committers, slice).await?;
        let redb = puts(&database, committers, slice)?;
        let disk = syncs(&mut file, slice)?;
        added += ours;
        put += redb;
        let rate = |count: u64| count as f64 / slice.as_secs_f64();
        rates.ours.push(rate(ours));
        rates.redb.push(rate(redb));
        rates.disk.push(rate(disk * committers as u64));
    }
    node.shutdown().await;
    drop(database);
    let again = start(&cluster, &directory).await?;
    let held = again.view("durable").total;
    again.shutdown().await;
    if held != i128::from(added) {
        return Err(MeasureFailure(format!(
            "wrong: {added} durable adds came to {held} after a restart"
        )));
    }
    rates.redb_right = sum(&scratch.path().join("peer.redb"))? == put;
    Ok(rates)
}

fn failure(error: impl std::fmt::Display) -> MeasureFailure {
    MeasureFailure(error.to_string())
}

async fn start(cluster: &str, directory: &Path) -> Measured<Node> {
    let builder = Node::builder()
        .region("ord")
        .cluster(cluster)
        .discover(Discovery::None)
        .data_dir(directory);
    builder.start().await.map_err(failure)
}

async fn adds(counter: &Counter, committers: usize, time: Duration) -> Measured<u64> {
    let until = Instant::now() + time;
    let committer = |counter: Counter| async move {
        let mut adds = 0;
        while Instant::now() < until {
            counter.add_durable(1).map_err(failure)?.await.map_err(failure)?;
            adds += 1;
        }
        Measured::Ok(adds)
    };
    let committers: Vec<_> =
        (0..committers).map(|_| tokio::spawn(committer(counter.clone()))).collect();
    let mut adds = 0;
    for committer in committers {
        adds += committer.await.map_err(failure)??;
    }
    Ok(adds)
}

fn puts(database: &Database, committers: usize, time: Duration) -> Measured<u64> {
    let until = Instant::now() + time;
    let committer = |own: usize| {
        let mut puts = 0;
        while Instant::now() < until {
            let transaction = database.begin_write().map_err(failure)?;
            {
                let mut table = transaction.open_table(TABLE).map_err(failure)?;
                let before = table.get(own as u64).map_err(failure)?.map_or(0, |held| held.value());
                table.insert(own as u64, before + 1).map_err(failure)?;
            }
            transaction.commit().map_err(failure)?;
            puts += 1;
        }
        Measured::Ok(puts)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..committers).map(|own| scope.spawn(move || committer(own))).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().map_err(|_| MeasureFailure("a thread with redb broke".into()))?
            })
            .sum()
    })
}

fn sum(path: &Path) -> Measured<u64> {
    let database = Database::open(path).map_err(failure)?;
    let read = database.begin_read().map_err(failure)?;
    let table = read.open_table(TABLE).map_err(failure)?;
    let mut sum = 0;
    for held in table.iter().map_err(failure)? {
        sum += held.map_err(failure)?.1.value();
    }
    Ok(sum)
}

fn syncs(file: &mut File, time: Duration) -> Measured<u64> {
    let (start, mut syncs) = (Instant::now(), 0);
    while start.elapsed() < time {
        file.write_all(&[7; 8])?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(syncs)
}
