use std::fs;
use std::path::Path;

use super::nursery::Nursery;
use super::*;

const HEADER: &str =
    "Bug: it is wrong.\nHarm: rows are gone.\nShows: plain\nNeeds-fault: no\nCaught-by: a\n\n";
const DIFF: &str =
    "diff --git a/poem b/poem\n--- a/poem\n+++ b/poem\n@@ -1,2 +1,2 @@\n-roses\n+thorns\n violets\n";

fn parsed(name: &str, text: &str) -> Result<Patch, Error> {
    catalogue::parse(Path::new(name), text)
}

fn complaint(text: &str) -> String {
    parsed("01-a.patch", text).unwrap_err().to_string()
}

#[test]
fn a_header_says_what_is_planted() {
    let patch = parsed("dir/07-roses.patch", &format!("{HEADER}{DIFF}")).unwrap();
    assert_eq!((patch.name.as_str(), patch.bug.as_str()), ("07-roses", "it is wrong."));
    assert!(!patch.needs_fault && !patch.control);
    let control = parsed("control-x.patch", &format!("{HEADER}{DIFF}").replace("fault: no", "fault: yes"));
    let control = control.unwrap();
    assert!(control.needs_fault && control.control);
}

#[test]
fn a_header_that_is_not_whole_is_refused_by_name() {
    assert_eq!(complaint(DIFF), "01-a.patch: its header has no Needs-fault");
    assert!(complaint(HEADER).ends_with("it has no diff: no line begins with \"diff --git \""));
    let with = |line: &str| complaint(&format!("{line}\n{HEADER}{DIFF}"));
    assert!(with("Bug: twice").ends_with("line 2: Bug is there twice"), "{}", with("Bug: twice"));
    assert!(with("Bugs: none").contains("line 1: \"Bugs\" is none of Bug, Harm"));
    assert!(with("Harm: ").ends_with("line 1: Harm says nothing"));
    let maybe = format!("{HEADER}{DIFF}").replace("fault: no", "fault: maybe");
    assert!(complaint(&maybe).ends_with("Needs-fault is yes or no, not \"maybe\""));
}

#[test]
fn patches_are_chosen_by_name_or_prefix() {
    let patches = ["01-a", "02-b", "control-c"].map(|name| Patch { name: name.into(), ..patch(name, DIFF) });
    let chosen = |only: &[&str]| {
        let only: Vec<_> = only.iter().map(ToString::to_string).collect();
        let chosen = catalogue::select(patches.to_vec(), &only)?;
        Ok::<_, Error>(chosen.into_iter().map(|patch| patch.name).collect::<Vec<_>>())
    };
    assert_eq!(chosen(&[]).unwrap().len(), 3);
    assert_eq!(chosen(&["02", "control-"]).unwrap(), ["02-b", "control-c"]);
    assert!(chosen(&["01", "rose"]).unwrap_err().to_string().contains("\"rose\""));
}

#[test]
fn the_patches_of_the_repository_have_whole_headers_and_half_of_them_need_a_fault() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let patches = catalogue::read(&root.join(PATCHES)).unwrap();
    let bugs: Vec<_> = patches.iter().filter(|patch| !patch.control).collect();
    let faults = bugs.iter().filter(|patch| patch.needs_fault).count();
    assert!(bugs.len() >= 26 && faults * 2 >= bugs.len(), "{faults} of {}", bugs.len());
    assert_eq!(patches.len() - bugs.len(), 2, "controls");
}

fn patch(name: &str, diff: &str) -> Patch {
    parsed(&format!("{name}.patch"), &format!("{HEADER}{diff}")).unwrap()
}

/// A tree with a poem, under git as the real one is, and a patch file beside it.
fn grown(diff: &str) -> (tempfile::TempDir, Nursery, Patch) {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("root");
    fs::create_dir_all(root.join("leaves")).unwrap();
    fs::write(root.join("poem"), "roses\nviolets\n").unwrap();
    fs::write(root.join("leaves/one"), "green\n").unwrap();
    fs::write(root.join(".gitignore"), "/target\n").unwrap();
    let git = std::process::Command::new("git").args(["init", "--quiet"]).current_dir(&root).status();
    assert!(git.unwrap().success());
    let path = place.path().join("01-thorns.patch");
    fs::write(&path, format!("{HEADER}{diff}")).unwrap();
    let nursery = Nursery::open_at(&root, &place.path().join("root/target/planted")).unwrap();
    let patch = Patch { path, ..patch("01-thorns", diff) };
    (place, nursery, patch)
}

#[test]
fn a_patch_is_planted_and_taken_out_again_with_times_that_move_forward() {
    let (_place, nursery, patch) = grown(DIFF);
    let poem = nursery.tree.join("poem");
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let (first, leaf) = (time(&poem), time(&nursery.tree.join("leaves/one")));
    nursery.check(&patch).unwrap();
    let planted = nursery.plant(&patch).unwrap();
    assert_eq!(fs::read_to_string(&poem).unwrap(), "thorns\nviolets\n");
    let second = time(&poem);
    planted.take_out().unwrap();
    assert_eq!(fs::read_to_string(&poem).unwrap(), "roses\nviolets\n");
    assert!(first < second && second < time(&poem));
    assert_eq!(time(&nursery.tree.join("leaves/one")), leaf, "what is as it was is not touched");
}

#[test]
fn a_patch_that_no_longer_applies_is_named() {
    let (_place, nursery, patch) = grown(&DIFF.replace("-roses", "-daisies"));
    let error = nursery.check(&patch).unwrap_err();
    assert!(matches!(&error, Error::DoesNotApply { patch, .. } if patch == "01-thorns"), "{error}");
    assert!(error.to_string().contains("01-thorns no longer applies"), "{error}");
    assert!(nursery.plant(&patch).is_err());
}

#[test]
fn opening_the_nursery_again_puts_right_what_an_earlier_run_left() {
    let (place, nursery, patch) = grown(DIFF);
    let _left = nursery.plant(&patch).unwrap();
    fs::write(nursery.tree.join("leaves/two"), "wilted").unwrap();
    let root = place.path().join("root");
    let again = Nursery::open_at(&root, &root.join("target/planted")).unwrap();
    assert_eq!(fs::read_to_string(again.tree.join("poem")).unwrap(), "roses\nviolets\n");
    assert!(!again.tree.join("leaves/two").exists());
}

fn verdict(name: &str, outcomes: &[Outcome]) -> Verdict {
    let trial = |(seed, outcome): (u64, &Outcome)| Trial {
        seed,
        outcome: outcome.clone(),
        took: Duration::from_secs(4),
    };
    let trials = (1..).zip(outcomes).map(trial).collect();
    Verdict { patch: patch(name, DIFF), trials, error: None, building: Duration::from_secs(30) }
}

fn noticed() -> Outcome {
    let violation = Violation { property: "exactness".into(), history: "17".into(), faults: "".into() };
    Outcome::Noticed { code: 129, violation: Some(violation) }
}

fn failed() -> Outcome {
    Outcome::Failed { how: "exit code 1".into() }
}

#[test]
fn a_bug_must_be_noticed_on_every_seed_and_a_control_on_none() {
    let holds = |name: &str, outcomes: &[Outcome]| verdict(name, outcomes).holds();
    let quiet = || Outcome::Unnoticed;
    assert!(holds("01-a", &[noticed(), noticed(), noticed()]));
    assert!(!holds("01-a", &[noticed(), quiet(), noticed()]));
    assert!(!holds("01-a", &[noticed(), failed(), noticed()]), "a trial that failed says nothing");
    assert!(!holds("01-a", &[]));
    assert!(holds("control-a", &[quiet(), quiet(), quiet()]));
    assert!(!holds("control-a", &[quiet(), noticed(), quiet()]));
    assert!(!holds("control-a", &[quiet(), failed(), quiet()]));
}

#[test]
fn the_table_tells_what_was_caught_by_what() {
    let rows = vec![
        verdict("01-a", &[noticed(), noticed()]),
        verdict("02-b", &[noticed(), Outcome::Unnoticed]),
        verdict("control-c", &[Outcome::Unnoticed, failed()]),
    ];
    let verdicts = Verdicts { rows };
    assert!(!verdicts.all_hold());
    insta::assert_snapshot!(verdicts.markdown(), @r"
    | planted bug | needs fault | caught | by | histories | seconds | verdict |
    | --- | --- | --- | --- | --- | --- | --- |
    | 01-a | no | 2 of 2 | exactness | 17, 17 | 38 | caught |
    | 02-b | no | 1 of 2 | exactness | 17 | 38 | MISSED |
    | control-c | no | 0 of 2 |  |  | 38 | could not be tried |
    ");
    insta::assert_snapshot!(verdicts.complaints(), @r"
    02-b: MISSED
    control-c: could not be tried
      seed 2: exit code 1
    ");
    assert!(verdicts.text().contains("MISSED"));
}
