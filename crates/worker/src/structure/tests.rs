use super::*;

const SIDES: Sides = Sides::PLATFORMS;

fn built_in(name: &str, sql: &str, modifier: i32) -> Structure {
    let form = Form::BuiltIn { name: name.into(), modifier, sends: true, hashes: true };
    Structure { sql: sql.into(), form }
}

fn text() -> Structure {
    built_in("text", "text", -1)
}

fn numeric(sql: &str, modifier: i32) -> Structure {
    built_in("numeric", sql, modifier)
}

fn name(name: &str) -> Name {
    Name { schema: "public".into(), name: name.into() }
}

fn of(own: &str, form: Form) -> Structure {
    Structure { sql: format!("public.{own}"), form }
}

fn domain(own: &str, base: Structure) -> Structure {
    of(own, Form::Domain { name: name(own), base: Box::new(base), collation: None })
}

fn labelled(own: &str, labels: &[&str]) -> Structure {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    of(own, Form::Enum { name: name(own), labels })
}

fn composite(own: &str, attributes: &[(&str, Structure)]) -> Structure {
    let attribute = |(name, structure): &(&str, Structure)| Attribute {
        name: (*name).to_owned(),
        structure: structure.clone(),
        collation: None,
    };
    let attributes = attributes.iter().map(attribute).collect();
    of(own, Form::Composite { name: name(own), attributes })
}

fn array(element: Structure) -> Structure {
    Structure { sql: format!("{}[]", element.sql), form: Form::Array { element: Box::new(element) } }
}

fn range(own: &str, subtype: Structure) -> Structure {
    let (subtype, order) = (Box::new(subtype), "some_ops".to_owned());
    of(own, Form::Range { name: name(own), subtype, order, collation: None, canonical: None })
}

fn added(own: &str, version: &str) -> Structure {
    let extension = Some(Extension { name: own.into(), version: version.into() });
    let (name, modifiers) = (name(own), String::new());
    of(own, Form::Added { name, extension, modifiers, sends: true, folds: None })
}

fn candidate(structure: Structure, visible: bool) -> Candidate {
    Candidate { structure, visible }
}

#[test]
fn a_difference_is_told_where_it_is() {
    let addr = |first: &str, second: &str| composite("addr", &[(first, text()), (second, text())]);
    let pairs = [
        (
            domain("amount", numeric("numeric(12,4)", 786_440)),
            domain("amount", numeric("numeric(12,2)", 786_438)),
        ),
        (domain("code", built_in("int4", "integer", -1)), domain("code", built_in("date", "date", -1))),
        (addr("street", "zip"), addr("zip", "street")),
        (composite("one", &[("a", text())]), composite("one", &[("a", text()), ("b", text())])),
        (labelled("st", &["opened", "merged"]), labelled("st", &["open", "merged"])),
        (array(labelled("st", &["open", "closed"])), array(labelled("st", &["open"]))),
        (range("span", labelled("st", &["a", "b"])), range("span", labelled("st", &["b", "a"]))),
        (added("hstore", "1.8"), text()),
        (
            composite("doc", &[("x", built_in("xml", "xml", -1))]),
            composite("doc", &[("x", built_in("xml", "xml", -1))]),
        ),
    ];
    let told: Vec<_> = pairs
        .iter()
        .map(|(source, target)| carry(source, target, SIDES).expect_err("a difference"))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn names_versions_and_labels_to_spare_are_no_difference() {
    let amount = numeric("numeric(12,4)", 786_440);
    let ways = [
        (domain("amount", amount.clone()), domain("price", amount.clone())),
        (domain("amount", amount.clone()), amount),
        (added("hstore", "1.8"), added("hstore", "1.8")),
        (added("hstore", "1.7"), added("hstore", "1.8")),
        (labelled("mood", &["b", "a"]), labelled("mood", &["a", "c", "b"])),
        (array(labelled("mood", &["a"])), array(labelled("mood", &["a"]))),
        (built_in("int4", "integer", -1), domain("wide", built_in("int8", "bigint", -1))),
        (domain("doc", built_in("xml", "xml", -1)), built_in("xml", "xml", -1)),
        (built_in("regclass", "regclass", -1), built_in("regclass", "regclass", -1)),
    ];
    let told: Vec<_> = ways
        .iter()
        .map(|(source, target)| {
            let Carriage { cast, binary } = carry(source, target, SIDES).expect("a way");
            let cast = cast.map(|cast| format!(", cast to {cast}")).unwrap_or_default();
            format!("{source} into {target}: {}{cast}", if binary { "binary" } else { "text" })
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_counterpart_is_found_by_what_it_is_then_by_where_it_is() {
    let elsewhere = |schema: &str, mut found: Structure| {
        found.sql = format!("{schema}.mood");
        if let Form::Enum { name, .. } = &mut found.form {
            schema.clone_into(&mut name.schema);
        }
        found
    };
    let mood = labelled("mood", &["a", "b"]);
    let other = candidate(elsewhere("ext", labelled("mood", &["x"])), true);
    let same = candidate(elsewhere("old", labelled("mood", &["b", "a"])), false);
    let spelled = |candidates: &[Candidate]| counterpart(&mood, candidates).map(|found| found.sql);
    assert_eq!(spelled(&[other.clone(), same.clone()]).as_deref(), Some("old.mood"));
    assert_eq!(spelled(&[other, same, candidate(mood.clone(), false)]).as_deref(), Some("public.mood"));
    assert_eq!(spelled(&[]), None);
    let listed = array(mood.clone());
    assert_eq!(
        counterpart(&listed, &[candidate(mood.clone(), true)]).map(|found| found.sql).as_deref(),
        Some("public.mood[]")
    );
}

#[test]
fn what_is_missing_is_made_parts_first() {
    let addr = composite("addr", &[("st", labelled("st", &["it's"])), ("tags", added("hstore", "1.8"))]);
    insta::assert_snapshot!(definitions(&array(domain("place", addr)), &[]).join("\n"));
}

#[test]
fn labels_are_renamed_or_added_but_never_guessed() {
    let told = |own: &[&str], other: &[&str]| {
        relabelled(&labelled("st", own), &array(labelled("st", other)).parts()[0].clone()).join(" ")
    };
    insta::assert_snapshot!(
        [
            told(&["open", "closed", "merged"], &["open", "merged"]),
            told(&["open", "closed", "merged"], &["open"]),
            told(&["opened", "merged"], &["open", "merged"]),
            told(&["opened", "closed", "merged"], &["open", "merged"]),
        ]
        .join("\n")
    );
}
