//! The processes of this machine, as far as signals to a postmaster's children need them.
//!
//! Each backend leads a process group of its own, so a signal to a group reaches none but the postmaster: the
//! children have to be looked up.

use rustix::process::{Pid, Signal, kill_process};

/// One process at the moment of looking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    parent: i32,
    state: char,
}

impl Process {
    /// Halted by a signal.
    pub(crate) fn is_stopped(self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// Dead, and only waiting for its parent to hear of it.
    fn is_over(self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// The living children of a process.
pub(crate) fn children_of(parent: Pid) -> Vec<Process> {
    let parent = parent.as_raw_nonzero().get();
    let mut all = all();
    all.retain(|process| process.parent == parent && !process.is_over());
    all
}

/// What is left alive of these.
pub(crate) fn alive(pids: &[Pid]) -> Vec<Process> {
    let mut all = all();
    all.retain(|process| pids.contains(&process.pid) && !process.is_over());
    all
}

/// Sends a signal. A process that is gone by then needs none, so that is no error.
pub(crate) fn signal(pid: Pid, signal: Signal) {
    if let Err(error) = kill_process(pid, signal) {
        tracing::trace!(pid = pid.as_raw_nonzero().get(), ?signal, %error, "the process is gone");
    }
}

#[cfg(target_os = "linux")]
fn all() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| parse_stat(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// `pid (name) state parent …`; the name may hold blanks and parentheses.
#[cfg(target_os = "linux")]
fn parse_stat(pid: i32, stat: &str) -> Option<Process> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some(Process { pid: Pid::from_raw(pid)?, parent: fields.next()?.parse().ok()?, state })
}

#[cfg(not(target_os = "linux"))]
fn all() -> Vec<Process> {
    let listing = std::process::Command::new("ps").args(["-A", "-o", "pid=,ppid=,state="]).output();
    let listing =
        listing.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let pid = Pid::from_raw(fields.next()?.parse().ok()?)?;
        Some(Process { pid, parent: fields.next()?.parse().ok()?, state: fields.next()?.chars().next()? })
    };
    listing.lines().filter_map(parse).collect()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_does_not_confuse_the_fields() {
        let process = parse_stat(7, "7 (a) b) c) T 5 7 7 0 -1").unwrap();
        assert_eq!((process.parent, process.state), (5, 'T'));
        assert!(process.is_stopped());
        assert!(parse_stat(7, "7 (truncated").is_none());
    }

    #[test]
    fn a_child_is_listed_while_it_lives_and_not_as_a_zombie() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let me = rustix::process::getpid();
        assert!(children_of(me).iter().any(|process| process.pid == pid));
        signal(pid, Signal::KILL);
        let gone = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(2));
            alive(&[pid]).is_empty()
        });
        assert!(gone, "an unreaped child counts as dead");
        child.wait().unwrap();
    }
}
