//! The effective command: who reads a store's source, and who pulls from whom.
//!
//! A platform reads the source of a store itself if the store has no primary ingestion platforms, or if it is one of
//! them, wherever in the list. Every other platform is a secondary: it pulls from the merge tables of a primary.

mod error;
mod upstream;

use serde::{Serialize, Serializer};
use serde_json::json;

use crate::model::{
    CommandKind, Credential, DataContainer, Datastore, IngestionCommand, MilestoneStrategy, Model,
};
use crate::near::advice;

pub use error::{Misfit, Origin, ResolveError};

pub(crate) use upstream::judge_primaries;
use upstream::{Upstreams, unambiguous};

/// What a person or `milestream.toml` says instead of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Platforms to pull from, in order of preference, instead of those of the PIP list. A platform that is itself a
    /// secondary may be named if it is forensic: a mirror can be mirrored.
    pub from: Option<Vec<String>>,
    /// The name of a `USER_PASSWORD` credential that opens what is read: the source, or the primary's merge store.
    pub credential: Option<String>,
}

/// How one platform gets one store's data.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectiveCommand {
    /// The platform.
    pub platform: String,
    /// The store.
    pub store: String,
    /// What the platform is to the store.
    pub role: Role,
    /// The command in DataSurface's terms: the store's own for a primary, an `SQLMergeIngestion` for a secondary.
    pub command: IngestionCommand,
    /// Why it is that one, in a sentence.
    pub why: String,
}

/// What a platform is to a store.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// It reads the source.
    Primary {
        /// The source; none where the command does not say.
        container: Option<DataContainer>,
        /// The credential to read it with; none where the command does not say.
        credential: Option<Credential>,
        /// Tables of the source by dataset, where they are not named like the dataset.
        table_for_dataset: Vec<(String, String)>,
    },
    /// It pulls from another platform.
    Secondary {
        /// The platforms it may pull from, in order of preference; never empty. It uses one of them at a time.
        candidates: Vec<Candidate>,
        /// The credential to read their merge stores with.
        credential: Credential,
    },
}

/// A platform that a secondary may pull from.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its name.
    pub platform: String,
    /// What its merge tables keep. A live-only one has no history to follow.
    pub milestone_strategy: MilestoneStrategy,
    /// The database of its merge tables, which need not be on Postgres.
    pub merge_store: DataContainer,
    /// Whether it is itself a secondary, so that only a mirror's history is the primary's.
    pub is_secondary: bool,
}

/// How `platform` gets the data of `store`.
///
/// # Errors
/// Names that are not in the model or are defined twice, a store that says nothing of its ingestion, and upstreams of
/// which none fits: each with the names and what is wrong with them.
pub fn resolve(
    model: &Model,
    platform: &str,
    store: &str,
    overrides: &Overrides,
) -> Result<EffectiveCommand, ResolveError> {
    let platforms = || model.platforms().map(|known| known.name.as_str());
    let stores = || model.datastores().map(|known| known.name.as_str());
    if model.platform(platform).is_none() {
        return Err(ResolveError::UnknownPlatform {
            platform: platform.to_owned(),
            advice: advice(platform, platforms()),
        });
    }
    let Some(datastore) = model.datastore(store) else {
        return Err(ResolveError::UnknownStore { store: store.to_owned(), advice: advice(store, stores()) });
    };
    unambiguous(model, platform, store)?;
    let Some(own) = &datastore.command else {
        return Err(ResolveError::NoCommand { store: store.to_owned() });
    };
    Route { model, platform, store: datastore, own, overrides }.effective()
}

/// The question, with its names looked up.
struct Route<'m> {
    model: &'m Model,
    platform: &'m str,
    store: &'m Datastore,
    own: &'m IngestionCommand,
    overrides: &'m Overrides,
}

impl Route<'_> {
    fn effective(&self) -> Result<EffectiveCommand, ResolveError> {
        let primaries = self.model.pips().of(&self.store.name);
        let listed =
            primaries.is_some_and(|primaries| primaries.iter().any(|primary| primary == self.platform));
        match (&self.overrides.from, primaries, &self.own.kind) {
            (Some(from), _, _) if listed => Err(ResolveError::PrimaryWithUpstream {
                platform: self.platform.to_owned(),
                store: self.store.name.clone(),
                from: from.clone(),
            }),
            (Some(from), _, _) => self.secondary(Origin::From, from, "because `from` says so"),
            (None, Some(primaries), _) if !listed => {
                let why = "because it is not one of the store's primary ingestion platforms";
                self.secondary(Origin::PipList, primaries, why)
            }
            (None, _, CommandKind::SqlMerge { platform, candidates }) => {
                let all: Vec<String> = platform.iter().chain(candidates).cloned().collect();
                self.secondary(
                    Origin::OwnCommand,
                    &all,
                    "because the store's own command is an SQLMergeIngestion",
                )
            }
            (None, _, _) if listed => {
                Ok(self.primary("it is one of the store's primary ingestion platforms"))
            }
            (None, _, _) => Ok(self.primary("the store has no primary ingestion platforms")),
        }
    }

    fn primary(&self, because: &str) -> EffectiveCommand {
        let command = match &self.overrides.credential {
            Some(name) => self.own.with_credential(Credential::user_password(name)),
            None => self.own.clone(),
        };
        let role = Role::Primary {
            container: command.container.clone(),
            credential: command.credential.clone(),
            table_for_dataset: command.table_for_dataset.clone(),
        };
        let why = format!(
            "{:?} reads the source of {:?} itself, because {because}.",
            self.platform, self.store.name
        );
        self.answer(role, command, why)
    }

    fn secondary(
        &self,
        origin: Origin,
        named: &[String],
        because: &str,
    ) -> Result<EffectiveCommand, ResolveError> {
        let upstreams = Upstreams::judge(self.model, self.platform, &self.store.name, origin, named);
        let why = format!(
            "{:?} pulls {:?} from {}, {because}{}.",
            self.platform,
            self.store.name,
            upstreams.names(),
            upstreams.remarks()
        );
        let candidates = upstreams.into_candidates()?;
        let credential = self.reading_credential()?;
        let names = candidates.iter().map(|candidate| candidate.platform.clone()).collect();
        let merge_store = candidates[0].merge_store.clone();
        let command = IngestionCommand::merge(self.own, names, merge_store, credential.clone());
        Ok(self.answer(Role::Secondary { candidates, credential }, command, why))
    }

    /// A secondary reads its primary with the credential of its own merge store, unless it is told another.
    fn reading_credential(&self) -> Result<Credential, ResolveError> {
        if let Some(name) = &self.overrides.credential {
            return Ok(Credential::user_password(name));
        }
        let psp_name =
            self.model.platform(self.platform).map(|platform| platform.psp_name.clone()).unwrap_or_default();
        let Some(psp) = self.model.psp_of(self.platform) else {
            let advice = advice(&psp_name, self.model.psps().map(|psp| psp.name.as_str()));
            return Err(ResolveError::NoProvider {
                platform: self.platform.to_owned(),
                psp: psp_name,
                advice,
            });
        };
        psp.merge_credential
            .clone()
            .ok_or_else(|| ResolveError::NoCredential { platform: self.platform.to_owned(), psp: psp_name })
    }

    fn answer(&self, role: Role, command: IngestionCommand, why: String) -> EffectiveCommand {
        EffectiveCommand {
            platform: self.platform.to_owned(),
            store: self.store.name.clone(),
            role,
            command,
            why,
        }
    }
}

impl Role {
    /// `primary` or `secondary`.
    pub fn name(&self) -> &'static str {
        match self {
            Role::Primary { .. } => "primary",
            Role::Secondary { .. } => "secondary",
        }
    }
}

impl EffectiveCommand {
    /// Names of the platforms that a secondary may pull from, in order of preference; empty for a primary.
    pub fn candidates(&self) -> Vec<&str> {
        match &self.role {
            Role::Primary { .. } => Vec::new(),
            Role::Secondary { candidates, .. } => {
                candidates.iter().map(|candidate| candidate.platform.as_str()).collect()
            }
        }
    }
}

/// `{"platform", "store", "role", "candidates", "why", "command"}`, the command in DataSurface's notation.
impl Serialize for EffectiveCommand {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let answer = json!({
            "platform": self.platform,
            "store": self.store,
            "role": self.role.name(),
            "candidates": self.candidates(),
            "why": self.why,
            "command": self.command,
        });
        answer.serialize(serializer)
    }
}
