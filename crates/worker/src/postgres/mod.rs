//! Sessions, catalogs, statements and the COPY path: what every sync stands on.

pub(crate) mod catalog;
pub(crate) mod copy;
mod endpoint;
pub(crate) mod fields;
pub(crate) mod read;
pub(crate) mod session;
pub(crate) mod session_name;
pub(crate) mod sql;
mod structures;
mod vigil;
mod wire;

pub use endpoint::{Endpoint, TlsMode};
pub(crate) use session::Session;
