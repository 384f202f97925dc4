//! Every example runs and prints what it should.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The path of a built example. Builds it now if it is missing or older than its source.
fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test has a path");
    let path = own.ancestors().nth(2).expect("target/PROFILE").join("examples").join(name);
    let changed = |path: &Path| path.metadata().and_then(|about| about.modified()).ok();
    let source =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).with_extension("rs");
    if changed(&path) < changed(&source) {
        let cargo = std::env::var_os("CARGO").expect("tests run under cargo");
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "counter-net", "--example", name])
            .status();
        assert!(built.is_ok_and(|status| status.success()), "{name} does not build");
    }
    path
}

/// Runs an example to its end with `input`. Returns its output.
fn run(name: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(binary(name));
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("the example reads");
    let output = child.wait_with_output().expect("the example ends");
    assert!(output.status.success(), "{name}: {}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn embed_prints_its_total() {
    let printed = run("embed", &[], "");
    assert!(printed.contains("in all") && printed.contains("fra: "), "{printed}");
}

#[test]
fn readme_program_is_the_example() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |path: &str| std::fs::read_to_string(format!("{root}/{path}")).expect("it is there");
    let words =
        |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    let readme = read("README.md");
    let program = readme
        .split("```rust")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .and_then(|block| block.split_once('\n'));
    let example = read("counter-net/examples/embed.rs");
    let (_, code) = example.split_once("\n\n").expect("a head, then the program");
    assert_eq!(words(program.expect("a program in the README").1), words(code));
}

#[test]
fn regions_agree() {
    let printed = run("regions", &[], "");
    for region in ["ord", "fra", "sin"] {
        assert!(
            printed.contains(&format!(
                r#"{region} sees 60 in all: {{"fra": 20, "ord": 10, "sin": 30}}"#
            )),
            "{printed}"
        );
    }
    assert!(printed.contains("after a reset at sin, ord sees 0"), "{printed}");
}

#[test]
fn usage_is_metered_across_regions() {
    let printed = run("usage", &[], "");
    assert!(
        printed.contains("acme: 30 of 50 more requests admitted in fra, 100 used in all"),
        "{printed}"
    );
    assert!(printed.contains("acme: 100 may be billed"), "{printed}");
    assert!(printed.contains("globex: 10 used") && printed.contains("moved: usage:"), "{printed}");
}

#[test]
fn like_is_seen_in_the_other_region() {
    let printed = run("likes", &[], "");
    assert!(
        printed.contains(r#""likes":3"#)
            && printed.contains(r#""behind":false"#)
            && printed.contains(r#""ord":3"#),
        "{printed}"
    );
}

#[test]
fn limit_holds_over_two_regions() {
    let printed = run("limit", &[], "");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines[..5],
        ["anna in ord: 200"; 3].into_iter().chain(["anna in fra: 200"; 2]).collect::<Vec<_>>()[..]
    );
    let wait = lines[5]
        .strip_prefix("anna in fra: 429, again in ")
        .and_then(|rest| rest.strip_suffix(" s"));
    let wait: u64 =
        wait.and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("{printed}"));
    assert!(
        (54..=61).contains(&wait),
        "the first bucket of ten expires after 54 to 60 s: {printed}"
    );
    assert_eq!(lines[6], "ben in fra: 200");
}

#[test]
fn worker_counts_its_lines() {
    let printed = run("worker", &["ord"], "a\nb\nc\n");
    assert!(printed.contains("lines so far"), "{printed}");
}
