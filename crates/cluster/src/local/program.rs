//! Programs of Postgres that run to their end: `initdb`, `pg_basebackup`.

use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Error;

const PAUSE: Duration = Duration::from_millis(10);

/// How a program failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Exit status, or that it was given up on.
    pub(crate) outcome: String,
    /// What it said.
    pub(crate) output: String,
}

/// Runs it and waits for its end, at most as long as `limit`.
///
/// # Errors
/// [`Error::Io`] when it cannot be run; a [`Failure`] when it ran and did not succeed.
pub(crate) fn run(mut command: Command, limit: Duration) -> Result<Result<(), Failure>, Error> {
    let program = PathBuf::from(command.get_program());
    let started = Instant::now();
    let mut output = tempfile::tempfile().map_err(Error::io("create a file in", std::env::temp_dir()))?;
    let stream = || output.try_clone().map(Stdio::from).map_err(Error::io("write the output of", &program));
    command.stdin(Stdio::null()).stdout(stream()?).stderr(stream()?);
    let mut child = command.spawn().map_err(Error::io("run", &program))?;
    let outcome = loop {
        match child.try_wait().map_err(Error::io("wait for", &program))? {
            Some(status) if status.success() => return Ok(Ok(())),
            Some(status) => break status.to_string(),
            None if started.elapsed() > limit => {
                let ended = child.kill().and_then(|()| child.wait());
                ended.map_err(Error::io("end", &program))?;
                break format!("given up after {} s", limit.as_secs());
            }
            None => std::thread::sleep(PAUSE),
        }
    };
    let mut said = String::new();
    let read = output.rewind().and_then(|()| output.read_to_string(&mut said));
    read.map_err(Error::io("read the output of", &program))?;
    Ok(Err(Failure { outcome, output: said.trim_end().to_owned() }))
}
