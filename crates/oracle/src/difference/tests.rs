use super::*;

fn shape() -> Shape {
    Shape::new("customers", &["id"], &["name", "city"])
}

fn row(key: &str, name: Option<&str>, city: Option<&str>) -> Row {
    let cell = |text: Option<&str>| text.map(str::to_owned);
    Row { key: vec![cell(Some(key))], columns: vec![cell(name), cell(city)] }
}

#[test]
fn equal_rows_in_another_order_do_not_differ() {
    let rows = [row("1", Some("Ann"), None), row("2", Some("Bo"), None)];
    let found = differences(&shape(), &rows, rows.iter().rev());
    assert_eq!((found.is_empty(), found.len()), (true, 0));
}

#[test]
fn differences_are_found_both_ways_and_read_well() {
    let expected =
        [row("1", Some("Ann"), None), row("2", Some("Bo"), Some("")), row("4", Some("Di"), Some("Rome"))];
    let actual =
        [row("2", Some("O'B"), None), row("3", Some("Cy"), None), row("4", Some("Di"), Some("Rome"))];
    let found = differences(&shape(), &expected, &actual);
    assert_eq!(found.as_slice()[0], Difference::Missing(expected[0].clone()));
    assert_eq!(
        found.to_string(),
        "customers: 1 missing, 1 unexpected, 1 different\n  \
         missing     id='1': name='Ann', city=NULL\n  \
         different   id='2': name expected 'Bo', found 'O\\'B', city expected '', found NULL\n  \
         unexpected  id='3': name='Cy', city=NULL"
    );
}

#[test]
fn of_a_row_that_differs_only_the_columns_that_do_are_named() {
    let found = differences(&shape(), [&row("1", Some("Ann"), None)], [&row("1", Some("Ann"), Some(""))]);
    let city = ColumnDifference { column: "city".to_owned(), expected: None, actual: Some(String::new()) };
    let key = row("1", None, None).key;
    assert_eq!(found.as_slice(), [Difference::Different { key, columns: vec![city] }]);
}

#[test]
fn only_the_first_differences_are_spelled_out() {
    let expected: Vec<Row> = (10..32).map(|key| row(&key.to_string(), None, None)).collect();
    let found = differences(&shape(), &expected, []);
    assert_eq!(found.to_string().lines().count(), 12);
    assert_eq!(
        found.first(1).to_string(),
        "customers: 22 missing, 0 unexpected, 0 different\n  missing     id='10': name=NULL, city=NULL\n  … and 21 more"
    );
    assert!(!found.first(22).to_string().contains("more"));
}

#[test]
fn a_row_that_is_there_twice_is_unexpected_once() {
    let one = row("1", Some("Ann"), None);
    let twice = [one.clone(), one.clone()];
    assert_eq!(differences(&shape(), [&one], &twice).as_slice(), [Difference::Unexpected(one.clone())]);
    assert_eq!(differences(&shape(), &twice, [&one]).as_slice(), [Difference::Missing(one.clone())]);
    assert!(differences(&shape(), &twice, &twice).is_empty());
}

#[test]
fn of_two_rows_with_a_key_the_equal_one_is_paired_first() {
    let (one, other) = (row("1", Some("Ann"), None), row("1", Some("Bo"), None));
    let found = differences(&shape(), [&one], [&other, &one]);
    assert_eq!(found.as_slice(), [Difference::Unexpected(other)]);
}

#[test]
fn long_cells_are_shown_around_what_differs() {
    let long = |end: &str| format!("{}{end}{}", "a".repeat(1_000), "z".repeat(1_000));
    let found =
        differences(&shape(), [&row("1", Some(&long("1")), None)], [&row("1", Some(&long("2")), None)]);
    let text = found.to_string();
    assert!(text.contains("name expected '…aaaaaaaaaa1zzz"), "{text}");
    assert!(text.contains("found '…aaaaaaaaaa2zzz"), "{text}");
    assert!(text.contains("…' (2001 bytes)") && text.len() < 250, "{text}");
}

#[test]
#[should_panic(expected = "a row of customers does not fit")]
fn rows_of_another_shape_are_refused() {
    differences(&shape(), [&Row::of_texts(&["1"], &["only one"])], []);
}
