//! Hubs' requests that wait for a spawn to get further: a few for each seat, and not all of a hub's places. Whoever
//! finds none is answered at once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::ask::Seat;
use crate::access::name::HubName;

/// Most of a hub at a time; its socket has 256 places, for all that it does.
const MOST: usize = 32;
/// Most for one server of a user: whoever looks at their own page often keeps nobody else waiting.
const MOST_OF_SEAT: usize = 2;

/// Those that wait now. A copy is the same one.
#[derive(Clone, Debug, Default)]
pub struct Waits(Arc<Mutex<BTreeMap<HubName, BTreeMap<Seat, usize>>>>);

/// One that waits, until dropped.
#[derive(Debug)]
pub struct Wait {
    all: Waits,
    hub: HubName,
    of: Seat,
}

impl Waits {
    /// A place to wait, if there is one now.
    pub fn try_take(&self, hub: &HubName, of: &Seat) -> Option<Wait> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.entry(hub.clone()).or_default();
        let count = own.get(of).copied().unwrap_or_default();
        if own.values().sum::<usize>() >= MOST || count >= MOST_OF_SEAT {
            return None;
        }
        own.insert(of.clone(), count + 1);
        Some(Wait { all: self.clone(), hub: hub.clone(), of: of.clone() })
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = all.get_mut(&self.hub) else { return };
        if let Some(count) = own.get_mut(&self.of) {
            *count = count.saturating_sub(1);
        }
        own.retain(|_, count| *count > 0);
        if own.is_empty() {
            all.remove(&self.hub);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s30_one_visitor_s_polls_leave_a_hub_places_and_all_visitors_polls_do() {
        let waits = Waits::default();
        let [lab, two] = ["lab", "two"].map(|name| name.parse::<HubName>().expect("a hub"));
        let seat =
            |user: String| Seat { user: user.parse().expect("a user"), server: String::new() };
        let ann = seat("ann".to_owned());
        let first = waits.try_take(&lab, &ann).expect("a place");
        let _second = waits.try_take(&lab, &ann).expect("a place");
        assert!(waits.try_take(&lab, &ann).is_none(), "ann has two");
        assert!(waits.try_take(&two, &ann).is_some(), "another hub's ann");
        drop(first);
        let _again = waits.try_take(&lab, &ann).expect("a place");
        let others = (2..MOST).map(|number| waits.try_take(&lab, &seat(format!("u{number}"))));
        let others: Vec<Wait> = others.map(|wait| wait.expect("a place")).collect();
        assert!(waits.try_take(&lab, &seat("ben".to_owned())).is_none(), "the hub has {MOST}");
        assert!(waits.try_take(&two, &ann).is_some());
        drop(others);
        assert!(waits.try_take(&lab, &seat("ben".to_owned())).is_some());
        assert_eq!(waits.0.lock().expect("not poisoned").len(), 1, "nothing is left behind");
    }
}
