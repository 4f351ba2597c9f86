//! The worker's peak memory: many rows, and large values.

use milestream_worker::Holding;

use crate::compare::acts::figure;
use crate::compare::marks::Mark;
use crate::compare::report::Report;
use crate::compare::stage::Stage;
use crate::compare::worker::{Secondary, text_stream};
use crate::people::execute_in;

const MIB_MAX: f64 = 64.0;
const VALUE_BYTES: u32 = 50_000_000;
const VALUES: u32 = 8;
const STREAMS_OF_VALUES: u32 = 2;
const DATABASE: &str = "values_large";

pub(super) async fn peak(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let (_, keys) = stage.arguments.slope_keys();
    let people = stage.table(keys).await;
    let finished = stage.seed(&stage.live(&people), &people, &["--parallelism", "4"]).await?;
    let mib = figure(finished.peak_kib) / 1024.0;
    let what = format!("peak memory at {keys} rows, 4 streams");
    report.mark(Mark::measured(what, mib, format!("{mib:.0} MiB"), MIB_MAX, " MiB"));
    of_large_values(stage, report).await
}

async fn of_large_values(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let primary = &stage.ground.primary;
    primary.drop_database(DATABASE).await.map_err(|error| error.to_string())?;
    primary.create_database(DATABASE).await.map_err(|error| error.to_string())?;
    execute_in(primary, DATABASE, &large_values()).await;
    execute_in(primary, DATABASE, "vacuum analyze hub_store1_large_merge").await;
    let stream = text_stream("large", "id", &["filler", "body"]);
    let secondary = Secondary::of(&stage.binary, &stage.ground, DATABASE, stream, Holding::LiveOnly);
    stage.ground.clear_target().await;
    let streams = STREAMS_OF_VALUES.to_string();
    let finished = secondary.sync(&["--parallelism", &streams, "--seed-chunk-rows", "1"]).await?;
    stage
        .expect_rows("edge_store1_large_merge", &format!("length(body) = {VALUE_BYTES}"), VALUES.into())
        .await?;
    let mib = figure(finished.peak_kib) / 1024.0;
    let value_mib = f64::from(VALUE_BYTES) / 1024.0 / 1024.0;
    let at_most = (MIB_MAX + 4.0 * value_mib * f64::from(STREAMS_OF_VALUES)).round();
    let what = format!("peak memory with values of 50 MB, {STREAMS_OF_VALUES} streams");
    report.mark(Mark::measured(what, mib, format!("{mib:.0} MiB"), at_most, " MiB"));
    Ok(())
}

/// One row a block, so that blocks can be divided among streams; the values compress well on disk, not on their way.
fn large_values() -> String {
    format!(
        "create table hub_store1_large_merge (id varchar(20) not null, filler text, body text, \
           ds_surf_all_hash varchar(32) not null, ds_surf_key_hash varchar(32) not null, \
           ds_surf_batch_in integer not null, ds_surf_batch_out integer not null, primary key (id, ds_surf_batch_in));
         alter table hub_store1_large_merge alter column filler set storage plain;
         insert into hub_store1_large_merge select i::text, repeat('x', 7000), repeat(chr(96 + i), {VALUE_BYTES}), \
           md5(i::text), md5(i::text), 1, 2147483647 from generate_series(1, {VALUES}) i;
         create index on hub_store1_large_merge (ds_surf_batch_out); create index on hub_store1_large_merge (ds_surf_batch_in);
         create table hub_batch_metrics (key varchar(255), batch_id integer, batch_start_time timestamp, \
           batch_end_time timestamp, batch_status varchar(32), records_inserted integer, records_updated integer, \
           records_deleted integer, total_records integer, state varchar(2048), primary key (key, batch_id));
         insert into hub_batch_metrics values ('store1', 1, now(), now(), 'committed', {VALUES}, 0, 0, null, null);"
    )
}
