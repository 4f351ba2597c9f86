//! Whether two columns call the same values equal: keys are matched on either server by its own equality.

use crate::postgres::catalog::Column;

/// Why keys that are told apart on one server may be one on the other.
pub(super) fn problem(source: &Column, target: &Column) -> Option<String> {
    if source.is_loose() || target.is_loose() {
        let problem = "a key column has a nondeterministic collation, which takes different keys for one";
        return Some(problem.to_owned());
    }
    let (own, other) = (source.structure.folded_by()?, target.structure.folded_by()?);
    (!own.folds_like(other)).then(|| {
        format!(
            "a key column's equality is that of the database's collation, which is {own} on the primary and {other} \
             on the secondary: keys that differ on one may be equal on the other"
        )
    })
}

/// Whether equal digests mean equal values, without going through text.
pub(super) fn hashes_alike(source: &Column, target: &Column) -> bool {
    let alike = |column: &Column| column.structure.hashes_alike() && !column.is_loose();
    alike(source) && alike(target)
}
