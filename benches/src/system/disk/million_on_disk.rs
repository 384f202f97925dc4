//! A node with many counters and a directory: how soon it starts from that, and how long durable
//! adds wait while it writes a checkpoint.

use std::time::{Duration, Instant};

use counter_net::{Counter, Discovery, Node};

use crate::system::harness::http::Http;
use crate::system::harness::metrics::Metrics;
use crate::system::harness::process::{NodeProcess, cluster_name};
use crate::system::harness::scratch::ScratchDirectory;
use crate::system::{MeasureFailure, Measured, Quantiles};

/// Durable adds that wait at the same time.
pub const COMMITTERS: usize = 64;
/// The run is judged in slices of this time: with a page of a checkpoint, or without.
const SLICE: Duration = Duration::from_millis(100);
/// Counters that change in each slice, so that the log grows and checkpoints begin.
const CHANGES_A_SLICE: usize = 50_000;
/// More bytes than this in one slice contain pages of a checkpoint. The deltas of a slice take
/// about 100 kB, and a checkpoint 2 MB.
const PAGE_BYTES: f64 = 250e3;
/// The longest run. It ends earlier after enough checkpoints.
const RUN_MAX: Duration = Duration::from_secs(60);

/// The results.
#[derive(Clone, Debug)]
pub struct MillionOnDisk {
    /// From the start of a process until it is ready with everything in its directory. The first is
    /// after a clean end, the others after SIGKILL.
    pub starts: Quantiles,
    /// Durable adds that were answered while a checkpoint was written.
    pub checkpoint: Quantiles,
    /// Durable adds that were answered between checkpoints.
    pub between: Quantiles,
    /// The bytes of the directory's store at the end.
    pub bytes: f64,
}

/// Makes a node with `counters` counters, runs it through some checkpoints, and starts it again
/// some times.
///
/// # Errors
/// A node that does not start, or that lacks an add after a start.
pub async fn million_on_disk(
    counters: usize,
    checkpoints: u64,
    starts: usize,
) -> Measured<MillionOnDisk> {
    let (scratch, cluster) = (ScratchDirectory::new()?, cluster_name());
    let directory = scratch.path().join("node");
    let node = Node::builder()
        .region("ord")
        .cluster(&cluster)
        .discover(Discovery::None)
        .listen("/ip4/127.0.0.1/tcp/0")
        .data_dir(&directory)
        .start()
        .await
        .map_err(failure)?;
    node.synced().await;
    let handles: Result<Vec<Counter>, _> =
        (0..counters).map(|number| node.counter(&name(number))).collect();
    let handles = handles.map_err(failure)?;
    let first: Result<(), _> =
        (1..).zip(&handles).try_for_each(|(amount, counter)| counter.add(amount));
    first.map_err(failure)?;
    node.durable().await.map_err(failure)?;
    let run = Run { node: &node, handles: &handles };
    let (slices, changes, adds) = run.until_checkpoints(checkpoints).await?;
    drop(handles);
    node.shutdown().await;
    drop(node);
    let times = |in_checkpoint: bool| {
        let slices = slices.iter().filter(|slice| slice.in_checkpoint == in_checkpoint);
        let adds: Vec<Duration> = slices.flat_map(|slice| slice.adds.iter().copied()).collect();
        match adds.is_empty() {
            true => {
                Err(MeasureFailure("no durable add was answered in a slice of one kind".into()))
            }
            false => Ok(Quantiles::new(adds)),
        }
    };
    let bytes = std::fs::metadata(directory.join("counter.redb"))?.len() as f64;
    let expected = Expected { counters, changes, adds };
    let mut started = Vec::new();
    for _ in 0..starts {
        started.push(expected.start(&cluster, &directory.to_string_lossy()).await?);
    }
    Ok(MillionOnDisk {
        starts: Quantiles::new(started),
        checkpoint: times(true)?,
        between: times(false)?,
        bytes,
    })
}

fn failure(error: impl std::fmt::Display) -> MeasureFailure {
    MeasureFailure(error.to_string())
}

/// The name of a counter, as an application would choose it.
fn name(number: usize) -> String {
    format!("likes:{number:07}")
}

/// A slice of the run.
struct Slice {
    in_checkpoint: bool,
    adds: Vec<Duration>,
}

struct Run<'a> {
    node: &'a Node,
    handles: &'a [Counter],
}

impl Run<'_> {
    /// Runs until this many checkpoints have come into force. Returns the slices, the number of
    /// changes, and the number of durable adds.
    async fn until_checkpoints(&self, count: u64) -> Measured<(Vec<Slice>, usize, u64)> {
        let committed = self.node.counter("durable").map_err(failure)?;
        let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
        let committers: Vec<_> = (0..COMMITTERS)
            .map(|_| tokio::spawn(committer(committed.clone(), report.clone())))
            .collect();
        drop(report);
        let start = Instant::now();
        let (mut slices, mut changes, mut adds) = (Vec::new(), 0, 0);
        let (until, mut before) = (self.written().1 + count as f64, self.written().0);
        while self.written().1 < until {
            if start.elapsed() > RUN_MAX {
                return Err(MeasureFailure(
                    "too few checkpoints were written within a minute".into(),
                ));
            }
            for _ in 0..CHANGES_A_SLICE {
                self.handles[changes % self.handles.len()].add(1).map_err(failure)?;
                changes += 1;
            }
            tokio::time::sleep(SLICE).await;
            let now = self.written().0;
            let mut slice = Slice { in_checkpoint: now - before > PAGE_BYTES, adds: Vec::new() };
            before = now;
            while let Ok(took) = reports.try_recv() {
                slice.adds.push(took);
            }
            slices.push(slice);
        }
        drop(reports);
        for committer in committers {
            adds += committer.await.map_err(failure)??;
        }
        self.node.durable().await.map_err(failure)?;
        Ok((slices, changes, adds))
    }

    /// The bytes that the store has written, and the checkpoints that came into force.
    fn written(&self) -> (f64, f64) {
        let metrics = Metrics::of_text(self.node.metrics_text());
        (
            metrics.sum("counter_store_written_bytes", &[]),
            metrics.sum("counter_store_checkpoints", &[]),
        )
    }
}

/// Adds durably, one after the other, until nobody listens. Returns its adds.
async fn committer(
    counter: Counter,
    report: tokio::sync::mpsc::UnboundedSender<Duration>,
) -> Measured<u64> {
    let mut adds = 0;
    loop {
        let start = Instant::now();
        counter.add_durable(1).map_err(failure)?.await.map_err(failure)?;
        adds += 1;
        if report.send(start.elapsed()).is_err() {
            return Ok(adds);
        }
    }
}

/// The numbers that a node must show after a start.
struct Expected {
    counters: usize,
    changes: usize,
    adds: u64,
}

impl Expected {
    /// Starts a process on the directory, checks its numbers and kills it. Returns the time until
    /// it was ready.
    async fn start(&self, cluster: &str, directory: &str) -> Measured<Duration> {
        let node = NodeProcess::spawn_with(cluster, "ord", &[], &["--data-dir", directory])?;
        let took = node.until_ready().await?;
        let held =
            Metrics::read(&mut Http::open(node.http).await?).await?.sum("counter_counters", &[]);
        let last = self.counters - 1;
        let last_total = self.counters + (self.changes + self.counters - 1 - last) / self.counters;
        let shown = (held as usize, node.total(&name(last)).await?, node.total("durable").await?);
        let expected = (self.counters + 1, last_total as i64, self.adds as i64);
        if shown != expected {
            return Err(MeasureFailure(format!(
                "wrong: started with {shown:?} as counters, last and durable adds, not {expected:?}"
            )));
        }
        Ok(took)
    }
}
