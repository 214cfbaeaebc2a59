//! A start, step by step: who may, is there room, the image, the container, its first process, its policy. A step that
//! fails has all before it undone.

use std::{path::PathBuf, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{Asker, Guests, failed, nobody, of_seat, tell};
use crate::{
    access::{
        grant::{Kind, Socket},
        name::GroupName,
    },
    api::asked::{Progress, Step},
    audit::record::{Life, LifeEvent},
    docker::{
        Engine, EngineError,
        guests::{Condition, Entry},
    },
    guest::{
        caps,
        check::{Checked, Found, check},
        left::Deed,
        names::{self, ORDER, Seat, Use},
    },
    model::{
        declined::Declined,
        guest::{GuestOrder, GuestStatus},
    },
};

/// Longest wait until the kernel holds a new guest's policy.
const POLICED: Duration = Duration::from_secs(20);
/// How long a guest's first process has to run for its start to be one: a wrong command ends sooner.
const OUTLIVES: Duration = Duration::from_secs(1);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);
/// How often the engine is asked meanwhile whether the guest still runs.
const ASK: u32 = 10;
/// How many lines of a guest that ended at once are shown.
const LAST_LINES: u32 = 5;
/// How much of them, characters.
const LAST_WORDS: usize = 600;

/// Words on their way to whoever waits.
pub type Words = mpsc::Sender<Progress>;

/// Whether a guest that runs may be ended for the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Stays,
    Goes,
}

/// What a start has made so far.
#[derive(Debug, Default)]
struct Made {
    /// What undoes it, in this order.
    undo: Vec<Deed>,
    /// A guest that stands aside.
    before: Option<Deed>,
}

/// The socket that a guest is started with.
#[derive(Debug, Default)]
struct Given {
    socket: Option<(Socket, PathBuf)>,
    group: Option<String>,
    /// Why there is none.
    why: String,
    /// Groups that the user is in.
    groups: Vec<GroupName>,
}

impl Guests {
    /// Starts a guest. One of the same seat that does not run makes way.
    pub async fn start(
        &self,
        order: GuestOrder,
        asker: &Asker,
        words: &Words,
    ) -> Result<GuestStatus, Declined> {
        let checked = self.checked(order, asker)?;
        let _claim = self.claim(&checked.seat)?;
        self.bring(&checked, asker, words, Standing::Stays).await
    }

    /// Starts a guest anew, for the order that it was made for. What it wrote beside its volumes is gone.
    pub async fn restart(
        &self,
        seat: &Seat,
        asker: &Asker,
        words: &Words,
    ) -> Result<GuestStatus, Declined> {
        let claim = self.claim(seat)?;
        let engine = self.engine().await?;
        let all = engine.managed().await.map_err(|error| failed(&error))?;
        let entry = of_seat(&all, seat).ok_or_else(|| nobody(seat))?;
        let order = order_of(entry).ok_or_else(|| {
            Declined::conflict(format!(
                "the order of {} cannot be read any more: remove it, and start it with a new one",
                entry.name
            ))
        })?;
        // Whoever ordered it was allowed its size; the config of now decides about the rest.
        let checked = self.checked(order, &Asker { is_admin: true, ..asker.clone() })?;
        if checked.seat != *seat {
            return Err(Declined::conflict(format!(
                "the order of {} is another guest's",
                entry.name
            )));
        }
        let started = self.bring(&checked, asker, words, Standing::Goes).await;
        drop(claim);
        started
    }

    fn checked(&self, order: GuestOrder, asker: &Asker) -> Result<Checked, Declined> {
        let (hub, user, image) = (asker.hub.clone(), order.user.clone(), order.image.clone());
        let checked = check(order, hub, asker.is_admin, &self.config());
        checked.map_err(|refusal| {
            let life = Life {
                hub: asker.hub.to_string(),
                user: Some(user),
                image: Some(image),
                why: refusal.to_string(),
                by: asker.by.clone(),
                ..Life::default()
            };
            self.tell(LifeEvent::Refused, life);
            Declined::conflict(refusal.to_string())
        })
    }

    async fn bring(
        &self,
        checked: &Checked,
        asker: &Asker,
        words: &Words,
        standing: Standing,
    ) -> Result<GuestStatus, Declined> {
        let life = Life {
            image: Some(checked.image().to_owned()),
            ..tell::of_seat(&checked.seat, &asker.by)
        };
        let (mut made, mut given) = (Made::default(), Given::default());
        let outcome = async {
            let engine = self.engine().await?;
            // Nobody waits for an image to hear that there is no room.
            let all = engine.managed().await.map_err(|error| failed(&error))?;
            self.admit(&checked.seat, &all, standing)?;
            pull(&engine, checked.image(), words).await?;
            given = self.given(&checked.seat).await;
            let id = self.make(&engine, checked, &given, standing, (&mut made, words)).await?;
            self.begin(&engine, &id, checked, words).await?;
            Ok::<_, Declined>((engine, id))
        };
        let (engine, id) = match outcome.await {
            Ok(started) => started,
            Err(declined) => {
                self.undo(checked, made.undo).await;
                let error = declined.message.clone();
                self.tell(LifeEvent::Failed, Life { error, ..life });
                return Err(declined);
            }
        };
        let event = if made.before.is_some() { LifeEvent::Restarted } else { LifeEvent::Started };
        self.leave(&engine, &checked.seat, made.before).await;
        let kind = given.socket.as_ref().map_or(Kind::None, |(socket, _)| socket.kind());
        let Given { group, why, .. } = given;
        let (container_id, grant) = (Some(id.clone()), Some(kind.name().to_owned()));
        self.tell(event, Life { container_id, grant, group, why, ..life });
        let all = engine.managed().await.map_err(|error| failed(&error))?;
        let entry = all.iter().find(|entry| entry.listed.id == id);
        let entry = entry.ok_or_else(|| nobody(&checked.seat))?;
        Ok(self.status(entry, Some(false)))
    }

    /// The user's socket, as groups and grants are at this moment.
    async fn given(&self, seat: &Seat) -> Given {
        let (answer, groups) = self.0.access.look_up(&seat.user).await;
        let (socket, group) = match self.served(answer) {
            Ok(granted) => granted,
            Err(why) => return Given { why, groups, ..Given::default() },
        };
        if let Some(path) = self.0.sockets.open_for(&seat.user, socket).await {
            let socket = Some((socket, path));
            return Given { socket, group: Some(group), groups, ..Given::default() };
        }
        let why = "the gate opened no socket".to_owned();
        Given { why, groups, ..Given::default() }
    }

    /// Whether there is room, and nobody in the seat.
    fn admit(&self, seat: &Seat, all: &[Entry], standing: Standing) -> Result<(), Declined> {
        let own = of_seat(all, seat);
        if standing == Standing::Stays
            && own.is_some_and(|entry| entry.listed.is_alive && !entry.listed.known.is_before)
        {
            return Err(Declined::conflict(format!(
                "the guest of {} runs already: restart it, or remove it first",
                seat.described()
            )));
        }
        let there = all.iter().map(|entry| &entry.listed.known.seat);
        caps::admit(seat, there, &self.config().guests)
            .map_err(|full| Declined::conflict(full.to_string()))
    }

    /// Makes the container, and its volumes. What it made so far is in `made`, also if it fails.
    async fn make(
        &self,
        engine: &Engine,
        checked: &Checked,
        given: &Given,
        standing: Standing,
        (made, words): (&mut Made, &Words),
    ) -> Result<String, Declined> {
        let fails = |error: EngineError| failed(&error);
        let has_resolver = self.config().dns.is_some();
        let dns = if has_resolver { engine.gateway(&checked.network).await } else { Ok(None) };
        let dns = dns.map_err(fails)?;
        let _admission = self.0.admission.lock().await;
        say(words, Step::Create, (0, 0));
        self.tidy(engine, Some(&checked.seat)).await?;
        let all = engine.managed().await.map_err(fails)?;
        self.admit(&checked.seat, &all, standing)?;
        if let Some(entry) = of_seat(&all, &checked.seat) {
            let (id, name) = (entry.listed.id.clone(), entry.name.clone());
            if entry.listed.is_alive {
                engine.stop(&id).await.map_err(fails)?;
            }
            made.undo.push(Deed::GiveBack { id: id.clone(), name });
            let before = checked.seat.container_before();
            engine.rename(&id, &before).await.map_err(fails)?;
            made.before = Some(Deed::Remove { id, name: before });
        }
        let there = engine.volumes_there(checked.volumes()).await?;
        let new: Vec<Use> = checked.volumes().iter().map(|volume| volume.of).collect();
        let new: Vec<Use> = new.into_iter().filter(|of| !there.contains(of)).collect();
        let volumes = new.iter().map(|of| names::volume(&checked.seat.user, *of));
        made.undo.splice(0..0, volumes.map(Deed::RemoveVolume));
        let (socket, groups) = (given.socket.clone(), given.groups.clone());
        let found = Found { dns, socket, new_volumes: new, groups };
        let spec = checked.spec(found);
        if let Some((socket, path)) = &given.socket {
            // It may have gone with another guest of the user's that was removed meanwhile.
            let again = self.0.sockets.open_for(&checked.seat.user, *socket).await;
            if again.as_ref() != Some(path) {
                return Err(Declined::failed("the gate has closed the user's socket: try again"));
            }
        }
        let created = engine.create_guest(&spec).await;
        let id = created.map_err(|error| refused(&error, checked))?;
        made.undo.insert(0, Deed::Remove { id: id.clone(), name: spec.name });
        Ok(id)
    }

    /// Starts the container's first process, and waits until the kernel holds its policy and the process has run for a while.
    async fn begin(
        &self,
        engine: &Engine,
        id: &str,
        checked: &Checked,
        words: &Words,
    ) -> Result<(), Declined> {
        say(words, Step::Start, (0, 0));
        engine.start_guest(id).await.map_err(|error| failed(&error))?;
        say(words, Step::Police, (0, 0));
        let begun = Instant::now();
        for look in 0u32.. {
            let is_old_enough = checked.comes_back() || begun.elapsed() >= OUTLIVES;
            let is_over = is_old_enough && self.is_policed(id, &checked.network);
            if is_over || look.is_multiple_of(ASK) {
                let condition = engine.condition(id).await.map_err(|error| failed(&error))?;
                let lives = condition.as_ref().is_some_and(|now| now.is_alive);
                if !lives && !checked.comes_back() {
                    return Err(ended(engine, id, condition).await);
                }
            }
            if is_over {
                return Ok(());
            }
            if begun.elapsed() > POLICED {
                break;
            }
            sleep(LOOK).await;
        }
        let seconds = POLICED.as_secs();
        Err(Declined::not_yet(format!(
            "the guest was not policed within {seconds} s, and is removed: see `enforcer status`"
        )))
    }

    /// Undoes what a start has made; what cannot be undone now is at the next chance.
    async fn undo(&self, checked: &Checked, deeds: Vec<Deed>) {
        if deeds.is_empty() {
            return;
        }
        let rest = match self.engine().await {
            Ok(engine) => {
                let rest = self.perform(&engine, deeds).await;
                self.release(&engine, &checked.seat.user).await;
                rest
            }
            Err(_) => deeds,
        };
        self.remember(&checked.seat, rest);
    }

    /// Removes a guest that stood aside.
    async fn leave(&self, engine: &Engine, seat: &Seat, before: Option<Deed>) {
        let rest = self.perform(engine, before.into_iter().collect()).await;
        self.remember(seat, rest);
    }
}

async fn pull(engine: &Engine, image: &str, words: &Words) -> Result<(), Declined> {
    say(words, Step::Pull, (0, 0));
    let pulled = engine.ensure_image(image, |done, of| say(words, Step::Pull, (done, of))).await;
    match pulled {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.status(), Some(404 | 403)) => Err(Declined::unknown(format!(
            "image {image} is not here and cannot be pulled: {}",
            crate::causes::causes(&error)
        ))),
        Err(error) => Err(failed(&error)),
    }
}

/// A word that there is no room for is left out.
fn say(words: &Words, step: Step, (done, of): (u64, u64)) {
    let _ = words.try_send(Progress { done, of, step: Some(step) });
}

fn refused(error: &EngineError, checked: &Checked) -> Declined {
    let declined = failed(error);
    if checked.limits_disk() && declined.message.contains("storage-opt") {
        return Declined::conflict(
            "the engine's storage cannot limit what a guest writes: leave out the disk's size, here and in [guests] \
             disk_mib, or have the engine use overlay2 on xfs with pquota, btrfs or zfs",
        );
    }
    declined
}

/// Why a guest that ended at once did, as far as anybody can tell.
async fn ended(engine: &Engine, id: &str, condition: Option<Condition>) -> Declined {
    let Some(Condition { exit_code, error, .. }) = condition else {
        return Declined::failed("somebody removed the guest while it was being started");
    };
    let code = exit_code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
    let mut message = format!("the guest ended at once, with {code}");
    let output = engine.logs(id, LAST_LINES).await.map(|output| output.text());
    for text in [error, output.unwrap_or_default()] {
        let text: String = text.trim().chars().take(LAST_WORDS).collect();
        if !text.is_empty() {
            message.push_str(": ");
            message.push_str(&text);
        }
    }
    Declined::failed(message)
}

/// The order that a guest was made for.
pub(super) fn order_of(entry: &Entry) -> Option<GuestOrder> {
    serde_json::from_str(entry.labels.get(ORDER)?).ok()
}
