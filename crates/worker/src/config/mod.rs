//! What is to run, and how: the model and `milestream.toml` of a configuration directory, credentials, and the jobs
//! they make.

mod containers;
mod credentials;
mod databases;
mod ecosystem;
mod file;
mod jobs;
mod keys;
mod policy;
pub(crate) mod reference;
mod selection;
mod settings;
mod size;
mod time_span;

pub use containers::{ByContainer, HostPort};
pub use credentials::{Login, Secrets};
pub use ecosystem::{Configuration, model};
pub use file::{FILE_NAME, File};
pub use jobs::StreamJob;
pub use keys::Keys;
pub use policy::{Kind, OnLoss, OnPrimaryDown, SchemaPolicy};
pub use selection::{PassedOver, Resolved, Selected, Selection};
pub use settings::{Connections, Settings};
pub use size::Size;
pub use time_span::TimeSpan;

#[cfg(test)]
mod tests;
