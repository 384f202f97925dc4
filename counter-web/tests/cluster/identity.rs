//! The identity of real processes. A node keeps it after a kill at any moment of its start, and on
//! another device. No two nodes share one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::http::{add, agreed, counter, metric};
use crate::support::process::{ChildGuard, Node, Runtime, cluster, command};

/// The number of killed starts, unless `COUNTER_START_KILLS` is set.
const START_KILLS: u32 = 60;

const SOON: Duration = Duration::from_secs(60);

fn node_part(replica: &str) -> &str {
    replica.split('-').next().unwrap()
}

fn log(directory: &Path) -> String {
    std::fs::read_to_string(directory.with_extension("log")).unwrap()
}

fn total(nodes: &[&Node], expected: u64) {
    eventually("the total", SOON, || {
        let seen = agreed(&nodes.iter().map(|node| node.http.as_str()).collect::<Vec<_>>());
        if seen == expected { Ok(()) } else { Err(format!("{seen} instead of {expected}")) }
    });
}

fn replicas_left(nodes: &[&Node], replicas: usize) {
    eventually("only the living are left", SOON, || {
        let held: Vec<Option<f64>> =
            nodes.iter().map(|node| metric(&node.http, "counter_replicas")).collect();
        if held.iter().all(|held| *held == Some(replicas as f64)) {
            Ok(())
        } else {
            Err(format!("{held:?}"))
        }
    });
}

fn rand(below: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) % below
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Starts a node and kills it after `time`.
fn kill_start(runtime: &Runtime, cluster: &str, directory: &Path, time: Duration) {
    let mut command = command(runtime);
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(directory.with_extension("log"))
        .unwrap();
    command
        .args([
            "--cluster",
            cluster,
            "--region",
            "ord",
            "--discover",
            "local",
            "--http",
            "127.0.0.1:0",
            "--data-dir",
        ])
        .arg(directory);
    command.env("RUST_LOG", "error,counter_net=warn").stdout(Stdio::null()).stderr(log);
    let _killed = ChildGuard(command.spawn().unwrap());
    // The random moment is the point. Nothing is waited for.
    std::thread::sleep(time);
}

#[test]
fn killed_start_keeps_its_identity() {
    let kills = std::env::var("COUNTER_START_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(START_KILLS);
    let (runtime, cluster) = (Runtime::new(), cluster());
    let directory = runtime.path().join("ord");
    let start = || Node::start_in(&runtime, &cluster, &directory, &[]);
    let began = Instant::now();
    let mut node = start();
    let (identity, took) = (node_part(&node.replica).to_owned(), began.elapsed());
    let mut clicks = 0;
    for kill in 1..=kills {
        if kill % 10 == 1 {
            add(&node.http, 1);
            clicks += 1;
        }
        node.kill();
        kill_start(
            &runtime,
            &cluster,
            &directory,
            Duration::from_micros(rand(1 + 2 * took.as_micros() as u64)),
        );
        if kill % 10 == 0 || kill == kills {
            node = start();
            assert_eq!(node_part(&node.replica), identity, "after {kill} kills");
            assert_eq!(counter(&node.http, "clicks")["total"], clicks);
        }
    }
    replicas_left(&[&node], 1);
    assert!(!log(&directory).contains("is a copy"), "{}", log(&directory));
    println!(
        "{kills} kills within twice {took:?}, which a start takes, {clicks} clicks, one identity, \
            one replica left"
    );
}

/// A file system in an image, unmounted with its test.
struct Volume(PathBuf);

impl Volume {
    fn make(image: &Path) -> bool {
        let made = std::fs::File::create(image).and_then(|file| file.set_len(16 << 20)).is_ok();
        made && Command::new("mkfs.ext4")
            .arg("-q")
            .arg(image)
            .status()
            .is_ok_and(|status| status.success())
    }

    fn attach(image: &Path, at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mounted = Command::new("mount").args(["-o", "loop"]).arg(image).arg(&at).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(at))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn volume_on_another_device_is_the_same_node() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let image = runtime.path().join("image");
    let Some(volume) =
        Volume::make(&image).then(|| Volume::attach(&image, runtime.path().join("disk"))).flatten()
    else {
        return eprintln!("SKIPPED: no volume may be mounted here");
    };
    let directory = volume.0.join("ord");
    let node = Node::start_in(&runtime, &cluster, &directory, &[]);
    add(&node.http, 5);
    let identity = node_part(&node.replica).to_owned();
    assert!(node.terminate().success());
    drop(volume);
    // This volume gets the device number that the first one had.
    let other = runtime.path().join("other image");
    assert!(Volume::make(&other));
    let _other = Volume::attach(&other, runtime.path().join("other disk"));
    let volume = Volume::attach(&image, runtime.path().join("elsewhere")).unwrap();
    let directory = volume.0.join("ord");
    let node = Node::start_in(&runtime, &cluster, &directory, &[]);
    assert_eq!(node_part(&node.replica), identity);
    assert_eq!(counter(&node.http, "clicks")["total"], 5);
    assert!(!log(&directory).contains("is a copy"), "{}", log(&directory));
    // The node must end before its volume is unmounted.
    drop(node);
}

/// Two processes with one identity, and a third that sees both. The later one stops, and comes back
/// as another node.
fn tell_apart(
    runtime: &Runtime,
    cluster: &str,
    original: &Path,
    clone: &Path,
    flags: &[&str],
    make_clone: impl FnOnce(),
) {
    let other = Node::start_in(runtime, cluster, &runtime.path().join("fra"), &[]);
    let node = Node::start_in(runtime, cluster, original, &[]);
    add(&node.http, 100);
    total(&[&node, &other], 100);
    make_clone();
    add(&node.http, 10);
    // At any moment between two pings.
    std::thread::sleep(Duration::from_millis(rand(2_000)));
    let mut twin = Node::start_in(runtime, cluster, clone, flags);
    assert_eq!(
        node_part(&twin.replica),
        node_part(&node.replica),
        "on its own disk it looks like itself"
    );
    add(&twin.http, 1);
    let began = Instant::now();
    assert_eq!(twin.end().code(), Some(1), "{}", log(clone));
    println!("told apart after {:?}", began.elapsed());
    assert!(log(clone).contains("another process runs as this node"), "{}", log(clone));
    add(&node.http, 1000);
    total(&[&node, &other], 1110);
    let twin = Node::start_in(runtime, cluster, clone, &[]);
    assert_ne!(node_part(&twin.replica), node_part(&node.replica));
    add(&twin.http, 10_000);
    // It keeps the adds that it took under the identity of the original.
    total(&[&node, &other, &twin], 11_111);
    replicas_left(&[&node, &other, &twin], 3);
    // After a restart each keeps its identity.
    let identities = [&node, &twin].map(|node| node_part(&node.replica).to_owned());
    assert!(node.terminate().success());
    assert!(twin.terminate().success());
    let nodes = [original, clone].map(|directory| Node::start_in(runtime, cluster, directory, &[]));
    assert_eq!(nodes.each_ref().map(|node| node_part(&node.replica).to_owned()), identities);
    total(&[&nodes[0], &nodes[1], &other], 11_111);
    replicas_left(&[&nodes[0], &nodes[1], &other], 3);
}

#[test]
fn restored_copy_beside_its_original_gives_way() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let (original, clone) = (runtime.path().join("ord"), runtime.path().join("sin"));
    let node = Node::start_in(&runtime, &cluster, &original, &[]);
    assert!(node.terminate().success());
    copy(&original, &clone);
    tell_apart(&runtime, &cluster, &original, &clone, &["--restored"], || ());
}

#[test]
fn clone_of_a_running_nodes_disk_gives_way() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let (image, cloned) = (runtime.path().join("image"), runtime.path().join("cloned image"));
    let Some(volume) =
        Volume::make(&image).then(|| Volume::attach(&image, runtime.path().join("disk"))).flatten()
    else {
        return eprintln!("SKIPPED: no volume may be mounted here");
    };
    let second = std::cell::RefCell::new(None);
    let (original, clone) = (volume.0.join("ord"), runtime.path().join("cloned disk/ord"));
    tell_apart(&runtime, &cluster, &original, &clone, &[], || {
        // A copy of one moment, like a snapshot of a volume.
        assert!(Command::new("fsfreeze").arg("-f").arg(&volume.0).status().unwrap().success());
        let copied = std::fs::copy(&image, &cloned);
        assert!(Command::new("fsfreeze").arg("-u").arg(&volume.0).status().unwrap().success());
        copied.unwrap();
        *second.borrow_mut() = Volume::attach(&cloned, runtime.path().join("cloned disk"));
    });
}
