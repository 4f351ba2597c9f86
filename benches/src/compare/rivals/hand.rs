//! `psql COPY binary | psql COPY binary` into a table without indexes, then the indexes: what an expert types.

use super::{find, psql};
use crate::compare::children::{self, Finished};
use crate::compare::copy::Copy;
use crate::compare::ground::{Ground, TARGET};
use crate::compare::history::{People, TABLE};

/// How many streams side by side, and as many indexes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hand {
    streams: usize,
}

impl Hand {
    /// One stream, then one index after the other.
    pub(crate) const ONE: Hand = Hand { streams: 1 };
    /// Two ranges of blocks side by side, then two indexes at a time.
    pub(crate) const TWO: Hand = Hand { streams: 2 };

    pub(crate) fn name(self) -> &'static str {
        if self.streams == 1 { "hand" } else { "hand-2" }
    }

    pub(crate) fn is_here() -> bool {
        find("psql").is_some()
    }

    /// Copies into the empty target; the figures of every `psql`.
    ///
    /// # Errors
    /// What one of them said.
    pub(crate) async fn copy(
        self,
        ground: &Ground,
        people: &People,
        copy: &Copy,
    ) -> Result<Vec<Finished>, String> {
        ground.on_target(&copy.create()).await;
        let finished = self.pipe(ground, people, copy).await?;
        if self.streams == 1 {
            super::finish_table(ground, copy).await;
        } else {
            self.index(ground, copy).await;
        }
        Ok(finished)
    }

    async fn pipe(self, ground: &Ground, people: &People, copy: &Copy) -> Result<Vec<Finished>, String> {
        if self.streams == 1 {
            return Ok(stream(ground, people, copy, None).await?.to_vec());
        }
        let blocks = people.ask(&ground.primary, &format!("select pg_relation_size('{TABLE}') / 8192")).await;
        let halves = [(0, blocks / 2), (blocks / 2, blocks + 1)];
        let [first, second] = halves.map(|half| stream(ground, people, copy, Some(half)));
        let (first, second) = tokio::try_join!(first, second)?;
        Ok([first, second].concat())
    }

    /// Two sessions that take one index after the other, then statistics.
    async fn index(self, ground: &Ground, copy: &Copy) {
        let rest = tokio::sync::Mutex::new(copy.indexes.iter());
        let take = || async {
            loop {
                let next = rest.lock().await.next();
                let Some(index) = next else { break };
                ground.on_target(index).await;
            }
        };
        tokio::join!(take(), take());
        ground.on_target(&format!("vacuum analyze {}", copy.table)).await;
    }
}

async fn stream(
    ground: &Ground,
    people: &People,
    copy: &Copy,
    blocks: Option<(i64, i64)>,
) -> Result<[Finished; 2], String> {
    let out = format!("copy ({}) to stdout (format binary)", copy.select(blocks));
    let into = format!("copy {} ({}) from stdin (format binary)", copy.table, copy.columns);
    let from = psql(&ground.primary, &people.database, Some(&out));
    children::pipe(from, psql(&ground.secondary, TARGET, Some(&into))).await
}
