use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use testcontainers::bollard::Docker;
use testcontainers::bollard::body_full;
use testcontainers::bollard::query_parameters::{
    KillContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage};

use super::archive::{Owner, private_files};
use super::image::{ContainerImage, docker};
use super::request::request;
use crate::databases::Databases;
use crate::port::HeldPort;
use crate::server::Address;
use crate::{Error, ServerOptions, Tls};

/// A first start may pull the image.
const CREATE_LIMIT: Duration = Duration::from_secs(600);
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const CALL_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
const LOG_TAIL_LINES: usize = 40;

/// A server in a container of its own, removed with its volumes when this is dropped. A process that is killed
/// leaves its containers behind; `docker ps --all --filter label=milestream` shows them.
pub(crate) struct ContainerServer {
    image: String,
    address: Address,
    _port: HeldPort,
    docker: Docker,
    /// `None` only while this is dropped.
    container: Option<ContainerAsync<GenericImage>>,
}

impl ContainerServer {
    pub(crate) async fn start(
        image: &ContainerImage,
        options: &ServerOptions,
        settings: &[(String, String)],
    ) -> Result<ContainerServer, Error> {
        let port = HeldPort::choose()?;
        let created =
            within(CREATE_LIMIT, request(image, &options.name, port.number(), settings).start()).await;
        let container = created.map_err(failed(image.name(), "start a container"))?;
        let host =
            container.get_host().await.map_err(failed(image.name(), "say where its containers are"))?;
        // The name may stand for ::1 first, where nothing is published.
        let host = Some(host.to_string()).filter(|host| host != "localhost");
        let address = Address {
            name: options.name.clone(),
            host: host.unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: port.number(),
            password: None,
            tls: options.tls.is_some(),
        };
        let docker = docker().await.map_err(failed(image.name(), "answer"))?;
        let image = image.name().to_owned();
        let server = ContainerServer { image, address, _port: port, docker, container: Some(container) };
        server.until_ready().await?;
        if let Some(tls) = &options.tls {
            server.encrypt(tls).await?;
        }
        Ok(server)
    }

    pub(crate) fn host(&self) -> &str {
        &self.address.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port
    }

    pub(crate) async fn stop(&self) -> Result<(), Error> {
        self.resume_if_paused().await?;
        self.end_by("SIGINT", "stop").await
    }

    pub(crate) async fn stop_immediate(&self) -> Result<(), Error> {
        self.resume_if_paused().await?;
        self.end_by("SIGQUIT", "stop").await
    }

    /// The first process of a container takes all others with it.
    pub(crate) async fn kill(&self) -> Result<(), Error> {
        self.end_by("SIGKILL", "die").await
    }

    pub(crate) async fn restart(&self) -> Result<(), Error> {
        self.stop().await?;
        let started = within(CALL_LIMIT, self.container()?.start()).await;
        started.map_err(failed(&self.image, "restart a container"))?;
        self.until_ready().await
    }

    pub(crate) async fn pause(&self) -> Result<(), Error> {
        self.check_running("paused").await?;
        if self.is_paused().await? {
            return Ok(());
        }
        let paused = within(CALL_LIMIT, self.container()?.pause()).await;
        paused.map_err(failed(&self.image, "pause a container"))
    }

    pub(crate) async fn resume(&self) -> Result<(), Error> {
        self.check_running("resumed").await?;
        self.resume_if_paused().await
    }

    pub(crate) async fn is_running(&self) -> Result<bool, Error> {
        let running = within(CALL_LIMIT, self.container()?.is_running()).await;
        running.map_err(failed(&self.image, "look at a container"))
    }

    pub(crate) async fn log_tail(&self) -> String {
        match self.log().await {
            Ok(text) => {
                let lines: Vec<&str> = text.lines().collect();
                lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
            }
            Err(error) => format!("(its log cannot be read: {error})"),
        }
    }

    async fn log(&self) -> Result<String, Error> {
        let container = self.container()?;
        let (out, err) = (container.stdout_to_vec(), container.stderr_to_vec());
        let read =
            within(CALL_LIMIT, async { Ok::<_, String>((text_of(out.await)?, text_of(err.await)?)) }).await;
        let (out, err) = read.map_err(failed(&self.image, "read a container's log"))?;
        Ok(out + &err)
    }

    /// Sends a signal to the postmaster, which is the container's first process, and waits for its end.
    async fn end_by(&self, signal: &'static str, expected: &'static str) -> Result<(), Error> {
        if !self.is_running().await? {
            return Ok(());
        }
        tracing::debug!(server = %self.address, signal, "ending a container");
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        let sent =
            within(CALL_LIMIT, self.docker.kill_container(self.container()?.id(), Some(options))).await;
        sent.map_err(failed(&self.image, "signal a container"))?;
        let deadline = Instant::now() + STOP_LIMIT;
        while self.is_running().await? {
            if Instant::now() >= deadline {
                let (server, seconds) = (self.address.to_string(), STOP_LIMIT.as_secs());
                return Err(Error::Unresponsive { server, expected, seconds, log: self.log_tail().await });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Until it answers over TCP: the server that an image runs while it sets itself up does not.
    async fn until_ready(&self) -> Result<(), Error> {
        let deadline = Instant::now() + START_LIMIT;
        let mut last = String::from("it was never reached");
        while Instant::now() < deadline {
            match Databases::of(&self.address).answers().await {
                Ok(()) => return Ok(()),
                // A server that asks for passwords already is one that was restarted, and it is ready.
                Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == "28P01") => {
                    return Ok(());
                }
                Err(error) => last = error.to_string(),
            }
            if !self.is_running().await? {
                last = "its container ended".to_owned();
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let server = self.address.to_string();
        Err(Error::Start { server, outcome: last, log: self.log_tail().await })
    }

    /// Certificate and key are put where only the server's user can read them, as the server insists.
    async fn encrypt(&self, tls: &Tls) -> Result<(), Error> {
        let databases = Databases::of(&self.address);
        let status = databases.ask("select pg_read_file('/proc/self/status')").await?;
        let owner =
            owner_in(&status).ok_or_else(|| failed(&self.image, "tell the server's user")(&status))?;
        let directory =
            databases.ask("select setting from pg_settings where name = 'data_directory'").await?;
        let files = [("server.crt", tls.certificate_pem.as_str()), ("server.key", tls.key_pem.as_str())];
        let options = UploadToContainerOptionsBuilder::new().path(&directory).build();
        let body = body_full(private_files(&files, owner).into());
        let sent = self.docker.upload_to_container(self.container()?.id(), Some(options), body);
        within(CALL_LIMIT, sent).await.map_err(failed(&self.image, "copy a certificate"))?;
        let settings = [("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key"), ("ssl", "on")];
        databases.alter_system(&settings).await
    }

    async fn check_running(&self, wanted: &'static str) -> Result<(), Error> {
        match self.is_running().await? {
            true => Ok(()),
            false => Err(Error::NotRunning { server: self.address.to_string(), wanted }),
        }
    }

    async fn is_paused(&self) -> Result<bool, Error> {
        let inspected = within(CALL_LIMIT, self.docker.inspect_container(self.container()?.id(), None)).await;
        let inspected = inspected.map_err(failed(&self.image, "look at a container"))?;
        Ok(inspected.state.and_then(|state| state.paused).unwrap_or(false))
    }

    async fn resume_if_paused(&self) -> Result<(), Error> {
        if !self.is_paused().await? {
            return Ok(());
        }
        let resumed = within(CALL_LIMIT, self.container()?.unpause()).await;
        resumed.map_err(failed(&self.image, "resume a container"))
    }

    fn container(&self) -> Result<&ContainerAsync<GenericImage>, Error> {
        self.container.as_ref().ok_or_else(|| failed(&self.image, "use a container")("it is being removed"))
    }
}

impl Drop for ContainerServer {
    /// testcontainers removes the container through the current runtime, and panics where there is none.
    fn drop(&mut self) {
        let Some(container) = self.container.take() else { return };
        if tokio::runtime::Handle::try_current().is_ok() {
            return drop(container);
        }
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(async move { drop(container) }),
                // Dropping it here would panic.
                Err(_) => std::mem::forget(container),
            }
        });
        if removal.join().is_err() {
            tracing::warn!(server = %self.address, "a container may be left behind; `docker ps -a` shows it");
        }
    }
}

impl std::fmt::Debug for ContainerServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContainerServer").field("image", &self.image).field("address", &self.address).finish()
    }
}

/// `Uid:` and `Gid:` of a `/proc/…/status`.
fn owner_in(status: &str) -> Option<Owner> {
    let first = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Owner { uid: first("Uid:")?, gid: first("Gid:")? })
}

async fn within<T, E: Display>(
    limit: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, call).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
    }
}

fn text_of<E: Display>(bytes: Result<Vec<u8>, E>) -> Result<String, String> {
    bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|error| error.to_string())
}

fn failed<R: Display>(image: &str, doing: &'static str) -> impl FnOnce(R) -> Error + use<R> {
    let image = image.to_owned();
    move |reason| Error::Docker { doing, image, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_user_is_read_from_its_status() {
        let status = "Name:\tpostgres\nUid:\t70\t70\t70\t70\nGid:\t71\t71\t71\t71\n";
        assert_eq!(owner_in(status), Some(Owner { uid: 70, gid: 71 }));
        assert_eq!(owner_in("Name:\tpostgres\n"), None);
    }
}
