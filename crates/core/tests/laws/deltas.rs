//! The laws of states and deltas, each for every pair or triple of batches of a random history.

use std::collections::BTreeSet;

use milestream_core::delta::{FullDelta, MirrorState, NetDelta, live_state, mirror_state};
use milestream_core::milestone::BatchRange;
use proptest::prelude::*;

use crate::history::{History, KEYS, batches, id};

fn range(after: usize, through: usize) -> BatchRange {
    BatchRange::new(id(after), id(through))
}

fn flat(state: MirrorState<u8, u8>) -> BTreeSet<(u8, i32, i32, u8)> {
    state
        .into_iter()
        .map(|((key, batch_in), held)| (key, batch_in.0, held.batch_out.0, held.content))
        .collect()
}

/// Every X < Y of a history.
fn pairs(history: &History) -> impl Iterator<Item = (usize, usize)> {
    let last = history.last();
    (0..last).flat_map(move |x| (x + 1..=last).map(move |y| (x, y)))
}

/// Every X < Y < Z of a history.
fn triples(history: &History) -> impl Iterator<Item = (usize, usize, usize)> {
    let last = history.last();
    pairs(history).flat_map(move |(x, y)| (y + 1..=last).map(move |z| (x, y, z)))
}

proptest! {
    #[test]
    fn states_are_those_of_the_snapshots(batches in batches()) {
        let history = History::new(&batches);
        let table = history.merge_table(history.last());
        for at in 0..=history.last() {
            prop_assert_eq!(&live_state(&table, id(at)), history.snapshot(at));
            prop_assert_eq!(flat(mirror_state(&table, id(at))), history.mirrored(at));
        }
    }

    #[test]
    fn a_net_delta_is_what_the_snapshots_say(batches in batches()) {
        let history = History::new(&batches);
        let table = history.merge_table(history.last());
        for (x, y) in pairs(&history) {
            let delta = NetDelta::over(&table, range(x, y));
            let (before, after) = (history.snapshot(x), history.snapshot(y));
            let touched: BTreeSet<u8> = (x + 1..=y).flat_map(|batch| history.touched(batch)).collect();
            let mut upserts = after.clone();
            upserts.retain(|key, _| touched.contains(key));
            let deletes: BTreeSet<u8> = before.keys().filter(|key| !after.contains_key(key)).copied().collect();
            prop_assert_eq!(delta, NetDelta { upserts, deletes });
        }
    }

    #[test]
    fn a_full_delta_is_what_the_snapshots_say(batches in batches()) {
        let history = History::new(&batches);
        let table = history.merge_table(history.last());
        for (x, y) in pairs(&history) {
            let delta = FullDelta::over(&table, range(x, y));
            let (before, after) = (history.mirrored(x), history.mirrored(y));
            let (closures, opened): (BTreeSet<_>, BTreeSet<_>) =
                after.difference(&before).partition(|(_, batch_in, _, _)| *batch_in <= id(x).0);
            prop_assert_eq!(flat(delta.opened), opened);
            prop_assert_eq!(flat(delta.closures), closures);
        }
    }

    #[test]
    fn a_delta_brings_the_state_of_x_to_that_of_y_once_or_twice(batches in batches()) {
        let history = History::new(&batches);
        let table = history.merge_table(history.last());
        for (x, y) in pairs(&history) {
            let (net, full) = (NetDelta::over(&table, range(x, y)), FullDelta::over(&table, range(x, y)));
            let mut live = live_state(&table, id(x));
            let mut mirror = mirror_state(&table, id(x));
            for _ in 0..2 {
                net.apply(&mut live);
                full.apply(&mut mirror);
                prop_assert_eq!(&live, history.snapshot(y));
                prop_assert_eq!(flat(mirror.clone()), history.mirrored(y));
            }
        }
    }

    #[test]
    fn deltas_compose(batches in batches()) {
        let history = History::new(&batches);
        let table = history.merge_table(history.last());
        for (x, y, z) in triples(&history) {
            let full = FullDelta::over(&table, range(x, y)).then(&FullDelta::over(&table, range(y, z)));
            prop_assert_eq!(full, FullDelta::over(&table, range(x, z)));

            let mut net = NetDelta::over(&table, range(x, y)).then(&NetDelta::over(&table, range(y, z)));
            let mut live = live_state(&table, id(x));
            net.apply(&mut live);
            prop_assert_eq!(&live, history.snapshot(z));
            // Deletes of keys that came and went between are all that sets it apart from the delta over both.
            net.deletes.retain(|key| history.snapshot(x).contains_key(key));
            prop_assert_eq!(net, NetDelta::over(&table, range(x, z)));
        }
    }

    #[test]
    fn a_delta_and_a_state_are_the_same_whenever_they_are_read(batches in batches()) {
        let history = History::new(&batches);
        for (x, y) in pairs(&history) {
            let at_once = history.merge_table(y);
            for newest in y..=history.last() {
                let later = history.merge_table(newest);
                prop_assert_eq!(NetDelta::over(&later, range(x, y)), NetDelta::over(&at_once, range(x, y)));
                prop_assert_eq!(FullDelta::over(&later, range(x, y)), FullDelta::over(&at_once, range(x, y)));
                prop_assert_eq!(live_state(&later, id(y)), live_state(&at_once, id(y)));
                prop_assert_eq!(mirror_state(&later, id(y)), mirror_state(&at_once, id(y)));
            }
        }
    }

    #[test]
    fn a_key_that_comes_and_goes_inside_the_range_leaves_nothing_in_a_net_delta(batches in batches()) {
        let history = History::new(&batches);
        let table = history.merge_table(history.last());
        for (x, y) in pairs(&history) {
            let delta = NetDelta::over(&table, range(x, y));
            for key in KEYS {
                if !history.snapshot(x).contains_key(&key) && !history.snapshot(y).contains_key(&key) {
                    prop_assert!(!delta.upserts.contains_key(&key) && !delta.deletes.contains(&key));
                }
            }
        }
    }

    #[test]
    fn a_key_deleted_and_inserted_again_is_one_upsert(batches in batches()) {
        let history = History::new(&batches);
        let table = history.merge_table(history.last());
        for (x, y) in pairs(&history) {
            let delta = NetDelta::over(&table, range(x, y));
            for (key, content) in history.snapshot(y) {
                if (x..y).any(|batch| !history.snapshot(batch).contains_key(key)) {
                    prop_assert_eq!(delta.upserts.get(key), Some(content));
                    prop_assert!(!delta.deletes.contains(key));
                }
            }
        }
    }
}
