//! Facts go to stdout, complaints to stderr.

use std::io::{ErrorKind, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{colour, logging};
use crate::StreamName;
use crate::error::{Error, Result};

/// How facts are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The choice of format that every command with facts has.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct OutputArguments {
    /// How facts are written to stdout.
    #[arg(long, env = "MILESTREAM_OUTPUT", value_name = "FORMAT", default_value = "text")]
    output: Format,
}

impl OutputArguments {
    /// Whether stdout is for programs.
    pub(super) fn is_json(self) -> bool {
        self.output == Format::Json
    }

    /// Writes facts in the format asked for.
    ///
    /// # Errors
    /// `Setup` when stdout cannot be written; a reader that has gone away is none.
    pub(super) fn write<T: Serialize + ?Sized>(self, facts: &T, text: impl FnOnce() -> String) -> Result<()> {
        match self.output {
            Format::Text => line(&colour::for_stream(&std::io::stdout(), text())),
            Format::Json => {
                let json = serde_json::to_string_pretty(facts);
                line(&json.map_err(|error| Error::invariant("facts for --output json", error.to_string()))?)
            }
        }
    }
}

/// Writes a line to stdout.
///
/// # Errors
/// As [`OutputArguments::write`].
pub(super) fn line(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    match written {
        // `milestream status | head -1` has what it wanted.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::setup(format!("stdout cannot be written: {error}"), "check what it is connected to"))
        }
        _ => Ok(()),
    }
}

/// Says on stderr what happened, and what to do; as a line of the log where that is JSON.
pub(super) fn complain(at: Option<&StreamName>, error: &Error) {
    if logging::is_json() {
        let (platform, stream) = at.map(|at| (at.platform(), at.key())).unzip();
        let advice = at.map_or_else(|| error.advice(), |at| error.advice_for(at));
        tracing::error!(platform, stream, exit_code = error.exit_code(), advice, "{error}");
        return;
    }
    let mut stderr = std::io::stderr().lock();
    // Where stderr is gone nobody listens; the exit code still tells.
    let text = colour::for_stream(&std::io::stderr(), complaint(at, error));
    let _ = writeln!(stderr, "{text}").and_then(|()| stderr.flush());
}

fn complaint(at: Option<&StreamName>, error: &Error) -> String {
    match at {
        None => format!("error: {error}\n  what to do: {}", error.advice()),
        Some(stream) => format!("error: {stream}: {error}\n  what to do: {}", error.advice_for(stream)),
    }
}

#[cfg(test)]
mod tests {
    use milestream_core::stream::Stream;

    use super::*;

    #[test]
    fn a_complaint_says_where_what_and_what_to_do() {
        let error = Error::setup("platform \"Egde\" is not in the model", "did you mean \"Edge\"?");
        let stream = Stream { store: "Flights".into(), dataset: None, datasets: Vec::new() };
        assert_eq!(
            complaint(Some(&StreamName::of("Edge", &stream)), &error),
            "error: Edge Flights: platform \"Egde\" is not in the model\n  what to do: did you mean \"Edge\"?"
        );
    }
}
