//! Platforms that another may pull from: which of those that are named fit, and what is wrong with the others.

use crate::model::{Found, Model, Platform};
use crate::near::{advice, quoted};

use super::{Candidate, Misfit, Origin, ResolveError};

/// The upstreams that are named for a platform and a store, judged.
pub(super) struct Upstreams<'m> {
    platform: &'m str,
    store: &'m str,
    origin: Origin,
    fitting: Vec<Candidate>,
    misfits: Vec<(String, Misfit)>,
}

impl<'m> Upstreams<'m> {
    pub(super) fn judge(
        model: &Model,
        platform: &'m str,
        store: &'m str,
        origin: Origin,
        named: &[String],
    ) -> Upstreams<'m> {
        let mut judged = Upstreams { platform, store, origin, fitting: Vec::new(), misfits: Vec::new() };
        for name in named {
            if judged.has(name) {
                continue;
            }
            match candidate(model, name, platform, store) {
                Ok(candidate) => judged.fitting.push(candidate),
                Err(misfit) => judged.misfits.push((name.clone(), misfit)),
            }
        }
        judged
    }

    fn has(&self, name: &str) -> bool {
        self.fitting.iter().any(|candidate| candidate.platform == name)
            || self.misfits.iter().any(|(misfit, _)| misfit == name)
    }

    /// Those that fit, in order; at least one.
    ///
    /// A primary of the list that lacks a merge store is passed over as long as there is another. What somebody asked
    /// for by name is not, and neither is a name that leads nowhere: it was meant to be somebody.
    pub(super) fn into_candidates(self) -> Result<Vec<Candidate>, ResolveError> {
        let fatal = |misfit: &Misfit| {
            self.origin == Origin::From || matches!(misfit, Misfit::Unknown { .. } | Misfit::Ambiguous(_))
        };
        if self.fitting.is_empty() || self.misfits.iter().any(|(_, misfit)| fatal(misfit)) {
            return Err(ResolveError::NoUpstream {
                platform: self.platform.to_owned(),
                store: self.store.to_owned(),
                origin: self.origin,
                misfits: self.misfits,
            });
        }
        Ok(self.fitting)
    }

    /// The names of those that fit, as part of a sentence.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.fitting.iter().map(|candidate| candidate.platform.as_str()).collect();
        quoted(&names, " or else ")
    }

    /// What else there is to know of them, to end a sentence with.
    pub(super) fn remarks(&self) -> String {
        let secondaries = self.fitting.iter().filter(|candidate| candidate.is_secondary);
        let secondaries = secondaries.map(|candidate| {
            format!(
                "; {:?} is itself a secondary, so it has to mirror the primary's batches",
                candidate.platform
            )
        });
        let misfits =
            self.misfits.iter().map(|(name, misfit)| format!("; {name:?} is passed over: {misfit}"));
        secondaries.chain(misfits).collect()
    }
}

/// How many of a store's primaries can be pulled from, and what is wrong with the others.
pub(crate) fn judge_primaries(
    model: &Model,
    store: &str,
    primaries: &[String],
) -> (usize, Vec<(String, Misfit)>) {
    // No platform has an empty name that could be one of them.
    let judged = Upstreams::judge(model, "", store, Origin::PipList, primaries);
    (judged.fitting.len(), judged.misfits)
}

fn candidate(model: &Model, name: &str, puller: &str, store: &str) -> Result<Candidate, Misfit> {
    let known = || model.platforms().map(|platform| platform.name.as_str());
    let platform = model.platform(name).ok_or_else(|| Misfit::Unknown { advice: advice(name, known()) })?;
    if name == puller {
        return Err(Misfit::Itself);
    }
    unambiguous_platform(model, name).map_err(|error| Misfit::Ambiguous(error.to_string()))?;
    let is_secondary =
        model.pips().of(store).is_some_and(|primaries| !primaries.iter().any(|primary| primary == name));
    if is_secondary && !platform.is_forensic() {
        return Err(Misfit::LiveOnlySecondary);
    }
    let Some(psp) = model.psp_of(name) else { return Err(no_provider(model, platform)) };
    let merge_store =
        psp.merge_store.clone().ok_or_else(|| Misfit::NoMergeStore { psp: platform.psp_name.clone() })?;
    Ok(Candidate {
        platform: name.to_owned(),
        milestone_strategy: platform.milestone_strategy,
        merge_store,
        is_secondary,
    })
}

fn no_provider(model: &Model, platform: &Platform) -> Misfit {
    let psp = platform.psp_name.clone();
    let advice = advice(&psp, model.psps().map(|psp| psp.name.as_str()));
    Misfit::NoProvider { psp, advice }
}

/// Refuses what is defined twice with different words: nobody knows which of the two is meant.
pub(super) fn unambiguous(model: &Model, platform: &str, store: &str) -> Result<(), ResolveError> {
    let finds = model.finds();
    unambiguous_platform(model, platform)?;
    one_meaning(model, "datastore", &finds.datastores, store, |datastore| &datastore.name)?;
    one_meaning(model, "the PIP list's entry of", &finds.pip_entries, store, |entry| &entry.store_name)
}

fn unambiguous_platform(model: &Model, platform: &str) -> Result<(), ResolveError> {
    let finds = model.finds();
    one_meaning(model, "data platform", &finds.platforms, platform, |platform| &platform.name)?;
    let Some(psp) = model.psp_of(platform) else { return Ok(()) };
    one_meaning(model, "provider", &finds.psps, &psp.name, |psp| &psp.name)
}

fn one_meaning<T>(
    model: &Model,
    what: &'static str,
    found: &[Found<T>],
    name: &str,
    name_of: impl Fn(&T) -> &String,
) -> Result<(), ResolveError> {
    let mut same_name = found.iter().filter(|found| name_of(&found.object) == name);
    let Some(first) = same_name.next() else { return Ok(()) };
    let Some(other) = same_name.find(|other| !model.same(first, other)) else { return Ok(()) };
    let places = vec![model.place(first), model.place(other)];
    Err(ResolveError::Ambiguous { what, name: name.to_owned(), places })
}
