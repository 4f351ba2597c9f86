//! Finds a type of one server on another, where no column says yet which it is, and says how to make what is missing.

use super::{Carriage, Form, Name, Sides, Structure, carry};
use crate::postgres::sql::{ident, literal};

/// A type that another server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) structure: Structure,
    /// Whether it is found by its name alone.
    pub(crate) visible: bool,
}

/// Every name of a type that `structure` is made of, parts before wholes.
pub(crate) fn names(structure: &Structure) -> Vec<&Name> {
    let parts = structure.parts().into_iter().flat_map(names);
    parts.chain(own_name(structure)).collect()
}

/// The type of the other server that stands for `source`, by what it is and then by where it is: of the same
/// extension, in the same schema, found by name alone, or else the only one of that name. Types that are built in
/// stand for themselves.
pub(crate) fn counterpart(source: &Structure, candidates: &[Candidate]) -> Option<Structure> {
    match &source.form {
        Form::Array { element } => {
            let element = Box::new(counterpart(element, candidates)?);
            return Some(Structure { sql: format!("{}[]", element.sql), form: Form::Array { element } });
        }
        _ if source.named().is_none() => return Some(source.clone()),
        _ => {}
    }
    let name = source.named()?;
    let mut found: Vec<_> = candidates
        .iter()
        .filter(|candidate| own_name(&candidate.structure).is_some_and(|own| own.name == name.name))
        .map(|candidate| Candidate {
            structure: modified_like(source, &candidate.structure),
            ..candidate.clone()
        })
        .collect();
    found.sort_by_key(|candidate| std::cmp::Reverse(closeness(source, candidate)));
    found.into_iter().next().map(|candidate| candidate.structure)
}

/// What decides between types of one name, the most telling first.
fn closeness(source: &Structure, candidate: &Candidate) -> (bool, bool, bool) {
    let carried: Result<Carriage, String> = carry(source, &candidate.structure, Sides::PLATFORMS);
    (carried.is_ok(), source.named() == candidate.structure.named(), candidate.visible)
}

/// A type of an extension with the modifiers that the source's has.
fn modified_like(source: &Structure, candidate: &Structure) -> Structure {
    let mut found = candidate.clone();
    if let (Form::Added { modifiers, .. }, Form::Added { modifiers: own, .. }) =
        (&source.form, &mut found.form)
    {
        own.clone_from(modifiers);
        found.sql.push_str(modifiers);
    }
    found
}

fn own_name(structure: &Structure) -> Option<&Name> {
    match structure.form {
        Form::Array { .. } => None,
        _ => structure.named(),
    }
}

/// Statements that make what `source` is made of and `candidates` lack, in an order that works.
pub(crate) fn definitions(source: &Structure, candidates: &[Candidate]) -> Vec<String> {
    let mut statements: Vec<String> =
        source.parts().into_iter().flat_map(|part| definitions(part, candidates)).collect();
    if own_name(source).is_some() && counterpart(source, candidates).is_none() {
        statements.extend(definition(source));
    }
    let mut once = Vec::new();
    for statement in statements {
        if !once.contains(&statement) {
            once.push(statement);
        }
    }
    once
}

fn definition(source: &Structure) -> Vec<String> {
    let Some(name) = own_name(source) else { return Vec::new() };
    let sql = &source.sql;
    let create = match &source.form {
        Form::Added { extension: Some(extension), .. } => {
            return vec![format!("CREATE EXTENSION IF NOT EXISTS {};", ident(&extension.name))];
        }
        Form::Domain { base, .. } => format!("CREATE DOMAIN {sql} AS {};", base.sql),
        Form::Enum { labels, .. } => {
            let labels: Vec<_> = labels.iter().map(|label| literal(label)).collect();
            format!("CREATE TYPE {sql} AS ENUM ({});", labels.join(", "))
        }
        Form::Composite { attributes, .. } => {
            let attributes: Vec<_> = attributes
                .iter()
                .map(|attribute| format!("{} {}", ident(&attribute.name), attribute.structure.sql))
                .collect();
            format!("CREATE TYPE {sql} AS ({});", attributes.join(", "))
        }
        Form::Range { subtype, .. } => format!("CREATE TYPE {sql} AS RANGE (subtype = {});", subtype.sql),
        // A multirange comes with its range; a base type is nothing that a statement of ours could make.
        _ => return Vec::new(),
    };
    let schema =
        (name.schema != "public").then(|| format!("CREATE SCHEMA IF NOT EXISTS {};", ident(&name.schema)));
    schema.into_iter().chain([create]).collect()
}

/// Statements that give the enums of `target`, a type of the other server, the labels of `source`.
///
/// A label that stands where another one stood was renamed: rows that hold it are renamed with it, which a label
/// that is merely added would not do.
pub(crate) fn relabelled(source: &Structure, target: &Structure) -> Vec<String> {
    let (own, other) = (source.below_domains(), target.below_domains());
    if let (Form::Enum { labels, .. }, Form::Enum { labels: others, .. }) = (&own.form, &other.form) {
        return relabel(&other.sql, labels, others);
    }
    own.parts().into_iter().zip(other.parts()).flat_map(|(own, other)| relabelled(own, other)).collect()
}

fn relabel(sql: &str, labels: &[String], others: &[String]) -> Vec<String> {
    let missing: Vec<_> = labels.iter().enumerate().filter(|(_, label)| !others.contains(label)).collect();
    let renamed = |at: usize| others.get(at).filter(|other| !labels.contains(other));
    if labels.len() == others.len() && missing.iter().all(|(at, _)| renamed(*at).is_some()) {
        let rename = |(at, label): &(usize, &String)| {
            let former = renamed(*at).map(|other| literal(other)).unwrap_or_default();
            format!("ALTER TYPE {sql} RENAME VALUE {former} TO {};", literal(label))
        };
        return missing.iter().map(rename).collect();
    }
    // A label of the other side alone may be what one of these was called before: which, nobody can tell from here.
    if others.iter().any(|other| !labels.contains(other)) {
        return Vec::new();
    }
    // From the back, so that the label before which one is added is there already.
    let add = |(at, label): &(usize, &String)| {
        let next = labels.get(at + 1);
        let place = next.map(|next| format!(" BEFORE {}", literal(next))).unwrap_or_default();
        format!("ALTER TYPE {sql} ADD VALUE {}{place};", literal(label))
    };
    missing.iter().rev().map(add).collect()
}
