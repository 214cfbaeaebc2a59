//! Each signal with a guest that raises it, and one that lives and does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use enforcer_common::{
    abi::{
        counter::{CONNECT_REFUSED, Counter, CounterKey, FLOW_CLOSED, FLOW_OPENED},
        event::{EndCause, Event, FlowEnd, Hook},
        verdict::DropReason,
    },
    decide::{Opener, Origin},
    packet::{ICMP, IPV4, TCP, UDP},
};
use proptest::prelude::*;

use super::{window::MOST, *};
use crate::audit::decode::{Decoded, Ended, Judged};

const WINDOW: Duration = Duration::from_mins(1);
const SECOND: u64 = 1_000_000_000;
const GUEST: u32 = 7;

/// A detector with a clock, and a guest that is known.
struct Trace {
    detector: Detector,
    limits: Limits,
    counted: Counted,
    now_ns: u64,
}

impl Trace {
    fn new() -> Self {
        let limits = Signal::ALL.map(|signal| (signal, signal.limit())).into();
        let (detector, counted) = (Detector::default(), Counted::default());
        let mut trace = Self { detector, limits, counted, now_ns: 1000 * SECOND };
        assert_eq!(trace.judge(), []);
        trace
    }

    fn judge(&mut self) -> Vec<(Signal, u64)> {
        let counted = BTreeMap::from([(GUEST, self.counted)]);
        let found =
            self.detector.judge(&[GUEST].into(), counted, (&self.limits, WINDOW), self.now_ns);
        found.into_iter().map(|finding| (finding.signal, finding.measured)).collect()
    }

    /// So much later, with a look each second.
    fn pass(&mut self, seconds: u64) -> Vec<(Signal, u64)> {
        let mut found = Vec::new();
        for _ in 0..seconds {
            self.now_ns += SECOND;
            found.extend(self.judge());
        }
        found
    }

    fn see(&mut self, what: What) {
        let sight = Sight { owner: GUEST, time_ns: self.now_ns, what };
        self.detector.see(&sight, &self.limits);
    }

    /// An attempt, as the kernel counts it too.
    fn try_to(&mut self, to: IpAddr, port: u16, opened: bool) {
        self.see(What::Attempt { to, port: Some(port) });
        if opened {
            self.counted.opened += 1;
        } else {
            self.counted.refused += 1;
            self.counted.denied += 1;
        }
    }
}

fn public(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x5db8_0000 + number).into()
}

#[test]
fn abuse_many_destinations_within_a_window_are_a_signal() {
    let mut trace = Trace::new();
    (0..200).for_each(|number| trace.try_to(public(number), 443, true));
    assert_eq!(trace.judge(), []);
    trace.try_to(public(200), 443, true);
    assert_eq!(trace.judge(), [(Signal::Destinations, 201)]);
    // As many over a longer time are none.
    let mut trace = Trace::new();
    for number in 0..400 {
        trace.try_to(public(number), 443, true);
        assert_eq!(trace.pass(1), [], "{number}");
    }
}

#[test]
fn abuse_what_is_older_than_a_window_is_forgotten() {
    let mut trace = Trace::new();
    (0..201).for_each(|number| trace.try_to(public(number), 443, true));
    assert_eq!(trace.judge().len(), 1);
    trace.pass(61);
    assert_eq!(trace.judge(), []);
}

#[test]
fn abuse_ports_of_one_address_are_a_port_sweep() {
    let mut trace = Trace::new();
    (1..=100).for_each(|port| trace.try_to(public(1), port, true));
    assert_eq!(trace.judge(), []);
    trace.try_to(public(1), 101, true);
    assert_eq!(trace.judge(), [(Signal::PortSweep, 101)]);
}

#[test]
fn abuse_one_port_at_many_addresses_is_an_address_sweep_unless_it_is_the_web() {
    let mut trace = Trace::new();
    for number in 0..100 {
        trace.try_to(public(number), 443, true);
    }
    assert_eq!(trace.judge(), []);
    (0..51).for_each(|number| trace.try_to(public(number), 22, true));
    assert_eq!(trace.judge(), [(Signal::AddressSweep, 51)]);
}

#[test]
fn abuse_pairs_that_nobody_can_tell_apart_any_more_are_both_sweeps() {
    let mut trace = Trace::new();
    // Forty ports at fifty-two addresses: neither many ports nor many addresses on their own.
    trace.limits.retain(|signal, _| *signal == Signal::PortSweep);
    for (port, number) in (1..=40).flat_map(|port| (0..52).map(move |number| (port, number))) {
        trace.try_to(public(number), port, true);
    }
    assert_eq!(trace.judge(), [(Signal::PortSweep, MOST_PAIRS as u64)]);
}

#[test]
fn abuse_attempts_that_fail_are_a_signal_when_there_are_many() {
    let mut trace = Trace::new();
    (0..150).for_each(|_| trace.try_to(public(1), 443, false));
    assert_eq!(trace.judge(), [], "a few are a broken network");
    (0..50).for_each(|_| trace.try_to(public(1), 443, true));
    assert_eq!(trace.judge(), [(Signal::FailedConnects, 75)]);
    (0..50).for_each(|_| trace.try_to(public(1), 443, true));
    assert_eq!(trace.judge(), [], "60 percent");
    (0..60).for_each(|_| trace.see(What::Failed));
    assert_eq!(trace.judge(), [(Signal::FailedConnects, 84)], "unanswered ones count");
}

#[test]
fn abuse_mail_is_a_signal_allowed_or_denied() {
    for opened in [true, false] {
        let mut trace = Trace::new();
        (0..20).for_each(|_| trace.try_to(public(1), 587, opened));
        assert_eq!(trace.judge(), []);
        trace.try_to(public(2), 25, opened);
        assert_eq!(trace.judge(), [(Signal::Smtp, 21)]);
    }
}

#[test]
fn abuse_one_connection_to_a_pool_is_a_signal_and_one_at_home_is_none() {
    let mut trace = Trace::new();
    trace.try_to(Ipv4Addr::new(10, 0, 0, 9).into(), 3333, true);
    assert_eq!(trace.judge(), []);
    trace.try_to(public(1), 3333, true);
    assert_eq!(trace.judge(), [(Signal::Stratum, 1)]);
}

#[test]
fn abuse_a_flood_is_seen_by_counters_alone() {
    let mut trace = Trace::new();
    trace.counted.denied += 6000;
    assert_eq!(trace.judge(), []);
    trace.counted.denied += 60;
    assert_eq!(trace.judge(), [(Signal::DeniedRate, 101)]);
    trace.pass(65);
    assert_eq!(trace.judge(), []);
}

#[test]
fn abuse_what_was_counted_before_anybody_looked_is_held_against_nobody() {
    let limits: Limits = Signal::ALL.map(|signal| (signal, signal.limit())).into();
    let mut detector = Detector::default();
    let counted = Counted { opened: 1, refused: 1_000_000, denied: 1_000_000 };
    let all = BTreeMap::from([(GUEST, counted)]);
    let mut judge = |guests: BTreeSet<u32>, now| {
        detector.judge(&guests, all.clone(), (&limits, WINDOW), now * SECOND)
    };
    // The daemon has taken over, and learns a moment later who the guest is.
    assert_eq!(judge(BTreeSet::new(), 1), []);
    assert_eq!(judge([GUEST].into(), 2), []);
    assert_eq!(judge([GUEST].into(), 3), []);
}

#[test]
fn abuse_what_is_seen_before_the_first_look_counts() {
    let limits: Limits = Signal::ALL.map(|signal| (signal, signal.limit())).into();
    let mut detector = Detector::default();
    for port in 1..=101 {
        let what = What::Attempt { to: public(1), port: Some(port) };
        detector.see(&Sight { owner: GUEST, time_ns: SECOND, what }, &limits);
    }
    let counted = Counted { opened: 1, refused: 1_000_000, denied: 1_000_000 };
    let all = BTreeMap::from([(GUEST, counted)]);
    let found = detector.judge(&[GUEST].into(), all, (&limits, WINDOW), 2 * SECOND);
    let found: Vec<_> = found.into_iter().map(|one| (one.signal, one.measured)).collect();
    assert_eq!(found, [(Signal::PortSweep, 101)]);
}

/// A notebook whose user installs packages, clones a repository, has a browser open pages with many parts, and
/// tries in vain what policy denies; over five minutes.
#[test]
fn abuse_a_user_who_works_raises_nothing() {
    let mut trace = Trace::new();
    let resolver = public(1_000_000);
    for second in 0..300_u32 {
        if second % 30 == 0 {
            // A page: forty hosts, two names asked for each, some of them retried in vain.
            for host in 0..40 {
                (0..2).for_each(|_| trace.try_to(resolver, 53, true));
                trace.try_to(public(second / 30 * 7 + host), 443, true);
                trace.try_to(public(second / 30 * 7 + host), 80, host % 10 != 0);
            }
        }
        if second % 60 < 20 {
            // conda and pip: an index, four mirrors, many connections.
            (0..5).for_each(|host| trace.try_to(public(500 + host), 443, true));
        }
        if second % 100 == 3 {
            (0..3).for_each(|_| trace.try_to(public(700), 22, true));
            trace.try_to(public(701), 9418, false);
            // One message to the teacher.
            trace.try_to(public(702), 587, true);
        }
        if second % 45 == 0 {
            (0..6).for_each(|_| trace.see(What::Failed));
            // Names of neighbours that nobody has, multicast and the like.
            trace.counted.denied += 30;
        }
        assert_eq!(trace.pass(1), [], "second {second}");
    }
}

#[test]
fn abuse_only_what_a_guest_begins_is_an_attempt_of_its() {
    let judged = |hook, reason, protocol, ethertype, family| {
        let mut event = Event {
            owner: GUEST,
            time_ns: 5,
            protocol,
            ethertype,
            family,
            source_port: 1,
            destination_port: 80,
            ..Event::default()
        };
        event.destination[..4].copy_from_slice(&[192, 0, 2, 1]);
        sight(&Decoded::Judged(Judged { hook, reason, event })).map(|sight| sight.what)
    };
    let to = IpAddr::from([192, 0, 2, 1]);
    let attempt = |port| Some(What::Attempt { to, port });
    let denied = |reason| judged(Hook::FromGuest, Some(reason), TCP, 0x0800, IPV4);
    assert_eq!(judged(Hook::FromGuest, None, UDP, 0x0800, IPV4), attempt(Some(80)));
    assert_eq!(judged(Hook::FromGuest, None, ICMP, 0x0800, IPV4), attempt(None));
    assert_eq!(judged(Hook::ToGuest, None, TCP, 0x0800, IPV4), None, "a visitor");
    assert_eq!(denied(DropReason::Policy), attempt(Some(80)));
    assert_eq!(denied(DropReason::QuotaHalfOpen), attempt(Some(80)));
    assert_eq!(denied(DropReason::NoFlow), None);
    assert_eq!(denied(DropReason::Multicast), None);
    let arp = judged(Hook::FromGuest, Some(DropReason::Arp), 0, 0x0806, 0);
    assert_eq!(arp, attempt(None), "who looks for neighbours asks first");

    let ended = |cause, opener: Opener, packets: (u64, u64), protocol| {
        let end = FlowEnd {
            owner: GUEST,
            opener: opener.value(),
            packets_out: packets.0,
            packets_in: packets.1,
            protocol,
            ..FlowEnd::default()
        };
        sight(&Decoded::Ended(Ended { cause, end })).map(|sight| sight.what)
    };
    let (own, peer) = (Opener::Endpoint, Opener::Peer(Origin::Beyond));
    assert_eq!(ended(EndCause::Unanswered, own, (3, 0), TCP), Some(What::Failed));
    assert_eq!(ended(EndCause::Closed, own, (1, 1), TCP), Some(What::Failed), "reset");
    assert_eq!(ended(EndCause::Closed, own, (5, 4), TCP), None);
    assert_eq!(ended(EndCause::Idle, own, (1, 1), UDP), None);
    assert_eq!(ended(EndCause::Unanswered, peer, (0, 3), TCP), None);
}

#[test]
fn abuse_counters_are_summed_up_for_each_guest() {
    let counter = |reason, hook: u8, events| {
        let key = CounterKey { owner: GUEST, reason, hook, reserved: 0 };
        (key, Counter { events, ..Counter::default() })
    };
    let (from, to) = (Hook::FromGuest as u8, Hook::ToGuest as u8);
    let all = counted(&[
        counter(FLOW_OPENED, from, 1),
        counter(FLOW_OPENED, to, 2),
        counter(DropReason::Policy as u16, from, 4),
        counter(DropReason::Multicast as u16, from, 8),
        counter(DropReason::Policy as u16, to, 16),
        counter(CONNECT_REFUSED, 0, 32),
        counter(FLOW_CLOSED, 0, 64),
    ]);
    assert_eq!(all, [(GUEST, Counted { opened: 1, refused: 36, denied: 44 })].into());
}

#[test]
fn abuse_an_answer_is_given_once_in_a_window_and_grows_harsher() {
    let mut cases = Cases::default();
    let answers = [Answer::Record, Answer::Cut, Answer::Stop];
    let mut at = |signal, second: u64| {
        cases.answer(("abc", signal), &answers, WINDOW, (1000 + second) * SECOND)
    };
    assert_eq!(at(Signal::Smtp, 0), Some(Answer::Record));
    assert_eq!(at(Signal::Smtp, 59), None);
    assert_eq!(at(Signal::Stratum, 59), Some(Answer::Record), "another signal");
    assert_eq!(at(Signal::Smtp, 60), Some(Answer::Cut));
    assert_eq!(at(Signal::Smtp, 130), Some(Answer::Stop));
    assert_eq!(at(Signal::Smtp, 200), Some(Answer::Stop));
    assert_eq!(at(Signal::Smtp, 200 + 601), Some(Answer::Record), "long ago");
    cases.forget("abc");
    let mut again = |answers: &[Answer]| cases.answer(("abc", Signal::Smtp), answers, WINDOW, 5);
    assert_eq!(again(&[]), None);
    assert_eq!(again(&[Answer::Stop]), Some(Answer::Stop));
}

fn restraint(container: &str, name: &str, answer: Answer, until_ns: Option<u64>) -> Restraint {
    Restraint {
        container: container.to_owned(),
        name: name.to_owned(),
        network: "guests".to_owned(),
        endpoint: GUEST,
        answer,
        signal: Some(Signal::PortSweep),
        until_ns,
    }
}

#[test]
fn abuse_a_cut_ends_with_its_time_or_a_pardon_and_not_with_a_restart() {
    let mut held = Restraints::default();
    held.put(restraint("aaaa1", "ann", Answer::Cut, Some(50)));
    held.put(restraint("aaaa1", "ann", Answer::Cut, Some(70)));
    held.put(restraint("aaaa2", "ben", Answer::Pause, None));
    held.put(restraint("aaaa1", "ann", Answer::Slow, Some(60)));
    assert_eq!(held.held(Answer::Cut), ["aaaa1"].into());
    assert_eq!(held.held(Answer::Slow), ["aaaa1"].into(), "beside the cut");
    assert_eq!(held.expire(60).len(), 1, "each has its own time");
    assert_eq!(held.expire(69), [], "held anew, it is held for longer");
    let text = held.write().expect("writes");
    assert_eq!(Restraints::read(&text, 10, |_| 1000).as_ref().ok(), Some(&held));
    let rebooted =
        Restraints::read(&text, 10, |one| if one.answer == Answer::Cut { 20 } else { 7 })
            .expect("reads");
    assert_eq!(rebooted.iter().map(|one| one.until_ns).collect::<Vec<_>>(), [Some(30), None]);
    assert!(Restraints::read("[{}]", 10, |_| 20).is_err());

    assert!(held.pardon("cyn").is_err_and(|why| why.message.contains("ann, ben")));
    assert!(held.pardon("aaa").is_err(), "too short to be an id");
    assert!(held.pardon("aaaa").is_err_and(|why| why.message.contains("aaaa1, aaaa2")));
    assert_eq!(held.pardon("ben").map(|ended| ended.len()), Ok(1));
    assert_eq!(held.leave(|_| true), [], "one that is cut off may come back");
    assert_eq!(held.expire(70).len(), 1);
    assert_eq!(held, Restraints::default());
}

proptest! {
    /// Whatever a guest does, no more than this is remembered of it.
    #[test]
    fn abuse_memory_of_a_guest_is_bounded(
        seed in any::<u32>(),
        ports in 1_u16..=60_000,
        attempts in 0_u32..12_000,
        pace in 1_u64..SECOND / 10,
    ) {
        let limits: Limits = Signal::ALL.map(|signal| (signal, signal.limit())).into();
        let mut window = Window::new(Counted::default(), 0);
        let mut now_ns = 0;
        for number in 0..attempts {
            let scrambled = number.wrapping_mul(2_654_435_761).wrapping_add(seed);
            let port = u16::try_from(scrambled % u32::from(ports)).expect("is small");
            window.see(What::Attempt { to: public(scrambled >> 8), port: Some(port) }, now_ns, &limits);
            now_ns += pace;
            if number % 16 == 0 {
                window.look(Counted::default(), now_ns, WINDOW);
            }
            prop_assert!(window.weight() <= MOST);
        }
    }
}
