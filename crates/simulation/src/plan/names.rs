//! Names of stores, datasets and columns, among them those that break careless SQL.

/// Names that tables get.
pub(super) const DATASETS: [&str; 14] = [
    "people",
    "Orders",
    "order items",
    "na\u{ef}ve",
    "a\"b",
    "select",
    "semi;colon",
    "per%cent",
    "dollar$1",
    "back\\slash",
    "it's",
    "a_name_that_is_longer_than_what_is_left_of_sixty_three_bytes_for_it",
    "\u{1f642}",
    "x",
];

/// Names that columns get. None is one of DataSurface's own.
pub(super) const COLUMNS: [&str; 18] = [
    "id",
    "name",
    "firstName",
    "key",
    "currentBatch",
    "a\"b",
    "Gr\u{f6}\u{df}e",
    "select",
    "x y",
    "c?",
    "$1",
    "it's",
    "%s",
    "order",
    "d",
    "v",
    "s",
    "t",
];

/// Names that stores get.
pub(super) const STORES: [&str; 5] =
    ["Store1", "st\"ore", "Laden 7", "s", "a_store_with_a_name_of_quite_some_length"];
