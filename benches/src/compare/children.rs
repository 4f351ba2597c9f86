//! Processes that are measured: how long they took, their CPU, and their peak memory.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// How often memory is looked at. `VmHWM` only grows, so no more than the last moment is missed.
const LOOK: Duration = Duration::from_millis(5);

/// A process that has ended well.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Finished {
    /// From its start to its end.
    pub(crate) took: Duration,
    /// User and system time, to the kernel's clock tick (10 ms).
    pub(crate) cpu: Duration,
    /// The most memory it had at once (`VmHWM`).
    pub(crate) peak_kib: u64,
}

/// Runs a program to its end. Its standard output is dropped unless the command sends it elsewhere.
///
/// # Errors
/// What it said, where it could not be started or did not end with success.
pub(crate) async fn finish(mut command: Command) -> Result<Finished, String> {
    let done = tokio::task::spawn_blocking(move || finish_blocking(command.stdout(Stdio::null())));
    done.await.map_err(|panic| panic.to_string())?
}

/// Runs two programs, the output of the first being the input of the second; figures of both.
///
/// # Errors
/// As [`finish`].
pub(crate) async fn pipe(mut from: Command, mut to: Command) -> Result<[Finished; 2], String> {
    let done = tokio::task::spawn_blocking(move || {
        let mut complaints = complaints_of(&mut from)?;
        let mut source =
            from.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(not_started(&from))?;
        let rows = source.stdout.take().ok_or("it has no output")?;
        let sink = finish_fed(to.stdout(Stdio::null()).stdin(rows))?;
        let source = watch(&mut source, Instant::now(), &mut complaints)?;
        Ok([source, sink])
    });
    done.await.map_err(|panic| panic.to_string())?
}

fn finish_blocking(command: &mut Command) -> Result<Finished, String> {
    finish_fed(command.stdin(Stdio::null()))
}

fn finish_fed(command: &mut Command) -> Result<Finished, String> {
    let mut complaints = complaints_of(command)?;
    let began = Instant::now();
    let mut child = command.spawn().map_err(not_started(command))?;
    watch(&mut child, began, &mut complaints)
}

fn not_started(command: &Command) -> impl FnOnce(std::io::Error) -> String {
    let program = command.get_program().display().to_string();
    move |error| format!("{program} could not be started: {error}")
}

/// A file that takes the command's standard error.
fn complaints_of(command: &mut Command) -> Result<File, String> {
    let file = tempfile::tempfile().map_err(|error| error.to_string())?;
    command.stderr(file.try_clone().map_err(|error| error.to_string())?);
    Ok(file)
}

fn watch(child: &mut Child, began: Instant, complaints: &mut File) -> Result<Finished, String> {
    let pid = Pid::from_child(child);
    let ended = AtomicBool::new(false);
    let peak_kib = std::thread::scope(|scope| {
        let peak = scope.spawn(|| peak_until(&ended, pid));
        // The child stays a zombie, whose CPU can still be read.
        let waited = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        ended.store(true, Ordering::Relaxed);
        waited.map_err(|error| error.to_string()).map(|_| peak.join().unwrap_or(0))
    })?;
    let took = began.elapsed();
    let cpu = cpu_of(pid);
    let status = child.wait().map_err(|error| error.to_string())?;
    check(status, complaints)?;
    Ok(Finished { took, cpu, peak_kib })
}

fn check(status: ExitStatus, complaints: &mut File) -> Result<(), String> {
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    let read = complaints.rewind().and_then(|()| complaints.read_to_string(&mut text));
    let said: Vec<_> = text.lines().rev().take(5).collect();
    let said = said.into_iter().rev().collect::<Vec<_>>().join(" | ");
    Err(read.map_or_else(|error| error.to_string(), |_| format!("{status}: {said}")))
}

fn peak_until(ended: &AtomicBool, pid: Pid) -> u64 {
    let mut peak = 0;
    while !ended.load(Ordering::Relaxed) {
        peak = peak.max(high_water_kib(pid).unwrap_or(0));
        std::thread::sleep(LOOK);
    }
    peak
}

fn high_water_kib(pid: Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Fields 14 and 15 of `/proc/PID/stat`, counted behind the name, which may hold spaces.
fn cpu_of(pid: Pid) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        behind_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_is_told_in_the_programs_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo oh dear >&2; exit 3"]);
        let error = finish(command).await.unwrap_err();
        assert!(error.contains("oh dear") && error.contains('3'), "{error}");
    }

    #[tokio::test]
    async fn cpu_and_memory_of_a_process_are_seen() {
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]);
        let finished = finish(command).await.unwrap();
        assert!(finished.cpu > Duration::from_millis(20) && finished.peak_kib > 500, "{finished:?}");
    }
}
