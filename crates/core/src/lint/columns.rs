//! Columns: their names as Postgres sees them, and their types.

use std::collections::HashMap;

use crate::model::{Column, ColumnType};
use crate::names::{POSTGRES_IDENTIFIER_MAX, Reserved, physical_column};

use super::names::usable;
use super::problem::{Place, Report};

/// Types of DataSurface's that no column is created for here, but whose columns are carried as their tables have them.
const CARRIED: [&str; 1] = ["Geography"];
/// The longest bounded text of Postgres, in characters.
const TEXT_MAX: u32 = 10_485_760;
/// The most digits that can be declared for a number in Postgres.
const DIGITS_MAX: u32 = 1000;

pub(super) fn check(report: &mut Report<'_>, schema: &Place, columns: &[Column]) {
    let mut seen: HashMap<String, &Column> = HashMap::new();
    for column in columns {
        let place = schema.keys(["columns", &column.key]);
        let first = seen.insert(physical_column(&column.name), column);
        check_name(report, &place.key("name"), column, first);
        check_type(report, &place.key("type"), column);
    }
}

/// Checks a name; `first` is an earlier column that has the same one in Postgres.
fn check_name(report: &mut Report<'_>, place: &Place, column: &Column, first: Option<&Column>) {
    let (name, physical) = (&column.name, physical_column(&column.name));
    usable(report, place, "column", name);
    check_reserved(report, place, &physical);
    match first {
        Some(first) if first.name == *name => report.error(
            place,
            format!("there are two columns named {name:?}, here and under {:?}", first.key),
            "rename one",
        ),
        Some(first) => report.error(
            place,
            format!("column {name:?} and column {:?} are both {physical:?} in Postgres", first.name),
            format!("rename one so that they differ in the first {POSTGRES_IDENTIFIER_MAX} bytes"),
        ),
        None if *name != column.key => report.error(
            place,
            format!("the column under {:?} calls itself {name:?}", column.key),
            "make the two agree; Milestream goes by the column's own name",
        ),
        None if physical != *name => report.warning(
            place,
            format!("column {name:?} is longer than {POSTGRES_IDENTIFIER_MAX} bytes: Postgres knows it as {physical:?}"),
            "rename it if anyone is to find it by its name",
        ),
        None => {}
    }
}

/// Names are compared as Postgres compares quoted ones; whoever writes SQL without quotes writes lower case.
fn check_reserved(report: &mut Report<'_>, place: &Place, physical: &str) {
    if let Some(reserved) = Reserved::of(physical) {
        report.error(place, format!("column {physical:?} {}", reserved.reason()), Reserved::REMEDY);
    } else if Reserved::of(&physical.to_lowercase()).is_some() {
        report.warning(
            place,
            format!(
                "column {physical:?} differs only in case from {:?}, a name that is reserved: SQL without quotes means that one",
                physical.to_lowercase()
            ),
            "rename it, or always quote it",
        );
    }
}

fn check_type(report: &mut Report<'_>, place: &Place, column: &Column) {
    let (name, column_type) = (&column.name, &column.column_type);
    if let ColumnType::Other(type_name) = column_type
        && !CARRIED.contains(&type_name.as_str())
    {
        report.error(
            place,
            format!(
                "column {name:?} is of type {type_name}, of which DataSurface creates no column in Postgres"
            ),
            "choose another type, such as SmallInt for TinyInt or Variant for Binary",
        );
    }
    let size_max = if matches!(column_type, ColumnType::Decimal { .. }) { DIGITS_MAX } else { TEXT_MAX };
    let unbounded = matches!(column_type, ColumnType::Variant { .. });
    match column_type.max_size() {
        Some(0) => report.error(
            place,
            format!("column {name:?} has a maxSize of 0"),
            "make it at least 1, or -1 for no bound",
        ),
        Some(size) if size > size_max && !unbounded => report.error(
            place,
            format!("column {name:?} is of type {column_type}, and Postgres allows at most {size_max}"),
            "make maxSize smaller, or -1 for no bound",
        ),
        _ => {}
    }
    match column_type {
        ColumnType::Decimal { max_size: Some(digits), precision } if precision > digits => report.error(
            place,
            format!("column {name:?} has {precision} digits behind the point, but only {digits} in all"),
            "make precision no larger than maxSize",
        ),
        ColumnType::Decimal { max_size: None, .. } => report.warning(
            place,
            format!("column {name:?} is a Decimal without maxSize, which DataSurface refuses and Postgres does not bound"),
            "set maxSize to its number of digits",
        ),
        _ => {}
    }
}
