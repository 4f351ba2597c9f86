use super::*;
use crate::row::{LIVE, Version};

fn primary() -> Primary {
    Primary::new([Shape::new("people", &["id"], &["name"]), Shape::new("towns", &["land", "no"], &["name"])])
}

fn person(id: &str, name: &str) -> Row {
    Row::of_texts(&[id], &[name])
}

fn insert(id: &str, name: &str) -> (&'static str, Operation) {
    ("people", Operation::Insert(person(id, name)))
}

fn update(id: &str, name: &str) -> (&'static str, Operation) {
    ("people", Operation::Update(person(id, name)))
}

fn delete(id: &str) -> (&'static str, Operation) {
    ("people", Operation::Delete(person(id, "").key))
}

/// Versions of people as (id, name, batch_in, batch_out).
fn versions(primary: &Primary, batch: i32) -> Vec<(String, String, i32, i32)> {
    let text = |cells: &[Cell]| cells[0].clone().unwrap();
    let flat =
        |Version { row, batch_in, batch_out }| (text(&row.key), text(&row.columns), batch_in, batch_out);
    primary.table("people").versions_at(batch).into_iter().map(flat).collect()
}

fn version(id: &str, name: &str, batch_in: i32, batch_out: i32) -> (String, String, i32, i32) {
    (id.to_owned(), name.to_owned(), batch_in, batch_out)
}

#[test]
fn a_batch_closes_a_version_with_the_batch_before_it() {
    let mut primary = primary();
    primary.commit([insert("1", "Ann")]).unwrap();
    primary.commit([]).unwrap();
    assert_eq!(primary.commit([update("1", "Bo")]), Ok(3));
    assert_eq!(versions(&primary, 3), [version("1", "Ann", 1, 2), version("1", "Bo", 3, LIVE)]);
    assert_eq!(versions(&primary, 2), [version("1", "Ann", 1, LIVE)], "as of batch 2 it is live");
    assert_eq!(versions(&primary, 0), []);
}

#[test]
fn a_record_deleted_and_inserted_again_has_a_gap_between_its_versions() {
    let mut primary = primary();
    primary.commit([insert("1", "Ann")]).unwrap();
    primary.commit([delete("1")]).unwrap();
    primary.commit([]).unwrap();
    primary.commit([insert("1", "Ann")]).unwrap();
    assert_eq!(versions(&primary, 4), [version("1", "Ann", 1, 1), version("1", "Ann", 4, LIVE)]);
    let live: Vec<usize> = (0..=4).map(|batch| primary.table("people").live_at(batch).len()).collect();
    assert_eq!(live, [0, 1, 0, 0, 1]);
}

#[test]
fn what_a_batch_undoes_itself_leaves_no_version() {
    let mut primary = primary();
    primary.commit([insert("1", "Ann")]).unwrap();
    let undone = [insert("2", "Bo"), delete("2"), delete("1"), insert("1", "Cy"), update("1", "Ann")];
    assert_eq!(primary.commit(undone), Ok(2));
    assert_eq!(versions(&primary, 2), [version("1", "Ann", 1, LIVE)]);
    assert_eq!(primary.counts_of(2), BatchCounts::default());
}

#[test]
fn counts_of_a_batch_are_those_of_batch_metrics_over_all_tables() {
    let mut primary = primary();
    let town = |name: &str| Row::of_texts(&["IT", "1"], &[name]);
    primary
        .commit([insert("1", "Ann"), insert("2", "Bo"), ("towns", Operation::Insert(town("Roma")))])
        .unwrap();
    let second =
        [update("1", "Anna"), delete("2"), insert("3", "Cy"), ("towns", Operation::Update(town("Rome")))];
    primary.commit(second).unwrap();
    assert_eq!(primary.counts_of(1), BatchCounts { opened: 3, closed_changed: 0, closed_gone: 0 });
    assert_eq!(primary.counts_of(2), BatchCounts { opened: 3, closed_changed: 2, closed_gone: 1 });
    let people = primary.table("people").counts_of(2);
    assert_eq!(people, BatchCounts { opened: 2, closed_changed: 1, closed_gone: 1 });
    assert_eq!(primary.changes_between(1, 2), KeyCounts { new: 1, changed: 2, gone: 1 });
    assert_eq!(primary.changes_between(0, 2), KeyCounts { new: 3, changed: 0, gone: 0 });
}

#[test]
fn keys_that_came_back_as_they_were_are_rewritten_not_changed() {
    let mut primary = primary();
    primary.commit([insert("1", "Ann"), insert("2", "Bo"), insert("3", "Cy")]).unwrap();
    primary.commit([delete("1"), update("2", "Bob"), insert("4", "Di")]).unwrap();
    primary.commit([insert("1", "Ann"), update("2", "Bo"), delete("4")]).unwrap();
    assert_eq!(primary.changes_between(1, 3), KeyCounts::default());
    assert_eq!(primary.table("people").keys_rewritten(1, 3), 2);
    assert_eq!(primary.table("people").keys_rewritten(2, 3), 0);
}

#[test]
fn a_snapshot_removes_what_it_does_not_have_and_leaves_other_tables_alone() {
    let mut primary = primary();
    let town = Row::of_texts(&["IT", "1"], &["Rome"]);
    primary.commit([insert("1", "Ann"), insert("2", "Bo"), ("towns", Operation::Insert(town))]).unwrap();
    primary.commit_snapshot([("people", vec![person("3", "Cy"), person("2", "Bo")])]).unwrap();
    assert_eq!(primary.table("people").live_at(2), [person("2", "Bo"), person("3", "Cy")]);
    assert_eq!(primary.table("towns").live_at(2).len(), 1);
    assert_eq!(primary.counts_of(2), BatchCounts { opened: 1, closed_changed: 0, closed_gone: 1 });
}

#[test]
fn null_and_the_empty_text_are_two_contents() {
    let mut primary = primary();
    let unnamed = Row { columns: vec![None], ..person("1", "") };
    primary.commit([insert("1", "")]).unwrap();
    primary.commit([("people", Operation::Update(unnamed.clone()))]).unwrap();
    assert_eq!(primary.counts_of(2), BatchCounts { opened: 1, closed_changed: 1, closed_gone: 0 });
    assert_eq!(primary.table("people").live_at(2), [unnamed]);
}

#[test]
fn a_mistake_leaves_the_whole_batch_undone() {
    let key = |id: &str| person(id, "").key;
    let people = || "people".to_owned();
    let wide = Row::of_texts(&["9"], &["a", "b"]);
    let keyless = Row { key: vec![None], ..person("", "x") };
    let mut primary = primary();
    primary.commit([insert("1", "Ann")]).unwrap();
    let cases = [
        (insert("1", "Bo"), Mistake::AlreadyThere(people(), key("1"))),
        (update("2", "Bo"), Mistake::NotThere(people(), key("2"))),
        (delete("2"), Mistake::NotThere(people(), key("2"))),
        (("people", Operation::Insert(wide.clone())), Mistake::WrongWidth(people(), wide)),
        (("people", Operation::Insert(keyless)), Mistake::NullInKey(people(), vec![None])),
        (("cities", Operation::Delete(key("1"))), Mistake::UnknownTable("cities".to_owned())),
    ];
    for (operation, mistake) in cases {
        assert_eq!(primary.commit([update("1", "lost"), operation]), Err(mistake));
    }
    let twice = vec![person("5", "a"), person("5", "b")];
    assert_eq!(primary.commit_snapshot([("people", twice)]), Err(Mistake::AlreadyThere(people(), key("5"))));
    let wide = vec![Row::of_texts(&["9"], &[])];
    assert!(matches!(primary.commit_snapshot([("people", wide)]), Err(Mistake::WrongWidth(..))));
    assert_eq!((primary.newest_batch(), versions(&primary, 1)), (1, vec![version("1", "Ann", 1, LIVE)]));
}

#[test]
fn numbering_may_begin_elsewhere() {
    let mut primary = primary().numbered_from(7);
    assert_eq!(primary.newest_batch(), 6);
    assert_eq!(primary.commit([insert("1", "Ann")]), Ok(7));
    assert_eq!(versions(&primary, 7), [version("1", "Ann", 7, LIVE)]);
}
