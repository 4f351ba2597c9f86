//! The primary's table: DataSurface's people as a forensic merge table, whose batches replace some of them each.

use std::sync::atomic::{AtomicI32, Ordering};

use milestream_cluster::Server;

use crate::people::{execute_in, number};

/// The table that is copied.
pub(crate) const TABLE: &str = "hub_store1_people_merge";
/// Batch 1 brings all keys, each of the next ten replaces one of a hundred.
const BATCHES: i32 = 11;

/// A people table in a database of its own, and how far its batches have come.
pub(crate) struct People {
    pub(crate) database: String,
    pub(crate) keys: u64,
    newest: AtomicI32,
    width: u32,
}

impl People {
    /// A table of `keys` keys after eleven batches; with `width`, in a database of its own name, it has another column
    /// of that many bytes.
    pub(crate) async fn build(primary: &Server, name: &str, keys: u64, width: u32) -> People {
        let database = format!("people_{name}");
        primary.drop_database(&database).await.expect("dropping an older primary");
        primary.create_database(&database).await.expect("the primary's database");
        let people = People { database, keys, newest: AtomicI32::new(BATCHES), width };
        people.execute(primary, &people.tables()).await;
        people.execute(primary, &people.rows()).await;
        let [first, second] = [0, 1].map(|half| people.indexes().skip(half).step_by(2).collect::<String>());
        tokio::join!(people.execute(primary, &first), people.execute(primary, &second));
        // VACUUM cannot share a round trip with anything else.
        people.execute(primary, &format!("vacuum analyze {TABLE}")).await;
        people.execute(primary, "checkpoint").await;
        people
    }

    /// The newest batch.
    pub(crate) fn newest(&self) -> i32 {
        self.newest.load(Ordering::Relaxed)
    }

    /// Columns of the model, quoted; the key comes first.
    pub(crate) fn columns(&self) -> String {
        let padding = if self.width > 0 { ", padding" } else { "" };
        format!("id, \"firstName\", \"lastName\", dob, employer, dod{padding}")
    }

    /// The same with their types.
    pub(crate) fn typed_columns(&self) -> String {
        let padding = if self.width > 0 { ", padding text" } else { "" };
        format!(
            "id varchar(20) not null, \"firstName\" varchar(100), \"lastName\" varchar(100), dob date, \
             employer varchar(100), dod date{padding}"
        )
    }

    /// Whether there is the column that widens the rows.
    pub(crate) fn is_padded(&self) -> bool {
        self.width > 0
    }

    /// One more batch, which replaces `rows` records spread over the whole table: their versions are closed in place,
    /// new ones appended. The number of records it did replace.
    pub(crate) async fn replace(&self, primary: &Server, rows: u64) -> u64 {
        self.replace_among(primary, rows, self.keys).await
    }

    /// The same, of the first `keys` keys alone: what a batch does to a small table, done to a large one.
    pub(crate) async fn replace_among(&self, primary: &Server, rows: u64, keys: u64) -> u64 {
        let batch = self.newest() + 1;
        let numbers = spread(rows, keys, batch);
        let statement = format!(
            "with closed as (update {TABLE} t set ds_surf_batch_out = {batch} - 1 from {numbers} \
               where t.id = {KEY} and t.ds_surf_batch_out = 2147483647 returning 1), \
             opened as (insert into {TABLE} {} from (select {batch} b, i.i from {numbers}) s returning 1) \
             insert into hub_batch_metrics select 'store1', {batch}, now(), now(), 'committed', \
               (select count(*) from opened), (select count(*) from closed), 0, null, null",
            self.versions("2147483647")
        );
        self.execute(primary, &statement).await;
        self.execute(primary, &format!("vacuum analyze {TABLE}")).await;
        self.execute(primary, "checkpoint").await;
        self.newest.store(batch, Ordering::Relaxed);
        let counted =
            format!("select records_inserted::int8 from hub_batch_metrics where batch_id = {batch}");
        self.ask(primary, &counted).await.unsigned_abs()
    }

    pub(crate) async fn execute(&self, primary: &Server, statements: &str) {
        execute_in(primary, &self.database, statements).await;
    }

    pub(crate) async fn ask(&self, primary: &Server, question: &str) -> i64 {
        number(primary, &self.database, question).await
    }

    fn tables(&self) -> String {
        format!(
            "create table {TABLE} ({}, ds_surf_all_hash varchar(32) not null, ds_surf_key_hash varchar(32) not null, \
               ds_surf_batch_in integer not null, ds_surf_batch_out integer not null);
             create table hub_batch_metrics (key varchar(255), batch_id integer, batch_start_time timestamp, \
               batch_end_time timestamp, batch_status varchar(32), records_inserted integer, records_updated integer, \
               records_deleted integer, total_records integer, state varchar(2048), primary key (key, batch_id));",
            self.typed_columns()
        )
    }

    /// Batch `r + 2` replaces the keys whose number leaves the rest `r` of a hundred.
    fn rows(&self) -> String {
        let keys = self.keys;
        let closed_or_live =
            format!("case when i % 100 < {BATCHES} - 1 then i % 100 + 1 else 2147483647 end");
        let later = format!(
            "generate_series(2, {BATCHES}) b, generate_series(case b when 2 then 100 else b - 2 end, {keys}, 100) i"
        );
        format!(
            "insert into {TABLE} {} from (select 1 b, i from generate_series(1, {keys}) i) s;
             insert into {TABLE} {} from (select b, i from {later}) s;
             insert into hub_batch_metrics select 'store1', ds_surf_batch_in, now(), now(), 'committed', count(*), \
               case when ds_surf_batch_in > 1 then count(*) else 0 end, 0, null, null from {TABLE} group by ds_surf_batch_in;",
            self.versions(&closed_or_live),
            self.versions("2147483647"),
        )
    }

    /// What is selected for the versions that batch `b` makes of keys `i`.
    fn versions(&self, batch_out: &str) -> String {
        let padding = match self.width {
            0 => String::new(),
            // Not to be compressed: the width is meant.
            width => format!(", substr(repeat(md5(i::text || b), {width} / 32 + 1), 1, {width})"),
        };
        format!(
            "select {KEY}, 'First' || ((i + b) % 5000), 'Last' || (i % 90000), date '1950-01-01' + (i % 20000)::int, \
               case when i % 5 = 0 then null else 'Employer ' || (i % 3000) end, \
               case when i % 11 = 0 then date '2020-01-01' + (i % 900)::int end{padding}, \
               md5(i::text || ' ' || b), md5({KEY}), b, {batch_out}"
        )
    }

    /// The six indexes of DataSurface.
    fn indexes(&self) -> impl Iterator<Item = String> {
        forensic_indexes(TABLE).into_iter().map(|index| format!("{index};"))
    }
}

/// About `rows` numbers of the first `keys`, spread over them; others for each batch. Of each hundred so many; or, where
/// that would be less than ten, one of so many.
fn spread(rows: u64, keys: u64, batch: i32) -> String {
    let of_hundred = rows * 100 / keys.max(1);
    if of_hundred >= 10 {
        return format!(
            "(select i from generate_series(1::int8, {keys}) i where (i * 37 + {batch}) % 100 < {of_hundred}) i"
        );
    }
    let stride = (keys / rows.max(1)).max(1);
    let first = 1 + u64::from(batch.unsigned_abs()) * 7919 % stride;
    format!("(select i from generate_series({first}::int8, {keys}, {stride}) i) i")
}

/// The key of number `i`.
const KEY: &str = "('P' || lpad(i::text, 12, '0'))";

/// The six indexes of a forensic merge table.
pub(crate) fn forensic_indexes(table: &str) -> Vec<String> {
    let plain = |columns: &str| format!("create index on {table} ({columns})");
    vec![
        format!("alter table {table} add primary key (id, ds_surf_batch_in)"),
        plain("ds_surf_key_hash"),
        plain("ds_surf_batch_out"),
        plain("ds_surf_key_hash, ds_surf_batch_out"),
        plain("ds_surf_batch_in"),
        plain("ds_surf_batch_in, ds_surf_batch_out"),
    ]
}
