//! A heap as Postgres keeps one: an update leaves the old row dead and puts the new one wherever there is
//! room.

use milestream_core::delta::Version;
use milestream_core::milestone::{Interval, PrimaryBatch};

use crate::history::{Batch, KEYS, Snapshot, Table};

const SLOTS_PER_BLOCK: usize = 3;

#[derive(Clone, Debug)]
enum Slot {
    Free,
    Dead,
    Row(Version<u8, u8>),
}

/// One leaf table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heap {
    blocks: Vec<[Slot; SLOTS_PER_BLOCK]>,
    live: Snapshot,
    committed: i32,
    /// Where rows go next; used over and over, so that a test case is a value.
    places: Vec<u16>,
    places_used: usize,
}

impl Heap {
    pub(crate) fn new(places: Vec<u16>) -> Heap {
        Heap { places, ..Heap::default() }
    }

    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.blocks.len()).expect("heaps are small")
    }

    pub(crate) fn live(&self) -> &Snapshot {
        &self.live
    }

    /// The rows of blocks `from..to` in one snapshot.
    pub(crate) fn read(&self, from: u32, to: Option<u32>) -> Table {
        let within = |block: &usize| *block >= from as usize && to.is_none_or(|to| *block < to as usize);
        let blocks = (0..self.blocks.len()).filter(within).flat_map(|block| &self.blocks[block]);
        blocks.filter_map(|slot| if let Slot::Row(row) = slot { Some(row.clone()) } else { None }).collect()
    }

    /// Commits the next batch.
    pub(crate) fn commit(&mut self, batch: &Batch) {
        self.committed += 1;
        let mut next = self.live.clone();
        for &(key, content) in batch {
            match content {
                Some(content) => next.insert(key, content),
                None => next.remove(&key),
            };
        }
        for key in KEYS {
            if self.live.get(&key) != next.get(&key) {
                self.close(key);
                if let Some(&content) = next.get(&key) {
                    let interval = Interval::live_from(PrimaryBatch(self.committed));
                    self.place(Version { key, interval, content });
                }
            }
        }
        self.live = next;
    }

    /// Frees what is dead and cuts off empty blocks at the end.
    pub(crate) fn vacuum(&mut self) {
        for slot in self.blocks.iter_mut().flatten() {
            if matches!(slot, Slot::Dead) {
                *slot = Slot::Free;
            }
        }
        while self.blocks.last().is_some_and(|block| block.iter().all(|slot| matches!(slot, Slot::Free))) {
            self.blocks.pop();
        }
    }

    /// Updates every row in place, as a backfilled column does: all of them move, none of their milestones
    /// changes.
    pub(crate) fn update_in_place(&mut self) {
        for row in self.read(0, None) {
            self.kill(&row);
            self.place(row);
        }
    }

    fn close(&mut self, key: u8) {
        let open = self.read(0, None).into_iter().find(|row| row.key == key && row.interval == open(row));
        if let Some(mut row) = open {
            self.kill(&row);
            row.interval = Interval::new(row.interval.batch_in(), PrimaryBatch(self.committed - 1));
            self.place(row);
        }
    }

    fn kill(&mut self, row: &Version<u8, u8>) {
        let mut slots = self.blocks.iter_mut().flatten();
        let slot = slots
            .find(|slot| matches!(slot, Slot::Row(other) if other == row))
            .expect("the row was read here");
        *slot = Slot::Dead;
    }

    fn place(&mut self, row: Version<u8, u8>) {
        let place = usize::from(self.places[self.places_used % self.places.len()]);
        self.places_used += 1;
        let mut free: Vec<_> =
            self.blocks.iter_mut().flatten().filter(|slot| matches!(slot, Slot::Free)).collect();
        let choices = free.len() + 1;
        match free.get_mut(place % choices) {
            Some(slot) => **slot = Slot::Row(row),
            None => self.blocks.push([Slot::Row(row), Slot::Free, Slot::Free]),
        }
    }
}

fn open(row: &Version<u8, u8>) -> Interval {
    Interval::live_from(row.interval.batch_in())
}
