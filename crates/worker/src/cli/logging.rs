//! The log: on stderr, so that stdout keeps to facts.

use std::io::Write;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::progress::Screen;

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log. Verbosity 0 tells of progress, retries and what is unusual, 1 of every step, 2 of everything.
pub(super) fn start(format: LogFormat, verbosity: u8, screen: &Screen) {
    // The driver's own log of statements would drown everything else.
    let directives = match verbosity {
        0 => "warn,milestream_worker=info,sqlx=error",
        1 => "info,milestream_worker=debug,sqlx=warn",
        _ => "debug,milestream_worker=trace",
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(directives))
        .with_writer(Beside(screen.clone()))
        .with_ansi(false)
        .with_target(false);
    let started = match format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    // A program that calls the library with a log of its own keeps that one.
    if let Err(error) = started {
        tracing::debug!(%error, "the log was started already");
    }
}

/// Writes beside the bars of a screen.
struct Beside(Screen);

impl Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.aside(|| std::io::stderr().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Beside {
    type Writer = Beside;

    fn make_writer(&'a self) -> Beside {
        Beside(self.0.clone())
    }
}
