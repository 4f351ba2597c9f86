//! The real binary as a process that can be stopped at a step, killed there, or continued.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, waitid, waitpid};
use tempfile::TempDir;

/// How long a process may take to its step or its end, also where much else is running.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running process of the binary.
pub struct Process {
    child: Child,
    output: TempDir,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Process {
    /// Starts the binary with a configuration and arguments.
    pub fn start(binary: &str, configuration: &Path, arguments: &[&str]) -> Process {
        let output = tempfile::tempdir().expect("a directory");
        let file = |name: &str| std::fs::File::create(output.path().join(name)).expect("a file");
        let child = Command::new(binary)
            .args(arguments)
            .arg("--config")
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("the binary under test");
        Process { child, output }
    }

    /// Starts it and waits for its end.
    pub fn run(binary: &str, configuration: &Path, arguments: &[&str]) -> Ended {
        Process::start(binary, configuration, arguments).end()
    }

    /// Waits until the process has stopped itself or has ended; in the first case the line in which it says where.
    ///
    /// # Errors
    /// How it ended.
    ///
    /// # Panics
    /// When it does neither within two minutes.
    pub fn stopped_or_ended(self) -> Result<(Process, String), Ended> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            // The status of an end stays for `end` to collect.
            let options = WaitIdOptions::STOPPED
                | WaitIdOptions::EXITED
                | WaitIdOptions::NOHANG
                | WaitIdOptions::NOWAIT;
            if let Some(status) = waitid(WaitId::Pid(self.pid()), options).expect("a child") {
                if !status.stopped() {
                    return Err(self.end());
                }
                let line = self.stopped_line();
                return Ok((self, line));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it never stopped: {}", self.text("stderr"));
    }

    /// Waits until the process has stopped itself; the line in which it says where.
    ///
    /// # Panics
    /// When it ends instead.
    pub fn stopped(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let options = WaitOptions::UNTRACED | WaitOptions::NOHANG;
            if let Some((_, status)) = waitpid(Some(self.pid()), options).expect("a child") {
                assert!(status.stopped(), "it ended instead of stopping: {}", self.text("stderr"));
                return self.stopped_line();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it never stopped: {}", self.text("stderr"));
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a living process");
    }

    /// Kills it and waits until it is gone.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("a child");
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return Ended { status, stdout: self.text("stdout"), stderr: self.text("stderr") };
            }
            if Instant::now() > deadline {
                let stderr = self.text("stderr");
                self.kill();
                panic!("it never ended: {stderr}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stopped_line(&self) -> String {
        let stderr = self.text("stderr");
        let line = stderr.lines().rev().find(|line| line.starts_with("stopped at "));
        line.unwrap_or_else(|| panic!("it does not say where: {stderr}")).to_owned()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn text(&self, name: &str) -> String {
        let path: PathBuf = self.output.path().join(name);
        std::fs::read_to_string(path).unwrap_or_default()
    }
}
