//! The databases that a stream's job needs, or why Milestream does not work with one of them.

use milestream_core::model::{CommandKind, Credential, DataContainer, Model, PostgresDatabase};
use milestream_core::resolve::{Candidate, EffectiveCommand};

use crate::error::{Error, Result};

const REMEDY: &str = "run this stream with DataSurface, or correct the model";

/// A database and the credential that opens it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'m> {
    pub(super) database: &'m PostgresDatabase,
    pub(super) credential: &'m Credential,
}

/// The merge store of a platform.
///
/// # Errors
/// `Setup` when it is missing, on another kind of database, or without a credential.
pub(super) fn merge_store<'m>(model: &'m Model, platform: &str) -> Result<Place<'m>> {
    let psp = model.psp_of(platform).ok_or_else(|| {
        Error::setup(
            format!("the provider of platform {platform:?} is not in the model"),
            "run `milestream lint`",
        )
    })?;
    let what = format!("the merge store of platform {platform:?}");
    let database = postgres(psp.merge_store.as_ref(), &what)?;
    let credential = psp.merge_credential.as_ref().ok_or_else(|| without_credential(&what))?;
    Ok(Place { database, credential })
}

/// The merge store that a candidate is read from.
pub(super) fn of_candidate(candidate: &Candidate) -> Result<&PostgresDatabase> {
    postgres(Some(&candidate.merge_store), &format!("the merge store of platform {:?}", candidate.platform))
}

/// The source of a primary's store.
///
/// # Errors
/// `Setup` when its command is not one that Milestream runs, or names no source on Postgres.
pub(super) fn source<'c>(
    command: &EffectiveCommand,
    container: Option<&'c DataContainer>,
    credential: Option<&'c Credential>,
) -> Result<Place<'c>> {
    let what = format!("the source of store {:?}", command.store);
    if command.command.kind != CommandKind::SqlSnapshot {
        let kind = command.command.type_name();
        let what = format!(
            "platform {:?} reads {what} by a {kind}, and Milestream runs SQLSnapshotIngestion",
            command.platform
        );
        return Err(Error::setup(what, REMEDY));
    }
    let database = postgres(container, &what)?;
    Ok(Place { database, credential: credential.ok_or_else(|| without_credential(&what))? })
}

fn postgres<'c>(container: Option<&'c DataContainer>, what: &str) -> Result<&'c PostgresDatabase> {
    match container {
        Some(DataContainer::Postgres(database)) => Ok(database),
        Some(other) => Err(Error::setup(
            format!("{what} is a {}, and Milestream works with a PostgresDatabase", other.type_name()),
            REMEDY,
        )),
        None => Err(Error::setup(format!("{what} is not in the model"), "give it a container")),
    }
}

fn without_credential(what: &str) -> Error {
    Error::setup(format!("{what} has no credential in the model"), "name a USER_PASSWORD credential for it")
}
