//! What guests may expect.

use std::{net::Ipv4Addr, sync::atomic::Ordering, time::Duration};

use hickory_proto::{
    op::ResponseCode,
    rr::{RData, Record, RecordType, rdata::TXT},
};
use tokio::net::UdpSocket;

use super::rig::*;
use crate::{
    config::Dns,
    model::names::{Lease, Outcome},
};

#[tokio::test]
async fn an_allowed_name_is_answered_and_its_addresses_are_leased_before() {
    let upstream = Upstream::with(|asked| {
        let end = name("cdn.example.net");
        vec![
            alias(asked, 900, "cdn.example.net"),
            at(&end, 30, "151.101.0.223".parse().expect("an address")),
            at(&end, 20, "151.101.64.223".parse().expect("an address")),
            // Nobody asked for these.
            at(&name("bank.example"), 60, "198.51.100.1".parse().expect("an address")),
            at(asked, 60, "2a04:4e42::223".parse().expect("an address")),
        ]
    })
    .await;
    let rig = Rig::start(&["pypi.org", "*.org"], &[&upstream]).await;
    let answer = rig.ask("PyPI.org", RecordType::A).await;
    assert_eq!(code(&answer), ResponseCode::NoError);
    let expected = ["151.101.0.223", "151.101.64.223"].map(|text| text.parse().expect("one"));
    assert_eq!((addresses(&answer), answer.answers.len()), (expected.to_vec(), 3));
    assert!(answer.answers.iter().all(|record| record.ttl == 20), "{answer}");
    let granted = rig.granted();
    let ttl = Duration::from_secs(30);
    for (address, group) in [(0, 1), (0, 2), (1, 1), (1, 2)] {
        let lease = Lease { endpoint: ANN_ID, address: expected[address], group, ttl };
        assert!(granted.contains(&lease), "{granted:?}");
    }
    assert_eq!(granted.len(), 4);
    let told = rig.told_one();
    assert_eq!((told.endpoint, told.outcome), (ANN_ID, Outcome::Answered));
    assert_eq!((told.name.as_str(), told.kind.as_str()), ("pypi.org.", "A"));
    assert_eq!((told.rule.as_deref(), told.groups), (Some("pypi.org"), vec![1, 2]));
    assert_eq!((told.addresses, told.ttl), (expected.to_vec(), Some(Duration::from_secs(20))));
}

#[tokio::test]
async fn n6_what_nothing_allows_is_refused_without_asking_anybody() {
    let upstream = Upstream::of("151.101.0.223").await;
    let rig = Rig::start(&["pypi.org", "*.example.org"], &[&upstream]).await;
    // Name, type -> code and outcome.
    for (text, kind, expected, outcome) in [
        ("evil.net", RecordType::A, ResponseCode::Refused, Outcome::RefusedName),
        ("denied.example.org", RecordType::A, ResponseCode::Refused, Outcome::RefusedName),
        ("pypi.org", RecordType::ANY, ResponseCode::Refused, Outcome::RefusedType),
        ("pypi.org", RecordType::AXFR, ResponseCode::Refused, Outcome::RefusedType),
        ("pypi.org", RecordType::TXT, ResponseCode::NoError, Outcome::Answered),
        ("pypi.org", RecordType::HTTPS, ResponseCode::NoError, Outcome::Answered),
    ] {
        let answer = rig.ask(text, kind).await;
        assert_eq!((code(&answer), answer.answers.len()), (expected, 0), "{text} {kind}");
        let told = rig.told_one();
        assert_eq!((told.outcome, told.kind), (outcome, kind.to_string()), "{text}");
    }
    assert_eq!((upstream.asked(), rig.granted().len()), (0, 0));
}

#[tokio::test]
async fn a_name_under_any_is_answered_without_a_lease() {
    let upstream = Upstream::with(|asked| {
        vec![
            at(asked, 60, "151.101.0.223".parse().expect("an address")),
            Record::from_rdata(asked.clone(), 60, RData::TXT(TXT::new(vec!["hello".to_owned()]))),
        ]
    })
    .await;
    let rig = Rig::start(&["any"], &[&upstream]).await;
    assert_eq!(addresses(&rig.ask("example.net", RecordType::A).await).len(), 1);
    assert_eq!(rig.told_one().rule.as_deref(), Some("any"));
    let answer = rig.ask("example.net", RecordType::TXT).await;
    assert_eq!((answer.answers.len(), addresses(&answer).len()), (1, 0));
    assert!(rig.granted().is_empty());
    // Names of this site are nobody's.
    let asked = upstream.asked();
    assert_eq!(code(&rig.ask("printer.local", RecordType::A).await), ResponseCode::NXDomain);
    assert_eq!(upstream.asked(), asked);
}

#[tokio::test]
async fn what_is_not_there_is_said_so_with_the_aliases_on_the_way() {
    let upstream = Upstream::start(|question, _| {
        let records = vec![alias(question.queries[0].name(), 60, "gone.example.net")];
        let mut answer = reply(question, records);
        answer.metadata.response_code = ResponseCode::NXDomain;
        vec![Sent::Itself(answer)]
    })
    .await;
    let rig = Rig::start(&["pypi.org"], &[&upstream]).await;
    let answer = rig.ask("pypi.org", RecordType::AAAA).await;
    assert_eq!((code(&answer), answer.answers.len()), (ResponseCode::NXDomain, 1));
    assert_eq!(rig.told_one().outcome, Outcome::NoSuchName);
}

#[tokio::test]
async fn times_are_kept_within_their_bounds() {
    let upstream = Upstream::with(|asked| {
        let ttl = if *asked == name("long.example.org") { u32::MAX } else { 0 };
        vec![at(asked, ttl, "151.101.0.223".parse().expect("an address"))]
    })
    .await;
    let rig = Rig::start(&["*.example.org"], &[&upstream]).await;
    for (text, ttl) in [("long.example.org", 300), ("short.example.org", 5)] {
        let answer = rig.ask(text, RecordType::A).await;
        assert_eq!(answer.answers[0].ttl, ttl, "{text}");
        assert_eq!(rig.granted()[0].ttl, Duration::from_secs(u64::from(ttl) + 10));
    }
}

#[tokio::test]
async fn an_answer_without_a_lease_is_none() {
    let upstream = Upstream::of("151.101.0.223").await;
    let rig = Rig::start(&["pypi.org"], &[&upstream]).await;
    rig.leases.refuses.store(true, Ordering::SeqCst);
    let answer = rig.ask("pypi.org", RecordType::A).await;
    assert_eq!((code(&answer), answer.answers.len()), (ResponseCode::ServFail, 0));
    let told = rig.told_one();
    assert_eq!(
        (told.outcome, told.why.as_deref()),
        (Outcome::LeaseFailed, Some("the map is full"))
    );
    assert!(told.addresses.is_empty() && told.groups.is_empty());
}

#[tokio::test]
async fn an_upstream_that_cannot_tell_gives_way_to_the_next() {
    let broken = Upstream::start(|question, _| {
        let mut answer = reply(question, Vec::new());
        answer.metadata.response_code = ResponseCode::ServFail;
        vec![Sent::Itself(answer)]
    })
    .await;
    let good = Upstream::of("151.101.0.223").await;
    let rig = Rig::start(&["pypi.org"], &[&broken, &good]).await;
    assert_eq!(addresses(&rig.ask("pypi.org", RecordType::A).await).len(), 1);
    assert_eq!((broken.asked(), good.asked()), (1, 1));
    let rig = Rig::start(&["pypi.org"], &[&broken]).await;
    assert_eq!(code(&rig.ask("pypi.org", RecordType::A).await), ResponseCode::ServFail);
    let told = rig.told_one();
    assert_eq!(told.outcome, Outcome::UpstreamFailed);
    assert!(told.why.is_some_and(|why| why.contains("Server Failure")));
    assert_eq!(broken.asked(), 3, "one upstream is asked twice");
}

#[tokio::test]
async fn a_silent_upstream_is_left_after_two_seconds_and_nobody_else_waits() {
    let silent = Upstream::start(|_, _| Vec::new()).await;
    let good = Upstream::of("151.101.0.223").await;
    let rig = Rig::start(&["pypi.org"], &[&silent, &good]).await;
    let begun = std::time::Instant::now();
    let slow = rig.ask("pypi.org", RecordType::A);
    let other = question("evil.net", RecordType::A, None);
    let quick = async {
        let answer = rig.exchange(BEN, &other).await.expect("an answer");
        (code(&answer), begun.elapsed())
    };
    let (slow, (quick, after)) = tokio::join!(slow, quick);
    assert_eq!((addresses(&slow).len(), quick), (1, ResponseCode::Refused));
    assert!(after < Duration::from_secs(1) && begun.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_large_answer_comes_by_tcp_from_the_upstream_and_to_the_guest() {
    let upstream = Upstream::start(|question, is_tcp| {
        if !is_tcp {
            let mut cut = reply(question, Vec::new());
            cut.metadata.truncation = true;
            return vec![Sent::Itself(cut)];
        }
        let addresses = (0..50).map(|last| Ipv4Addr::new(151, 101, 0, last).into());
        let name = question.queries[0].name();
        vec![Sent::Itself(reply(question, addresses.map(|one| at(name, 60, one)).collect()))]
    })
    .await;
    let rig = Rig::start(&["pypi.org"], &[&upstream]).await;
    // 50 addresses are 800 bytes and a few: too many without EDNS.
    let answer = rig.ask("pypi.org", RecordType::A).await;
    assert!(answer.metadata.truncation && answer.answers.is_empty(), "{answer}");
    let with_room = question("pypi.org", RecordType::A, Some(4096));
    let answer = rig.exchange(ANN, &with_room).await.expect("an answer");
    assert_eq!((answer.metadata.truncation, addresses(&answer).len()), (false, 50));
    assert!(answer.edns.is_some_and(|edns| edns.max_payload() == 1232));
    let mut stream = rig.connect(ANN).await;
    for _ in 0..2 {
        send(&mut stream, &question("pypi.org", RecordType::A, None)).await;
        let answer = receive(&mut stream).await.expect("an answer");
        assert_eq!((answer.metadata.truncation, addresses(&answer).len()), (false, 50));
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_is_told_and_taken_as_soon_as_it_can() {
    let upstream = Upstream::of("151.101.0.223").await;
    let settings = Dns { upstream: vec![upstream.address], ..Dns::default() };
    let mut rig = Rig::with(&["pypi.org"], settings).await;
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let at = taken.local_addr().expect("an address");
    rig.wanted.send_modify(|wanted| {
        wanted.insert(at);
    });
    let told = rig.problems.wait_for(|problems| !problems.is_empty()).await.expect("told").clone();
    assert!(told[0].contains(&format!("DNS is not answered on {at}")), "{told:?}");
    // The other one goes on, and it alone is said to be ours.
    assert_eq!(*rig.held.wait_for(|held| !held.is_empty()).await.expect("told"), [rig.at].into());
    assert_eq!(addresses(&rig.ask("pypi.org", RecordType::A).await).len(), 1);
    drop(taken);
    let waiting = rig.problems.wait_for(Vec::is_empty);
    drop(
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("bound").expect("told"),
    );
    assert!(rig.held.borrow().contains(&at));
    rig.at = at;
    assert_eq!(addresses(&rig.ask("pypi.org", RecordType::A).await).len(), 1);
}
