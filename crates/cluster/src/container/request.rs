//! What Docker is asked for.

use std::collections::HashMap;

use testcontainers::bollard::models::PortBinding;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use super::image::ContainerImage;

const CONTAINER_PORT: u16 = 5432;

/// The variables are for the official image and its kin; an image with a prepared data directory ignores them.
pub(super) fn request(
    image: &ContainerImage,
    name: &str,
    port: u16,
    settings: &[(String, String)],
) -> ContainerRequest<GenericImage> {
    let own = ["listen_addresses=*", "dynamic_shared_memory_type=mmap"].map(str::to_owned);
    let asked = settings.iter().map(|(name, value)| format!("{name}={value}"));
    let arguments = own.into_iter().chain(asked).flat_map(|setting| ["-c".to_owned(), setting]);
    let (repository, tag) = image.split();
    let container_port = format!("{CONTAINER_PORT}/tcp");
    // Everyone who connects is trusted, so a daemon on this machine publishes on loopback only. A distant one has
    // to be reached over its network.
    let distant =
        std::env::var("DOCKER_HOST").is_ok_and(|host| !host.is_empty() && !host.starts_with("unix:"));
    let published_on = if distant { "0.0.0.0" } else { "127.0.0.1" };
    GenericImage::new(repository, tag)
        .with_exposed_port(CONTAINER_PORT.into())
        .with_cmd(std::iter::once("postgres".to_owned()).chain(arguments))
        .with_env_var("POSTGRES_HOST_AUTH_METHOD", "trust")
        .with_env_var("POSTGRES_INITDB_ARGS", "--wal-segsize=1 --encoding=UTF8 --no-locale --no-sync")
        .with_label("milestream", name)
        .with_mapped_port(port, CONTAINER_PORT.into())
        .with_host_config_modifier(move |host| {
            let binding =
                PortBinding { host_ip: Some(published_on.to_owned()), host_port: Some(port.to_string()) };
            host.port_bindings = Some(HashMap::from([(container_port.clone(), Some(vec![binding]))]));
        })
}
