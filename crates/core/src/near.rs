//! Names that may have been meant by one that is not known.

/// Names less alike than this are no help.
const LIKENESS_MIN: f64 = 0.7;
/// Names that are so much less alike than the nearest one are not meant.
const LIKENESS_SPREAD_MAX: f64 = 0.1;
/// Names that are offered at most.
const OFFERED_MAX: usize = 3;
/// Names that are listed at most when none is near.
const LISTED_MAX: usize = 12;

/// What to do about a name that is not among those known: near names, or else the names there are.
pub fn advice<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = near(wanted, &known);
    if !near.is_empty() {
        return format!("did you mean {}?", quoted(&near, " or "));
    }
    match known.len() {
        0 => "there is none".into(),
        count if count <= LISTED_MAX => format!("there is {}", quoted(&known, ", ")),
        count => format!("there are {count}, among them {}", quoted(&known[..LISTED_MAX], ", ")),
    }
}

/// Names in quotes, with `between` between them.
pub(crate) fn quoted<T: AsRef<str>>(names: &[T], between: &str) -> String {
    names.iter().map(|name| format!("{:?}", name.as_ref())).collect::<Vec<_>>().join(between)
}

fn near<'a>(wanted: &str, known: &[&'a str]) -> Vec<&'a str> {
    let wanted = wanted.to_lowercase();
    let likeness = |name: &str| strsim::jaro_winkler(&wanted, &name.to_lowercase());
    let mut near: Vec<_> = known.iter().map(|name| (likeness(name), *name)).collect();
    near.retain(|(likeness, _)| *likeness >= LIKENESS_MIN);
    near.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    near.dedup();
    let best = near.first().map_or(1.0, |(likeness, _)| *likeness);
    near.retain(|(likeness, _)| best - likeness <= LIKENESS_SPREAD_MAX);
    near.into_iter().take(OFFERED_MAX).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered_and_strangers_are_listed() {
        assert_eq!(advice("edgee", ["Hub", "Edge", "Archive"]), "did you mean \"Edge\"?");
        assert_eq!(advice("zzz", ["Hub", "Edge"]), "there is \"Hub\", \"Edge\"");
        assert_eq!(advice("zzz", []), "there is none");
        let many: Vec<String> = (0..20).map(|number| format!("{number}")).collect();
        assert!(advice("zzz", many.iter().map(String::as_str)).starts_with("there are 20, among them \"0\""));
    }
}
