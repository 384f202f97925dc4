//! Warnings about `COUNTER_*` variables that nothing reads, because they may be misspelt.

use std::ffi::OsString;

use clap::CommandFactory;

use crate::cli::Cli;

/// Variables that hold a secret itself. No flag has them.
const SECRETS: [&str; 3] =
    ["COUNTER_CLUSTER_KEY", "COUNTER_SERVICE_TOKEN", "COUNTER_OPERATOR_TOKEN"];

const PREFIX: &str = "COUNTER_";

/// The similarity, from 0 to 1, at which a name counts as a misspelling of another.
const SIMILARITY_MIN: f64 = 0.8;

/// Logs a warning for each `COUNTER_*` variable that nothing reads.
pub(crate) fn warn_of_unknown() {
    let known = known();
    for (name, value) in std::env::vars_os() {
        if let Some(sentence) = warning_about(&known, &name.to_string_lossy(), &value) {
            tracing::warn!("{sentence}");
        }
    }
}

fn known() -> Vec<String> {
    let commands = Cli::command();
    let arguments = commands.get_subcommands().flat_map(clap::Command::get_arguments);
    let variables =
        arguments.filter_map(|argument| Some(argument.get_env()?.to_string_lossy().into_owned()));
    variables.chain(SECRETS.map(str::to_owned)).collect()
}

/// The warning about a variable, if it needs one.
fn warning_about(known: &[String], name: &str, value: &OsString) -> Option<String> {
    if !name.starts_with(PREFIX)
        || known.iter().any(|known| known == name)
        || is_service_link(name, value)
    {
        return None;
    }
    let similarity = |known: &&String| {
        strsim::jaro(&name[PREFIX.len()..], known.strip_prefix(PREFIX).unwrap_or_default())
    };
    let nearest = known
        .iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
        .filter(|known| known.starts_with(PREFIX) && similarity(known) >= SIMILARITY_MIN);
    let advice = nearest.map_or_else(
        || "`counter-web serve --help` lists them all".to_owned(),
        |nearest| format!("did you mean {nearest}?"),
    );
    // The value may be a secret.
    Some(format!(
        "the variable {name} is ignored, because this program knows none of that name: {advice}"
    ))
}

/// True for the variables that Kubernetes sets in every pod for a service, here one whose name
/// begins with `counter`.
fn is_service_link(name: &str, value: &OsString) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.contains("_PORT_")
            && ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| name.contains(protocol)))
        || (name.ends_with("_PORT") && value.to_string_lossy().contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(name: &str, value: &str) -> Option<String> {
        warning_about(&known(), name, &value.into())
    }

    #[test]
    fn misspelt_variables_get_a_suggestion() {
        for (name, meant) in [
            ("COUNTER_DATADIR", "COUNTER_DATA_DIR"),
            ("COUNTER_CLUSTERKEY", "COUNTER_CLUSTER_KEY"),
            ("COUNTER_PEER", "COUNTER_PEERS"),
            ("COUNTER_SERVICE_TOKENFILE", "COUNTER_SERVICE_TOKEN_FILE"),
        ] {
            let said = sentence(name, "secret-value").unwrap_or_else(|| panic!("{name}"));
            assert!(
                said.contains(&format!("did you mean {meant}?")) && !said.contains("secret-value"),
                "{said}"
            );
        }
        for name in ["COUNTER_XYZZY", "COUNTER_"] {
            assert!(sentence(name, "1").is_some_and(|said| said.contains("--help")), "{name}");
        }
    }

    #[test]
    fn known_and_foreign_variables_get_no_warning() {
        for name in known() {
            assert_eq!(sentence(&name, "x"), None);
        }
        for (name, value) in [
            ("COUNTER_WEB_SERVICE_HOST", "10.0.0.1"),
            ("COUNTER_WEB_SERVICE_PORT_HTTP", "80"),
            ("COUNTER_WEB_PORT", "tcp://10.0.0.1:80"),
            ("COUNTER_WEB_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("COUNTER_WEB_PORT_7117_UDP_PROTO", "udp"),
            ("HOME", "/root"),
        ] {
            assert_eq!(sentence(name, value), None, "{name}");
        }
        assert!(sentence("COUNTER_PORT", "8080").is_some());
    }
}
