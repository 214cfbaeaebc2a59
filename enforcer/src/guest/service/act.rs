//! What is done to guests that there are.

use super::{Asker, Guests, failed, nobody, of_seat, tell};
use crate::{
    access::name::User,
    audit::record::{Life, LifeEvent},
    docker::{
        EngineError,
        guests::{Entry, KnownVolume},
    },
    guest::{
        check,
        cull::Why,
        names::{self, Seat, Use},
    },
    model::{caller::Caller, declined::Declined, guest::Executed},
};

impl Guests {
    /// Ends a guest; it stays, and can be restarted.
    pub async fn stop(&self, seat: &Seat, asker: &Asker) -> Result<(), Declined> {
        let _claim = self.claim(seat)?;
        let engine = self.engine().await?;
        let all = engine.managed().await.map_err(|error| failed(&error))?;
        let entry = of_seat(&all, seat).ok_or_else(|| nobody(seat))?;
        let stopped = engine.stop(&entry.listed.id).await;
        self.outcome(LifeEvent::Stopped, entry, &asker.by, stopped.map(drop))
    }

    /// Removes a guest, running or not. The user's volumes stay.
    pub async fn remove(&self, seat: &Seat, asker: &Asker) -> Result<(), Declined> {
        let _claim = self.claim(seat)?;
        let engine = self.engine().await?;
        let all = engine.managed().await.map_err(|error| failed(&error))?;
        let own = all.iter().filter(|entry| entry.listed.known.seat == *seat);
        let own: Vec<&Entry> = own.collect();
        if own.is_empty() {
            return Err(nobody(seat));
        }
        for entry in own {
            let removed = engine.remove(&entry.listed.id).await;
            self.outcome(LifeEvent::Removed, entry, &asker.by, removed.map(drop))?;
        }
        self.release(&engine, &seat.user).await;
        Ok(())
    }

    /// Runs a command in a guest, with the guest's own rights.
    pub async fn exec(
        &self,
        seat: &Seat,
        (command, run_as): (Vec<String>, Option<String>),
        asker: &Asker,
    ) -> Result<Executed, Declined> {
        let Some(program) = command.first().filter(|program| !program.is_empty()).cloned() else {
            return Err(Declined::conflict("there is no command to run: name one"));
        };
        if command.iter().any(|part| part.contains('\0')) {
            return Err(Declined::conflict("the command has a NUL, which no process can be given"));
        }
        if let Some(user) = &run_as {
            check::run_as(user).map_err(|refusal| Declined::conflict(refusal.to_string()))?;
        }
        let engine = self.engine().await?;
        let all = engine.managed().await.map_err(|error| failed(&error))?;
        let entry = of_seat(&all, seat).ok_or_else(|| nobody(seat))?;
        if !entry.listed.is_alive {
            let message = format!("{} does not run: it is {}", entry.name, entry.state);
            return Err(Declined::conflict(message));
        }
        let ran = engine.exec(&entry.listed.id, command, run_as).await;
        let (ran, outcome) = match ran {
            Ok(ran) => (Some(ran), Ok(())),
            Err(error) => (None, Err(error)),
        };
        // The program, and not what it is told: that may be anything.
        let life = Life { why: program, ..tell::of_entry(entry, &asker.by) };
        if let Err(error) = outcome {
            let declined = failed(&error);
            self.tell(LifeEvent::Failed, Life { error: declined.message.clone(), ..life });
            return Err(declined);
        }
        self.tell(LifeEvent::Executed, life);
        let ran = ran.unwrap_or_default();
        Ok(Executed {
            exit_code: ran.exit_code,
            stdout: ran.stdout.text(),
            stderr: ran.stderr.text(),
            cut: ran.stdout.cut || ran.stderr.cut,
        })
    }

    /// Removes volumes of a user who has no guest; their names. The next guest has new ones.
    pub async fn reset_volumes(
        &self,
        user: &User,
        volumes: &[Use],
        asker: &Asker,
    ) -> Result<Vec<String>, Declined> {
        let engine = self.engine().await?;
        // No guest of the user's is made meanwhile.
        let _admission = self.0.admission.lock().await;
        let all = engine.managed().await.map_err(|error| failed(&error))?;
        if let Some(entry) = all.iter().find(|entry| entry.listed.known.seat.user == *user) {
            return Err(Declined::conflict(format!(
                "the volumes of {user} belong to guest {}: remove it first",
                entry.name
            )));
        }
        let found = engine.managed_volumes().await.map_err(|error| failed(&error))?;
        let mut removed = Vec::new();
        for of in volumes {
            let (name, labels) = (names::volume(user, *of), names::volume_labels(user, *of));
            let is_it = |volume: &KnownVolume| {
                let own = labels.iter().all(|(key, value)| volume.labels.get(key) == Some(value));
                volume.name == name && own
            };
            if !found.iter().any(is_it) {
                continue;
            }
            if let Err(error) = engine.remove_volume(&name).await {
                let declined = failed(&error);
                let error = declined.message.clone();
                let life = Life { error, ..tell::of_user(user, &asker.by) };
                self.tell(LifeEvent::Failed, life);
                return Err(declined);
            }
            removed.push(name);
        }
        if !removed.is_empty() {
            let volumes: Vec<&str> = volumes.iter().map(|of| of.name()).collect();
            let life = Life { why: volumes.join(", "), ..tell::of_user(user, &asker.by) };
            self.tell(LifeEvent::Reset, life);
        }
        Ok(removed)
    }

    /// Ends a guest that is idle or old: one of enforcer's is removed, another one stopped.
    pub async fn cull(&self, container: &str, why: Why) -> Result<(), Declined> {
        let engine = self.engine().await?;
        let all = engine.managed().await.map_err(|error| failed(&error))?;
        let why = why.to_string();
        let by = Caller::default();
        let Some(entry) = all.iter().find(|entry| entry.listed.id == container) else {
            engine.stop(container).await.map_err(|error| failed(&error))?;
            let container_id = Some(container.to_owned());
            self.tell(LifeEvent::Culled, Life { container_id, why, ..Life::default() });
            return Ok(());
        };
        let _claim = self.claim(&entry.listed.known.seat)?;
        // It is asked first, so that it can save what it has.
        let ended = match engine.stop(container).await {
            Ok(_) => engine.remove(container).await,
            failed => failed,
        };
        let life = Life { why, ..tell::of_entry(entry, &by) };
        match ended {
            Ok(_) => {
                self.tell(LifeEvent::Culled, life);
                self.release(&engine, &entry.listed.known.seat.user).await;
                Ok(())
            }
            Err(error) => Err(failed(&error)),
        }
    }

    fn outcome(
        &self,
        event: LifeEvent,
        entry: &Entry,
        by: &Caller,
        outcome: Result<(), EngineError>,
    ) -> Result<(), Declined> {
        let life = tell::of_entry(entry, by);
        match outcome {
            Ok(()) => {
                self.tell(event, life);
                Ok(())
            }
            Err(error) => {
                let declined = failed(&error);
                let error = declined.message.clone();
                self.tell(LifeEvent::Failed, Life { error, ..life });
                Err(declined)
            }
        }
    }
}
