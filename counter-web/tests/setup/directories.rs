//! Real processes on a data directory that is in use, foreign, damaged or full. An error says so,
//! and nothing is changed or lost.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::eventually;
use crate::support::http::{HttpAnswer, add, counter, post_json};
use crate::support::process::{Node, Runtime, cluster, run_in};

/// Starts a node that must refuse. Returns its status and its message.
fn refused(runtime: &Runtime, directory: &Path) -> (Option<i32>, String) {
    let directory = directory.to_str().unwrap();
    let (code, stdout, stderr) = run_in(
        runtime,
        &["serve", "--discover", "none", "--http", "127.0.0.1:0", "--data-dir", directory],
    );
    assert_eq!(stdout, "", "{stderr}");
    (code, stderr)
}

#[test]
fn second_process_on_a_directory_is_refused() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let directory = runtime.path().join("ord");
    let node = Node::start_in(&runtime, &cluster, &directory, &[]);
    add(&node.http, 5);
    let (code, said) = refused(&runtime, &directory);
    assert!(code == Some(1) && said.contains("is open in another process"), "{code:?} {said}");
    add(&node.http, 2);
    assert_eq!(counter(&node.http, "clicks")["total"], 7);
    // After a kill it no longer holds the lock.
    drop(node);
    let node = Node::start_in(&runtime, &cluster, &directory, &[]);
    assert_eq!(counter(&node.http, "clicks")["total"], 7);
}

#[test]
fn damaged_file_is_refused_and_unchanged() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let directory = runtime.path().join("ord");
    let node = Node::start_in(&runtime, &cluster, &directory, &[]);
    add(&node.http, 5);
    assert!(node.terminate().success());
    let store = directory.join("counter.redb");
    let sound = std::fs::read(&store).unwrap();
    // Every page of the file is changed from its 64th byte on.
    let overwritten: Vec<u8> = sound
        .iter()
        .enumerate()
        .map(|(at, byte)| if at % 4096 < 64 { *byte } else { byte ^ 0x55 })
        .collect();
    for (bytes, why) in [
        (b"dear diary".to_vec(), "not a store"),
        (sound[..sound.len() / 2].to_vec(), "damaged"),
        (overwritten, "damaged"),
    ] {
        std::fs::write(&store, &bytes).unwrap();
        let (code, said) = refused(&runtime, &directory);
        assert!(code == Some(1) && said.contains(why), "{code:?} {said}");
        assert!(std::fs::read(&store).unwrap() == bytes, "{why}: it was changed");
    }
    std::fs::write(&store, &sound).unwrap();
    let node = Node::start_in(&runtime, &cluster, &directory, &[]);
    assert_eq!(counter(&node.http, "clicks")["total"], 5);
}

/// A file system of 3 MB, removed with its test.
struct SmallVolume(PathBuf);

impl SmallVolume {
    fn mount(path: PathBuf) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
            .arg(&path)
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(path))
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// One click on its own counter.
fn click(node: &Node, number: u32) -> HttpAnswer {
    post_json(&node.http, &format!("/api/counters/one-of-many-{number:060}/add"), "{\"amount\":1}")
}

#[test]
fn full_disk_refuses_clicks_until_there_is_space() {
    let (runtime, cluster) = (Runtime::new(), cluster());
    let Some(disk) = SmallVolume::mount(runtime.path().join("ord")) else {
        eprintln!("SKIPPED: no tmpfs may be mounted here");
        return;
    };
    let node = Node::start_in(&runtime, &cluster, &disk.0, &[]);
    add(&node.http, 5);
    let ballast = disk.0.join("ballast");
    // Fill the space.
    let _full = std::fs::write(&ballast, vec![7; 4 << 20]);
    let mut acknowledged = 0;
    let refused = (0..20_000).map(|number| click(&node, number)).find(|answer| {
        acknowledged += u32::from(answer.status == 200);
        answer.status != 200
    });
    let refused = refused.expect("3 MB do not hold that many").error();
    assert_eq!((refused.0, refused.1.as_str()), (503, "not_durable"), "after {acknowledged}");
    assert_eq!(counter(&node.http, "clicks")["total"], 5, "reads continue");
    std::fs::remove_file(ballast).unwrap();
    eventually("it takes clicks again", Duration::from_secs(30), || {
        match click(&node, acknowledged) {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.body),
        }
    });
    // Nothing that was acknowledged is missing after a kill.
    drop(node);
    let node = Node::start_in(&runtime, &cluster, &disk.0, &[]);
    assert_eq!(counter(&node.http, "clicks")["total"], 5);
    for number in [0, acknowledged / 2, acknowledged] {
        let total = counter(&node.http, &format!("one-of-many-{number:060}"))["total"].as_u64();
        assert!(total >= Some(1), "{number} of {acknowledged}: {total:?}");
    }
}
