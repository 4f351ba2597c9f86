use std::collections::BTreeMap;
use std::sync::Arc;

use milestream_core::model::ColumnType;
use milestream_core::stream::{Column as ModelColumn, Stream};

use super::*;
use crate::ingest::HashFormula;
use crate::postgres::catalog::{Column, RelationKind};
use crate::postgres::{Endpoint, TlsMode};
use crate::structure::{Form, Structure};
use crate::sync::Tuning;

fn endpoint() -> Arc<Endpoint> {
    Arc::new(Endpoint {
        role: "nowhere".into(),
        host: "localhost".into(),
        port: 5432,
        database: "d".into(),
        user: "u".into(),
        password: "p".to_owned().into(),
        tls: TlsMode::Auto,
        tls_root_cert: None,
    })
}

fn dataset() -> Dataset {
    let column = |name: &str, column_type| ModelColumn { name: name.into(), column_type, nullable: true };
    let columns = vec![
        column("id", ColumnType::Integer),
        column("firstName", ColumnType::VarChar { max_size: Some(20) }),
        column("note", ColumnType::Other("Geometry".to_owned())),
    ];
    Dataset { name: "people".into(), columns, key: vec!["id".into()] }
}

fn job(strategy: Scd) -> IngestJob {
    IngestJob {
        platform: "Hub".into(),
        strategy,
        stream: Stream { store: "Store1".into(), dataset: None, datasets: vec![dataset()] },
        source: endpoint(),
        source_tables: BTreeMap::new(),
        store: endpoint(),
        hash: HashFormula::DataSurface,
        staging_batches_to_keep: None,
        tuning: Tuning::default(),
    }
}

fn table(columns: &[(&str, &str)], key: &[&str]) -> Table {
    let structure = |sql_type: &str| Structure {
        sql: sql_type.to_owned(),
        form: Form::BuiltIn { name: sql_type.to_owned(), modifier: -1, sends: true, hashes: true },
    };
    let column = |(name, sql_type): &(&str, &str)| Column {
        name: (*name).to_owned(),
        attnum: 1,
        type_id: String::new(),
        structure: structure(sql_type),
        nullable: !key.contains(name),
        collation: None,
        generated: false,
    };
    Table {
        oid: 1,
        schema: "public".into(),
        name: "people".into(),
        kind: RelationKind::Table,
        columns: columns.iter().map(column).collect(),
        primary_key: key.iter().map(ToString::to_string).collect(),
        indexes: Vec::new(),
        hooks: Vec::new(),
        cascades: Vec::new(),
        rows_estimated: None,
        bytes: 0,
        parts: Vec::new(),
    }
}

const SOURCE: [(&str, &str); 3] =
    [("id", "smallint"), ("firstName", "character varying(20)"), ("note", "jsonb")];

fn forensic(columns: &[(&str, &str)], key: &[&str]) -> Table {
    let hashes = [(ALL_HASH, "character varying(32)"), (KEY_HASH, "character varying(32)")];
    let milestones = [(BATCH_IN, "integer"), (BATCH_OUT, "integer")];
    table(&[columns, &hashes, &milestones].concat(), key)
}

#[test]
fn the_model_decides_types_and_the_source_where_the_model_is_silent() {
    let pair = fit(&job(Scd::Forensic), &dataset(), &table(&SOURCE, &["id"]), None, &[]).unwrap();
    let types: Vec<_> = pair.columns.iter().map(|column| column.target_type.as_str()).collect();
    assert_eq!(types, ["integer", "character varying(20)", "jsonb"]);
}

#[test]
fn a_merge_table_that_exists_decides_types() {
    let columns = [("id", "bigint"), ("firstName", "text"), ("note", "jsonb")];
    let merge = forensic(&columns, &["id", BATCH_IN]);
    let pair = fit(&job(Scd::Forensic), &dataset(), &table(&SOURCE, &["id"]), Some(merge), &[]).unwrap();
    let types: Vec<_> = pair.columns.iter().map(|column| column.target_type.as_str()).collect();
    assert_eq!(types, ["bigint", "text", "jsonb"]);
}

#[test]
fn everything_that_does_not_fit_is_told_at_once() {
    let source = table(&[("id", "bigint"), ("firstName", "text")], &[]);
    let merge = table(
        &[
            ("id", "integer"),
            ("firstName", "text"),
            ("note", "jsonb"),
            ("tenant", "integer"),
            (BATCH_ID, "integer"),
        ],
        &["id", "tenant"],
    );
    let found = fit(&job(Scd::Forensic), &dataset(), &source, Some(merge), &[]).unwrap_err();
    insta::assert_snapshot!(table_of(&found));
}

#[test]
fn what_a_view_calls_nullable_is_left_to_its_rows() {
    let mut source = table(&SOURCE, &[]);
    assert!(fit(&job(Scd::LiveOnly), &dataset(), &source, None, &[]).is_err());
    source.kind = RelationKind::View;
    assert!(fit(&job(Scd::LiveOnly), &dataset(), &source, None, &[]).is_ok());
}

#[test]
fn short_names_of_types_are_compared_in_the_catalogs_words() {
    for (short, catalog) in [
        ("varchar(20)", "character varying(20)"),
        ("varchar", "character varying"),
        ("char(3)", "character(3)"),
        ("char", "character(1)"),
        ("numeric(10,2)", "numeric(10,2)"),
        ("timestamp without time zone", "timestamp without time zone"),
    ] {
        assert_eq!(catalog_spelling(short), catalog);
    }
}
