//! A test that runs again in its own network.

use std::process::Stdio;

use super::apart::{end_with_input, unshare};
use crate::support::process::Runtime;

/// Runs `body`, the test of this name, in its own namespaces.
pub fn apart(test: &str, body: impl FnOnce()) {
    const INSIDE: &str = "COUNTER_TEST_APART";
    if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
        // If the outer test is killed, this one ends with all its nodes.
        end_with_input();
        return body();
    }
    let mut command = match unshare() {
        Ok(command) => command,
        Err(why) => {
            return println!(
                "SKIPPED {test}: this machine lets us make no network of our own ({why})"
            );
        }
    };
    command.arg(std::env::current_exe().unwrap()).args([
        "--exact",
        test,
        "--nocapture",
        "--test-threads",
        "1",
    ]);
    // Process numbers begin at 1 in here, so names made of them are unique only in here.
    let own = Runtime::new();
    command
        .env(INSIDE, test)
        .env("TMPDIR", own.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut inside = command.spawn().unwrap();
    let _held = inside.stdin.take();
    let done = inside.wait_with_output().unwrap();
    print!("{}", String::from_utf8_lossy(&done.stdout));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "inside, {}:\n{said}", done.status);
}
