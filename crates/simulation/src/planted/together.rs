//! Many planted bugs in one build: a function that patches change has a body for each of them, and which one runs is
//! chosen when the process begins. A patch that changes more than bodies of functions has a build of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

use super::nursery::{Built, Nursery, at};
use super::{Error, Patch};

/// The environment variable that names the planted bug of a process.
pub(super) const CHOSEN: &str = "MILESTREAM_PLANTED";

/// The module that looks which bug is chosen, and the crate that all that is patched depends on.
const CRATE: &str = "crates/core";
const MODULE: &str = "crates/core/src/planted.rs";
const ROOT: &str = "crates/core/src/lib.rs";
const SOURCE: &str = "//! Which planted bug this process has.\n\n\
    use std::sync::LazyLock;\n\n\
    static CHOSEN: LazyLock<Option<String>> = LazyLock::new(|| std::env::var(\"MILESTREAM_PLANTED\").ok());\n\n\
    /// Whether it is this one.\n\
    pub fn is(name: &str) -> bool {\n    CHOSEN.as_deref() == Some(name)\n}\n";

/// What was built together.
#[derive(Debug, Default)]
pub(super) struct Together {
    /// The binary; `None` where nothing goes together.
    pub(super) simulate: Option<PathBuf>,
    /// The patches that it has.
    pub(super) names: BTreeSet<String>,
}

/// Bodies that one patch gives to functions of one file.
struct Bodies {
    patch: String,
    file: PathBuf,
    /// The function's number in the file, and its body.
    bodies: Vec<(usize, String)>,
}

/// Builds all patches that only change bodies of functions. One that does not compile is left out.
pub(super) fn build(nursery: &Nursery, patches: &[Patch], jobs: Option<u32>) -> Result<Together, Error> {
    let mut changes = Vec::new();
    for patch in patches {
        changes.extend(bodies_of(nursery, patch)?.into_iter().flatten());
    }
    while !changes.is_empty() {
        let composed = compose(nursery, &changes)?;
        let texts = composed.iter().map(|(file, composed)| (file.clone(), composed.text.clone())).collect();
        let written = nursery.write(texts)?;
        let built = nursery.build_as_it_is(jobs);
        let kept = match &built {
            Ok(Built::Binary(simulate)) => Some(nursery.keep(simulate, "together")?),
            _ => None,
        };
        written.take_out()?;
        match built? {
            Built::Binary(_) => {
                let names = changes.into_iter().map(|change| change.patch).collect();
                return Ok(Together { simulate: kept, names });
            }
            Built::Failed(output) => {
                let guilty = guilty(&output, &composed);
                if guilty.is_empty() {
                    return Err(Error::DoNotBuildTogether(output));
                }
                changes.retain(|change| !guilty.contains(&change.patch));
            }
        }
    }
    Ok(Together::default())
}

/// What a patch changes; `None` where that is more than bodies.
fn bodies_of(nursery: &Nursery, patch: &Patch) -> Result<Option<Vec<Bodies>>, Error> {
    let planted = nursery.plant(patch)?;
    let after: Result<Vec<_>, Error> = planted
        .files()
        .map(|(path, before)| {
            let after = if path.exists() {
                Some(at("reading", path, |path| fs::read_to_string(path))?)
            } else {
                None
            };
            Ok((path.to_owned(), before.map(|before| String::from_utf8_lossy(before).into_owned()), after))
        })
        .collect();
    planted.take_out()?;
    let mut all = Vec::new();
    for (path, before, after) in after? {
        let (Some(before), Some(after)) = (before, after) else { return Ok(None) };
        let Some(bodies) = changed(&before, &after) else { return Ok(None) };
        let file = path.strip_prefix(&nursery.tree).unwrap_or(&path).to_owned();
        all.push(Bodies { patch: patch.name.clone(), file, bodies });
    }
    Ok(Some(all))
}

/// The functions whose bodies differ between two texts of a file, each with its new body; `None` where more does.
fn changed(before: &str, after: &str) -> Option<Vec<(usize, String)>> {
    let (old, new) = (bodies(before)?, bodies(after)?);
    if without(before, &old) != without(after, &new) {
        return None;
    }
    let pairs = old.into_iter().zip(new).enumerate();
    let differ = pairs.filter(|(_, (old, new))| before[old.clone()] != after[new.clone()]);
    Some(differ.map(|(number, (_, new))| (number, after[new].to_owned())).collect())
}

/// The bodies of the functions that can have several, in their order, braces included.
fn bodies(text: &str) -> Option<Vec<Range<usize>>> {
    struct Found(Vec<Range<usize>>);
    impl Found {
        fn take(&mut self, signature: &syn::Signature, block: &syn::Block) {
            let is_opaque =
                matches!(&signature.output, syn::ReturnType::Type(_, kind) if contains_impl(kind));
            if signature.constness.is_none() && !is_opaque {
                let braces = block.brace_token.span;
                self.0.push(braces.open().byte_range().start..braces.close().byte_range().end);
            }
        }
    }
    impl<'ast> Visit<'ast> for Found {
        fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
            self.take(&item.sig, &item.block);
        }
        fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
            self.take(&item.sig, &item.block);
        }
        fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
            if let Some(block) = &item.default {
                self.take(&item.sig, block);
            }
        }
    }
    let file = syn::parse_file(text).ok()?;
    let mut found = Found(Vec::new());
    found.visit_file(&file);
    found.0.sort_by_key(|range| range.start);
    Some(found.0)
}

/// Two bodies are two types where a function does not name what it returns.
fn contains_impl(kind: &syn::Type) -> bool {
    struct Opaque(bool);
    impl<'ast> Visit<'ast> for Opaque {
        fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
            self.0 = true;
        }
    }
    let mut opaque = Opaque(false);
    opaque.visit_type(kind);
    opaque.0
}

fn without(text: &str, bodies: &[Range<usize>]) -> String {
    let mut rest = String::new();
    let mut from = 0;
    for body in bodies {
        rest.push_str(&text[from..body.start]);
        from = body.end;
    }
    rest + &text[from..]
}

/// A file with all bodies, and the lines that each patch has in it.
struct Composed {
    text: String,
    lines: Vec<(Range<usize>, String)>,
}

fn compose(nursery: &Nursery, changes: &[Bodies]) -> Result<BTreeMap<PathBuf, Composed>, Error> {
    let mut files: BTreeMap<&PathBuf, Vec<&Bodies>> = BTreeMap::new();
    for change in changes {
        files.entry(&change.file).or_default().push(change);
    }
    let mut all = BTreeMap::new();
    for (file, changes) in files {
        let text = at("reading", &nursery.tree.join(file), |path| fs::read_to_string(path))?;
        all.insert(file.clone(), with_bodies(&text, file, &changes));
    }
    let root = nursery.tree.join(ROOT);
    let of_root = all.remove(Path::new(ROOT));
    let (text, lines) = match of_root {
        Some(composed) => (composed.text, composed.lines),
        None => (at("reading", &root, |path| fs::read_to_string(path))?, Vec::new()),
    };
    all.insert(ROOT.into(), Composed { text: text + "\npub mod planted;\n", lines });
    all.insert(MODULE.into(), Composed { text: SOURCE.to_owned(), lines: Vec::new() });
    Ok(all)
}

/// `{ … }` becomes `{ if is("a") { … } else if is("b") { … } else { … } }`.
fn with_bodies(text: &str, file: &Path, changes: &[&Bodies]) -> Composed {
    let is = if file.starts_with(CRATE) { "crate::planted::is" } else { "milestream_core::planted::is" };
    let mut composed = Composed { text: String::new(), lines: Vec::new() };
    let mut from = 0;
    for (number, body) in bodies(text).unwrap_or_default().into_iter().enumerate() {
        let of = changes.iter().flat_map(|change| {
            let its = change.bodies.iter().filter(move |(of, _)| *of == number);
            its.map(move |(_, body)| (&change.patch, body))
        });
        let of: Vec<_> = of.collect();
        if of.is_empty() {
            continue;
        }
        composed.text.push_str(&text[from..body.start]);
        composed.text.push('{');
        for (patch, body) in of {
            composed.text.push_str(&format!(" if {is}({patch:?}) "));
            let first = composed.line();
            composed.text.push_str(body);
            composed.lines.push((first..composed.line() + 1, patch.clone()));
            composed.text.push_str(" else ");
        }
        composed.text.push_str(&text[body.clone()]);
        composed.text.push('}');
        from = body.end;
    }
    composed.text.push_str(&text[from..]);
    composed
}

impl Composed {
    /// The number of the line that is being written, from 1 on.
    fn line(&self) -> usize {
        self.text.matches('\n').count() + 1
    }
}

/// The patches in whose bodies the compiler found errors. `output` has lines `file:line:column: error…`.
fn guilty(output: &str, composed: &BTreeMap<PathBuf, Composed>) -> BTreeSet<String> {
    let place = |line: &str| -> Option<(PathBuf, usize)> {
        let (place, _) = line.split_once(": error")?;
        let mut parts = place.rsplitn(3, ':');
        let (_, line, file) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
        Some((file.into(), line))
    };
    let of = |(file, line): (PathBuf, usize)| -> Vec<String> {
        let lines = composed.get(&file).map(|composed| composed.lines.as_slice()).unwrap_or_default();
        lines.iter().filter(|(range, _)| range.contains(&line)).map(|(_, patch)| patch.clone()).collect()
    };
    output.lines().filter_map(place).flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "use a::b;\n\nfn one(x: u8) -> u8 {\n    x + 1\n}\n\nimpl T {\n    async fn two(&self) {\n        go().await;\n    }\n}\n\nfn three() -> impl Iterator<Item = u8> {\n    0..3\n}\n";

    #[test]
    fn a_patch_of_bodies_alone_is_told_from_one_of_more() {
        let changed = |from: &str, to: &str| changed(BEFORE, &BEFORE.replace(from, to));
        assert_eq!(changed("x + 1", "x"), Some(vec![(0, "{\n    x\n}".to_owned())]));
        assert_eq!(changed("go()", "stay()").map(|bodies| bodies[0].0), Some(1));
        assert_eq!(changed("x: u8", "x: u16"), None, "a signature");
        assert_eq!(changed("use a::b;", "use a::c;"), None, "an import");
        assert_eq!(changed("0..3", "0..4"), None, "what is returned is not named");
        assert_eq!(changed("nothing", "of this"), Some(Vec::new()));
    }

    #[test]
    fn each_patch_has_its_branch_and_its_lines() {
        let change = |patch: &str, body: &str| Bodies {
            patch: patch.to_owned(),
            file: "crates/worker/src/a.rs".into(),
            bodies: vec![(0, body.to_owned())],
        };
        let changes = [change("01-a", "{\n    x\n}"), change("02-b", "{ 7 }")];
        let file = Path::new("crates/worker/src/a.rs");
        let composed = with_bodies(BEFORE, file, &changes.iter().collect::<Vec<_>>());
        let is = "milestream_core::planted::is";
        let expected = format!(
            "-> u8 {{ if {is}(\"01-a\") {{\n    x\n}} else  if {is}(\"02-b\") {{ 7 }} else {{\n    x + 1\n}}}}"
        );
        assert!(composed.text.contains(&expected), "{}", composed.text);
        assert!(syn::parse_file(&composed.text).is_ok());
        let all = BTreeMap::from([(file.to_owned(), composed)]);
        let said = |line: usize| guilty(&format!("crates/worker/src/a.rs:{line}:9: error[E0308]: no"), &all);
        assert_eq!(said(4), BTreeSet::from(["01-a".to_owned()]));
        assert_eq!(
            said(5),
            BTreeSet::from(["01-a".to_owned(), "02-b".to_owned()]),
            "both end or begin there"
        );
        assert_eq!(said(12), BTreeSet::new());
        assert_eq!(guilty("error: could not compile", &all), BTreeSet::new());
    }
}
