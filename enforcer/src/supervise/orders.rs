//! Where orders go that the control socket takes.

use tokio::sync::mpsc::{self, error::TrySendError};

use super::abuse::Wanted;
use crate::{
    api::asked::{AllowanceAsked, GuestAsked, NetworkAsked},
    model::declined::Declined,
};

/// Where orders go.
#[derive(Clone, Copy)]
pub(super) struct Orders<'a> {
    pub(super) guests: &'a mpsc::Sender<Box<GuestAsked>>,
    pub(super) networks: &'a mpsc::Sender<Box<NetworkAsked>>,
    pub(super) wanted: &'a mpsc::Sender<Wanted>,
    pub(super) allowances: &'a mpsc::Sender<AllowanceAsked>,
}

impl Orders<'_> {
    /// Never waits: whoever has orders for others would wait as well.
    pub(super) fn want(&self, wanted: Wanted) {
        match self.wanted.try_send(wanted) {
            Err(TrySendError::Full(Wanted::Pardon(_, _, reply))) => drop(reply.send(Err(busy()))),
            Err(TrySendError::Full(Wanted::Cut(_, _, reply))) => drop(reply.send(Err(busy()))),
            // The second: it ends, and so does whoever asks.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
        }
    }

    /// Nor does this.
    pub(super) fn allow(&self, asked: AllowanceAsked) {
        match self.allowances.try_send(asked) {
            Err(TrySendError::Full(
                AllowanceAsked::Allow(_, _, reply) | AllowanceAsked::Revoke(_, _, reply),
            )) => drop(reply.send(Err(busy()))),
            Err(TrySendError::Full(AllowanceAsked::List(reply))) => drop(reply.send(Err(busy()))),
            Ok(()) | Err(TrySendError::Closed(_)) => {}
        }
    }
}

fn busy() -> Declined {
    Declined::failed("the daemon is busy with earlier orders; nothing was done, try again")
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::model::caller::Caller;

    #[test]
    fn orders_for_those_who_are_busy_are_declined_at_once() {
        let ((guests, _g), (networks, _n)) = (mpsc::channel(1), mpsc::channel(1));
        let ((wanted, _w), (allowances, _a)) = (mpsc::channel(1), mpsc::channel(1));
        let orders = Orders {
            guests: &guests,
            networks: &networks,
            wanted: &wanted,
            allowances: &allowances,
        };
        let mut answers = Vec::new();
        for _ in 0..2 {
            let (reply, answer) = oneshot::channel();
            orders.allow(AllowanceAsked::List(reply));
            answers.push(answer);
        }
        assert!(answers[0].try_recv().is_err(), "it waits");
        assert_eq!(answers[1].try_recv().map(|said| said.map(drop)), Ok(Err(busy())));
        let mut answers = Vec::new();
        for _ in 0..2 {
            let (reply, answer) = oneshot::channel();
            orders.want(Wanted::Pardon("ann".to_owned(), Caller::default(), reply));
            answers.push(answer);
        }
        assert!(answers[0].try_recv().is_err(), "it waits");
        assert_eq!(answers[1].try_recv().map(|said| said.map(drop)), Ok(Err(busy())));
    }
}
