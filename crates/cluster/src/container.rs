//! Servers in containers, through Docker.

mod archive;
mod image;
mod request;
mod server;

pub use image::ContainerImage;
pub(crate) use image::IMAGE_VARIABLE;
pub(crate) use server::ContainerServer;
