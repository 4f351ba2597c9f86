//! A person who does as an error advises.

use super::secondary::{Follower, SecondaryState};
use super::{Failure, World};
use crate::outcome::{Event, Property, Sometimes};

impl World {
    pub(crate) fn operated(&self, secondary: &SecondaryState, what: &str) {
        let (secondary, what) = (secondary.plan.name.clone(), what.to_owned());
        self.recorder.happened(Event::Operator { secondary, what });
    }

    /// Lets a stream begin anew.
    pub(super) async fn reseed(
        &self,
        secondary: &SecondaryState,
        follower: &Follower,
        what: &str,
    ) -> Result<(), Failure> {
        let mut asker = secondary.place.asker().await?;
        let reset = secondary.reset(&follower.key, &mut asker).await;
        asker.close().await;
        self.operated(secondary, what);
        if let Err(error) = reset {
            let what = format!(
                "{} of {:?} could not be reset, as was advised: {error}",
                secondary.plan.name, follower.key
            );
            self.recorder.violated(Property::Definite, what);
        }
        Ok(())
    }

    /// Brings the secondary to the types that the primary has.
    pub(super) async fn mend_types(
        &self,
        secondary: &SecondaryState,
        follower: &Follower,
    ) -> Result<(), Failure> {
        if secondary.has_other_types(follower) {
            self.recorder.saw(Sometimes::RefusedOtherTypes);
        }
        let mut asker = secondary.place.asker().await?;
        secondary.mend_types(&mut asker).await?;
        asker.close().await;
        for follower in &secondary.followers {
            follower.forget_structures().await;
        }
        self.operated(secondary, "the secondary's types were made as the primary has them");
        Ok(())
    }

    /// Takes away what hands left at a stream's tables; where they changed rows, the stream begins anew.
    pub(super) async fn clear_up(
        &self,
        secondary: &SecondaryState,
        follower: &Follower,
    ) -> Result<(), Failure> {
        self.recorder.saw(Sometimes::FoundAHand);
        let mut asker = secondary.place.asker().await?;
        let begins_anew = secondary.clear_up(follower, &mut asker).await?;
        asker.close().await;
        self.operated(secondary, "triggers and rules were taken from the secondary's tables");
        if begins_anew {
            self.reseed(secondary, follower, "the stream begins anew, since hands changed rows").await?;
        }
        Ok(())
    }
}
