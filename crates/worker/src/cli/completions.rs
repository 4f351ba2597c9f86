//! `completions`: scripts that complete commands and flags in a shell.

use clap::Args;
use clap_complete::Shell;

use super::output;
use crate::error::Result;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::command(), "milestream", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())
}
