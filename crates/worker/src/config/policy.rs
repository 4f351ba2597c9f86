//! Policies and choices whose every value is understood, though not every behaviour is there yet: what this version
//! refuses it does not offer.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a forensic secondary keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// The primary's batch ids and its whole history.
    #[default]
    Mirror,
    /// Batch ids and a history of its own.
    #[value(hide = true)]
    Conflate,
}

/// What is done when the primary is not what the watermark belongs to, or lost history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum OnLoss {
    /// Find the differences by digests, and mend them.
    #[value(hide = true)]
    Reconcile,
    /// Seed the stream again.
    #[value(hide = true)]
    Reseed,
    /// Write nothing and wait for a person.
    #[default]
    Halt,
}

/// What is done when the primary stays away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum OnPrimaryDown {
    /// Wait for it.
    #[default]
    Wait,
    /// Go on with another candidate.
    #[value(hide = true)]
    Failover,
    /// Ingest from the source.
    #[value(hide = true)]
    Source,
}

/// Which differences of schema are brought to the secondary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum SchemaPolicy {
    /// None: write nothing and show them.
    #[default]
    Halt,
    /// Added columns and widened types.
    #[value(hide = true)]
    Additive,
    /// Dropped columns too.
    #[value(hide = true)]
    Full,
}

/// Refuses a value whose behaviour this version does not have: to take it and do something else would be worse.
///
/// # Errors
/// `Setup` with the value that can be used.
pub(crate) fn require_built<T: ValueEnum + PartialEq>(key: &str, value: &T, built: &T) -> Result<()> {
    if value == built {
        return Ok(());
    }
    let name =
        |value: &T| value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    Err(Error::setup(
        format!("{key} = {:?} is not available in this version of Milestream", name(value)),
        format!("set {key} = {:?}, or leave it out", name(built)),
    ))
}
