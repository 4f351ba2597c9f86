//! What stood in the way of a stream, as facts beside those of the others.

use serde::Serialize;

use crate::StreamName;
use crate::error::Error;
use crate::postgres::Endpoint;

/// An error as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Failure {
    /// What happened, and where.
    pub(super) error: String,
    /// What to do.
    pub(super) advice: String,
    /// With what the process would end if this were all.
    pub(super) exit_code: u8,
}

/// What [`Error::exit_code`] says of a server that cannot be reached.
const UNREACHABLE: u8 = 4;

impl Failure {
    /// What an error is to a stream.
    pub(super) fn of(error: &Error, stream: &StreamName) -> Failure {
        Failure { error: error.to_string(), advice: error.advice_for(stream), exit_code: error.exit_code() }
    }

    /// What an error is to all streams of a database.
    pub(super) fn of_database(error: &Error) -> Failure {
        Failure { error: error.to_string(), advice: error.advice(), exit_code: error.exit_code() }
    }

    /// Whether a server could not be reached, or refused to work.
    pub(super) fn is_unreachable(&self) -> bool {
        self.exit_code == UNREACHABLE
    }

    /// The same of the same database, which another stream knows by another role.
    pub(super) fn told_of(&self, first: &Endpoint, endpoint: &Endpoint) -> Failure {
        let error = self.error.replace(&first.to_string(), &endpoint.to_string());
        let advice = self.advice.replace(&first.to_string(), &endpoint.to_string());
        Failure { error, advice, exit_code: self.exit_code }
    }
}
