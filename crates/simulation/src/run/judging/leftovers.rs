//! What must be gone after a commit, and what must be kept.

use super::super::Failure;
use super::super::asker::{Asker, quoted};
use super::super::record::Recorder;
use super::super::secondary::{Follower, STAGING_KEPT, SecondaryState};
use crate::outcome::Property;

impl SecondaryState {
    pub(super) async fn check_leftovers(
        &self,
        follower: &Follower,
        asker: &mut Asker,
        recorder: &Recorder,
    ) -> Result<(), Failure> {
        let at = format!("{} of {:?}", self.plan.name, follower.key);
        let key = quoted(&follower.key);
        let question = format!("select count(*) from {} where stream_key = {key}", self.control.chunk);
        let chunks = asker.number(&question).await?;
        if chunks > 0 {
            recorder.violated(Property::Leftovers, format!("{at}: {chunks} chunk rows after the commit"));
        }
        for table in follower.tables() {
            let staging = self.staging(follower, table);
            let question = format!("select count(distinct ds_surf_batch_id) from {staging}");
            let staged = asker.number(&question).await?;
            if staged > i64::from(STAGING_KEPT) {
                recorder
                    .violated(Property::Leftovers, format!("{at}: {staged} batches are staged in {staging}"));
            }
        }
        self.check_kept(follower, asker, recorder).await?;
        let question = "select string_agg(relname, ', ') from pg_class where relkind = 'r' and (relname like '%\\_landing' or relname like '%\\_sweep')";
        // Other streams of the platform may be in the middle of a seed.
        if self.followers.len() == 1
            && let Some(left) = asker.value(question).await?
        {
            recorder.violated(Property::Leftovers, format!("{at}: {left} after the commit"));
        }
        Ok(())
    }
}

impl SecondaryState {
    /// The newest batches stay staged as long as the policy says, where they are increments that changed anything.
    async fn check_kept(
        &self,
        follower: &Follower,
        asker: &mut Asker,
        recorder: &Recorder,
    ) -> Result<(), Failure> {
        // With another column the staging table is made anew.
        if follower.has_late_column() {
            return Ok(());
        }
        // Also of datasets that the model had then.
        let mut staged = Vec::new();
        for table in &follower.all {
            let staging = self.staging(follower, table);
            if asker.value(&format!("select to_regclass({})", quoted(&staging))).await?.is_some() {
                staged.push(format!("select ds_surf_batch_id from {staging}"));
            }
        }
        let question = format!(
            "with newest as (select local_batch, kind, rows_inserted + rows_updated + rows_deleted > 0 as changed \
                from {history} where stream_key = {key} order by committed_at desc limit {STAGING_KEPT}) \
             select string_agg(local_batch::text, ', ') from newest where changed \
             and not exists (select 1 from newest where kind <> 'increment') and local_batch not in ({staged})",
            history = self.control.history,
            key = quoted(&follower.key),
            staged = staged.join(" union all ")
        );
        if let Some(missing) = asker.value(&question).await? {
            let what = format!(
                "{} of {:?}: batch {missing} is not staged any more, though {STAGING_KEPT} batches are to be kept",
                self.plan.name, follower.key
            );
            recorder.violated(Property::Leftovers, what);
        }
        Ok(())
    }
}
