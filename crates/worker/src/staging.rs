//! Whether a staging table that is there can be used as it is.

use crate::pair::Pair;
use crate::postgres::catalog::Table;

/// The same types as the merge table's, the key that refuses two rows of one key, and nothing else that would have
/// to be filled. `own` are the columns staged beside the carried ones.
pub(crate) fn fits(pair: &Pair, staging: &Table, own: &[&str], key: &[&str]) -> bool {
    let typed = |(name, wanted): (&str, &str)| {
        staging.column(name).is_some_and(|column| column.sql_type() == wanted && !column.generated)
    };
    let carried = pair.columns.iter().map(|column| (column.name.as_str(), column.target_type.as_str()));
    let written = |name: &str| own.contains(&name) || pair.column_names().any(|carried| carried == name);
    let (mut wanted, mut actual) = (key.to_vec(), staging.primary_key.clone());
    wanted.sort_unstable();
    actual.sort_unstable();
    carried.into_iter().all(typed)
        && own.iter().all(|name| staging.column(name).is_some())
        && staging.columns.iter().all(|column| column.nullable || written(&column.name))
        && actual == wanted
}
