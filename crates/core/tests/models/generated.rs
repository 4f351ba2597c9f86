//! Properties of every model, and of every JSON that claims to be one.

use std::collections::{BTreeMap, BTreeSet};

use milestream_core::lint::{LintContext, Severity, lint};
use milestream_core::model::{Model, Schema};
use milestream_core::resolve::{Overrides, ResolveError, resolve};
use milestream_core::stream::streams_of;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Map, Value, json};

const PLATFORMS: [&str; 4] = ["A", "B", "C", "D"];
const STORES: [&str; 3] = ["S", "T", "U"];

/// A sound model in few words.
#[derive(Clone, Debug)]
struct Plan {
    /// Whether each of the platforms is forensic.
    forensic: Vec<bool>,
    /// Columns of each store's only dataset, with their types and whether they may be NULL; the first is the key.
    stores: Vec<Vec<(String, Value, bool)>>,
    /// Primary ingestion platforms by store; stores that are missing have none.
    pips: BTreeMap<&'static str, Vec<&'static str>>,
    /// Fields that Milestream does not know, put into every object.
    unknown: Map<String, Value>,
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Digits beyond what a float holds.
        "[1-9][0-9]{20,30}(\\.[0-9]{1,9})?".prop_map(|digits| serde_json::from_str(&digits).unwrap()),
        ".{0,12}".prop_map(Value::from),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            members("[a-z\"é ]{0,6}", inner).prop_map(Value::Object),
        ]
    })
}

fn members(
    keys: &'static str,
    values: impl Strategy<Value = Value>,
) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map(keys, values, 0..4).prop_map(|members| members.into_iter().collect())
}

fn column_type() -> impl Strategy<Value = Value> {
    prop_oneof![
        select(
            &["Boolean", "SmallInt", "Integer", "BigInt", "Float", "Double", "Date", "Timestamp", "Interval"]
                [..]
        )
        .prop_map(|name| json!({"type": name})),
        (select(&["VarChar", "NVarChar", "String", "Char", "NChar"][..]), 1..1000_u32)
            .prop_map(|(name, size)| json!({"type": name, "maxSize": size})),
        (1..40_u32).prop_flat_map(|digits| {
            (0..=digits).prop_map(
                move |precision| json!({"type": "Decimal", "maxSize": digits, "precision": precision}),
            )
        }),
    ]
}

fn columns() -> impl Strategy<Value = Vec<(String, Value, bool)>> {
    prop::collection::btree_map("[a-zA-Zé \"]{1,12}", (column_type(), any::<bool>()), 1..5).prop_map(
        |columns| {
            columns.into_iter().map(|(name, (column_type, nullable))| (name, column_type, nullable)).collect()
        },
    )
}

fn plan() -> impl Strategy<Value = Plan> {
    let primaries = subsequence(PLATFORMS.to_vec(), 1..=PLATFORMS.len()).prop_shuffle();
    (
        prop::collection::vec(any::<bool>(), PLATFORMS.len()),
        prop::collection::vec(columns(), STORES.len()),
        prop::collection::btree_map(select(&STORES[..]), primaries, 0..=STORES.len()),
        members("x_[a-z]{1,6}", any_json()),
    )
        .prop_map(|(forensic, stores, pips, unknown)| Plan { forensic, stores, pips, unknown })
}

impl Plan {
    fn object(&self, mut fields: Value) -> Value {
        fields.as_object_mut().unwrap().extend(self.unknown.clone());
        fields
    }

    fn database(&self, name: &str) -> Value {
        let host_port = self.object(json!({"hostName": "localhost", "port": 5432}));
        let database =
            json!({"_type": "PostgresDatabase", "name": name, "databaseName": name, "hostPort": host_port});
        self.object(database)
    }

    fn credential(&self, name: &str) -> Value {
        self.object(json!({"name": name, "credentialType": "USER_PASSWORD"}))
    }

    fn psp(&self, name: &str, forensic: bool) -> Value {
        let platform = self.object(json!({
            "_type": "YellowDataPlatform",
            "name": name,
            "pspName": format!("{name}_DP"),
            "milestoneStrategy": if forensic { "batch_milestoned" } else { "live_only" },
        }));
        self.object(json!({
            "_type": "YellowPlatformServiceProvider",
            "name": format!("{name}_DP"),
            "dataPlatforms": [platform],
            "mergeRW_Credential": self.credential(name),
            "mergeStore": self.database(name),
        }))
    }

    fn store(&self, name: &str, columns: &[(String, Value, bool)]) -> Value {
        let column = |index: usize, (name, column_type, nullable): &(String, Value, bool)| {
            let nullable = index > 0 && *nullable;
            let column =
                json!({"name": name, "type": self.object(column_type.clone()), "nullable": nullable});
            (name.clone(), self.object(column))
        };
        let columns: Map<String, Value> =
            columns.iter().enumerate().map(|(index, each)| column(index, each)).collect();
        let key: Vec<&String> = columns.keys().take(1).collect();
        let schema = self.object(json!({"primaryKeyColumns": {"colNames": key}, "columns": columns}));
        let dataset = self.object(json!({"name": "d", "originalSchema": schema}));
        let command = self.object(json!({
            "_type": "SQLSnapshotIngestion",
            "singleOrMultiDatasetIngestion": 1,
            "dataContainer": self.database("source"),
            "credential": self.credential("source"),
        }));
        self.object(json!({"_type": "Datastore", "name": name, "datasets": {"d": dataset}, "cmd": command}))
    }

    /// The documents: everything in one wrapper, and the PIP list.
    fn documents(&self) -> [String; 2] {
        let psps: Vec<Value> =
            PLATFORMS.iter().zip(&self.forensic).map(|(name, forensic)| self.psp(name, *forensic)).collect();
        let stores: Vec<Value> =
            STORES.iter().zip(&self.stores).map(|(name, columns)| self.store(name, columns)).collect();
        let entry =
            |(store, platforms): (&&str, &Vec<&str>)| json!({"storeName": store, "dataPlatforms": platforms});
        let pips: Value = self.pips.iter().map(entry).collect();
        [self.object(json!({"stores": stores, "psps": psps})).to_string(), pips.to_string()]
    }

    fn model(&self) -> Model {
        let [model, pips] = self.documents();
        Model::from_documents([("model.json", model.as_str()), ("pips.json", pips.as_str())]).unwrap()
    }
}

/// Every place of a value, as a JSON pointer.
fn pointers(value: &Value, here: &str, found: &mut Vec<String>) {
    let below = |key: &str| format!("{here}/{}", key.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(key, member)| pointers(member, &below(key), found))
        }
        Value::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(index, element)| pointers(element, &below(&index.to_string()), found));
        }
        _ => {}
    }
    found.push(here.to_owned());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_model_comes_back_as_it_was_written(plan in plan()) {
        let model = plan.model();
        let written: Vec<String> = model.documents().iter().map(|document| document.json().to_string()).collect();
        prop_assert_eq!(written, plan.documents());
    }

    #[test]
    fn what_is_read_is_what_was_planned(plan in plan()) {
        let model = plan.model();
        for (name, &forensic) in PLATFORMS.iter().zip(&plan.forensic) {
            prop_assert_eq!(model.platform(name).unwrap().is_forensic(), forensic);
            let psp = model.psp_of(name).unwrap();
            prop_assert_eq!(&psp.merge_store.as_ref().unwrap().to_json(), &plan.database(name));
            prop_assert_eq!(psp.merge_credential.as_ref().unwrap().to_json(), plan.credential(name));
        }
        for (name, columns) in STORES.iter().zip(&plan.stores) {
            let store = model.datastore(name).unwrap();
            let Schema::Table { columns: read, .. } = &store.datasets[0].schema else { panic!("no table") };
            let names: Vec<&String> = read.iter().map(|column| &column.name).collect();
            prop_assert_eq!(names, columns.iter().map(|(name, _, _)| name).collect::<Vec<_>>());
            prop_assert_eq!(streams_of(store).unwrap().len(), 1);
        }
    }

    #[test]
    fn a_sound_model_has_no_errors_and_every_platform_gets_every_store(plan in plan()) {
        let model = plan.model();
        let problems = lint(&model, &LintContext::default());
        let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
        prop_assert!(errors.is_empty(), "{errors:?}");
        for store in STORES {
            for platform in PLATFORMS {
                let effective = resolve(&model, platform, store, &Overrides::default()).unwrap();
                let primaries = plan.pips.get(store).cloned().unwrap_or_default();
                let reads_source = primaries.is_empty() || primaries.contains(&platform);
                let expected = if reads_source { Vec::new() } else { primaries };
                prop_assert_eq!(effective.candidates(), expected);
                prop_assert_eq!(effective.role.name(), if reads_source { "primary" } else { "secondary" });
                let consistency = model.datastore(store).unwrap().command.as_ref().unwrap().consistency;
                prop_assert_eq!(effective.command.consistency, consistency);
                prop_assert!(effective.why.contains(platform) && effective.why.contains(store));
            }
        }
    }

    #[test]
    fn adding_a_platform_to_the_list_changes_no_other_primarys_command(plan in plan(), added in select(&PLATFORMS[..])) {
        let before = plan.model();
        let mut plan = plan;
        plan.pips.values_mut().for_each(|list| if !list.contains(&added) { list.push(added) });
        let after = plan.model();
        for store in STORES {
            for platform in PLATFORMS {
                let was = resolve(&before, platform, store, &Overrides::default()).unwrap();
                let is = resolve(&after, platform, store, &Overrides::default()).unwrap();
                if was.role.name() == "primary" || platform != added {
                    prop_assert_eq!(was.role.name(), is.role.name());
                }
                prop_assert!(is.candidates().starts_with(&was.candidates()) || platform == added);
            }
        }
    }

    #[test]
    fn an_unfit_upstream_is_named_in_the_error(
        plan in plan(),
        from in prop::collection::vec(select(&["A", "B", "C", "D", "Nobody"][..]), 0..4),
    ) {
        let model = plan.model();
        let overrides = Overrides { from: Some(from.iter().map(|&name| name.to_owned()).collect()), credential: None };
        let named: BTreeSet<&str> = from.iter().copied().collect();
        match resolve(&model, "A", "S", &overrides) {
            Ok(effective) => {
                let candidates: BTreeSet<&str> = effective.candidates().into_iter().collect();
                prop_assert_eq!(&candidates, &named);
                prop_assert!(!candidates.is_empty() && !candidates.contains("A") && !candidates.contains("Nobody"));
            }
            Err(ResolveError::NoUpstream { misfits, .. }) => {
                prop_assert!(misfits.is_empty() == from.is_empty());
                prop_assert!(misfits.iter().all(|(name, _)| named.contains(name.as_str())));
            }
            Err(error) => {
                let is_primary = matches!(error, ResolveError::PrimaryWithUpstream { .. });
                prop_assert!(is_primary && plan.pips["S"].contains(&"A"), "{error}");
            }
        }
    }

    #[test]
    fn a_model_with_anything_anywhere_is_read_or_refused_and_never_panics(
        plan in plan(),
        place in any::<Index>(),
        anything in any_json(),
    ) {
        let [model, pips] = plan.documents();
        let mut broken: Value = serde_json::from_str(&model).unwrap();
        let mut places = Vec::new();
        pointers(&broken, "", &mut places);
        *broken.pointer_mut(place.get::<String>(&places)).unwrap() = anything;
        let broken = broken.to_string();
        match Model::from_documents([("model.json", broken.as_str()), ("pips.json", pips.as_str())]) {
            Err(errors) => prop_assert!(!errors.0.is_empty() && errors.to_string().contains("model.json:1:")),
            Ok(model) => {
                for problem in lint(&model, &LintContext { has_credential: Some(&|_| false) }) {
                    prop_assert!(!problem.what.is_empty() && !problem.remedy.is_empty());
                    prop_assert_eq!(problem.position.is_some(), !problem.document.is_empty());
                }
                for platform in PLATFORMS {
                    // Any answer will do, as long as there is one.
                    let _ = resolve(&model, platform, "S", &Overrides::default());
                }
            }
        }
    }

    #[test]
    fn lint_takes_any_json(json in any_json()) {
        let text = json.to_string();
        // A list may be taken for a PIP list, and then be refused.
        if let Ok(model) = Model::from_documents([("x.json", text.as_str())]) {
            prop_assert!(lint(&model, &LintContext::default()).len() >= 2);
        }
    }
}
