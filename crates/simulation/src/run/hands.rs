//! Hands at a secondary's merge tables: what they do, and what is to be expected of a table that they were at.

use std::collections::{BTreeMap, BTreeSet};

use milestream_oracle::{Row, Shape};

use super::asker::{Asker, quoted};
use super::ledger::{Capture, Ledger};
use super::primary::physical;
use super::secondary::{Follower, SecondaryState, rows_of};
use super::{Failure, MOVER};
use crate::forensic::Table;
use crate::plan::Keeps;
use crate::plan::hands::{Deed, Hand};

/// Rows by table, each table with the names of its columns.
pub(super) type Rows = BTreeMap<String, (Shape, Vec<Row>)>;

/// What triggers and rules are called, so that they can be taken away again.
const MEDDLING: &str = "meddling";
/// How long a hand waits for a table that the worker holds; then it lets it be.
const PATIENCE: &str = "set lock_timeout = '200ms'";

impl SecondaryState {
    /// Lets a hand do what it does; `false` where there was nothing to do it to, or the worker was in its way.
    pub(crate) async fn meddle(&self, hand: Hand) -> Result<bool, Failure> {
        let all = self
            .followers
            .iter()
            .flat_map(|follower| follower.tables().iter().map(move |table| (follower, table)));
        let all: Vec<_> = all.collect();
        let (follower, table) = all[hand.dataset % all.len()];
        let mut asker = self.place.own_asker().await?;
        let merge = self.merge(follower, table);
        let is_there = asker.value(&format!("select to_regclass({})", quoted(&merge))).await?.is_some();
        let done = is_there && {
            asker.execute(PATIENCE).await?;
            match hand.does.is_of_rows() {
                true => self.change_rows(hand, follower, table, &mut asker).await?,
                false => self.leave_behind(hand, follower, table, &mut asker).await?,
            }
        };
        asker.close().await;
        Ok(done)
    }

    /// Changes what is there, and takes down what is left.
    async fn change_rows(
        &self,
        hand: Hand,
        follower: &Follower,
        table: &Table,
        asker: &mut Asker,
    ) -> Result<bool, Failure> {
        let mut ledger = follower.ledger.lock().await;
        let found = self.watermark(&follower.key, asker).await?;
        let Some(held) = ledger.held.as_mut().filter(|held| found == Some(held.watermark)) else {
            // Nothing is known of the rows: a commit whose answer was lost, or none at all.
            return Ok(false);
        };
        let merge = self.merge(follower, table);
        let Some(statements) = deed(hand, table, &merge) else { return Ok(false) };
        let before = rows_of(table, &merge, self.plan.holding, asker).await?.unwrap_or_default();
        if before.is_empty() || asker.execute(&statements).await.is_err() {
            return Ok(false);
        }
        let by_hand =
            held.by_hand.get_or_insert_with(|| ByHand { model: held.rows.clone(), ..ByHand::default() });
        if matches!(hand.does, Deed::Truncate | Deed::Recreate) {
            by_hand.remade.insert(table.name().to_owned());
        }
        if let (Some(left), Some((_, rows))) =
            (rows_of(table, &merge, self.plan.holding, asker).await?, held.rows.get_mut(table.name()))
        {
            *rows = left;
        }
        let (watermark, digest) = (held.watermark, self.digest(follower, asker).await?);
        if hand.does == Deed::Recreate {
            ledger.structures.clear();
        }
        ledger.digests.entry(watermark).or_default().insert(digest);
        Ok(true)
    }

    /// Leaves something behind that changes what the worker writes.
    async fn leave_behind(
        &self,
        hand: Hand,
        follower: &Follower,
        table: &Table,
        asker: &mut Asker,
    ) -> Result<bool, Failure> {
        let merge = self.merge(follower, table);
        let Some(statements) = meddling(hand, table, &merge) else { return Ok(false) };
        if asker.execute(&statements).await.is_err() {
            return Ok(false);
        }
        let mut ledger = follower.ledger.lock().await;
        match hand.does {
            Deed::WatchWrites => {}
            Deed::AddBelongings => {
                let structure = self.structure(follower, table, asker).await?;
                ledger.structures.insert(table.name().to_owned(), structure);
            }
            _ => ledger.is_meddled_with = true,
        }
        Ok(true)
    }

    /// Whether a hand was at a stream's tables in a way that the worker may notice.
    pub(crate) async fn is_meddled_with(&self, follower: &Follower) -> bool {
        let ledger = follower.ledger.lock().await;
        ledger.is_meddled_with || ledger.is_by_hand()
    }

    /// Takes away what hands left behind; whether they had changed rows as well, so that the stream must begin anew.
    pub(crate) async fn clear_up(&self, follower: &Follower, asker: &mut Asker) -> Result<bool, Failure> {
        for table in follower.tables() {
            let merge = self.merge(follower, table);
            asker
                .execute(&format!(
                    "drop trigger if exists {MEDDLING} on {merge}; drop rule if exists {MEDDLING} on {merge}"
                ))
                .await?;
        }
        let mut ledger = follower.ledger.lock().await;
        ledger.is_meddled_with = false;
        Ok(ledger.is_by_hand())
    }
}

/// A table that a hand was at.
#[derive(Clone, Default)]
pub(crate) struct ByHand {
    /// What it would hold without the hand.
    pub(super) model: Rows,
    /// Tables whose files are others than those that were seeded: they must be noticed though there is nothing to do.
    pub(super) remade: BTreeSet<String>,
}

impl Ledger {
    /// Whether hands changed what the last commit left.
    pub(super) fn is_by_hand(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.by_hand.is_some())
    }

    /// A table that was emptied or made again, if there is one.
    pub(super) fn remade(&self) -> Option<&String> {
        self.held.as_ref()?.by_hand.as_ref()?.remade.first()
    }

    /// What a stream holds after the sync of `capture`, where the model has `rows` and hands may have been at what it held
    /// before: rows that an increment does not touch stay as the hands left them. Also what the hands did that is still
    /// there, and the rows that the worker wrote over without a word.
    pub(super) fn under_hands(
        &self,
        capture: &Capture,
        model: Rows,
        holding: Keeps,
    ) -> (Rows, Option<ByHand>, Vec<Row>) {
        let held = self.held.as_ref().filter(|_| capture.from.is_some() && !self.was_reset);
        let Some((held, by_hand)) = held.and_then(|held| Some((held, held.by_hand.as_ref()?))) else {
            return (model, None, Vec::new());
        };
        let (mut rows, mut unnoticed) = (model.clone(), Vec::new());
        for (name, (_, expected)) in &mut rows {
            let (Some(is), Some(was)) = (held.rows.get(name), by_hand.model.get(name)) else { continue };
            let is = by_key(&is.1);
            for before in &was.1 {
                match (is.get(&before.key), is_touched(capture, name, before, &model[name].1, holding)) {
                    (Some(row), false) => replace(expected, row),
                    (None, false) => expected.retain(|row| row.key != before.key),
                    (None, true) => unnoticed.push(before.clone()),
                    (Some(_), true) => {}
                }
            }
            if by_hand.remade.contains(name) {
                let opened = model[name].1.iter().filter(|row| !was.1.contains(row));
                unnoticed.extend(opened.cloned());
            }
        }
        let left = (rows != model).then(|| ByHand { model, remade: by_hand.remade.clone() });
        (rows, left, unnoticed)
    }
}

/// Whether an increment writes to a row: of a mirror to a version, else to whatever has the key.
fn is_touched(capture: &Capture, table: &str, before: &Row, after: &[Row], holding: Keeps) -> bool {
    if holding == Keeps::Mirror {
        return !after.contains(before);
    }
    let (from, to) = (capture.from.unwrap_or(0), capture.to);
    capture.oracle.table(table).versions_at(to).into_iter().any(|version| {
        version.row.key == before.key
            && (version.batch_in > from || (version.batch_out >= from && version.batch_out < to))
    })
}

fn by_key(rows: &[Row]) -> BTreeMap<&Vec<Option<String>>, &Row> {
    rows.iter().map(|row| (&row.key, row)).collect()
}

fn replace(rows: &mut [Row], by: &Row) {
    if let Some(row) = rows.iter_mut().find(|row| row.key == by.key) {
        row.clone_from(by);
    }
}

/// The statement with which rows are changed; `None` where there is no column to change.
fn deed(hand: Hand, table: &Table, merge: &str) -> Option<String> {
    let third = in_third(hand, table, "");
    Some(match hand.does {
        Deed::DeleteRows => format!("delete from {merge} where {third}"),
        Deed::ChangeRows => {
            let column = physical(&table.columns().first()?.0);
            format!("update {merge} set {column} = null where {third}")
        }
        Deed::Truncate => format!("truncate {merge}"),
        Deed::Recreate => format!(
            "begin; create table remade (like {merge} including all); drop table {merge}; \
             alter table remade rename to {merge}; alter table {merge} owner to {MOVER}; commit"
        ),
        Deed::SwallowWrites
        | Deed::AlterWrites
        | Deed::KeepDeleted
        | Deed::WatchWrites
        | Deed::AddBelongings => return None,
    })
}

/// Statements that leave a trigger or a rule behind; `None` where there is no column for it.
fn meddling(hand: Hand, table: &Table, merge: &str) -> Option<String> {
    let trigger = |name: &str, when: &str, body: &str| {
        let function = format!("{name}_{}", hand.dataset);
        format!(
            "create or replace function {function}() returns trigger language plpgsql as $do$ begin {body} end $do$; \
             create or replace trigger {name} {when} on {merge} for each row execute function {function}();"
        )
    };
    Some(match hand.does {
        Deed::SwallowWrites => {
            let (new, old) = (in_third(hand, table, "new."), in_third(hand, table, "old."));
            let body = format!(
                "if tg_op = 'DELETE' then if {old} then return null; end if; return old; end if; \
                 if {new} then return null; end if; return new;"
            );
            trigger(MEDDLING, "before insert or update or delete", &body)
        }
        Deed::AlterWrites => {
            let (new, column) = (in_third(hand, table, "new."), physical(&table.columns().first()?.0));
            let body = format!("if {new} then new.{column} := null; end if; return new;");
            trigger(MEDDLING, "before insert or update", &body)
        }
        Deed::KeepDeleted => {
            format!("create or replace rule {MEDDLING} as on delete to {merge} do instead nothing")
        }
        Deed::WatchWrites => {
            trigger("watching", "after insert or update or delete", "return null;")
                + &trigger("passing", "before insert or update", "return new;")
        }
        Deed::AddBelongings => {
            let (of, first) = (format!("{}_{}", hand.dataset, hand.third), physical(&table.key().first()?.0));
            format!(
                "create or replace view seen_{of} as select {first} from {merge}; \
                 create index if not exists own_{of} on {merge} ({first}); \
                 grant select ({first}) on {merge} to public; alter table {merge} alter {first} set statistics 200; \
                 comment on table {merge} is 'ours'"
            )
        }
        Deed::DeleteRows | Deed::ChangeRows | Deed::Truncate | Deed::Recreate => return None,
    })
}

/// Whether a row's key falls into the hand's third.
fn in_third(hand: Hand, table: &Table, of: &str) -> String {
    let parts = table.key().iter().map(|(name, _)| format!("{of}{}::text", physical(name)));
    let key = parts.collect::<Vec<_>>().join(" || '/' || ");
    format!("abs(hashtext({key})::bigint) % 3 = {}", hand.third % 3)
}

#[cfg(test)]
mod tests {
    use milestream_oracle::{Operation, Primary};

    use super::*;
    use crate::run::ledger::Held;

    fn row(id: &str, name: &str) -> Row {
        Row { key: vec![Some(id.to_owned())], columns: vec![Some(name.to_owned())] }
    }

    /// Three records in batch 1; batch 2 changes the second and adds a fourth.
    fn people() -> Primary {
        let mut primary = Primary::new([Shape::new("people", &["id"], &["name"])]);
        let first = ["1", "2", "3"].map(|id| ("people", Operation::Insert(row(id, "old"))));
        primary.commit(first).unwrap();
        let second = [Operation::Update(row("2", "new")), Operation::Insert(row("4", "new"))];
        primary.commit(second.map(|operation| ("people", operation))).unwrap();
        primary
    }

    fn rows(primary: &Primary, batch: i32) -> Rows {
        let table = primary.table("people");
        BTreeMap::from([("people".to_owned(), (table.shape().clone(), table.live_at(batch)))])
    }

    fn after_a_hand(primary: &Primary, left: &[Row], remade: &[&str]) -> (Rows, Option<ByHand>, Vec<Row>) {
        let (model, mut is) = (rows(primary, 1), rows(primary, 1));
        if let Some((_, held)) = is.get_mut("people") {
            *held = left.to_vec();
        }
        let remade = remade.iter().map(|name| (*name).to_owned()).collect();
        let by_hand = Some(ByHand { model, remade });
        let held = Held {
            watermark: 1,
            restores: 0,
            pruned_before: 0,
            rows: is,
            live: BTreeMap::new(),
            written: BTreeMap::new(),
            by_hand,
        };
        let ledger = Ledger { held: Some(held), ..Ledger::default() };
        let capture = Capture {
            generation: 1,
            from: Some(1),
            to: 2,
            oracle: primary.clone(),
            restores: 0,
            pruned_before: 0,
            disturbances: 0,
        };
        ledger.under_hands(&capture, rows(primary, 2), Keeps::LiveOnly)
    }

    #[test]
    fn a_deleted_row_stays_away_until_an_increment_touches_it_which_must_be_noticed() {
        let primary = people();
        let (rows, by_hand, unnoticed) = after_a_hand(&primary, &[row("1", "old"), row("2", "old")], &[]);
        assert_eq!(rows["people"].1, [row("1", "old"), row("2", "new"), row("4", "new")]);
        assert!(by_hand.is_some() && unnoticed.is_empty());
        let (_, _, unnoticed) = after_a_hand(&primary, &[row("1", "old"), row("3", "old")], &[]);
        assert_eq!(unnoticed, [row("2", "old")]);
    }

    #[test]
    fn a_changed_row_is_right_again_when_an_increment_writes_it() {
        let left = [row("1", "by hand"), row("2", "by hand"), row("3", "old")];
        let (rows, by_hand, unnoticed) = after_a_hand(&people(), &left, &[]);
        let expected = [row("1", "by hand"), row("2", "new"), row("3", "old"), row("4", "new")];
        assert_eq!(rows["people"].1, expected);
        assert!(by_hand.is_some() && unnoticed.is_empty());
    }

    #[test]
    fn whatever_is_written_to_a_table_that_was_made_again_must_be_noticed() {
        let left = [row("1", "old"), row("2", "old"), row("3", "old")];
        let (_, _, unnoticed) = after_a_hand(&people(), &left, &["people"]);
        assert_eq!(unnoticed, [row("2", "new"), row("4", "new")]);
    }
}
