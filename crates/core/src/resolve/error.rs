//! Why a platform cannot ingest a store.

use std::fmt;

use crate::near::quoted;

/// Why there is no effective command for a platform and a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The platform is not in the model.
    #[error("data platform {platform:?} is not in the model: {advice}")]
    UnknownPlatform {
        /// The name that was asked for.
        platform: String,
        /// Near names, or those there are.
        advice: String,
    },
    /// The store is not in the model.
    #[error("datastore {store:?} is not in the model: {advice}")]
    UnknownStore {
        /// The name that was asked for.
        store: String,
        /// Near names, or those there are.
        advice: String,
    },
    /// Two definitions of one name contradict each other.
    #[error("{what} {name:?} is defined differently in {}: keep one of the definitions", places.join(" and "))]
    Ambiguous {
        /// What it is: a data platform, a datastore, ….
        what: &'static str,
        /// Its name.
        name: String,
        /// The documents and paths of the definitions.
        places: Vec<String>,
    },
    /// The store does not say how it is ingested.
    #[error(
        "datastore {store:?} has no cmd, so no platform can ingest it: add one, such as an SQLSnapshotIngestion"
    )]
    NoCommand {
        /// The store.
        store: String,
    },
    /// A platform of the PIP list was told to pull from another.
    #[error(
        "data platform {platform:?} is a primary ingestion platform of {store:?} and reads its source, so it cannot also pull from {}: drop `from`, or take the platform off the PIP list",
        quoted(from, ", ")
    )]
    PrimaryWithUpstream {
        /// The platform.
        platform: String,
        /// The store.
        store: String,
        /// The upstreams it was told to use.
        from: Vec<String>,
    },
    /// No platform can be pulled from, or one that is named does not exist.
    #[error("data platform {platform:?} cannot pull {store:?} from {origin}{}", list(misfits))]
    NoUpstream {
        /// The platform.
        platform: String,
        /// The store.
        store: String,
        /// Where the upstreams are named.
        origin: Origin,
        /// Every upstream that does not fit, and why; empty where none is named.
        misfits: Vec<(String, Misfit)>,
    },
    /// The platform's provider is not in the model.
    #[error(
        "data platform {platform:?} belongs to the provider {psp:?}, which is not in the model: {advice}"
    )]
    NoProvider {
        /// The platform.
        platform: String,
        /// The provider's name.
        psp: String,
        /// Near names, or those there are.
        advice: String,
    },
    /// Nothing says with which credential a secondary reads its primary.
    #[error(
        "the provider {psp:?} of data platform {platform:?} has no mergeRW_Credential to read other platforms with: add one, or name a credential in milestream.toml"
    )]
    NoCredential {
        /// The platform.
        platform: String,
        /// Its provider.
        psp: String,
    },
}

/// Where the upstreams of a platform are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the PIP list.
    PipList,
    /// In `from`, which overrides the PIP list.
    From,
    /// In the store's own SQLMergeIngestion.
    OwnCommand,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::PipList => "the store's primary ingestion platforms",
            Origin::From => "the platforms named by `from`",
            Origin::OwnCommand => "the platforms of the store's SQLMergeIngestion",
        })
    }
}

/// Why a platform is no upstream for another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It does not exist.
    #[error("it is not in the model: {advice}")]
    Unknown {
        /// Near names, or those there are.
        advice: String,
    },
    /// It exists more than once.
    #[error("{0}")]
    Ambiguous(String),
    /// It is the platform that would pull.
    #[error("a platform cannot pull from itself")]
    Itself,
    /// Nothing says where its tables are.
    #[error("its provider {psp:?} is not in the model: {advice}")]
    NoProvider {
        /// The provider's name.
        psp: String,
        /// Near names, or those there are.
        advice: String,
    },
    /// Nothing says where its tables are.
    #[error("its provider {psp:?} has no mergeStore: add one")]
    NoMergeStore {
        /// The provider's name.
        psp: String,
    },
    /// It does not read the source, and it has no history that others could follow.
    #[error(
        "it does not ingest the store itself, and as a live_only platform it keeps no history of what it pulls: name a primary, or a batch_milestoned secondary"
    )]
    LiveOnlySecondary,
}

fn list(misfits: &[(String, Misfit)]) -> String {
    if misfits.is_empty() {
        return ": there are none; name at least one".to_owned();
    }
    misfits.iter().map(|(platform, misfit)| format!("\n  {platform:?}: {misfit}")).collect()
}
