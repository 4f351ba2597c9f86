//! Servers that die with the process that started them, however that ends.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};

use super::account;

type Request = (Command, SyncSender<std::io::Result<Child>>);

/// Spawns a child from a thread that lives as long as this process.
///
/// The kernel sends the parent-death signal when the *thread* that spawned the child ends, and threads of an async
/// runtime or of a test come and go.
pub(crate) fn spawn(command: Command) -> std::io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in requests {
                // An asker that is gone leaves the answer, and with it the child, to nobody; none ever goes.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = sync_channel(1);
    let gone = |_| std::io::Error::other("the thread that spawns servers has ended");
    spawner
        .send((command, answer))
        .map_err(|_| std::io::Error::other("the thread that spawns servers has ended"))?;
    child.recv().map_err(gone)?
}

/// A command for a server program: as the unprivileged user, and, where util-linux has a `setpriv` that can, with
/// an immediate shutdown when this process dies. Elsewhere a server outlives a parent that is killed.
pub(crate) fn server_command(program: &Path) -> Command {
    match setpriv() {
        Some(setpriv) => {
            let mut command = account::command(setpriv);
            command.args(death_arguments(program));
            command
        }
        None => account::command(program),
    }
}

fn death_arguments(program: &Path) -> [OsString; 4] {
    ["--pdeathsig".into(), "QUIT".into(), "--".into(), program.into()]
}

/// Busybox has a `setpriv` without the option, and old kernels may refuse it: it is tried, once.
fn setpriv() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let candidates = ["/usr/bin/setpriv", "/bin/setpriv"].map(PathBuf::from);
        candidates.into_iter().filter(|candidate| candidate.exists()).find(|candidate| {
            let mut trial = account::command(candidate);
            trial.args(death_arguments(Path::new("true"))).stdout(Stdio::null()).stderr(Stdio::null());
            trial.status().is_ok_and(|status| status.success())
        })
    });
    found.as_deref()
}
