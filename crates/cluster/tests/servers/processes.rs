//! Servers of several processes, of a process that is killed, and of an ordinary user.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::support::{data_directory, processes_in, server};

const NOBODY: u32 = 65534;

/// This test program, started again to run one server until its standard input ends.
struct Holder {
    process: Child,
    /// Kept open: a test program that cannot print fails.
    output: BufReader<ChildStdout>,
    /// The server's own directory, with its data directory in it.
    home: PathBuf,
    port: u16,
}

impl Holder {
    fn command(program: &Path) -> Command {
        let mut command = Command::new(program);
        command.args([
            "--exact",
            "processes::holds_one_server_until_its_input_ends",
            "--ignored",
            "--nocapture",
        ]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    fn spawn() -> Child {
        Holder::command(&std::env::current_exe().unwrap()).spawn().unwrap()
    }

    fn ready(mut process: Child) -> Holder {
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let found = output.by_ref().lines().map_while(Result::ok).find_map(|line| {
            let (_, facts) = line.split_once("SERVER ")?;
            let (port, data) = facts.split_once(' ')?;
            Some((port.parse().unwrap(), PathBuf::from(data)))
        });
        let (port, data): (u16, PathBuf) = found.expect("the holder tells of its server");
        Holder { process, output, home: data.parent().unwrap().to_owned(), port }
    }

    fn end(mut self) {
        drop(self.process.stdin.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert!(self.process.wait().unwrap().success(), "{rest}");
        assert_eq!(processes_in(&self.home), Vec::<String>::new());
        assert!(!self.home.exists());
    }
}

#[tokio::test]
#[ignore = "a part of the other tests of this file, which run it in processes of its own"]
async fn holds_one_server_until_its_input_ends() {
    let server = server("held").await;
    println!("SERVER {} {}", server.port(), data_directory(&server).await.display());
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
    assert!(server.is_running().await.unwrap());
}

fn listens(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[test]
fn processes_that_start_together_get_a_server_each_and_leave_nothing() {
    let processes: Vec<Child> = (0..4).map(|_| Holder::spawn()).collect();
    let holders: Vec<Holder> = processes.into_iter().map(Holder::ready).collect();
    assert!(holders.iter().all(|holder| listens(holder.port)));
    holders.into_iter().for_each(Holder::end);
}

#[tokio::test]
async fn a_server_dies_with_a_process_that_is_killed_and_the_next_start_removes_its_files() {
    let has_setpriv = Command::new("setpriv").args(["--pdeathsig", "QUIT", "true"]).status();
    if !has_setpriv.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: there is no `setpriv` with --pdeathsig here, so servers outlive a killed parent");
        return;
    }
    let mut holder = Holder::ready(Holder::spawn());
    assert!(listens(holder.port));
    holder.process.kill().unwrap();
    holder.process.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !processes_in(&holder.home).is_empty() {
        assert!(Instant::now() < deadline, "still running: {:?}", processes_in(&holder.home));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(holder.home.exists(), "nobody was left to remove it");
    let lock = std::fs::OpenOptions::new().write(true).open(holder.home.join("owner.lock")).unwrap();
    lock.set_modified(SystemTime::now() - Duration::from_secs(600)).unwrap();
    drop(lock);
    let _next = server("next").await;
    assert!(!holder.home.exists());
}

#[test]
fn an_ordinary_user_has_servers_too() {
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("holder");
    // The build directory may be closed to others.
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [place.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Holder::command(&program);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    let holder = Holder::ready(command.spawn().unwrap());
    assert!(listens(holder.port));
    holder.end();
}
