//! Names of secrets. The secrets themselves are no part of a model.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::fields::Fields;

/// The type of the credentials that a Postgres server takes: a role's name and its password.
pub const USER_PASSWORD: &str = "USER_PASSWORD";

/// A reference to a secret by its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    /// The name that the secret is looked up by.
    pub name: String,
    /// `USER_PASSWORD`, `API_TOKEN`, `API_KEY_PAIR` or another kind of DataSurface's.
    pub credential_type: String,
    /// The object as it was written, for the fields that Milestream has no use for.
    written: Map<String, Value>,
}

impl Credential {
    /// The credential of a Postgres role.
    pub fn user_password(name: &str) -> Credential {
        Credential {
            name: name.to_owned(),
            credential_type: USER_PASSWORD.to_owned(),
            written: Map::from_iter([("_type".to_owned(), "Credential".into())]),
        }
    }

    pub(crate) fn read(fields: &Fields<'_>) -> Credential {
        Credential {
            name: fields.text("name"),
            credential_type: fields.text("credentialType"),
            written: fields.json().clone(),
        }
    }

    /// Whether a Postgres server can be opened with it.
    pub fn opens_postgres(&self) -> bool {
        self.credential_type == USER_PASSWORD
    }

    /// DataSurface's notation of it: what was written, with the fields of this struct in their places.
    pub fn to_json(&self) -> Value {
        let mut json = self.written.clone();
        json.insert("name".into(), self.name.as_str().into());
        json.insert("credentialType".into(), self.credential_type.as_str().into());
        Value::Object(json)
    }
}

impl Serialize for Credential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}
