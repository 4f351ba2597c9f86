//! Sessions, catalogs, statements and the COPY path: what every sync stands on.

pub(crate) mod catalog;
pub(crate) mod copy;
mod dial;
mod endpoint;
pub(crate) mod fields;
mod pooler;
pub(crate) mod read;
pub(crate) mod session;
pub(crate) mod session_name;
mod settings;
pub(crate) mod sql;
mod structures;
mod vigil;
mod wire;

pub use endpoint::{Endpoint, Password, TlsMode};
pub(crate) use session::Session;
pub use settings::{PinnedSetting, pinned_settings};
