//! Whether credentials are of a kind that opens a Postgres server, and can be had.

use crate::model::{Credential, USER_PASSWORD};

use super::problem::{Place, Report};

/// Checks a credential that Milestream would use.
pub(super) fn check(report: &mut Report<'_>, place: &Place, credential: &Credential) {
    let name = &credential.name;
    if !credential.opens_postgres() {
        report.error(
            &place.key("credentialType"),
            format!(
                "credential {name:?} is of type {:?}, and Postgres is opened with {USER_PASSWORD} only",
                credential.credential_type
            ),
            format!("name a credential of type {USER_PASSWORD}"),
        );
        return;
    }
    if report.context.has_credential.is_some_and(|has_credential| !has_credential(name)) {
        report.warning(
            &place.key("name"),
            format!("credential {name:?} has no value here"),
            format!(
                "set {name}_USER and {name}_PASSWORD wherever a platform is run that needs it, or put them into the \
                 secrets directory"
            ),
        );
    }
}
