//! From what was resolved to jobs: the databases each of them needs, and what opens them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use milestream_core::model::{Credential, MilestoneStrategy, Platform};
use milestream_core::resolve::{Candidate, Role};

use super::credentials::{Login, Secrets};
use super::databases::{self, Place};
use super::ecosystem::Configuration;
use super::keys::Keys;
use super::selection::{PassedOver, Resolved, Selected, Selection};
use super::settings::Connections;
use crate::StreamName;
use crate::error::{Error, Result};
use crate::ingest::{IngestJob, Scd};
use crate::pair::Holding;
use crate::postgres::{Endpoint, Password};
use crate::sync::{Job, Upstream};

/// What a platform does for a stream.
#[derive(Clone, Debug)]
pub enum StreamJob {
    /// It follows a primary.
    Sync(Arc<Job>),
    /// It reads the source.
    Ingest(Arc<IngestJob>),
}

impl StreamJob {
    /// The platform, as in the model.
    pub fn platform(&self) -> &str {
        match self {
            StreamJob::Sync(job) => &job.platform,
            StreamJob::Ingest(job) => &job.platform,
        }
    }

    /// The stream as a person names it.
    pub fn name(&self) -> StreamName {
        match self {
            StreamJob::Sync(job) => StreamName::of(&job.platform, &job.stream),
            StreamJob::Ingest(job) => StreamName::of(&job.platform, &job.stream),
        }
    }

    /// The platform's own merge store.
    pub(crate) fn store(&self) -> &Arc<Endpoint> {
        match self {
            StreamJob::Sync(job) => &job.secondary,
            StreamJob::Ingest(job) => &job.store,
        }
    }

    /// Key of the stream.
    pub fn stream_key(&self) -> String {
        match self {
            StreamJob::Sync(job) => job.stream_key(),
            StreamJob::Ingest(job) => job.stream_key(),
        }
    }
}

impl Configuration {
    /// Makes the jobs of a selection, with the credentials they need from `secrets_dir` or the environment.
    ///
    /// # Errors
    /// As [`Configuration::resolve`], and `Setup` for a database that Milestream does not work with and a missing
    /// credential, by their names.
    pub fn jobs(&self, selection: &Selection, given: &Keys) -> Result<Selected<StreamJob>> {
        self.jobs_with(selection, given, None)
    }

    /// Makes the jobs of a selection for whoever connects to nothing: passwords are left out, and a role that is not at
    /// hand is called as the variable is that would name it. The second answer is which ones are called so.
    ///
    /// # Errors
    /// As [`Configuration::jobs`], missing credentials apart.
    pub(crate) fn jobs_without_logins(
        &self,
        selection: &Selection,
        given: &Keys,
    ) -> Result<(Selected<StreamJob>, BTreeSet<String>)> {
        let strangers = RefCell::default();
        let selected = self.jobs_with(selection, given, Some(&strangers))?;
        Ok((selected, strangers.into_inner()))
    }

    fn jobs_with(
        &self,
        selection: &Selection,
        given: &Keys,
        strangers: Option<&Strangers>,
    ) -> Result<Selected<StreamJob>> {
        let Selected { streams, passed_over } = self.resolve(selection, given)?;
        let mut selected = Selected { streams: Vec::new(), passed_over };
        for resolved in streams {
            match self.places(&resolved) {
                Ok(places) => selected.streams.push(self.job(&resolved, &places, strangers)?),
                Err(refused) if selection.is_open() => {
                    let (platform, store) = (resolved.platform, resolved.stream.store);
                    selected.passed_over.push(PassedOver { platform, store, reason: refused.to_string() });
                }
                Err(refused) => return Err(refused),
            }
        }
        Ok(selected)
    }

    /// The databases of a job. Nothing is asked of them, and no credential is looked up.
    fn places<'r>(&'r self, resolved: &'r Resolved) -> Result<Places<'r>> {
        let merge = databases::merge_store(&self.model, &resolved.platform)?;
        let read = match &resolved.command.role {
            Role::Primary { container, credential, .. } => {
                let source = databases::source(&resolved.command, container.as_ref(), credential.as_ref())?;
                Read::Source(source)
            }
            Role::Secondary { candidates, credential } => Read::Upstreams(upstreams(candidates, credential)?),
        };
        Ok(Places { merge, read })
    }

    fn job(
        &self,
        resolved: &Resolved,
        places: &Places<'_>,
        strangers: Option<&Strangers>,
    ) -> Result<StreamJob> {
        let reach = Reach::new(&resolved.settings.connections, strangers);
        let (platform, stream) = (resolved.platform.clone(), resolved.stream.clone());
        let model = self.model.platform(&platform);
        let is_forensic = model.is_some_and(Platform::is_forensic);
        let staging_batches_to_keep = model.and_then(|model| model.staging_batches_to_keep);
        let tuning = resolved.settings.tuning.clone();
        let command = &resolved.command.command;
        match &places.read {
            Read::Source(source) => Ok(StreamJob::Ingest(Arc::new(IngestJob {
                strategy: if is_forensic { Scd::Forensic } else { Scd::LiveOnly },
                source: reach.endpoint(format!("source of {}", stream.store), source)?,
                source_tables: command.table_for_dataset.iter().cloned().collect(),
                store: reach.endpoint(format!("primary {platform}"), &places.merge)?,
                hash: resolved.settings.hash,
                staging_batches_to_keep,
                platform,
                stream,
                tuning,
            }))),
            Read::Upstreams(upstreams) => {
                let upstreams = upstreams.iter().map(|(name, place)| {
                    let endpoint = reach.endpoint(format!("primary {name}"), place)?;
                    Ok(Upstream { platform: (*name).to_owned(), endpoint })
                });
                Ok(StreamJob::Sync(Arc::new(Job {
                    holding: if is_forensic { Holding::Mirror } else { Holding::LiveOnly },
                    upstreams: upstreams.collect::<Result<_>>()?,
                    primary_choice: resolved.settings.primary_choice,
                    secondary: reach.endpoint(format!("secondary {platform}"), &places.merge)?,
                    staging_batches_to_keep,
                    platforms: self.platform_names().into_iter().map(str::to_owned).collect(),
                    platform,
                    stream,
                    tuning,
                })))
            }
        }
    }
}

/// The databases of a job.
struct Places<'m> {
    /// The platform's own merge store.
    merge: Place<'m>,
    read: Read<'m>,
}

/// What a job reads.
enum Read<'m> {
    Source(Place<'m>),
    /// Merge stores by platform, in order of preference.
    Upstreams(Vec<(&'m str, Place<'m>)>),
}

/// The candidates that this version can follow.
///
/// # Errors
/// `Setup` with what is wrong with each, when there is none.
fn upstreams<'m>(
    candidates: &'m [Candidate],
    credential: &'m Credential,
) -> Result<Vec<(&'m str, Place<'m>)>> {
    let (mut fitting, mut refused) = (Vec::new(), Vec::new());
    for candidate in candidates {
        let platform = candidate.platform.as_str();
        if candidate.milestone_strategy == MilestoneStrategy::LiveOnly {
            refused.push(format!(
                "platform {platform:?} is live_only, and this version follows batch_milestoned ones"
            ));
            continue;
        }
        match databases::of_candidate(candidate) {
            Ok(database) => fitting.push((platform, Place { database, credential })),
            Err(error) => refused.push(error.to_string()),
        }
    }
    if fitting.is_empty() {
        return Err(Error::setup(
            refused.join("; "),
            "name another primary with `from`, or correct the model",
        ));
    }
    Ok(fitting)
}

/// Builds endpoints.
struct Reach<'s> {
    connections: &'s Connections,
    secrets: Secrets<'s>,
    /// Where nothing is connected to: the roles that are not at hand, as they come up.
    strangers: Option<&'s Strangers>,
}

/// Stand-ins for roles that are not at hand.
type Strangers = RefCell<BTreeSet<String>>;

impl<'s> Reach<'s> {
    fn new(connections: &'s Connections, strangers: Option<&'s Strangers>) -> Reach<'s> {
        let variable = &|name: &str| std::env::var(name).ok();
        let secrets = Secrets { variable, directory: connections.secrets_dir.clone() };
        Reach { connections, secrets, strangers }
    }

    fn login(&self, credential: &str) -> Result<Login> {
        let Some(strangers) = self.strangers else { return self.secrets.login(credential) };
        let user = self.secrets.user(credential)?.unwrap_or_else(|| {
            let stand_in = Secrets::user_variable(credential);
            strangers.borrow_mut().insert(stand_in.clone());
            stand_in
        });
        Ok(Login { user, password: String::new().into() })
    }

    /// Looks the credential up again; the files of the secrets directory may have been changed.
    fn lookup(&self, credential: &str) -> Arc<dyn Fn() -> Result<Login> + Send + Sync> {
        let (credential, directory) = (credential.to_owned(), self.connections.secrets_dir.clone());
        Arc::new(move || {
            let variable = &|name: &str| std::env::var(name).ok();
            Secrets { variable, directory: directory.clone() }.login(&credential)
        })
    }

    fn endpoint(&self, role: String, place: &Place<'_>) -> Result<Arc<Endpoint>> {
        let Place { database, credential } = place;
        if !credential.opens_postgres() {
            let (name, kind) = (&credential.name, &credential.credential_type);
            let what = format!("credential {name:?} is of type {kind}, which opens no database");
            return Err(Error::setup(what, "give the model one of type USER_PASSWORD"));
        }
        let Login { user, .. } = self.login(&credential.name)?;
        let (host, port) = match self.connections.endpoints.get(&database.name) {
            Some(place) => (place.host.clone(), place.port),
            None => (database.host_port.host_name.clone(), database.host_port.port),
        };
        Ok(Arc::new(Endpoint {
            role,
            host,
            port,
            database: database.database_name.clone(),
            user,
            password: Password::LookedUp(self.lookup(&credential.name)),
            tls: self.connections.tls(&database.name),
            tls_root_cert: self.connections.tls_root_cert(&database.name),
        }))
    }
}
