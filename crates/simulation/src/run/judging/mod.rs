//! The judgement of what a secondary holds: after every commit, after every sync, and of what readers saw.

mod books;
mod leftovers;
mod limits;
mod staged;
mod structure;
mod system_columns;

use std::collections::BTreeMap;

use milestream_oracle::{Difference, LIVE, Primary, Row, Shape, differences};

use super::Failure;
use super::asker::{Asker, quoted};
use super::ledger::{Capture, Held, Ledger, When};
use super::primary::StreamState;
use super::record::Recorder;
use super::secondary::{Follower, SecondaryState, rows_of};
use crate::forensic::Table;
use crate::outcome::Property;
use crate::plan::{Keeps, SecondaryPlan};

pub(super) use books::Books;
pub(super) use system_columns::Written;

use books::Committed;

impl SecondaryState {
    /// A commit was seen: compares everything with the model, and remembers what is there.
    pub(crate) async fn check_commit(
        &self,
        key: &str,
        watermark: i32,
        primary_pruned_before: Option<i32>,
        when: When,
        recorder: &Recorder,
    ) -> Result<(), Failure> {
        let follower = self.follower(key);
        let mut ledger = follower.ledger.lock().await;
        let mut asker = self.place.asker().await?;
        asker.execute("begin isolation level repeatable read read only").await?;
        let at = format!("{} of {key:?}", self.plan.name);
        if let Some(held) = &ledger.held
            && !ledger.was_reset
            && (watermark < held.watermark
                // Datasets that come take the watermark of the others.
                || (watermark == held.watermark && !ledger.lacks_any(follower.tables())))
        {
            let what = format!("{at}: the watermark went from {} to {watermark}", held.watermark);
            recorder.violated(Property::Monotony, what);
        }
        let Some(capture) = ledger.capture.take_if(|capture| capture.to == watermark) else {
            let what = format!("{at}: batch {watermark} was committed, which no plan went to");
            recorder.violated(Property::Once, what);
            asker.execute("commit").await?;
            asker.close().await;
            return Ok(());
        };
        let found = self.watermark(key, &mut asker).await?;
        if found != Some(watermark) {
            let what = format!("{at}: committed batch {watermark}, the stream's row says {found:?}");
            recorder.violated(Property::Together, what);
        }
        let inherited = match capture.from {
            Some(_) => vec![ledger.held.as_ref().map_or(0, |held| held.pruned_before)],
            // What was pruned while a seed was read is there or not; the count before landing tells half from whole.
            None => [Some(capture.pruned_before), primary_pruned_before].into_iter().flatten().collect(),
        };
        let (pruned_before, rows) = self.expected(follower, &capture, &inherited, &mut asker).await?;
        let (rows, by_hand, unnoticed) = ledger.under_hands(&capture, rows, self.plan.holding);
        self.compare(follower, &rows, &format!("{at} as of batch {watermark}"), &mut asker, recorder).await?;
        if let Some(row) = unnoticed.first() {
            let what = format!(
                "{at}: batch {watermark} was written over what a hand had done to {} rows, as to {row:?}",
                unnoticed.len()
            );
            recorder.violated(Property::Definite, what);
        }
        let mut held = Held {
            watermark,
            restores: capture.restores,
            pruned_before,
            rows,
            live: live(&capture.oracle, follower.tables(), watermark),
            written: Written::new(),
            by_hand,
        };
        if let Some(deleted) = self.too_many_deletes(follower, &ledger, &capture) {
            let what = format!("{at} as of batch {watermark} {deleted}, more than max_delete_fraction");
            recorder.violated(Property::Definite, what);
        }
        let wrong = self.wrong_in_late_column(follower, &mut asker).await?;
        if wrong > 0 {
            let what = format!(
                "{at} as of batch {watermark}: {wrong} rows lack the primary's value in a late column"
            );
            recorder.violated(Property::Exactness, what);
        }
        if self.has_other_types(follower) {
            let what = format!("{at}: synced to batch {watermark} though its types are not the primary's");
            recorder.violated(Property::Definite, what);
        }
        match self.committed(follower, watermark, &mut asker).await? {
            Some(committed) => {
                self.check_counts(follower, &ledger, &capture, &held, &committed, recorder);
                let looked = Looked { follower, capture: &capture, committed: &committed, when };
                self.check_the_rest(&looked, &mut ledger, &mut held, &mut asker, recorder).await?;
            }
            None => {
                let what = format!("{at} at batch {watermark}: sync_history has no row of the commit");
                recorder.violated(Property::Metrics, what);
            }
        }
        if when == When::AtOnce {
            self.check_leftovers(follower, &mut asker, recorder).await?;
        }
        let digest = self.digest(follower, &mut asker).await?;
        asker.execute("commit").await?;
        asker.close().await;
        ledger.digests.entry(watermark).or_default().insert(digest);
        ledger.held = Some(held);
        ledger.was_reset = false;
        ledger.returned.clear();
        ledger.done.clear();
        recorder.synced();
        Ok(())
    }

    /// Whether a stream still holds exactly what its last commit left; of a commit that nobody saw, whether that is
    /// whole.
    pub(crate) async fn check_held(
        &self,
        key: &str,
        primary_pruned_before: Option<i32>,
        recorder: &Recorder,
    ) -> Result<(), Failure> {
        let follower = self.follower(key);
        let mut asker = self.place.asker().await?;
        if !self.is_begun(&mut asker).await? {
            return Ok(());
        }
        let found = self.watermark(key, &mut asker).await?;
        let ledger = follower.ledger.lock().await;
        let known = ledger.held.as_ref().map(|held| held.watermark);
        if let Some(watermark) = found
            && (found != known || ledger.was_reset)
        {
            drop(ledger);
            asker.close().await;
            return self.check_commit(key, watermark, primary_pruned_before, When::AtOnce, recorder).await;
        }
        let at = format!("{} of {key:?}", self.plan.name);
        if found != known && !ledger.was_reset {
            recorder.violated(Property::Monotony, format!("{at}: watermark {known:?} became {found:?}"));
        }
        match &ledger.held {
            Some(held) => {
                let place = format!("{at}, still at batch {}", held.watermark);
                self.compare(follower, &held.rows, &place, &mut asker, recorder).await?;
            }
            None => {
                for table in follower.tables() {
                    let merge = self.merge(follower, table);
                    let exists =
                        asker.value(&format!("select to_regclass({})", quoted(&merge))).await?.is_some();
                    if exists && asker.number(&format!("select count(*) from {merge}")).await? > 0 {
                        recorder.violated(
                            Property::Together,
                            format!("{at}: rows in {merge} without a watermark"),
                        );
                    }
                }
            }
        }
        asker.close().await;
        Ok(())
    }

    /// Compares what readers saw with what commits left.
    pub(crate) async fn check_samples(&self, key: &str, recorder: &Recorder) {
        let mut ledger = self.follower(key).ledger.lock().await;
        let (samples, ahead) = (std::mem::take(&mut ledger.samples), std::mem::take(&mut ledger.ahead));
        if let Some(seen) = ahead.first() {
            let what =
                format!("{} of {key:?}: a reader saw an open batch that is ahead {seen}", self.plan.name);
            recorder.violated(Property::Together, what);
        }
        recorder.sampled(samples.len() as u64);
        for (watermark, digest) in samples {
            let is_known = match watermark {
                Some(watermark) => {
                    ledger.digests.get(&watermark).is_some_and(|known| known.contains(&digest))
                }
                // A stream that was reset shows what it held before, or what it holds now; one whose tables are there before
                // its first seed, nothing.
                None => {
                    let tables = tables_of(&digest);
                    let mut known = ledger.digests.values().flatten();
                    tables.trim().is_empty() || known.any(|known| tables_of(known) == tables)
                }
            };
            if !is_known {
                let what = format!(
                    "{} of {key:?}: a reader saw watermark {watermark:?} with rows that no commit left beside it",
                    self.plan.name
                );
                recorder.violated(Property::Together, what);
            }
        }
    }

    async fn expected(
        &self,
        follower: &Follower,
        capture: &Capture,
        pruned: &[i32],
        asker: &mut Asker,
    ) -> Result<(i32, BTreeMap<String, (Shape, Vec<Row>)>), Failure> {
        let rows = |pruned_before: i32| {
            expected_rows(&self.plan, &capture.oracle, follower.tables(), capture.to, pruned_before)
        };
        let mut last = None;
        for pruned_before in pruned {
            let expected = rows(*pruned_before);
            if self.differences(follower, &expected, asker).await?.is_empty() {
                return Ok((*pruned_before, expected));
            }
            last = Some((*pruned_before, expected));
        }
        Ok(last.unwrap_or_else(|| (0, rows(0))))
    }

    async fn compare(
        &self,
        follower: &Follower,
        expected: &BTreeMap<String, (Shape, Vec<Row>)>,
        at: &str,
        asker: &mut Asker,
        recorder: &Recorder,
    ) -> Result<(), Failure> {
        recorder.compared();
        let found = self.differences(follower, expected, asker).await?;
        if !found.is_empty() {
            recorder.violated(Property::Exactness, format!("{at}: {found}"));
        }
        Ok(())
    }

    async fn differences(
        &self,
        follower: &Follower,
        expected: &BTreeMap<String, (Shape, Vec<Row>)>,
        asker: &mut Asker,
    ) -> Result<String, Failure> {
        let mut text = String::new();
        for table in follower.tables() {
            // Of a dataset that came nothing is known before its commit.
            let Some((shape, rows)) = expected.get(table.name()) else { continue };
            let merge = self.merge(follower, table);
            let Some(actual) = rows_of(table, &merge, self.plan.holding, asker).await? else {
                text.push_str(&format!("{merge} is not there\n"));
                continue;
            };
            let found = differences(shape, rows, &actual);
            if !found.is_empty() {
                text.push_str(&format!("{}:\n{found}\n", table.name()));
            }
        }
        Ok(text)
    }

    /// What a commit counted is what the model counts.
    fn check_counts(
        &self,
        follower: &Follower,
        ledger: &Ledger,
        capture: &Capture,
        now: &Held,
        committed: &Committed,
        recorder: &Recorder,
    ) {
        // A column that joined is another value of every row.
        let is_widened = ledger.was_reset && follower.has_late_column();
        if ledger.is_by_hand() || !ledger.returned.is_empty() || is_widened {
            return;
        }
        let counted = Counted::between(ledger.held.as_ref(), now, follower, capture, self.plan.holding);
        if committed.counts != counted.texts() {
            let what = format!(
                "{} of {:?} at batch {}: counted {:?}, the model has {:?}",
                self.plan.name,
                follower.key,
                now.watermark,
                committed.counts,
                counted.texts()
            );
            recorder.violated(Property::Metrics, what);
        }
    }

    /// Everything beside the rows themselves: the columns beside them, what was staged, what was written down, and how the
    /// tables are made.
    async fn check_the_rest(
        &self,
        looked: &Looked<'_>,
        ledger: &mut Ledger,
        now: &mut Held,
        asker: &mut Asker,
        recorder: &Recorder,
    ) -> Result<(), Failure> {
        let Looked { follower, capture, committed, .. } = *looked;
        let at = format!("{} of {:?} at batch {}", self.plan.name, follower.key, now.watermark);
        let (written, wrong) = self.system_columns(follower, ledger, now, committed.local, asker).await?;
        now.written = written;
        if !wrong.is_empty() {
            recorder.violated(
                Property::Exactness,
                format!("{at}: beside the rows stands what must not:\n{wrong}"),
            );
        }
        let (wrong, staged) = self.wrongly_staged(follower, capture, committed.local, asker).await?;
        // With another column the staging table is made anew.
        if !wrong.is_empty() && !follower.has_late_column() {
            recorder
                .violated(Property::Exactness, format!("{at}: staged otherwise than the delta is: {wrong}"));
        }
        let came = ledger.came(follower.tables(), capture);
        let is_landed = |name: &String| came.is_empty() || came.contains(name);
        let landed = || {
            let landed = now.rows.iter().filter(|(name, _)| is_landed(name));
            landed.map(|(_, (_, rows))| rows.len()).sum()
        };
        let rows = if capture.from.is_some() { staged } else { landed() };
        let mut wrong = self.wrongly_rewritten(looked, ledger, asker).await?;
        wrong.extend(self.wrong_in_books(looked, ledger, rows, asker).await?);
        if !wrong.is_empty() {
            recorder.violated(Property::Metrics, format!("{at}: {}", wrong.join("\n")));
        }
        for table in follower.tables() {
            let structure = self.structure(follower, table, asker).await?;
            let wrong = match ledger.structures.get(table.name()) {
                Some(before) if *before == structure => Vec::new(),
                Some(before) => vec![format!("{} was made as\n{before}\nand is\n{structure}", table.name())],
                None if follower.has_late_column() => Vec::new(),
                None => self.wrongly_made(follower, table, asker).await?,
            };
            ledger.structures.insert(table.name().to_owned(), structure);
            if !wrong.is_empty() {
                recorder.violated(Property::Structure, format!("{at}: {}", wrong.join("; ")));
            }
        }
        Ok(())
    }
}

/// The part of a digest that is of tables.
fn tables_of(digest: &str) -> &str {
    digest.split_once('|').map_or(digest, |(_, tables)| tables)
}

/// A commit that is looked at.
#[derive(Clone, Copy)]
struct Looked<'a> {
    follower: &'a Follower,
    capture: &'a Capture,
    committed: &'a Committed,
    when: When,
}

/// Keys new, changed and gone.
struct Counted {
    new: usize,
    changed: usize,
    gone: usize,
}

impl Counted {
    fn between(
        before: Option<&Held>,
        now: &Held,
        follower: &Follower,
        capture: &Capture,
        holding: Keeps,
    ) -> Counted {
        let mut counted = Counted { new: 0, changed: 0, gone: 0 };
        for table in follower.tables() {
            let name = table.name();
            let nothing = Vec::new();
            let earlier = before.and_then(|held| held.live.get(name)).unwrap_or(&nothing);
            for difference in differences(&table.shape(), earlier, &now.live[name]).as_slice() {
                match difference {
                    Difference::Missing(_) => counted.gone += 1,
                    Difference::Unexpected(_) => counted.new += 1,
                    Difference::Different { .. } => counted.changed += 1,
                }
            }
            // A mirror also counts keys whose version is another with the same values.
            counted.changed += match (holding, capture.from, before) {
                (Keeps::LiveOnly, ..) => 0,
                (Keeps::Mirror, Some(from), _) => {
                    let rewritten = capture.oracle.table(name).keys_rewritten(from, capture.to);
                    usize::try_from(rewritten).unwrap_or(usize::MAX)
                }
                (Keeps::Mirror, None, before) => {
                    let earlier = before.and_then(|held| held.rows.get(name));
                    earlier.map_or(0, |(_, earlier)| rewritten(earlier, &now.rows[name].1))
                }
            };
        }
        counted
    }

    fn texts(&self) -> [String; 3] {
        [self.new.to_string(), self.changed.to_string(), self.gone.to_string()]
    }
}

/// Keys of a mirror whose live version is another with the same values.
fn rewritten(before: &[Row], now: &[Row]) -> usize {
    let live = |row: &&Row| row.columns.last() == Some(&Some(LIVE.to_string()));
    let parts = |row: &'_ Row| {
        let (opened, key) =
            row.key.split_last().map_or((None, Vec::new()), |(last, key)| (last.clone(), key.to_vec()));
        (key, (opened, row.columns.clone()))
    };
    let before: BTreeMap<_, _> = before.iter().filter(live).map(parts).collect();
    let is_rewritten = |row: &&Row| {
        let (key, (opened, columns)) = parts(row);
        before.get(&key).is_some_and(|(earlier, values)| *values == columns && *earlier != opened)
    };
    now.iter().filter(live).filter(is_rewritten).count()
}

fn live(oracle: &Primary, tables: &[Table], batch: i32) -> BTreeMap<String, Vec<Row>> {
    tables.iter().map(|table| (table.name().to_owned(), oracle.table(table.name()).live_at(batch))).collect()
}

fn expected_rows(
    plan: &SecondaryPlan,
    oracle: &Primary,
    tables: &[Table],
    batch: i32,
    pruned_before: i32,
) -> BTreeMap<String, (Shape, Vec<Row>)> {
    let of = |table: &Table| match plan.holding {
        Keeps::LiveOnly => (table.shape(), oracle.table(table.name()).live_at(batch)),
        Keeps::Mirror => {
            (table.shape().of_versions(), StreamState::versions(oracle, table.name(), batch, pruned_before))
        }
    };
    tables.iter().map(|table| (table.name().to_owned(), of(table))).collect()
}
