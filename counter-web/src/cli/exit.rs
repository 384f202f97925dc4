//! How the program ends: 0 after a signal, 2 for a bad argument, 1 for anything else, each with one
//! sentence.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Why the program fails.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    sentence: String,
}

impl Failure {
    /// A bad argument: exit status 2. The sentence says what to write instead.
    pub(crate) fn argument(sentence: impl Display) -> Self {
        Self { code: 2, sentence: sentence.to_string() }
    }

    /// Anything else: exit status 1.
    pub(crate) fn other(sentence: impl Display) -> Self {
        Self { code: 1, sentence: sentence.to_string() }
    }

    /// Prints the sentence and gives the status.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("error: {}", self.sentence);
        self.code.into()
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Writes a line to standard output; who reads no further, as `head` does, has had enough.
///
/// # Errors
///
/// Where it cannot be written for another reason.
pub(crate) fn print(line: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::other(error)),
        _ => Ok(()),
    }
}
