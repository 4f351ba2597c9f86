use proptest::strategy::{Strategy as _, ValueTree};
use proptest::test_runner::TestRunner;

use super::generate::{Histories, Options, plan};
use super::habits::Habit;
use super::*;

#[test]
fn the_same_seed_gives_the_same_plan_and_others_give_others() {
    let options = Options::default();
    assert_eq!(plan(7, &options), plan(7, &options));
    assert_ne!(plan(7, &options), plan(8, &options));
}

#[test]
fn plans_survive_being_saved() {
    for seed in 0..200 {
        let made = plan(seed, &Options::default());
        made.check().unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&made.to_json()).unwrap(), made, "{seed}");
    }
}

#[test]
fn a_plan_with_every_habit_is_a_plan_and_what_its_seed_made_of_it_stays() {
    let habits = Options { habits: Habit::ALL.into_iter().collect(), ..Options::default() };
    let mut deeds = 0;
    for seed in 0..100 {
        let (made, plain) = (plan(seed, &habits), plan(seed, &Options::default()));
        made.check().unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&made.to_json()).unwrap(), made, "{seed}");
        assert_eq!((&made.store, made.history.len()), (&plain.store, plain.history.len()), "{seed}");
        assert!(made.secondaries.iter().all(|secondary| secondary.premises.tables.is_some()), "{seed}");
        let is_of_hands = |act: &&Act| matches!(act, Act::Hand { .. } | Act::Empty { .. });
        deeds += made.schedule.iter().filter(is_of_hands).count();
    }
    assert!(deeds > 50, "{deeds}");
}

#[test]
fn five_seeds_and_their_plans() {
    for seed in 1..=5 {
        insta::assert_snapshot!(format!("plan_of_seed_{seed}"), plan(seed, &Options::default()).to_json());
    }
}

#[test]
fn every_smaller_plan_is_a_plan() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..20 {
        let mut tree = Histories(Options::default()).new_tree(&mut runner).unwrap();
        // Refused now and then, as a shrink that no longer fails is.
        for step in 0..400 {
            if !tree.simplify() {
                break;
            }
            tree.current().check().unwrap();
            if step % 3 == 0 {
                assert!(tree.complicate());
            }
        }
    }
}

#[test]
fn a_plan_that_always_fails_shrinks_to_nearly_nothing() {
    let mut tree = PlanTree::of(plan(3, &Options::default()));
    let mut steps = 0;
    while tree.simplify() {
        steps += 1;
        assert!(steps < 5_000, "shrinking does not end");
    }
    let least = tree.current();
    assert!(least.schedule.is_empty() && least.history.is_empty(), "{}", least.to_json());
    assert_eq!((least.secondaries.len(), least.primaries.len(), least.datasets.len()), (1, 1, 1));
}

#[test]
fn a_file_that_is_no_plan_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plan.json");
    std::fs::write(&path, "{\"store\": 7}").unwrap();
    let refusal = Plan::read(&path).unwrap_err().to_string();
    assert!(refusal.contains("plan.json") && refusal.contains("line 1"), "{refusal}");
    let mut made = plan(1, &Options::default());
    made.secondaries[0].primary = 9;
    std::fs::write(&path, made.to_json()).unwrap();
    assert!(Plan::read(&path).unwrap_err().to_string().contains("there is no primary 9"));
}
