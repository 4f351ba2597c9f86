//! A small model to change: the platforms Hub and Annex (forensic) and Edge (live-only), each with a provider, and the
//! stores Orders and Staff.

use milestream_core::lint::{LintContext, lint};
use milestream_core::model::{Model, ModelErrors};
use milestream_core::resolve::{EffectiveCommand, Overrides, ResolveError, resolve};
use serde_json::{Value, json};

const MODEL: &str = include_str!("../../../../fixtures/models/pips/no-pip/model.json");

pub(crate) struct Shop {
    model: Value,
    pips: Option<Value>,
}

/// The shop without a PIP list.
pub(crate) fn shop() -> Shop {
    Shop { model: serde_json::from_str(MODEL).unwrap(), pips: None }
}

/// Places in the shop's model.
pub(crate) const HUB_PSP: &str = "/platformServicesProviders/0";
pub(crate) const HUB: &str = "/platformServicesProviders/0/dataPlatforms/0";
pub(crate) const ANNEX: &str = "/platformServicesProviders/1/dataPlatforms/0";
pub(crate) const EDGE: &str = "/platformServicesProviders/2/dataPlatforms/0";
pub(crate) const ORDERS: &str = "/datastores/0";
pub(crate) const ORDERS_SCHEMA: &str = "/datastores/0/datasets/orders/originalSchema";

impl Shop {
    /// With a PIP list.
    pub(crate) fn pips(mut self, pips: Value) -> Shop {
        self.pips = Some(pips);
        self
    }

    /// With these primary ingestion platforms of Orders.
    pub(crate) fn primaries(self, platforms: &[&str]) -> Shop {
        self.pips(json!([{"storeName": "Orders", "dataPlatforms": platforms}]))
    }

    /// With a value in place of another, or in a new field.
    pub(crate) fn set(mut self, pointer: &str, value: Value) -> Shop {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        self.model.pointer_mut(parent).unwrap()[key] = value;
        self
    }

    /// Without a field.
    pub(crate) fn without(mut self, pointer: &str) -> Shop {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let fields = self.model.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        fields.shift_remove(key).unwrap();
        self
    }

    /// With one more element at the end of a list.
    pub(crate) fn push(mut self, pointer: &str, value: Value) -> Shop {
        self.model.pointer_mut(pointer).unwrap().as_array_mut().unwrap().push(value);
        self
    }

    pub(crate) fn get(&self, pointer: &str) -> Value {
        self.model.pointer(pointer).unwrap().clone()
    }

    pub(crate) fn load(&self) -> Result<Model, ModelErrors> {
        let text = |json: &Value| serde_json::to_string_pretty(json).unwrap();
        let mut documents = vec![("model.json", text(&self.model))];
        documents.extend(self.pips.iter().map(|pips| ("pips.json", text(pips))));
        Model::from_documents(documents.iter().map(|(name, text)| (*name, text.as_str())))
    }

    pub(crate) fn model(&self) -> Model {
        self.load().unwrap()
    }

    pub(crate) fn resolve(&self, platform: &str, store: &str) -> Result<EffectiveCommand, ResolveError> {
        resolve(&self.model(), platform, store, &Overrides::default())
    }

    /// How Edge gets Orders from platforms that it is told to use.
    pub(crate) fn resolve_from(&self, from: &[&str]) -> Result<EffectiveCommand, ResolveError> {
        let from = Some(from.iter().map(|&name| name.to_owned()).collect());
        resolve(&self.model(), "Edge", "Orders", &Overrides { from, credential: None })
    }

    /// Lint's problems as text, where every credential has a value.
    pub(crate) fn lint(&self) -> String {
        shown(&self.model())
    }
}

/// JSON as a document has it.
pub(crate) fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

/// Lint's problems as text.
pub(crate) fn shown(model: &Model) -> String {
    let problems = lint(model, &LintContext { has_credential: Some(&|_| true) });
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}
