//! The main process of a server and what can be done to it.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::processes::{self, alive, children_of, signal};
use super::spawner;
use crate::Error;

pub(crate) const START_LIMIT: Duration = Duration::from_secs(60);
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);
/// New children can appear until the postmaster stands still; after that every round finds the same ones.
const SIGNAL_ROUNDS: u32 = 10;

/// A child of this process that has not been waited for, so that its process id is surely its own.
#[derive(Debug)]
pub(crate) struct Postmaster {
    child: Child,
    pid: Pid,
    paused: bool,
}

/// How a start ended.
pub(crate) enum Outcome {
    Ready,
    Exited(ExitStatus),
    TimedOut,
}

impl Postmaster {
    /// Starts the server in a process group of its own, away from a terminal's Ctrl-C.
    pub(crate) fn spawn(program: &Path, arguments: &[&str], data: &Path, log: &Path) -> Result<Self, Error> {
        use std::os::unix::process::CommandExt;

        let stream = || -> Result<File, Error> {
            OpenOptions::new().create(true).append(true).open(log).map_err(Error::io("open", log))
        };
        let mut command = spawner::server_command(program);
        command.arg("-D").arg(data).args(arguments);
        command.stdin(Stdio::null()).stdout(stream()?).stderr(stream()?).process_group(0);
        let child = spawner::spawn(command).map_err(Error::io("run", program))?;
        let pid = Pid::from_child(&child);
        Ok(Postmaster { child, pid, paused: false })
    }

    /// Waits until line 8 of `postmaster.pid` says that connections are accepted.
    pub(crate) fn until_ready(&mut self, pid_file: &Path) -> Result<Outcome, Error> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.exit_status()? {
                return Ok(Outcome::Exited(status));
            }
            if self.says_ready(pid_file) {
                return Ok(Outcome::Ready);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(Outcome::TimedOut)
    }

    fn says_ready(&self, pid_file: &Path) -> bool {
        let text = std::fs::read_to_string(pid_file).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        lines.next().is_some_and(|pid| pid == self.pid.as_raw_nonzero().to_string())
            && lines.nth(6).is_some_and(|status| status == "ready")
    }

    /// `None` while it lives.
    pub(crate) fn exit_status(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.child.try_wait().map_err(Error::io("wait for", "the postmaster"))
    }

    pub(crate) fn is_running(&mut self) -> Result<bool, Error> {
        Ok(self.exit_status()?.is_none())
    }

    /// Asks it to stop by a signal and waits for its end, which comes after that of its children.
    pub(crate) fn stop(&mut self, how: Signal) -> Result<bool, Error> {
        self.resume()?;
        if self.is_running()? {
            signal(self.pid, how);
        }
        self.until_over(STOP_LIMIT)
    }

    /// Kills it and all its children: `false` if one of them is still there.
    pub(crate) fn kill(&mut self) -> Result<bool, Error> {
        if !self.is_running()? {
            return Ok(true);
        }
        // A postmaster that stands still has no more children, and cannot clean up after those that die.
        self.halt()?;
        let children: Vec<Pid> = children_of(self.pid).iter().map(|child| child.pid).collect();
        for &child in &children {
            signal(child, Signal::KILL);
        }
        signal(self.pid, Signal::KILL);
        Ok(self.until_over(STOP_LIMIT)? && until(STOP_LIMIT, || Ok(alive(&children).is_empty()))?)
    }

    /// Stops every process of it where it stands: `false` if one of them goes on.
    pub(crate) fn pause(&mut self) -> Result<bool, Error> {
        self.paused = true;
        if !self.halt()? {
            return Ok(false);
        }
        for _ in 0..SIGNAL_ROUNDS {
            let moving: Vec<Pid> = children_of(self.pid)
                .iter()
                .filter(|child| !child.is_stopped())
                .map(|child| child.pid)
                .collect();
            if moving.is_empty() {
                return Ok(true);
            }
            moving.iter().for_each(|&child| signal(child, Signal::STOP));
            let stopped = || Ok(alive(&moving).iter().all(|child| child.is_stopped()));
            until(Duration::from_secs(1), stopped)?;
        }
        Ok(false)
    }

    pub(crate) fn resume(&mut self) -> Result<(), Error> {
        if self.paused && self.is_running()? {
            children_of(self.pid).iter().for_each(|child| signal(child.pid, Signal::CONT));
            signal(self.pid, Signal::CONT);
        }
        self.paused = false;
        Ok(())
    }

    /// Stops the postmaster alone and waits until it stands still, for a signal is not obeyed at once.
    fn halt(&mut self) -> Result<bool, Error> {
        signal(self.pid, Signal::STOP);
        let pid = self.pid;
        until(STOP_LIMIT, || {
            Ok(alive(&[pid]).iter().all(|process: &processes::Process| process.is_stopped()))
        })
    }

    fn until_over(&mut self, limit: Duration) -> Result<bool, Error> {
        until(limit, || Ok(!self.is_running()?))
    }
}

fn until(limit: Duration, mut holds: impl FnMut() -> Result<bool, Error>) -> Result<bool, Error> {
    let deadline = Instant::now() + limit;
    while !holds()? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(true)
}
