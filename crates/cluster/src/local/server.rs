use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use super::account::{self, hand_over};
use super::binaries::LocalBinaries;
use super::directory::ServerDirectory;
use super::postmaster::{Outcome, Postmaster, START_LIMIT, STOP_LIMIT};
use super::prepared::Prepared;
use super::program::{self, Failure};
use crate::port::HeldPort;
use crate::{Error, SUPERUSER, ServerOptions, Tls};

/// Another program can take a port between its choice and the server's start where ports cannot be held.
const PORT_TRIES: u32 = 5;
const BASE_BACKUP_LIMIT: Duration = Duration::from_secs(60);
const LOG_TAIL_LINES: usize = 40;
const LOG_TAIL_BYTES: u64 = 64 << 10;
const ACCESS: &str = "host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n";

/// A server of local binaries. All methods block for as long as the server takes.
#[derive(Debug)]
pub(crate) struct LocalServer {
    name: String,
    program: PathBuf,
    port: HeldPort,
    postmaster: Option<Postmaster>,
    directory: ServerDirectory,
    /// Kept, so that what servers are copied from stays as long as one of them.
    _prepared: Arc<Prepared>,
}

impl LocalServer {
    pub(crate) fn start(
        binaries: &LocalBinaries,
        options: &ServerOptions,
        settings: &[(String, String)],
    ) -> Result<LocalServer, Error> {
        let prepared = binaries.prepared()?;
        let directory = ServerDirectory::create(options.durable)?;
        let data = directory.data();
        prepared.copy_to(&data)?;
        configure(&data, settings, options.tls.as_ref())?;
        LocalServer::on(directory, &options.name, binaries.directory().join("postgres"), prepared)
    }

    /// A server that begins as a copy of this one, which runs, and streams what is written to it from then on.
    pub(crate) fn standby(
        &mut self,
        options: &ServerOptions,
        settings: &[(String, String)],
        password: Option<&str>,
    ) -> Result<LocalServer, Error> {
        self.running("followed by a standby")?;
        let directory = ServerDirectory::create(options.durable)?;
        let data = directory.data();
        // Some directories hold links to the programs of a server alone.
        let program = self.program.canonicalize().map_err(Error::io("look up", &self.program))?;
        let mut command = account::command(&program.with_file_name("pg_basebackup"));
        command.arg("--pgdata").arg(&data).args(["--host", "127.0.0.1", "--username", SUPERUSER]);
        command.args(["--port", &self.port().to_string(), "--write-recovery-conf", "--no-password"]);
        command.args(["--checkpoint", "fast", "--wal-method", "stream", "--no-sync"]);
        if let Some(password) = password {
            command.env("PGPASSWORD", password);
        }
        std::fs::create_dir(&data).map_err(Error::io("create", &data))?;
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&data, private).map_err(Error::io("close off", &data))?;
        hand_over(&data)?;
        if let Err(Failure { outcome, output }) = program::run(command, BASE_BACKUP_LIMIT)? {
            return Err(Error::BaseBackup { server: self.label(), outcome, output });
        }
        // The access rules came with the copy, and certificates with the data directory of one that has them.
        append(&data.join("postgresql.conf"), &conf(settings.iter().map(|(n, v)| (n.as_str(), v.as_str()))))?;
        LocalServer::on(directory, &options.name, self.program.clone(), Arc::clone(&self._prepared))
    }

    /// Runs a server on a directory that is ready.
    fn on(
        directory: ServerDirectory,
        name: &str,
        program: PathBuf,
        prepared: Arc<Prepared>,
    ) -> Result<LocalServer, Error> {
        let (name, port) = (name.to_owned(), HeldPort::choose()?);
        let mut server =
            LocalServer { name, program, port, postmaster: None, directory, _prepared: prepared };
        for tries_left in (0..PORT_TRIES).rev() {
            match server.run() {
                Err(Error::Start { log, .. }) if tries_left > 0 && log.contains("Address already in use") => {
                    tracing::debug!(port = server.port(), "somebody took the port; trying another");
                    server.port = HeldPort::choose()?;
                }
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        Ok(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        self.stop_by(Signal::INT)
    }

    pub(crate) fn stop_immediate(&mut self) -> Result<(), Error> {
        self.stop_by(Signal::QUIT)
    }

    pub(crate) fn kill(&mut self) -> Result<(), Error> {
        tracing::debug!(server = %self.label(), "killing");
        self.end_by("die", Postmaster::kill)
    }

    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        self.stop()?;
        self.run()
    }

    pub(crate) fn pause(&mut self) -> Result<(), Error> {
        tracing::debug!(server = %self.label(), "pausing");
        match self.running("paused")?.pause()? {
            true => Ok(()),
            false => Err(self.unresponsive("stand still")),
        }
    }

    pub(crate) fn resume(&mut self) -> Result<(), Error> {
        tracing::debug!(server = %self.label(), "resuming");
        self.running("resumed")?.resume()
    }

    pub(crate) fn is_running(&mut self) -> Result<bool, Error> {
        self.postmaster.as_mut().map_or(Ok(false), Postmaster::is_running)
    }

    /// The end of everything the server wrote since its data directory was made.
    pub(crate) fn log_tail(&self) -> String {
        self.log_since(0)
    }

    /// Runs the server in the foreground of a child that is waited for: a daemon, killed, would leave a pid file
    /// that keeps the next one from starting.
    fn run(&mut self) -> Result<(), Error> {
        let (data, log) = (self.directory.data(), self.directory.log());
        let pid_file = data.join("postmaster.pid");
        remove_stale(&pid_file)?;
        let log_begins = log.metadata().map_or(0, |metadata| metadata.len());
        let port = self.port().to_string();
        let mut postmaster = Postmaster::spawn(&self.program, &["-p", &port], &data, &log)?;
        let outcome = match postmaster.until_ready(&pid_file)? {
            Outcome::Ready => {
                tracing::debug!(server = %self.label(), "accepts connections");
                self.postmaster = Some(postmaster);
                return Ok(());
            }
            Outcome::Exited(status) => format!("it ended with {status}"),
            Outcome::TimedOut => {
                postmaster.kill()?;
                format!("it was not ready after {} s", START_LIMIT.as_secs())
            }
        };
        Err(Error::Start { server: self.label(), outcome, log: self.log_since(log_begins) })
    }

    fn stop_by(&mut self, how: Signal) -> Result<(), Error> {
        tracing::debug!(server = %self.label(), ?how, "stopping");
        self.end_by("stop", |postmaster| postmaster.stop(how))
    }

    fn end_by(
        &mut self,
        expected: &'static str,
        end: impl FnOnce(&mut Postmaster) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let Some(postmaster) = self.postmaster.as_mut() else { return Ok(()) };
        if !end(postmaster)? {
            return Err(self.unresponsive(expected));
        }
        self.postmaster = None;
        Ok(())
    }

    fn running(&mut self, wanted: &'static str) -> Result<&mut Postmaster, Error> {
        let down = Error::NotRunning { server: self.label(), wanted };
        match self.is_running()? {
            true => self.postmaster.as_mut().ok_or(down),
            false => Err(down),
        }
    }

    fn unresponsive(&self, expected: &'static str) -> Error {
        Error::Unresponsive {
            server: self.label(),
            expected,
            seconds: STOP_LIMIT.as_secs(),
            log: self.log_tail(),
        }
    }

    fn label(&self) -> String {
        format!("{} at 127.0.0.1:{}", self.name, self.port())
    }

    fn log_since(&self, offset: u64) -> String {
        tail(&self.directory.log(), offset)
            .unwrap_or_else(|error| format!("(its log cannot be read: {error})"))
    }
}

impl Drop for LocalServer {
    /// Ends the server at once; the fields that follow remove its directory.
    fn drop(&mut self) {
        let Some(mut postmaster) = self.postmaster.take() else {
            return free_shared_memory(&self.directory.data());
        };
        // An immediate shutdown frees what the kernel keeps for the server; SIGKILL is for one that does not obey.
        let ended = match postmaster.stop(Signal::QUIT) {
            Ok(true) => true,
            Ok(false) | Err(_) => postmaster.kill().unwrap_or(false),
        };
        free_shared_memory(&self.directory.data());
        if !ended {
            tracing::warn!(server = %self.label(), "processes of a disposable server may be left running");
        }
    }
}

/// Settings, access rules and certificates of a data directory that is no server's yet.
fn configure(data: &Path, settings: &[(String, String)], tls: Option<&Tls>) -> Result<(), Error> {
    let own = [
        ("listen_addresses", "127.0.0.1"),
        // Socket paths are too short for some temporary directories, and nobody needs one.
        ("unix_socket_directories", ""),
        // Segments as files of the data directory are gone with it even when the server was killed.
        ("dynamic_shared_memory_type", "mmap"),
    ];
    let encrypted = [("ssl", "on"), ("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")];
    let encrypted = encrypted.into_iter().filter(|_| tls.is_some());
    let asked = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    append(&data.join("postgresql.conf"), &conf(own.into_iter().chain(encrypted).chain(asked)))?;
    write_private(&data.join("pg_hba.conf"), ACCESS)?;
    if let Some(tls) = tls {
        write_private(&data.join("server.crt"), &tls.certificate_pem)?;
        write_private(&data.join("server.key"), &tls.key_pem)?;
    }
    Ok(())
}

/// Settings as lines of `postgresql.conf`.
fn conf<'s>(settings: impl Iterator<Item = (&'s str, &'s str)>) -> String {
    let mut text = String::from("\n# milestream: a disposable server\n");
    for (name, value) in settings {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name} = '{}'", value.replace('\\', "\\\\").replace('\'', "''"));
    }
    text
}

fn append(file: &Path, text: &str) -> Result<(), Error> {
    let stock = std::fs::read_to_string(file).map_err(Error::io("read", file))?;
    write_private(file, &(stock + text))
}

fn write_private(file: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(file, text).map_err(Error::io("write", file))?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(file, private).map_err(Error::io("close off", file))?;
    hand_over(file)
}

/// The process it names is known to be dead; its number may by now be another's, which Postgres would take for a
/// running server.
fn remove_stale(pid_file: &Path) -> Result<(), Error> {
    match std::fs::remove_file(pid_file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", pid_file)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A killed server leaves a System V segment of some bytes, and the kernel has only so many. Its number is the last
/// word of line 7 of the pid file, which a server that ends by itself removes.
fn free_shared_memory(data: &Path) {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let Some(segment) = text.lines().nth(6).and_then(|line| line.split_whitespace().last()) else { return };
    let mut command = Command::new("ipcrm");
    command.args(["-m", segment]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => {}
        outcome => tracing::debug!(segment, ?outcome, "a shared memory segment is left to the system"),
    }
}

/// The last lines written after `offset`.
fn tail(log: &Path, offset: u64) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let begin = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES).max(offset);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n"))
}
