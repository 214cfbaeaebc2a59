//! What an event, or a counter, says of a guest's attempts.

use std::{collections::BTreeMap, net::IpAddr};

use enforcer_common::{
    abi::{
        counter::{CONNECT_REFUSED, Counter, CounterKey, FLOW_OPENED},
        event::{EndCause, Hook},
        verdict::DropReason,
    },
    decide::Opener,
    packet::{IPV4, TCP, UDP},
};

use crate::audit::{
    decode::{Decoded, Ended, Judged, Refused},
    enrich,
};

const ARP: u16 = 0x0806;

/// One thing that a guest did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Its endpoint's id.
    pub owner: u32,
    /// When, monotonic ns.
    pub time_ns: u64,
    /// What.
    pub what: What,
}

/// What a guest did. A name that it asked a resolver for would be one more of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It tried to begin a conversation; allowed or not.
    Attempt {
        /// With whom.
        to: IpAddr,
        /// At which port, where there are ports.
        port: Option<u16>,
    },
    /// A conversation that it was allowed to begin never came about.
    Failed,
}

/// What the kernel counted of a guest since its endpoint exists. Exact, also where records were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Flows that it opened.
    pub opened: u64,
    /// Attempts that were denied: frames that would have opened a flow, and calls.
    pub refused: u64,
    /// Everything of it that was denied: frames, and calls.
    pub denied: u64,
}

/// What an event says, if it says something of a guest's attempts.
#[must_use]
pub fn sight(decoded: &Decoded) -> Option<Sight> {
    let what = match decoded {
        Decoded::Judged(judged) => attempt(judged)?,
        Decoded::Refused(Refused { event, .. }) => What::Attempt {
            to: enrich::ip(event.destination, event.family),
            port: has_ports(event.protocol).then_some(event.destination_port),
        },
        Decoded::Ended(ended) if is_failure(ended) => What::Failed,
        Decoded::Ended(_) | Decoded::Began(_) | Decoded::SocketDenied(_) => return None,
    };
    Some(Sight { owner: decoded.counter().owner, time_ns: decoded.time_ns(), what })
}

fn attempt(judged: &Judged) -> Option<What> {
    let event = &judged.event;
    if judged.hook != Hook::FromGuest {
        return None;
    }
    match judged.reason {
        // Whoever looks for neighbours asks for their MAC addresses first; about its own it may tell.
        Some(DropReason::Arp)
            if event.ethertype == ARP
                && event.destination != [0; 16]
                && event.destination != event.source =>
        {
            Some(What::Attempt { to: enrich::ip(event.destination, IPV4), port: None })
        }
        Some(reason) if !is_attempt(reason) => None,
        _ if event.family == 0 => None,
        _ => Some(What::Attempt {
            to: enrich::ip(event.destination, event.family),
            port: has_ports(event.protocol).then_some(event.destination_port),
        }),
    }
}

/// Whether it is denied for where it leads, or for how much there is of it, and not for what it looks like.
const fn is_attempt(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::Policy
            | DropReason::GuestToGuest
            | DropReason::QuotaHalfOpen
            | DropReason::QuotaEstablished
            | DropReason::FlowTableFull
            | DropReason::RateNewFlows
    )
}

const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP)
}

/// Nobody answered, or the answer was a reset: one packet there, one back.
fn is_failure(ended: &Ended) -> bool {
    let end = &ended.end;
    let was_reset = ended.cause == EndCause::Closed
        && end.protocol == TCP
        && (end.packets_out, end.packets_in) == (1, 1);
    Opener::from_value(end.opener) == Opener::Endpoint
        && (ended.cause == EndCause::Unanswered || was_reset)
}

/// The kernel's counters of what guests try, by endpoint.
#[must_use]
pub fn counted(counters: &[(CounterKey, Counter)]) -> BTreeMap<u32, Counted> {
    let mut all = BTreeMap::<u32, Counted>::new();
    for (key, Counter { events, .. }) in counters {
        let is_from_guest = key.hook == Hook::FromGuest as u8;
        let reason = DropReason::from_value(key.reason);
        match (key.reason, reason) {
            (FLOW_OPENED, _) if is_from_guest => all.entry(key.owner).or_default().opened += events,
            (CONNECT_REFUSED, _) => {
                let counted = all.entry(key.owner).or_default();
                counted.refused += events;
                counted.denied += events;
            }
            (_, Some(reason)) if is_from_guest => {
                let counted = all.entry(key.owner).or_default();
                counted.denied += events;
                if is_attempt(reason) {
                    counted.refused += events;
                }
            }
            _ => {}
        }
    }
    all
}
