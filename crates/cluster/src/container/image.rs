use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use testcontainers::bollard::Docker;
use testcontainers::core::client::docker_client_instance;

pub(crate) const IMAGE_VARIABLE: &str = "MILESTREAM_POSTGRES_IMAGE";
const PING_LIMIT: Duration = Duration::from_secs(5);

/// A Postgres image for a Docker daemon that answers. The image is pulled when it is first used, unless it is there.
#[derive(Clone, Debug)]
pub struct ContainerImage {
    name: Arc<str>,
}

impl ContainerImage {
    /// The image used when `MILESTREAM_POSTGRES_IMAGE` names none.
    pub const DEFAULT: &'static str = "postgres:17-alpine";

    /// The image's name and tag.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The image that `MILESTREAM_POSTGRES_IMAGE` names, else [`ContainerImage::DEFAULT`].
    pub fn name_from_env() -> String {
        let named = std::env::var(IMAGE_VARIABLE).ok().filter(|name| !name.is_empty());
        named.unwrap_or_else(|| ContainerImage::DEFAULT.to_owned())
    }

    /// The image, or why Docker cannot serve it.
    pub(crate) async fn with_daemon(name: &str) -> Result<ContainerImage, String> {
        let docker = docker().await?;
        match tokio::time::timeout(PING_LIMIT, docker.ping()).await {
            Ok(Ok(_)) => Ok(ContainerImage { name: name.into() }),
            Ok(Err(error)) => Err(format!("the daemon does not answer: {error}")),
            Err(_) => Err(format!("the daemon does not answer within {} s", PING_LIMIT.as_secs())),
        }
    }

    /// Repository and tag, as Docker's clients want them. A colon before a slash is a registry's port.
    pub(crate) fn split(&self) -> (&str, &str) {
        match self.name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (&self.name, "latest"),
        }
    }
}

impl fmt::Display for ContainerImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "containers of {}", self.name)
    }
}

pub(crate) async fn docker() -> Result<Docker, String> {
    docker_client_instance().await.map_err(|error| format!("there is no client for the daemon: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_told_from_a_registrys_port() {
        let split = |name: &str| {
            let image = ContainerImage { name: name.into() };
            let (repository, tag) = image.split();
            (repository.to_owned(), tag.to_owned())
        };
        assert_eq!(split("postgres:17-alpine"), ("postgres".to_owned(), "17-alpine".to_owned()));
        assert_eq!(split("host:5000/pg"), ("host:5000/pg".to_owned(), "latest".to_owned()));
        assert_eq!(split("host:5000/pg:1"), ("host:5000/pg".to_owned(), "1".to_owned()));
    }
}
