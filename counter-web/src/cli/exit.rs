//! The exit status: 0 after a signal, 2 for a bad argument, 1 for any other failure. Each failure
//! prints one sentence.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct CommandError {
    code: u8,
    sentence: String,
}

impl CommandError {
    /// A bad argument, with exit status 2. The sentence says what to write instead.
    pub(crate) fn argument(sentence: impl Display) -> Self {
        Self { code: 2, sentence: sentence.to_string() }
    }

    /// Any other failure, with exit status 1.
    pub(crate) fn other(sentence: impl Display) -> Self {
        Self { code: 1, sentence: sentence.to_string() }
    }

    /// Prints the sentence and returns the status.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("error: {}", self.sentence);
        self.code.into()
    }
}

impl Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Prints a line to standard output. A closed pipe is no error: its reader, such as `head`, has
/// read enough.
///
/// # Errors
///
/// If the line cannot be written for another reason.
pub(crate) fn print(line: impl Display) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(CommandError::other(error)),
        _ => Ok(()),
    }
}
