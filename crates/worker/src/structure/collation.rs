//! What a collation does to the equality of texts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A collation as its server has it; the database's default is resolved to what the database was made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Collation {
    pub(crate) name: String,
    pub(crate) provider: Provider,
    /// Orders texts.
    pub(crate) collate: String,
    /// Folds them.
    pub(crate) ctype: String,
    pub(crate) deterministic: bool,
    /// The provider's version when the collation was made, where it has one.
    pub(crate) version: Option<String>,
}

/// Whose rules a collation follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Provider {
    #[serde(rename = "c")]
    Libc,
    #[serde(rename = "i")]
    Icu,
    /// Postgres' own, from 17 on.
    #[serde(rename = "b")]
    BuiltIn,
}

impl Collation {
    /// Whether both fold texts alike: to lower case, and so to equal ones.
    pub(crate) fn folds_like(&self, other: &Collation) -> bool {
        self.provider == other.provider
            && spelled_alike(&self.ctype) == spelled_alike(&other.ctype)
            && self.deterministic == other.deterministic
            && versions_agree(self, other)
    }

    /// Whether both order texts alike.
    pub(crate) fn orders_like(&self, other: &Collation) -> bool {
        self.provider == other.provider
            && spelled_alike(&self.collate) == spelled_alike(&other.collate)
            && self.deterministic == other.deterministic
            && versions_agree(self, other)
    }
}

impl fmt::Display for Collation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = match self.provider {
            Provider::Libc => "libc",
            Provider::Icu => "icu",
            Provider::BuiltIn => "builtin",
        };
        write!(f, "{provider} {}", self.ctype)?;
        if self.collate != self.ctype {
            write!(f, " ordered by {}", self.collate)?;
        }
        match &self.version {
            Some(version) => write!(f, " of version {version}"),
            None => Ok(()),
        }
    }
}

/// Locales that are never changed have no version; and what one server does not say proves nothing.
fn versions_agree(one: &Collation, other: &Collation) -> bool {
    match (&one.version, &other.version) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// `en_US.UTF-8` and `en_US.utf8` are one locale, as are `C` and `POSIX`.
fn spelled_alike(locale: &str) -> String {
    match locale {
        "POSIX" => "C".to_owned(),
        _ => match locale.split_once('.') {
            Some((place, encoding)) => format!("{place}.{}", encoding.to_lowercase().replace('-', "")),
            None => locale.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn libc(ctype: &str, version: Option<&str>) -> Collation {
        Collation {
            name: "default".into(),
            provider: Provider::Libc,
            collate: ctype.into(),
            ctype: ctype.into(),
            deterministic: true,
            version: version.map(str::to_owned),
        }
    }

    #[test]
    fn a_locale_is_known_by_any_of_its_spellings() {
        assert!(libc("en_US.UTF-8", None).folds_like(&libc("en_US.utf8", Some("2.36"))));
        assert!(libc("C", None).orders_like(&libc("POSIX", None)));
    }

    #[test]
    fn other_locales_providers_and_versions_are_others() {
        let icu = Collation { provider: Provider::Icu, ..libc("und", None) };
        assert!(!libc("C", None).folds_like(&libc("C.UTF-8", None)));
        assert!(!libc("und", None).folds_like(&icu));
        assert!(!libc("en_US.UTF-8", Some("2.31")).folds_like(&libc("en_US.UTF-8", Some("2.36"))));
    }
}
