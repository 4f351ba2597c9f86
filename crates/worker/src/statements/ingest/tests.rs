use milestream_core::milestone::LocalBatch;

use super::*;
use crate::statements::samples::pair;

const BATCH: LocalBatch = LocalBatch(7);

#[test]
fn the_source_is_read_in_the_merge_tables_types_with_hashes_by_formula() {
    let pair = pair(Holding::Mirror);
    for hash in [HashFormula::DataSurface, HashFormula::Strict] {
        insta::assert_snapshot!(format!("copy_out_{hash:?}").to_lowercase(), copy_out(&pair, hash, BATCH));
    }
}

#[test]
fn rows_are_staged_under_the_key_and_their_batch() {
    let pair = pair(Holding::Mirror);
    let mut statements = vec![drop_staging(&pair)];
    statements.extend(create_staging(&pair));
    statements.push(copy_in(&pair));
    insta::assert_snapshot!(statements.join(";\n"));
}

#[test]
fn a_merge_table_that_is_new_is_loaded() {
    let statements = [Holding::LiveOnly, Holding::Mirror].map(|holding| load(&pair(holding), BATCH));
    insta::assert_snapshot!(statements.join(";\n"));
}

#[test]
fn staged_rows_are_compared_with_live_ones_once() {
    let mut statements = Vec::new();
    for holding in [Holding::LiveOnly, Holding::Mirror] {
        statements.extend(find_difference(&pair(holding), BATCH));
    }
    statements.extend([count_difference(), forget_difference()]);
    insta::assert_snapshot!(statements.join(";\n"));
}

#[test]
fn versions_are_closed_as_of_the_batch_before_and_opened_as_of_this_one() {
    let pair = pair(Holding::Mirror);
    insta::assert_snapshot!([newest_opened(&pair), close(&pair, BATCH), open(&pair, BATCH)].join(";\n"));
}

#[test]
fn live_rows_are_deleted_updated_and_inserted() {
    let pair = pair(Holding::LiveOnly);
    insta::assert_snapshot!([delete(&pair), update(&pair, BATCH), insert_new(&pair, BATCH)].join(";\n"));
}

#[test]
fn keys_that_share_a_hash_are_found_in_staging() {
    insta::assert_snapshot!(colliding_keys(&pair(Holding::LiveOnly), BATCH));
}

#[test]
fn what_was_merged_is_proven_over_the_difference() {
    let statements = [Holding::LiveOnly, Holding::Mirror].map(|holding| proof(&pair(holding), BATCH));
    insta::assert_snapshot!(statements.join(";\n"));
}
