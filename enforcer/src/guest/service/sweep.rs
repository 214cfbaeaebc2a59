//! What starts have left behind: undone as soon as the engine answers.

use std::collections::BTreeSet;

use super::{Guests, failed, lock, tell};
use crate::{
    audit::record::{Life, LifeEvent},
    docker::{Engine, expel::Expelled},
    guest::{
        left::{Deed, Listed, deeds},
        names::Seat,
    },
    model::{caller::Caller, declined::Declined},
};

impl Guests {
    /// Looks for what is left behind, and undoes it.
    pub async fn sweep(&self) -> Result<(), Declined> {
        let engine = self.engine().await?;
        // Nobody makes a guest between the look and the deed.
        let _admission = self.0.admission.lock().await;
        self.tidy(&engine, None).await
    }

    /// Whether something is known to be left behind.
    #[must_use]
    pub fn has_left(&self) -> bool {
        !lock(&self.0.left).is_empty()
    }

    /// Undoes what is left behind by everybody but those at work; `own` is at work here.
    pub(super) async fn tidy(&self, engine: &Engine, own: Option<&Seat>) -> Result<(), Declined> {
        let own = own.map(Seat::container);
        let mut busy: BTreeSet<String> = lock(&self.0.busy).clone();
        if let Some(own) = &own {
            busy.remove(own);
        }
        let due: Vec<String> =
            lock(&self.0.left).keys().filter(|name| !busy.contains(*name)).cloned().collect();
        for name in due {
            let Some(deeds) = lock(&self.0.left).remove(&name) else { continue };
            let rest = self.perform(engine, deeds).await;
            if !rest.is_empty() {
                lock(&self.0.left).insert(name.clone(), rest);
                if own.as_ref() == Some(&name) {
                    return Err(Declined::failed(
                        "what an earlier start left behind cannot be removed yet: try again later",
                    ));
                }
            }
        }
        let listed: Vec<Listed> = {
            let all = engine.managed().await.map_err(|error| failed(&error))?;
            all.into_iter().map(|entry| entry.listed).collect()
        };
        for deed in deeds(&listed, &busy) {
            let told = of_deed(&deed, &listed);
            let rest = self.perform(engine, vec![deed]).await;
            if rest.is_empty()
                && let Some(life) = told
            {
                self.tell(LifeEvent::Cleared, life);
            }
        }
        Ok(())
    }

    /// Does these in their order, up to the first that fails; what is left to do.
    pub(super) async fn perform(&self, engine: &Engine, deeds: Vec<Deed>) -> Vec<Deed> {
        let mut deeds = deeds;
        while let Some(deed) = deeds.first() {
            let done = match deed {
                Deed::Remove { id, .. } => engine.remove(id).await,
                Deed::RemoveVolume(name) => match engine.remove_volume(name).await {
                    // Somebody uses it: it is no leftover any more.
                    Err(error) if error.status() == Some(409) => Ok(Expelled::Gone),
                    done => done,
                },
                Deed::GiveBack { id, name } => engine.rename(id, name).await,
            };
            if let Err(error) = done {
                tracing::warn!(%error, ?deeds, "what a start left behind cannot be removed yet");
                break;
            }
            deeds.remove(0);
        }
        deeds
    }

    pub(super) fn remember(&self, seat: &Seat, deeds: Vec<Deed>) {
        if !deeds.is_empty() {
            lock(&self.0.left).entry(seat.container()).or_default().extend(deeds);
        }
    }
}

/// What a record says of it; nothing of a volume by itself.
fn of_deed(deed: &Deed, listed: &[Listed]) -> Option<Life> {
    let (id, name, why) = match deed {
        Deed::Remove { id, name } => (id, name, "it was left behind by a start"),
        Deed::GiveBack { id, name } => (id, name, "what was to take its place never came"),
        Deed::RemoveVolume(_) => return None,
    };
    let seat = &listed.iter().find(|one| one.id == *id)?.known.seat;
    Some(Life {
        container: name.clone(),
        container_id: Some(id.clone()),
        why: why.to_owned(),
        ..tell::of_seat(seat, &Caller::default())
    })
}
