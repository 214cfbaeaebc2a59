//! Places at a socket, as connections hold them: see [`crate::places`] for who gets one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

use crate::places::{Admission, Bounds, Place, admit};

/// Connections that have places. A copy is the same one.
#[derive(Clone, Debug)]
pub struct Seats(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: Bounds,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    seats: BTreeMap<u64, Sitting>,
}

#[derive(Clone, Debug)]
struct Sitting {
    whose: u32,
    asked: Arc<AtomicBool>,
    leave: Arc<Notify>,
}

/// A place, until dropped.
#[derive(Debug)]
pub struct Seat {
    id: u64,
    sitting: Sitting,
    seats: Seats,
}

impl Seats {
    /// All of them are free.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Inner { bounds, taken: Mutex::default() }))
    }

    /// A place for a connection, if there is one, or somebody idle gives theirs up.
    #[must_use]
    pub fn take(&self, whose: u32) -> Option<Seat> {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |(id, sitting): (&u64, &Sitting)| Place {
            whose: sitting.whose,
            id: *id,
            asked: sitting.asked.load(Ordering::Relaxed),
        };
        let there: Vec<Place> = taken.seats.iter().map(place).collect();
        match admit(&self.0.bounds, &there, whose) {
            Admission::Admit => {}
            Admission::Instead(id) => {
                if let Some(sitting) = taken.seats.remove(&id) {
                    sitting.leave.notify_one();
                }
            }
            Admission::Refuse => return None,
        }
        taken.last += 1;
        let id = taken.last;
        let sitting = Sitting { whose, asked: Arc::default(), leave: Arc::default() };
        taken.seats.insert(id, sitting.clone());
        Some(Seat { id, sitting, seats: self.clone() })
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner).seats.len()
    }
}

impl Seat {
    /// A request has come: it is not idle any more.
    pub fn asked(&self) {
        self.sitting.asked.store(true, Ordering::Relaxed);
    }

    /// Until the place is somebody else's.
    pub async fn given_up(&self) {
        self.sitting.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.seats.remove(&self.id);
    }
}
