//! What hubs said of spawns, for as long as a spawn takes. Bounded for each hub: the oldest makes way. Time is an argument.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::ask::{Announcement, Seat};
use crate::access::name::HubName;

/// How long what was said is kept. Spawners give up within it.
const KEPT: Duration = Duration::from_mins(10);
/// Most spawns of a hub that are kept.
const MOST: usize = 1024;

/// How far a spawn is as far as the hub's own requests tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What the hub said; nothing, where it only had a container made.
    pub said: Option<Announcement>,
    /// Whether a container for it was asked for since.
    pub is_asked: bool,
}

/// Those of a hub, and since when each is known.
type OfHub = BTreeMap<Seat, (Known, Instant)>;

/// All of them.
#[derive(Debug, Default)]
pub struct Spawns(Mutex<BTreeMap<HubName, OfHub>>);

impl Spawns {
    /// A hub says what is known of a spawn.
    pub fn announce(&self, hub: &HubName, of: &Seat, said: Announcement, now: Instant) {
        let known = Known { said: Some(said), is_asked: false };
        keep(self.lock().entry(hub.clone()).or_default(), of, known, now);
    }

    /// A hub has a container made for it.
    pub fn asked(&self, hub: &HubName, of: &Seat, now: Instant) {
        let mut all = self.lock();
        let own = all.entry(hub.clone()).or_default();
        let before = own.get(of).filter(|(_, at)| !is_over(*at, now));
        let said = before.and_then(|(known, _)| known.said.clone());
        keep(own, of, Known { said, is_asked: true }, now);
    }

    /// What is known.
    pub fn of(&self, hub: &HubName, of: &Seat, now: Instant) -> Option<Known> {
        let all = self.lock();
        let (known, at) = all.get(hub)?.get(of)?;
        (!is_over(*at, now)).then(|| known.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<HubName, OfHub>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(own: &mut OfHub, of: &Seat, known: Known, now: Instant) {
    if own.len() >= MOST && !own.contains_key(of) {
        own.retain(|_, (_, at)| !is_over(*at, now));
        let oldest = own.iter().min_by_key(|(_, (_, at))| *at).map(|(of, _)| of.clone());
        if let Some(oldest) = oldest.filter(|_| own.len() >= MOST) {
            own.remove(&oldest);
        }
    }
    own.insert(of.clone(), (known, now));
}

fn is_over(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) >= KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(user: &str) -> Seat {
        Seat { user: user.parse().expect("a user"), server: String::new() }
    }

    fn said(image: &str) -> Announcement {
        Announcement { image: Some(image.to_owned()), ..Announcement::default() }
    }

    #[test]
    fn s17_what_a_hub_says_is_of_its_own_users_and_of_no_other_hub_s() {
        let (spawns, now) = (Spawns::default(), Instant::now());
        let [lab, two] = ["lab", "two"].map(|name| name.parse::<HubName>().expect("a hub"));
        spawns.announce(&lab, &server("ann"), said("a"), now);
        assert_eq!(spawns.of(&two, &server("ann"), now), None);
        spawns.asked(&two, &server("ann"), now);
        assert_eq!(
            spawns.of(&two, &server("ann"), now),
            Some(Known { said: None, is_asked: true })
        );
        assert_eq!(spawns.of(&lab, &server("ben"), now), None);
        let known = spawns.of(&lab, &server("ann"), now).expect("known");
        assert_eq!(known, Known { said: Some(said("a")), is_asked: false });
        spawns.asked(&lab, &server("ann"), now);
        let known = spawns.of(&lab, &server("ann"), now).expect("known");
        assert_eq!(known, Known { said: Some(said("a")), is_asked: true });
    }

    #[test]
    fn s30_what_was_said_is_kept_for_a_while_and_is_bounded() {
        let (spawns, now) = (Spawns::default(), Instant::now());
        let lab: HubName = "lab".parse().expect("a hub");
        for number in 0..MOST + 5 {
            let later = now + Duration::from_millis(u64::try_from(number).expect("small"));
            spawns.announce(&lab, &server(&format!("u{number}")), said("a"), later);
        }
        assert_eq!(spawns.lock()[&lab].len(), MOST);
        assert_eq!(spawns.of(&lab, &server("u4"), now), None, "the oldest made way");
        assert!(spawns.of(&lab, &server("u5"), now).is_some());
        let late = now + KEPT + Duration::from_secs(2);
        assert_eq!(spawns.of(&lab, &server("u5"), late), None);
        spawns.asked(&lab, &server("u6"), late);
        let known = spawns.of(&lab, &server("u6"), late).expect("asked");
        assert_eq!(known.said, None, "of an earlier spawn");
    }
}
