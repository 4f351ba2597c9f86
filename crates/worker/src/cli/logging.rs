//! The log: on stderr, so that stdout keeps to facts.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use super::progress::Screen;
use crate::error::{Error, Result};

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Fields that the sentence of a line tells already; a log for programs has them as fields.
const TOLD: [&str; 11] = [
    "platform",
    "stream",
    "phase",
    "batch",
    "rows",
    "inserted",
    "updated",
    "deleted",
    "milliseconds",
    "notice",
    "result_code",
];

/// Whether the log that was started is JSON.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Whether the log is for programs.
pub(super) fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Writes a line to stderr as it is, or into a log of JSON.
///
/// # Errors
/// `Setup` when stderr cannot be written.
pub(super) fn line(text: &str) -> Result<()> {
    if is_json() {
        tracing::info!("{text}");
        return Ok(());
    }
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "{text}").and_then(|()| stderr.flush()).map_err(|error| {
        Error::setup(format!("stderr cannot be written: {error}"), "check what it is connected to")
    })
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
    IS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let started = match format {
        LogFormat::Text => subscriber.fmt_fields(debug_fn(field_of_text)).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    // A program that calls the library with a log of its own keeps that one.
    if let Err(error) = started {
        tracing::debug!(%error, "the log was started already");
    }
}

/// A field as people read it: the sentence, and behind it what it does not tell.
fn field_of_text(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => write!(writer, "{value:?}"),
        told if TOLD.contains(&told) => Ok(()),
        name => write!(writer, " {name}={value:?}"),
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
