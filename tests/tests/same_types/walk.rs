//! Random types with random differences between the two sides: what is paired arrives equal, all else is refused
//! before a row moves.

use std::fmt::Write as _;

use milestream_oracle::{Operation, Row};
use milestream_tests::{Dice, Setting, Table, World, texts};
use milestream_worker::sync::Job;
use milestream_worker::{Error, Holding};

const TABLES: usize = 24;
const DEPTH_MAX: usize = 3;
const LABELS: [&str; 5] = ["a", "b c", "it's", "D", "e"];
const SCALARS: [(&str, [&str; 2]); 9] = [
    ("integer", ["7305", "-1"]),
    ("bigint", ["12", "0"]),
    ("numeric(8,3)", ["1.234", "-0.500"]),
    ("numeric(8,1)", ["1.2", "9.0"]),
    ("date", ["2020-01-01", "infinity"]),
    ("text", ["a \"b\" \\c", ""]),
    ("varchar(5)", ["abc", "x,y)}"]),
    ("timestamp(2)", ["2020-01-01 00:00:00.25", "-infinity"]),
    ("regtype", ["integer", "text"]),
];

/// A type as it is made up; what has a name is created under `{name}`.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Scalar(usize),
    Domain(String, Box<Kind>),
    Enum(String, Vec<String>),
    Composite(String, Vec<(String, Kind)>),
    Array(Box<Kind>),
    Range(String, Box<Kind>),
}

/// Makes up types whose names begin alike.
struct Maker<'a> {
    dice: &'a mut Dice,
    prefix: String,
    made: usize,
}

impl Maker<'_> {
    fn name(&mut self) -> String {
        self.made += 1;
        format!("{}_{}", self.prefix, self.made)
    }

    fn kind(&mut self, depth: usize) -> Kind {
        let roll = if depth == 0 { self.dice.roll(2) } else { 1 + self.dice.roll(6) };
        match roll {
            0 => Kind::Scalar(self.dice.roll(SCALARS.len())),
            1 => {
                let labels =
                    LABELS[..2 + self.dice.roll(3)].iter().map(|label| (*label).to_owned()).collect();
                Kind::Enum(self.name(), labels)
            }
            2 => Kind::Domain(self.name(), Box::new(self.kind(depth - 1))),
            3 => Kind::Array(Box::new(self.element(depth - 1))),
            4 => Kind::Range(self.name(), Box::new(self.bound())),
            5 => Kind::Scalar(self.dice.roll(SCALARS.len())),
            _ => {
                let attributes = ["street", "zip", "note"].into_iter().take(1 + self.dice.roll(3));
                let attributes = attributes.map(|name| (name.to_owned(), self.kind(depth - 1))).collect();
                Kind::Composite(self.name(), attributes)
            }
        }
    }

    /// An array of arrays is no type, but one of domains over arrays is.
    fn element(&mut self, depth: usize) -> Kind {
        match self.kind(depth) {
            Kind::Array(inner) => Kind::Domain(self.name(), Box::new(Kind::Array(inner))),
            other => other,
        }
    }

    /// What has an order of its own: an enum or one of the scalars before the texts.
    fn bound(&mut self) -> Kind {
        match self.dice.roll(2) {
            0 => Kind::Scalar(self.dice.roll(5)),
            _ => Kind::Enum(self.name(), LABELS[..3].iter().map(|label| (*label).to_owned()).collect()),
        }
    }

    /// The same type with one difference somewhere, or with none.
    fn changed(&mut self, kind: &Kind) -> Kind {
        let mut changed = kind.clone();
        match &mut changed {
            Kind::Scalar(at) => *at = self.dice.roll(SCALARS.len()),
            Kind::Enum(_, labels) => match self.dice.roll(4) {
                0 => labels.reverse(),
                1 => labels.push("one more".to_owned()),
                2 => labels[0] = "renamed".to_owned(),
                _ => drop(labels.pop()),
            },
            Kind::Domain(_, base) if self.dice.roll(3) == 0 => return (**base).clone(),
            Kind::Domain(_, part) | Kind::Array(part) => **part = self.changed(part),
            Kind::Range(_, part) => match **part {
                Kind::Scalar(at) => **part = Kind::Scalar((at + 1) % 5),
                _ => **part = self.changed(part),
            },
            Kind::Composite(_, attributes) => match self.dice.roll(4) {
                0 => attributes.reverse(),
                1 => attributes[0].0 = "renamed".to_owned(),
                2 => attributes.push(("extra".to_owned(), Kind::Scalar(0))),
                _ => {
                    let at = self.dice.roll(attributes.len());
                    attributes[at].1 = self.changed(&attributes[at].1.clone());
                }
            },
        }
        match changed {
            Kind::Array(part) if matches!(*part, Kind::Array(_)) => kind.clone(),
            other => other,
        }
    }

    fn value(&mut self, kind: &Kind) -> String {
        match kind {
            Kind::Scalar(at) => SCALARS[*at].1[self.dice.roll(2)].to_owned(),
            Kind::Domain(_, base) => self.value(base),
            Kind::Enum(_, labels) => labels[self.dice.roll(labels.len())].clone(),
            Kind::Composite(_, attributes) => {
                let fields: Vec<_> = attributes.iter().map(|(_, kind)| quoted(&self.value(kind))).collect();
                format!("({})", fields.join(","))
            }
            Kind::Array(element) => {
                let elements: Vec<_> = (0..self.dice.roll(3)).map(|_| quoted(&self.value(element))).collect();
                format!("{{{}}}", elements.join(","))
            }
            Kind::Range(_, subtype) => {
                let bound = quoted(&self.value(subtype));
                if self.dice.roll(4) == 0 { "empty".to_owned() } else { format!("[{bound},{bound}]") }
            }
        }
    }
}

/// A value within an array, composite or range.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn sql(kind: &Kind, schema: &str) -> String {
    match kind {
        Kind::Scalar(at) => SCALARS[*at].0.to_owned(),
        Kind::Array(element) => format!("{}[]", sql(element, schema)),
        Kind::Domain(name, _) | Kind::Enum(name, _) | Kind::Composite(name, _) | Kind::Range(name, _) => {
            format!("{schema}.{name}")
        }
    }
}

/// Statements that create a type, parts first.
fn create(kind: &Kind, schema: &str, statements: &mut String) {
    match kind {
        Kind::Domain(_, part) | Kind::Array(part) | Kind::Range(_, part) => create(part, schema, statements),
        Kind::Composite(_, attributes) => {
            attributes.iter().for_each(|(_, part)| create(part, schema, statements));
        }
        Kind::Scalar(_) | Kind::Enum(..) => {}
    }
    let own = sql(kind, schema);
    let done = match kind {
        Kind::Scalar(_) | Kind::Array(_) => Ok(()),
        Kind::Domain(_, base) => write!(statements, "create domain {own} as {};", sql(base, schema)),
        Kind::Range(_, part) => {
            write!(statements, "create type {own} as range (subtype = {});", sql(part, schema))
        }
        Kind::Enum(_, labels) => {
            let labels: Vec<_> =
                labels.iter().map(|label| format!("'{}'", label.replace('\'', "''"))).collect();
            write!(statements, "create type {own} as enum ({});", labels.join(", "))
        }
        Kind::Composite(_, attributes) => {
            let attributes: Vec<_> =
                attributes.iter().map(|(name, kind)| format!("{name} {}", sql(kind, schema))).collect();
            write!(statements, "create type {own} as ({});", attributes.join(", "))
        }
    };
    done.unwrap();
}

/// A column's type on both sides.
struct Case {
    table: String,
    here: Kind,
    there: Kind,
    holding: Holding,
    /// Whether the secondary has the table already.
    made: bool,
}

fn cases(dice: &mut Dice) -> Vec<Case> {
    (0..TABLES)
        .map(|at| {
            let mut maker = Maker { dice: &mut *dice, prefix: format!("k{at}"), made: 0 };
            let here = maker.kind(DEPTH_MAX);
            let there = if at % 3 == 0 { here.clone() } else { maker.changed(&here) };
            let holding = if at % 2 == 0 { Holding::LiveOnly } else { Holding::Mirror };
            Case { table: format!("t{at}"), here, there, holding, made: maker.dice.roll(2) == 0 }
        })
        .collect()
}

/// The secondary's types live in another schema, and some of its tables are there.
fn secondary(cases: &[Case]) -> String {
    let mut statements = String::from("create schema elsewhere;");
    for case in cases {
        create(&case.there, "elsewhere", &mut statements);
        let milestones = match case.holding {
            Holding::LiveOnly => "ds_surf_batch_id integer not null, primary key (id)",
            Holding::Mirror => {
                "ds_surf_batch_in integer not null, ds_surf_batch_out integer not null, primary key (id, ds_surf_batch_in)"
            }
        };
        if case.made {
            let kind = sql(&case.there, "elsewhere");
            let table = &case.table;
            write!(
                statements,
                "create table edge{table}_store1_{table}_merge (id integer, c {kind}, ds_surf_all_hash varchar(32) not null, \
                 ds_surf_key_hash varchar(32) not null, {milestones});"
            )
            .unwrap();
        }
    }
    statements
}

/// A platform of its own for each table, so that one that is refused does not keep the others.
fn job(world: &World, case: &Case) -> Job {
    let mut job = world.job(&format!("Edge{}", case.table), case.holding);
    job.stream.datasets.retain(|dataset| dataset.name == case.table);
    job
}

/// Rows as text and as JSON, which also has the names of attributes; the live ones of both sides.
async fn held(world: &World, database: &str, table: &str, live: &str) -> Vec<Vec<Option<String>>> {
    let question = format!("select id, c::text, to_jsonb(c)::text from {table} where {live} order by id");
    world.ask(database, question).await
}

async fn judge(world: &World, case: &Case, batch: i32) -> bool {
    let job = job(world, case);
    let told = match world.sync(&job).await {
        Ok(_) => {
            let live = "ds_surf_batch_out = 2147483647";
            let wanted = held(world, "primary", &world.primary_table(&case.table), live).await;
            let live = if case.holding == Holding::Mirror { live } else { "true" };
            let found = held(world, "secondary", &world.merge_table(&job, &case.table), live).await;
            assert_eq!(wanted, found, "{:?} into {:?} as of {batch}", case.here, case.there);
            return true;
        }
        Err(Error::Schema { differences, .. }) => differences,
        Err(other) => panic!("{:?} into {:?}: {other}", case.here, case.there),
    };
    assert_ne!(case.here, case.there, "{told}");
    assert_eq!(world.watermark(&job).await, None, "{told}");
    false
}

async fn commit(world: &mut World, dice: &mut Dice, cases: &[Case], update: bool) -> i32 {
    let mut operations = Vec::new();
    for case in cases {
        for id in 0..3 {
            let mut maker = Maker { dice: &mut *dice, prefix: String::new(), made: 0 };
            let value = if id == 2 { None } else { Some(maker.value(&case.here)) };
            let row = Row { key: texts(&[Some(&id.to_string())]), columns: vec![value] };
            let operation = if update { Operation::Update(row) } else { Operation::Insert(row) };
            operations.push((case.table.as_str(), operation));
        }
    }
    let batch = world.commit(operations).await;
    // Each platform has one table of the store, so counts of all of them would tell it nothing.
    let silent = "update hub_batch_metrics set state = null, records_inserted = null, records_updated = null, \
                  records_deleted = null";
    world.execute("primary", silent).await;
    batch
}

#[tokio::test]
async fn random_types_with_random_differences_arrive_equal_or_are_refused() {
    let seed = std::env::var("MILESTREAM_TYPES_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_micros();
    let seed: u64 = seed.unwrap_or_else(|| u64::from(now()));
    println!("replay with MILESTREAM_TYPES_SEED={seed}");
    let mut dice = Dice::new(seed);
    let cases = cases(&mut dice);
    let mut types = String::from("create schema here;");
    cases.iter().for_each(|case| create(&case.here, "here", &mut types));
    let tables: Vec<_> = cases
        .iter()
        .map(|case| Table::new(&case.table, &[("id", "integer")], &[("c", &sql(&case.here, "here"))]))
        .collect();
    let mut world = World::of(Setting { types, ..Setting::default() }, tables).await;
    world
        .execute(
            "secondary",
            format!("set client_min_messages = error; drop schema here cascade; {}", secondary(&cases)),
        )
        .await;
    let batch = commit(&mut world, &mut dice, &cases, false).await;
    let mut paired = Vec::new();
    for case in &cases {
        if judge(&world, case, batch).await {
            paired.push(case);
        }
    }
    assert!(paired.len() >= TABLES / 3, "of {TABLES} tables {} were paired", paired.len());
    let batch = commit(&mut world, &mut dice, &cases, true).await;
    for case in paired {
        assert!(judge(&world, case, batch).await);
    }
}
