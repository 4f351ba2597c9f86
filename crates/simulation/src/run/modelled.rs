//! Datasets that come to the model of a secondary's worker, and leave it.

use std::sync::atomic::Ordering;

use super::asker::quoted;
use super::ledger::Ledger;
use super::secondary::{Follower, SecondaryState};
use super::{Failure, World};

impl World {
    /// Gives the model of a secondary's worker the first so many datasets.
    pub(super) async fn model(&self, index: usize, datasets: usize) -> Result<(), Failure> {
        let secondary = &self.secondaries[index];
        // Streams of one dataset each have nothing to lack.
        let [follower] = secondary.followers.as_slice() else { return Ok(()) };
        if self.recorder.is_violated() || !secondary.remodel(follower, datasets).await? {
            return Ok(());
        }
        let names: Vec<_> = follower.tables().iter().map(|table| table.name()).collect();
        self.operated(secondary, &format!("the model has {} from now on", names.join(", ")));
        Ok(())
    }
}

impl SecondaryState {
    /// Whether the model is another now.
    async fn remodel(&self, follower: &Follower, datasets: usize) -> Result<bool, Failure> {
        let mut asker = self.place.asker().await?;
        let is_begun = self.is_begun(&mut asker).await?;
        let in_flight = format!(
            "select count(*) from {} where stream_key = {} and flight is not null",
            self.control.stream,
            quoted(&follower.key)
        );
        if is_begun && asker.number(&in_flight).await? > 0 {
            asker.close().await;
            return Ok(false);
        }
        let mut ledger = follower.ledger.lock().await;
        let before: Vec<_> = follower.tables().iter().map(|table| table.name().to_owned()).collect();
        follower.model(datasets);
        let now: Vec<_> = follower.tables().iter().map(|table| table.name().to_owned()).collect();
        let came = now.iter().filter(|name| !before.contains(name) && ledger.structures.contains_key(*name));
        let came: Vec<_> = came.cloned().collect();
        ledger.returned.extend(came);
        ledger.returned.retain(|name| now.contains(name));
        ledger.capture = None;
        if let Some(held) = &mut ledger.held {
            held.rows.retain(|name, _| now.contains(name));
            held.live.retain(|name, _| now.contains(name));
            held.written.retain(|name, _| now.contains(name));
        }
        // Readers look at the tables of the model.
        if let Some(watermark) = ledger.held.as_ref().map(|held| held.watermark)
            && self.are_all_there(follower, &mut asker).await?
        {
            let digest = self.digest(follower, &mut asker).await?;
            ledger.digests.entry(watermark).or_default().insert(digest);
        }
        asker.close().await;
        Ok(before != now)
    }

    /// Whether a commit was written down that nobody has judged.
    pub(super) async fn has_more_history(
        &self,
        follower: &Follower,
        ledger: &Ledger,
    ) -> Result<bool, Failure> {
        let mut asker = self.place.asker().await?;
        let question = format!(
            "select count(*) from {} where stream_key = {}",
            self.control.history,
            quoted(&follower.key)
        );
        let syncs = asker.number(&question).await?;
        asker.close().await;
        Ok(usize::try_from(syncs).is_ok_and(|syncs| syncs > ledger.books.history.len()))
    }
}

impl Follower {
    fn model(&self, datasets: usize) {
        self.modelled.store(datasets.clamp(1, self.all.len()), Ordering::SeqCst);
        self.is_there.store(false, Ordering::Relaxed);
    }
}
