//! Which streams a command is about.

use clap::Args;

use crate::config::Selection;
use crate::error::{Error, Result};

/// The choice of streams that every command has.
#[derive(Debug, Args)]
pub(super) struct SelectionArguments {
    /// Platform, as in the model; may be given more than once.
    #[arg(long, value_name = "NAME", alias = "platform-name")]
    platform: Vec<String>,
    /// Datastore, as in the model.
    #[arg(long, value_name = "NAME", alias = "store-name")]
    store: Option<String>,
    /// Dataset of a store whose datasets have batches of their own.
    #[arg(long, value_name = "NAME", alias = "dataset-name", requires = "store")]
    dataset: Option<String>,
    /// Every stream, or every stream of the platforms given, that resolves.
    #[arg(long, conflicts_with_all = ["store", "dataset"])]
    all: bool,
}

impl SelectionArguments {
    /// The choice for a command that only reads; whatever is left open means all.
    pub(super) fn for_reading(&self) -> Selection {
        Selection {
            platforms: self.platform.clone(),
            store: self.store.clone(),
            dataset: self.dataset.clone(),
        }
    }

    /// The choice for a command that writes; everything must be asked for by name.
    ///
    /// # Errors
    /// `Setup` when neither a stream nor all of them were named.
    pub(super) fn for_writing(&self) -> Result<Selection> {
        if self.all || (!self.platform.is_empty() && self.store.is_some()) {
            return Ok(self.for_reading());
        }
        Err(Error::setup(
            "it is not said which streams are meant",
            "name one with --platform and --store (and --dataset), or take every one with --all",
        ))
    }
}
