//! Advice for errors of the argument parser: what to write instead.

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Adds advice to an error of the parser. `name` is the command that the user ran. Errors of our
/// own value parsers already contain advice.
pub(crate) fn with_advice(mut error: clap::Error, mut all: Command, name: &str) -> clap::Error {
    // clap lists the arguments of a command only once it is built.
    all.build();
    let asked = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(asked)) => asked.clone(),
        _ => String::new(),
    };
    if let Some(advice) = advice(error.kind(), &asked, &all, name) {
        let advice = ContextValue::StyledStrs(vec![StyledStr::from(advice)]);
        let _replaced = error.insert(ContextKind::Suggested, advice);
    }
    error
}

fn advice(kind: ErrorKind, asked: &str, all: &Command, name: &str) -> Option<String> {
    let command = all.find_subcommand(name);
    match kind {
        ErrorKind::UnknownArgument => {
            Some(format!("write only what {name} takes: {}", arguments(command?)))
        }
        ErrorKind::InvalidSubcommand => {
            Some(format!("write one of the commands {}, or flags alone for serve", commands(all)))
        }
        ErrorKind::InvalidValue | ErrorKind::WrongNumberOfValues => {
            Some(format!("write a value after the flag, as in {asked}"))
        }
        ErrorKind::TooManyValues => Some(format!("write {asked} without a value")),
        ErrorKind::ArgumentConflict => Some(format!("write {asked} once")),
        ErrorKind::MissingRequiredArgument => {
            Some(format!("write all that {name} takes: {}", arguments(command?)))
        }
        _ => None,
    }
}

/// The visible arguments of a command, as a user writes them.
fn arguments(command: &Command) -> String {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn commands(all: &Command) -> String {
    let names: Vec<&str> = all.get_subcommands().map(Command::get_name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use crate::cli::Cli;

    #[test]
    fn parser_errors_say_what_to_write() {
        for (line, hint) in [
            (
                "counter-web --nonsense",
                "write only what serve takes: --region <CODE>, --http <ADDR:PORT>",
            ),
            ("counter-web --regoin ord", "write only what serve takes: --region <CODE>"),
            (
                "counter-web demo --http 127.0.0.1:0",
                "write only what demo takes: --regions <A,B,C>",
            ),
            ("counter-web serve ord", "write only what serve takes: --region <CODE>"),
            (
                "counter-web nonsense",
                "write one of the commands serve, demo, members, retire, leave, top",
            ),
            ("counter-web --region", "write a value after the flag, as in --region <CODE>"),
            ("counter-web --region ord --region fra", "write --region <CODE> once"),
            ("counter-web --restored=true", "write --restored without a value"),
            ("counter-web retire", "write all that retire takes: <REPLICA>"),
        ] {
            let error =
                Cli::read(line.split_whitespace().map(OsString::from)).expect_err("refused");
            assert_eq!(error.exit_code(), 2, "{line}");
            let said = error.to_string();
            assert!(said.contains(hint), "{line}: {said}");
            assert!(
                !said.contains("port-variable") && !said.contains("stop-with-stdin"),
                "{line}: {said}"
            );
        }
    }

    #[test]
    fn help_and_version_succeed() {
        for line in ["counter-web --help", "counter-web demo --help", "counter-web --version"] {
            let shown = Cli::read(line.split_whitespace().map(OsString::from)).expect_err("shown");
            assert_eq!(shown.exit_code(), 0, "{line}");
        }
    }
}
