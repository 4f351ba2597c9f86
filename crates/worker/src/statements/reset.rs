//! What a reset does to user tables: what an open batch left is removed, a mirror's history is kept.

use milestream_core::milestone::LocalBatch;

use crate::pair::{BATCH_ID, SecondaryNames};
use crate::postgres::sql::{ident, literal};

/// Drops what has landed of a dataset.
pub(crate) fn drop_landing(names: &SecondaryNames) -> String {
    format!("drop table if exists {}, {}", ident(&names.landing), ident(&names.sweep))
}

/// Removes what the batch staged.
pub(crate) fn clear_staged(names: &SecondaryNames, batch: LocalBatch) -> String {
    format!("delete from {} where {BATCH_ID} = {batch}", ident(&names.staging))
}

/// How many rows the batch staged.
pub(crate) fn count_staged(names: &SecondaryNames, batch: LocalBatch) -> String {
    format!("select count(*)::text from {} where {BATCH_ID} = {batch}", ident(&names.staging))
}

/// Copies a merge table to `kept`. A copy and no new name for the table itself: views and grants of readers follow the
/// table, not its name, and they are to see what the seed brings.
pub(crate) fn keep(names: &SecondaryNames, kept: &str) -> String {
    format!("create table {} as table {}", ident(kept), ident(&names.merge))
}

/// Rows that [`keep`] would copy.
pub(crate) fn count_merged(names: &SecondaryNames) -> String {
    format!("select count(*)::text from {}", ident(&names.merge))
}

/// Says in the catalog what a kept table is.
pub(crate) fn describe_kept(kept: &str, description: &str) -> String {
    format!("comment on table {} is {}", ident(kept), literal(description))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reset_does_to_user_tables() {
        let names = SecondaryNames::of("Edge", "Store \"1\"", "people");
        let statements = [
            drop_landing(&names),
            clear_staged(&names, LocalBatch(7)),
            count_staged(&names, LocalBatch(7)),
            keep(&names, "kept"),
            count_merged(&names),
            describe_kept("kept", "it's kept"),
        ];
        insta::assert_snapshot!(statements.join(";\n"));
    }
}
