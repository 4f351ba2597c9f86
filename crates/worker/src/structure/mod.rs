//! What a type is, whatever it is called: the same names on two servers may stand for different types, and the same
//! type may go by different names.

mod carriage;
mod collation;
mod counterpart;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::postgres::sql::ident;

pub(crate) use carriage::{Carriage, Sides, carries, carry};
pub(crate) use collation::{Collation, Provider};
pub(crate) use counterpart::{Candidate, counterpart, definitions, names, relabelled};

/// A type as one server has it, down to what it is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Structure {
    /// As its server writes it, modifiers included; qualified, unless it is built in.
    pub(crate) sql: String,
    pub(crate) form: Form,
}

/// What a type is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// Of `pg_catalog`, and so the same wherever it has the same name and modifier.
    BuiltIn {
        /// As the catalog has it: `int4`, not `integer`.
        name: String,
        /// -1 for none.
        modifier: i32,
        /// Whether it has a binary form.
        sends: bool,
        /// Whether it has a hash of 64 bits.
        hashes: bool,
    },
    /// A base type of an extension, or of somebody's own making in C.
    Added {
        name: Name,
        extension: Option<Extension>,
        /// What stands behind the name, such as `(Point,4326)`; empty for none.
        modifiers: String,
        sends: bool,
        /// The database's collation, where the type takes one: such a type may fold with it, as citext does.
        folds: Option<Collation>,
    },
    Domain {
        name: Name,
        base: Box<Structure>,
        collation: Option<Collation>,
    },
    Composite {
        name: Name,
        attributes: Vec<Attribute>,
    },
    Enum {
        name: Name,
        labels: Vec<String>,
    },
    Array {
        element: Box<Structure>,
    },
    Range {
        name: Name,
        subtype: Box<Structure>,
        /// The operator class that orders the bounds.
        order: String,
        collation: Option<Collation>,
        /// The function that brings values into their canonical form.
        canonical: Option<String>,
    },
    Multirange {
        name: Name,
        range: Box<Structure>,
    },
    /// What cannot be told apart: a pseudo-type, or one that is nested deeper than anybody nests types.
    Opaque,
}

/// A schema and a name in it, unquoted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Name {
    pub(crate) schema: String,
    pub(crate) name: String,
}

/// The extension that a type belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extension {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// An attribute of a composite type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) structure: Structure,
    pub(crate) collation: Option<Collation>,
}

impl Structure {
    /// What a domain stands on, through domains over domains; every other type itself.
    pub(crate) fn below_domains(&self) -> &Structure {
        match &self.form {
            Form::Domain { base, .. } => base.below_domains(),
            _ => self,
        }
    }

    /// The types that it is made of directly.
    pub(crate) fn parts(&self) -> Vec<&Structure> {
        match &self.form {
            Form::BuiltIn { .. } | Form::Added { .. } | Form::Enum { .. } | Form::Opaque => Vec::new(),
            Form::Domain { base: part, .. }
            | Form::Array { element: part }
            | Form::Range { subtype: part, .. }
            | Form::Multirange { range: part, .. } => vec![part],
            Form::Composite { attributes, .. } => {
                attributes.iter().map(|attribute| &attribute.structure).collect()
            }
        }
    }

    /// Whether the type, or anything that it is made of, is so.
    pub(crate) fn holds(&self, is_so: &impl Fn(&Structure) -> bool) -> bool {
        is_so(self) || self.parts().into_iter().any(|part| part.holds(is_so))
    }

    /// The name by which it is looked for on another server; none for a type that is built in.
    pub(crate) fn named(&self) -> Option<&Name> {
        match &self.form {
            Form::BuiltIn { .. } | Form::Opaque => None,
            Form::Array { element } => element.named(),
            Form::Range { name, .. } | Form::Multirange { name, .. } | Form::Composite { name, .. }
                if name.schema == "pg_catalog" =>
            {
                None
            }
            Form::Added { name, .. }
            | Form::Domain { name, .. }
            | Form::Composite { name, .. }
            | Form::Enum { name, .. }
            | Form::Range { name, .. }
            | Form::Multirange { name, .. } => Some(name),
        }
    }

    /// Whether it is a type of `pg_catalog` with that name.
    pub(crate) fn is_built_in(&self, wanted: &str) -> bool {
        matches!(&self.form, Form::BuiltIn { name, .. } if name == wanted)
    }

    /// Whether rows that hold it have the same digest on every server. An enum hashes by its OID, as do the names of
    /// roles and relations; what an extension hashes is its own affair.
    pub(crate) fn hashes_alike(&self) -> bool {
        match &self.form {
            Form::BuiltIn { name, hashes, .. } => *hashes && !is_alias(name),
            // Postgres looks through domains over everything but ranges.
            Form::Domain { base, .. } => {
                !matches!(base.below_domains().form, Form::Range { .. } | Form::Multirange { .. })
                    && base.hashes_alike()
            }
            Form::Array { element } => element.hashes_alike(),
            Form::Range { name, subtype: part, .. } | Form::Multirange { name, range: part } => {
                name.schema == "pg_catalog" && part.hashes_alike()
            }
            Form::Added { .. } | Form::Composite { .. } | Form::Enum { .. } | Form::Opaque => false,
        }
    }

    /// Whether its values have the same order on every server, as long as texts are ordered by `collate "C"`. The names of
    /// roles and relations are ordered by their OIDs, texts within jsonb by the database's collation.
    pub(crate) fn orders_alike(&self) -> bool {
        let is_scalar = |name: &str| name != "jsonb" && !is_alias(name);
        matches!(&self.below_domains().form, Form::BuiltIn { name, .. } if is_scalar(name))
    }

    /// The collation that folds texts somewhere within it, if one does: a type of an extension that takes collations,
    /// such as citext, may call texts equal that are not the same.
    pub(crate) fn folded_by(&self) -> Option<&Collation> {
        match &self.form {
            Form::Added { folds, .. } => folds.as_ref(),
            _ => self.parts().into_iter().find_map(Structure::folded_by),
        }
    }

    /// Whether some collation of its parts calls texts equal that are not the same.
    pub(crate) fn is_loose(&self) -> bool {
        let loose = |collation: &Option<Collation>| collation.as_ref().is_some_and(|own| !own.deterministic);
        self.holds(&|part| match &part.form {
            Form::Domain { collation, .. } | Form::Range { collation, .. } => loose(collation),
            Form::Composite { attributes, .. } => {
                attributes.iter().any(|attribute| loose(&attribute.collation))
            }
            _ => false,
        })
    }

    /// The type and, where the name does not say it all, what it is: `public.amount (domain over numeric(12,4))`.
    pub(crate) fn described(&self) -> String {
        let told = match &self.form {
            Form::BuiltIn { .. } | Form::Added { .. } | Form::Opaque => true,
            Form::Array { element } => matches!(element.form, Form::BuiltIn { .. } | Form::Added { .. }),
            _ => self.named().is_none(),
        };
        if told { self.sql.clone() } else { format!("{} ({self})", self.sql) }
    }
}

/// What it is made of, without the names and schemas that a server gives it.
impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.form {
            Form::BuiltIn { .. } | Form::Opaque => f.write_str(&self.sql),
            Form::Added { name, extension: None, modifiers, .. } => {
                write!(f, "base type {}{modifiers}", name.name)
            }
            Form::Added { name, extension: Some(extension), modifiers, .. } => {
                write!(f, "{}{modifiers} of extension {}", name.name, extension.name)
            }
            Form::Domain { base, .. } => write!(f, "domain over {base}"),
            Form::Composite { attributes, .. } => {
                let attribute =
                    |attribute: &Attribute| format!("{} {}", ident(&attribute.name), attribute.structure);
                let attributes: Vec<_> = attributes.iter().map(attribute).collect();
                write!(f, "composite of {}", attributes.join(", "))
            }
            Form::Enum { labels, .. } => {
                let labels: Vec<_> = labels.iter().map(|label| format!("{label:?}")).collect();
                write!(f, "enum of {}", labels.join(", "))
            }
            Form::Array { element } => match &element.form {
                Form::BuiltIn { .. } => write!(f, "{element}[]"),
                _ => write!(f, "array of ({element})"),
            },
            Form::Range { subtype, .. } => write!(f, "range over {subtype}"),
            Form::Multirange { range, .. } => write!(f, "multirange of ({range})"),
        }
    }
}

/// Whether values of a built-in type are OIDs that it shows as names.
pub(crate) fn is_alias(name: &str) -> bool {
    name.starts_with("reg") || name == "aclitem"
}

#[cfg(test)]
mod tests;
