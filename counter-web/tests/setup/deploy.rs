//! The operators' files: they parse, name variables and paths that exist, and agree with each
//! other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::process::{ChildGuard, Runtime, command, run_in, wait};
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn fly() -> Value {
    basic_toml::from_str(&read("fly.toml")).expect("fly.toml is TOML")
}

/// The first object of this kind in the manifest.
fn manifest(kind: &str) -> Yaml {
    let objects =
        YamlLoader::load_from_str(&read("deploy/kubernetes.yaml")).expect("the manifest is YAML");
    objects
        .into_iter()
        .find(|object| object["kind"].as_str() == Some(kind))
        .unwrap_or_else(|| panic!("no {kind}"))
}

fn container() -> Yaml {
    manifest("StatefulSet")["spec"]["template"]["spec"]["containers"][0].clone()
}

fn fly_variables() -> Vec<(String, String)> {
    let variables = fly()["env"].as_object().expect("[env]").clone();
    variables
        .into_iter()
        .map(|(name, value)| (name, value.as_str().expect("text").to_owned()))
        .collect()
}

fn kubernetes_variables() -> Vec<(String, String)> {
    let variables = container()["env"].as_vec().expect("env").clone();
    let text = |value: &Yaml| {
        value
            .as_str()
            .unwrap_or("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
            .to_owned()
    };
    variables.iter().map(|variable| (text(&variable["name"]), text(&variable["value"]))).collect()
}

/// The names of our variables in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("COUNTER_") || *word == "FLY_REGION")
        .map(str::to_owned)
        .collect()
}

fn help() -> String {
    run_in(&Runtime::new(), &["serve", "--help"]).1
}

#[test]
fn files_name_only_existing_variables() {
    let known = names(&help());
    assert!(known.contains("COUNTER_CLUSTER_KEY"), "{known:?}");
    for file in ["Dockerfile", "fly.toml", "deploy/kubernetes.yaml", "docs/operate.md"] {
        let unknown: Vec<_> = names(&read(file)).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{file} names what the binary does not know: {unknown:?}");
    }
}

#[test]
fn guide_names_only_existing_flags() {
    let mut known = String::new();
    for of in ["serve", "demo", "members", "retire", "leave", "top", "list", "reset"] {
        let (code, text, stderr) = run_in(&Runtime::new(), &[of, "--help"]);
        assert_eq!(code, Some(0), "{of}: {stderr}");
        known += &text;
    }
    let guide = read("docs/operate.md");
    // Code in backquotes that begins with the program's name, and flags that stand alone.
    for code in guide.split('`').skip(1).step_by(2) {
        let ours = code.starts_with("counter-web ") || code.starts_with("--");
        for flag in code.split_whitespace().filter(|word| ours && word.starts_with("--")) {
            let flag = flag.split('=').next().unwrap_or(flag);
            assert!(
                known.contains(flag),
                "the guide names {flag} (in `{code}`), which no command has"
            );
        }
    }
}

/// Runs the binary in this environment with one more variable, which it must refuse. It reads that
/// one last.
fn complaint(variables: &[(String, String)]) -> String {
    let runtime = Runtime::new();
    let mut command = command(&runtime);
    command.args(["serve"]).envs(variables.iter().cloned()).env("COUNTER_RATE", "nonsense");
    let mut child = ChildGuard(
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap(),
    );
    assert_eq!(wait(&mut child.0, Duration::from_secs(10)).code(), Some(2));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.0.stderr.take().unwrap(), &mut said).unwrap();
    said
}

#[test]
fn every_value_that_a_file_sets_is_understood() {
    for variables in [fly_variables(), kubernetes_variables()] {
        assert!(variables.len() > 3, "{variables:?}");
        let said = complaint(&variables);
        assert!(said.contains("a rate is a number"), "{variables:?}: {said}");
        // A bad value in any of them would be reported instead.
        let mut broken = variables;
        broken
            .iter_mut()
            .filter(|(name, _)| name == "COUNTER_DISCOVER")
            .for_each(|(_, value)| "etcd".clone_into(value));
        assert!(complaint(&broken).contains("etcd"));
    }
}

#[test]
fn fly_checks_served_paths_and_hides_gossip() {
    let fly = fly();
    assert_eq!(
        (&fly["kill_signal"], &fly["http_service"]["checks"][0]["path"]),
        (&"SIGTERM".into(), &"/readyz".into())
    );
    let port = fly["http_service"]["internal_port"].as_u64().expect("a port").to_string();
    let http = fly["env"]["COUNTER_HTTP"].as_str().expect("an address");
    assert_eq!(http.rsplit(':').next(), Some(port.as_str()));
    assert_eq!(fly["metrics"]["port"].as_u64().map(|port| port.to_string()), Some(port));
    assert_eq!(fly["mounts"]["destination"], fly["env"]["COUNTER_DATA_DIR"]);
    assert!(fly.get("services").is_none(), "a service would publish a port besides the page's");
}

#[test]
fn pods_find_each_other_before_ready() {
    let (gossip, set) = (manifest("Service"), manifest("StatefulSet"));
    assert_eq!(gossip["spec"]["clusterIP"].as_str(), Some("None"));
    assert_eq!(gossip["spec"]["publishNotReadyAddresses"].as_bool(), Some(true));
    let (name, namespace) = (
        gossip["metadata"]["name"].as_str().unwrap(),
        gossip["metadata"]["namespace"].as_str().unwrap(),
    );
    assert_eq!(set["spec"]["serviceName"].as_str(), Some(name));
    let discover = format!(
        "dns:{name}.{namespace}.svc.cluster.local.:{}",
        gossip["spec"]["ports"][0]["port"].as_i64().unwrap()
    );
    let variables = kubernetes_variables();
    let value = |name: &str| {
        variables.iter().find(|variable| variable.0 == name).map(|variable| variable.1.as_str())
    };
    assert_eq!(value("COUNTER_DISCOVER"), Some(discover.as_str()));
    let ports: Vec<_> = container()["ports"]
        .as_vec()
        .unwrap()
        .iter()
        .map(|port| port["containerPort"].as_i64().unwrap())
        .collect();
    assert_eq!(value("COUNTER_HTTP"), Some(format!("0.0.0.0:{}", ports[0]).as_str()));
    assert_eq!(value("COUNTER_LISTEN"), Some(format!("/ip4/0.0.0.0/tcp/{}", ports[1]).as_str()));
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
    assert_eq!(container()["securityContext"]["readOnlyRootFilesystem"].as_bool(), Some(true));
    assert_eq!(container()["readinessProbe"]["httpGet"]["path"].as_str(), Some("/readyz"));
    assert_eq!(container()["livenessProbe"]["httpGet"]["path"].as_str(), Some("/healthz"));
    let mounts: Vec<_> = container()["volumeMounts"]
        .as_vec()
        .unwrap()
        .iter()
        .filter_map(|mount| mount["mountPath"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(mounts, [value("COUNTER_DATA_DIR").unwrap(), "/tmp"]);
}

#[test]
fn image_runs_as_the_manifests_user() {
    let user = manifest("StatefulSet")["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
        .as_i64()
        .unwrap();
    let dockerfile = read("Dockerfile");
    assert!(
        dockerfile.contains(&format!("\nUSER {user}:{user}\n"))
            && dockerfile.contains(&format!("--chown={user}:{user}")),
        "{dockerfile}"
    );
}
