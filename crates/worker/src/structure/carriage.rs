//! Whether every value of one type is still the same value in another, and how it gets there.

use super::{Attribute, Form, Structure, is_alias};

/// How the values of a column travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Carriage {
    /// The type that the reading side casts to, for its own parser; none where values travel as they are.
    pub(crate) cast: Option<String>,
    /// Whether their binary form means the same on both sides.
    pub(crate) binary: bool,
}

/// What the two sides are called when they differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides {
    pub(crate) source: &'static str,
    pub(crate) target: &'static str,
}

impl Sides {
    pub(crate) const PLATFORMS: Sides = Sides { source: "on the primary", target: "on the secondary" };
    pub(crate) const INGESTION: Sides = Sides { source: "in the source", target: "in the merge table" };
}

/// How values of `source` travel into `target`.
///
/// # Errors
/// A sentence that says in what the two differ.
pub(crate) fn carry(source: &Structure, target: &Structure, sides: Sides) -> Result<Carriage, String> {
    let (own, other) = (source.below_domains(), target.below_domains());
    if let (Form::BuiltIn { .. }, Form::BuiltIn { .. }) = (&own.form, &other.form)
        && !same_built_in(own, other)
        && carries(&own.sql, &other.sql)
    {
        return Ok(Carriage { cast: Some(other.sql.clone()), binary: true });
    }
    if let Some(difference) = difference(source, target, sides) {
        return Err(difference);
    }
    let cast = whole_text(own)?;
    let binary = cast.is_none() && has_common_binary_form(own, other);
    Ok(Carriage { cast, binary })
}

/// In what the two types differ, if they do. Names of types and domains between are no difference.
fn difference(source: &Structure, target: &Structure, sides: Sides) -> Option<String> {
    let (own, other) = (source.below_domains(), target.below_domains());
    let shown = || {
        let (source, target) = (source.described(), target.described());
        Some(format!("{source} {}, {target} {}", sides.source, sides.target))
    };
    match (&own.form, &other.form) {
        (Form::BuiltIn { .. }, Form::BuiltIn { .. }) if same_built_in(own, other) => None,
        (
            Form::Added { name: own, extension: of, modifiers, .. },
            Form::Added { name: other, extension: of_other, modifiers: modifiers_of_other, .. },
        ) if own.name == other.name
            && modifiers == modifiers_of_other
            && of.as_ref().map(|own| &own.name) == of_other.as_ref().map(|other| &other.name) =>
        {
            None
        }
        (Form::Array { element }, Form::Array { element: other }) => difference(element, other, sides)
            .map(|difference| format!("elements of {}: {difference}", source.sql)),
        (Form::Enum { labels, .. }, Form::Enum { labels: others, .. }) => {
            unknown_label(labels, others, sides).map(|problem| format!("{}: {problem}", source.sql))
        }
        (Form::Composite { attributes, .. }, Form::Composite { attributes: others, .. }) => {
            attributes_differ(attributes, others, sides).map(|problem| format!("{}: {problem}", source.sql))
        }
        (Form::Range { .. }, Form::Range { .. }) => ranges_differ(own, other, sides),
        (Form::Multirange { range, .. }, Form::Multirange { range: other, .. }) => {
            difference(range, other, sides)
        }
        _ => shown(),
    }
}

fn same_built_in(one: &Structure, other: &Structure) -> bool {
    match (&one.form, &other.form) {
        (
            Form::BuiltIn { name, modifier, .. },
            Form::BuiltIn { name: other, modifier: modifier_of_other, .. },
        ) => name == other && modifier == modifier_of_other,
        _ => false,
    }
}

/// Labels beyond those of the source are no difference: no value has them.
fn unknown_label(labels: &[String], others: &[String], sides: Sides) -> Option<String> {
    let (at, label) = labels.iter().enumerate().find(|(_, label)| !others.contains(label))?;
    let Sides { source, target } = sides;
    Some(match others.get(at) {
        Some(other) if labels.len() == others.len() && !labels.contains(other) => {
            format!("label {at} is {label:?} {source}, {other:?} {target}", at = at + 1)
        }
        _ => format!("the label {label:?} {source} is not {target}"),
    })
}

fn attributes_differ(attributes: &[Attribute], others: &[Attribute], sides: Sides) -> Option<String> {
    let Sides { source, target } = sides;
    let shown = |attribute: &Attribute| format!("{} {}", attribute.name, attribute.structure.sql);
    for (at, own) in attributes.iter().enumerate() {
        let place = at + 1;
        let Some(other) = others.get(at) else {
            return Some(format!("attribute {place}, {}, {source} is not {target}", shown(own)));
        };
        if own.name != other.name {
            let (own, other) = (shown(own), shown(other));
            return Some(format!("attribute {place} is {own} {source}, {other} {target}"));
        }
        if let Some(difference) = difference(&own.structure, &other.structure, sides) {
            return Some(format!("attribute {place}, {}: {difference}", own.name));
        }
    }
    let extra = others.get(attributes.len())?;
    Some(format!("attribute {}, {}, {target} is not {source}", attributes.len() + 1, shown(extra)))
}

/// What a range holds depends on the order of its bounds, and on what makes them canonical.
fn ranges_differ(source: &Structure, target: &Structure, sides: Sides) -> Option<String> {
    let (
        Form::Range { subtype, order, collation, canonical, .. },
        Form::Range {
            subtype: other,
            order: other_order,
            collation: other_collation,
            canonical: other_canonical,
            ..
        },
    ) = (&source.form, &target.form)
    else {
        return None;
    };
    let Sides { source: here, target: there } = sides;
    let told = |what: &str, one: &str, two: &str| {
        Some(format!("{}: {what} {one} {here}, {two} {there}", source.sql))
    };
    if let Some(difference) = difference(subtype, other, sides) {
        return Some(format!("bounds of {}: {difference}", source.sql));
    }
    if order != other_order {
        return told("bounds are ordered by", order, other_order);
    }
    let no_function = "no function";
    if canonical != other_canonical {
        let name = |function: &Option<String>| function.clone().unwrap_or(no_function.to_owned());
        return told("values are made canonical by", &name(canonical), &name(other_canonical));
    }
    if let (Some(one), Some(two)) = (collation, other_collation)
        && !one.orders_like(two)
    {
        return told("bounds are ordered by the collation", &one.to_string(), &two.to_string());
    }
    labels_reordered(subtype, other)
        .then(|| format!("bounds of {}: the labels stand in another order {there}", source.sql))
}

/// Whether an enum below domains has its labels in another order.
fn labels_reordered(source: &Structure, target: &Structure) -> bool {
    match (&source.below_domains().form, &target.below_domains().form) {
        (Form::Enum { labels, .. }, Form::Enum { labels: others, .. }) => {
            let known: Vec<_> = others.iter().filter(|other| labels.contains(other)).collect();
            known != labels.iter().collect::<Vec<_>>()
        }
        _ => false,
    }
}

/// What shows the whole of a value as text, where the type's own output function leaves something out: xml loses
/// the encoding of its declaration.
fn whole_text(own: &Structure) -> Result<Option<String>, String> {
    let is_xml = |part: &Structure| part.is_built_in("xml");
    if is_xml(own) {
        return Ok(Some("text".to_owned()));
    }
    match &own.form {
        Form::Array { element } if is_xml(element.below_domains()) => Ok(Some("text[]".to_owned())),
        _ if own.holds(&is_xml) => {
            Err(format!("{}: xml loses its declaration inside of another type", own.described()))
        }
        _ => Ok(None),
    }
}

/// Whether the bytes that one server sends mean the same to the other. Composites, and arrays of what is not built
/// in, send the server's own OIDs along; what an extension sends may change with its version.
fn has_common_binary_form(one: &Structure, other: &Structure) -> bool {
    match (&one.form, &other.form) {
        (Form::BuiltIn { name, sends, .. }, Form::BuiltIn { sends: receives, .. }) => {
            *sends && *receives && !is_alias(name)
        }
        (
            Form::Added { extension: Some(own), sends, .. },
            Form::Added { extension: Some(other), sends: receives, .. },
        ) => *sends && *receives && own.version == other.version,
        (Form::Enum { .. }, Form::Enum { .. }) => true,
        (Form::Array { element }, Form::Array { element: other }) => {
            matches!((&element.form, &other.form), (Form::BuiltIn { .. }, Form::BuiltIn { .. }))
                && has_common_binary_form(element, other)
        }
        (Form::Range { subtype: part, .. }, Form::Range { subtype: other, .. })
        | (Form::Multirange { range: part, .. }, Form::Multirange { range: other, .. }) => {
            has_common_binary_form(part.below_domains(), other.below_domains())
        }
        _ => false,
    }
}

/// Whether every value of one type, cast to the other, is still the same value.
pub(crate) fn carries(source: &str, target: &str) -> bool {
    if source == target {
        return true;
    }
    // A cast between arrays cuts their elements without a word.
    if source.ends_with("[]") || target.ends_with("[]") {
        return false;
    }
    const INTEGERS: [&str; 3] = ["smallint", "integer", "bigint"];
    let rank = |name: &str| INTEGERS.iter().position(|integer| *integer == name);
    if let (Some(source), Some(target)) = (rank(source), rank(target)) {
        return source <= target;
    }
    let varchar = |name: &str| name == "text" || name.starts_with("character varying");
    let both = |is_so: &dyn Fn(&str) -> bool| is_so(source) && is_so(target);
    if both(&varchar) || both(&|name| name.starts_with("bit varying")) || same_time(source, target) {
        return match (bound(source), bound(target)) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(source), Some(target)) => source <= target,
        };
    }
    if let (Some((whole, fraction)), Some((wider, finer))) = (digits(source), digits(target)) {
        return whole <= wider && fraction <= finer;
    }
    (source == "real" && target == "double precision")
        || (source.starts_with("numeric(") && target == "numeric")
}

/// Whether two types of time differ in nothing but their precision.
fn same_time(source: &str, target: &str) -> bool {
    unbounded(source).is_some_and(|source| unbounded(target) == Some(source))
}

/// A type of time without the precision that is written into its name; none for other types.
fn unbounded(name: &str) -> Option<String> {
    let (head, tail) = name
        .split_once('(')
        .map_or((name, ""), |(head, tail)| (head, tail.split_once(')').map_or("", |(_, tail)| tail)));
    let whole = format!("{head}{tail}");
    ["timestamp", "time", "interval"].contains(&head.split(' ').next().unwrap_or_default()).then_some(whole)
}

/// Digits before and behind the point of `numeric(p,s)`.
fn digits(name: &str) -> Option<(i32, i32)> {
    let (precision, scale) = name.strip_prefix("numeric(")?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale): (i32, i32) = (precision.parse().ok()?, scale.parse().ok()?);
    Some((precision - scale, scale))
}

/// The n of `character varying(n)` or `timestamp(n) with time zone`.
fn bound(name: &str) -> Option<u32> {
    name.split_once('(')?.1.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_type_carries_and_a_narrower_does_not() {
        for (source, target) in [
            ("integer", "bigint"),
            ("character varying(20)", "character varying(40)"),
            ("character varying(20)", "text"),
            ("real", "double precision"),
            ("numeric(10,2)", "numeric"),
            ("numeric(10,2)", "numeric(12,4)"),
            ("jsonb", "jsonb"),
            ("timestamp(3) with time zone", "timestamp with time zone"),
            ("time(0) without time zone", "time(3) without time zone"),
            ("bit varying(5)", "bit varying(8)"),
        ] {
            assert!(carries(source, target), "{source} into {target}");
        }
        for (source, target) in [
            ("bigint", "integer"),
            ("text", "character varying(40)"),
            ("character varying(40)", "character varying(20)"),
            ("date", "integer"),
            ("numeric", "numeric(10,2)"),
            ("numeric(10,2)", "numeric(10,4)"),
            ("numeric(10,4)", "numeric(12,2)"),
            ("timestamp without time zone", "timestamp with time zone"),
            ("character varying(20)[]", "character varying(10)[]"),
            ("text", "character varying(10)[]"),
            ("timestamp without time zone", "timestamp(0) without time zone"),
            ("time without time zone", "time with time zone"),
            ("interval", "interval day to second"),
            ("bit varying", "bit varying(8)"),
            ("bit(5)", "bit varying(8)"),
        ] {
            assert!(!carries(source, target), "{source} into {target}");
        }
    }
}
