//! What an attacker tries: as a guest, as the owner of a name, or on the way to the upstream.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RecordType},
};

use super::rig::*;
use crate::model::names::{Client, Outcome};

fn kind_of(address: IpAddr) -> RecordType {
    if address.is_ipv4() { RecordType::A } else { RecordType::AAAA }
}

#[tokio::test]
async fn p31_a_name_that_turns_to_an_address_within_is_refused() {
    // Address -> whether a rule that is `private` may have it.
    for (text, private) in [
        ("169.254.169.254", false),
        ("10.0.0.1", true),
        ("172.16.0.1", true),
        ("192.168.1.1", true),
        ("100.64.0.1", true),
        ("192.168.7.9", false),
        ("203.0.113.7", false),
        ("127.0.0.1", false),
        ("0.0.0.0", false),
        ("224.0.0.251", false),
        ("::1", false),
        ("::ffff:10.0.0.1", false),
        ("64:ff9b::a00:1", false),
        ("fe80::1", false),
        ("fd00::1", true),
        ("fd00:ec2::254", false),
        ("2001:db8:7::5", false),
        ("2002:a00:1::1", false),
    ] {
        let address: IpAddr = text.parse().expect("an address");
        let upstream = Upstream::with(move |asked| {
            let good = if address.is_ipv4() { "151.101.0.223" } else { "2a04:4e42::223" };
            vec![at(asked, 60, good.parse().expect("an address")), at(asked, 60, address)]
        })
        .await;
        let rig =
            Rig::start(&["public.example.org", "~git.example.org", "any"], &[&upstream]).await;
        for name in ["public.example.org", "anything.net", "git.example.org"] {
            let answer = rig.ask(name, kind_of(address)).await;
            let told = rig.told_one();
            if private && name == "git.example.org" {
                assert_eq!(addresses(&answer).len(), 2, "{text}");
                assert_eq!((told.outcome, rig.granted().len()), (Outcome::Answered, 2));
                continue;
            }
            assert_eq!(code(&answer), ResponseCode::Refused, "{text} {name}");
            assert_eq!((answer.answers.len(), rig.granted().len()), (0, 0), "{text} {name}");
            assert_eq!((told.outcome, told.addresses), (Outcome::RefusedAddress, vec![address]));
        }
    }
}

#[tokio::test]
async fn p31_a_private_address_is_leased_for_the_rule_that_may_have_it_alone() {
    let upstream = Upstream::of("10.1.2.3").await;
    let rig = Rig::start(&["git.example.org", "~*.example.org"], &[&upstream]).await;
    assert_eq!(addresses(&rig.ask("git.example.org", RecordType::A).await).len(), 1);
    let groups: Vec<u32> = rig.granted().iter().map(|lease| lease.group).collect();
    assert_eq!(groups, [2]);
}

#[tokio::test]
async fn p31_only_the_upstream_s_answer_to_this_question_counts() {
    let upstream = Upstream::start(|question, _| {
        let bad: IpAddr = Ipv4Addr::new(198, 51, 100, 66).into();
        let asked = question.queries[0].name().clone();
        let forged = |change: &dyn Fn(&mut Message)| {
            let mut answer = reply(question, vec![at(&asked, 60, bad)]);
            change(&mut answer);
            answer
        };
        let good = Ipv4Addr::new(151, 101, 0, 223).into();
        vec![
            Sent::Forger(forged(&|_| {})),
            Sent::Itself(forged(&|answer| answer.metadata.id ^= 1)),
            Sent::Itself(forged(&|answer| answer.queries[0].name = name("evil.net"))),
            Sent::Itself(forged(&|answer| answer.queries[0].query_type = RecordType::AAAA)),
            Sent::Itself(forged(&|answer| answer.queries.clear())),
            Sent::Itself(forged(&|answer| {
                let query = answer.queries[0].clone();
                answer.queries.push(query);
            })),
            Sent::Itself(question.clone()),
            Sent::Itself(reply(question, vec![at(&asked, 60, good)])),
        ]
    })
    .await;
    let rig = Rig::start(&["pypi.org"], &[&upstream]).await;
    let answer = rig.ask("pypi.org", RecordType::A).await;
    let good: IpAddr = Ipv4Addr::new(151, 101, 0, 223).into();
    assert_eq!(addresses(&answer), [good]);
    assert_eq!((rig.granted().len(), upstream.asked()), (1, 1));
}

#[tokio::test]
async fn p31_each_question_goes_out_by_another_port_with_another_id_and_in_small_letters() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let memory = Arc::clone(&seen);
    let upstream = Upstream::start(move |question, _| {
        let asked = question.queries[0].name().to_ascii();
        memory.lock().expect("whole").push((question.metadata.id, asked));
        vec![Sent::Itself(reply(question, Vec::new()))]
    })
    .await;
    let rig = Rig::start(&["pypi.org"], &[&upstream]).await;
    for text in ["PYPI.org", "pYpI.oRg"] {
        let mut question = question(text, RecordType::A, None);
        question.queries[0].name = Name::from_ascii(format!("{text}.")).expect("a name");
        let answer = rig.exchange(ANN, &question).await.expect("an answer");
        assert!(answer.queries[0].name.eq_case(&question.queries[0].name), "it is repeated");
    }
    let seen = seen.lock().expect("whole").clone();
    assert!(seen.iter().all(|(_, asked)| asked == "pypi.org."), "{seen:?}");
    assert_ne!(seen[0].0, seen[1].0, "once in 65536 runs they are alike");
}

#[tokio::test]
async fn p31_aliases_without_end_and_hostile_ones_lead_nowhere() {
    let upstream = Upstream::with(|asked| {
        let text = asked.to_ascii();
        let number = |index: usize| format!("a{index}.example.net");
        if text.starts_with("long") {
            let first = alias(asked, 60, &number(0));
            let next = |index| alias(&name(&number(index)), 60, &number(index + 1));
            let end = at(&name(&number(9)), 60, Ipv4Addr::new(151, 101, 0, 1).into());
            [first].into_iter().chain((0..9).map(next)).chain([end]).collect()
        } else if text.starts_with("circle") {
            vec![alias(asked, 60, "b.example.net"), alias(&name("b.example.net"), 60, &text)]
        } else {
            let mut odd = alias(asked, 60, "b.example.net");
            let labels: [&[u8]; 2] = [b"a\n\x1b[2J", b"net"];
            let target = Name::from_labels(labels).expect("a name");
            odd.data =
                hickory_proto::rr::RData::CNAME(hickory_proto::rr::rdata::CNAME(target.clone()));
            vec![odd, at(&target, 60, Ipv4Addr::new(151, 101, 0, 1).into())]
        }
    })
    .await;
    let rig = Rig::start(&["*.example.org"], &[&upstream]).await;
    for text in ["long.example.org", "circle.example.org", "odd.example.org"] {
        let answer = rig.ask(text, RecordType::A).await;
        assert_eq!((code(&answer), answer.answers.len()), (ResponseCode::ServFail, 0), "{text}");
        assert_eq!(rig.told_one().outcome, Outcome::UpstreamFailed, "{text}");
    }
    assert!(rig.granted().is_empty());
}

#[tokio::test]
async fn p31_of_thousands_of_addresses_few_are_opened_and_the_rest_is_told() {
    let upstream = Upstream::start(|question, is_tcp| {
        let name = question.queries[0].name();
        // More than 20 KB.
        let count = if is_tcp { 2000 } else { 0 };
        let addresses = (0..count).map(|number: u16| {
            let [high, low] = number.to_be_bytes();
            at(name, 60, Ipv4Addr::new(151, 101, high, low).into())
        });
        let mut answer = reply(question, addresses.collect());
        answer.metadata.truncation = !is_tcp;
        vec![Sent::Itself(answer)]
    })
    .await;
    let rig = Rig::start(&["pypi.org"], &[&upstream]).await;
    let mut stream = rig.connect(ANN).await;
    send(&mut stream, &question("pypi.org", RecordType::A, None)).await;
    let answer = receive(&mut stream).await.expect("an answer");
    assert_eq!((addresses(&answer).len(), rig.granted().len()), (64, 64));
    assert_eq!(rig.told_one().why.as_deref(), Some("1936 records are left out"));
}

#[tokio::test]
async fn n3_a_stranger_gets_no_answer_by_any_way() {
    let upstream = Upstream::of("151.101.0.223").await;
    let rig = Rig::start(&["any", "pypi.org"], &[&upstream]).await;
    let question = question("pypi.org", RecordType::A, None);
    let before = rig.resolver.counts().strangers();
    assert!(rig.exchange(STRANGER, &question).await.is_none());
    let mut stream = rig.connect(STRANGER).await;
    assert!(receive(&mut stream).await.is_none(), "the connection is closed");
    assert_eq!(rig.resolver.counts().strangers() - before, 2);
    assert_eq!((upstream.asked(), rig.told().len(), rig.granted().len()), (0, 0, 0));
}

#[tokio::test]
async fn n5_who_left_while_the_upstream_was_asked_opens_nothing_for_who_came_after() {
    let asked_once = AtomicBool::default();
    let upstream = Upstream::start(move |question, _| {
        // Silent at first, so that there is time: after two seconds it is asked again.
        if !asked_once.swap(true, Ordering::SeqCst) {
            return Vec::new();
        }
        let address = Ipv4Addr::new(151, 101, 0, 1).into();
        vec![Sent::Itself(reply(question, vec![at(question.queries[0].name(), 60, address)]))]
    })
    .await;
    let rig = Rig::start(&["pypi.org"], &[&upstream]).await;
    let bytes = question("pypi.org", RecordType::A, None).to_vec().expect("is encoded");
    let asking = rig.raw(ANN, &bytes, Duration::from_secs(4));
    let changing = async {
        while upstream.asked() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let policy = Arc::new(policy(&["pypi.org"]));
        rig.directory.send_replace(Arc::new([(ANN, Client { endpoint: 99, policy })].into()));
    };
    let (answer, ()) = tokio::join!(asking, changing);
    assert_eq!((answer, rig.granted().len(), upstream.asked()), (None, 0, 2));
    assert_eq!(rig.told_one().endpoint, ANN_ID);
    // Nor for a guest whose policy says no by then: here the next question of the one who came.
    rig.directory.send_replace(guests(&["example.org"]));
    assert_eq!(code(&rig.ask("pypi.org", RecordType::A).await), ResponseCode::Refused);
}

#[tokio::test]
async fn f16_a_hostile_name_is_refused_and_recorded_without_its_tricks() {
    let upstream = Upstream::of("151.101.0.223").await;
    let rig = Rig::start(&["any", "*.example.org"], &[&upstream]).await;
    for label in [&b"a\n{\"event.action\":\"stop\"}"[..], b"\x1b[2J", b"\xff\xfe", b"a.b", b"\0"] {
        let mut question = question("x.example.org", RecordType::A, None);
        let labels: [&[u8]; 3] = [label, b"example", b"org"];
        question.queries[0].name = Name::from_labels(labels).expect("a name");
        let answer = rig.exchange(ANN, &question).await.expect("an answer");
        assert_eq!(code(&answer), ResponseCode::Refused);
        let told = rig.told_one();
        assert_eq!(told.outcome, Outcome::RefusedName);
        assert!(told.name.bytes().all(|byte| byte.is_ascii_graphic()), "{}", told.name);
        assert!(told.name.ends_with(".example.org."), "{}", told.name);
    }
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn what_is_no_question_is_told_so_or_not_answered_and_always_counted() {
    let rig = Rig::start(&["any"], &[]).await;
    let whole = question("pypi.org", RecordType::A, None).to_vec().expect("is encoded");
    let wait = Duration::from_millis(300);
    // Bytes -> the code, if there is an answer.
    let mut answer = whole.clone();
    answer[2] |= 0x80;
    let long = [&whole[..], &[0; 600]].concat();
    for (bytes, expected) in [
        (&b"short"[..], None),
        (&answer, None),
        (&whole[..20], Some(1)),
        (&long, Some(1)),
        (&[0xff; 12][..], None),
        (&[0x7f; 12][..], Some(1)),
    ] {
        let got = rig.raw(ANN, bytes, wait).await.map(|answer| (answer.len(), answer[3] & 0xf));
        assert_eq!(got, expected.map(|code| (12, code)), "{bytes:?}");
        assert_eq!(rig.told_one().outcome, Outcome::Malformed);
    }
    let mut stream = rig.connect(ANN).await;
    let mut huge = question("pypi.org", RecordType::A, None);
    huge.insert_additionals(vec![at(&name("a"), 1, Ipv4Addr::LOCALHOST.into()); 100]);
    send(&mut stream, &huge).await;
    assert!(receive(&mut stream).await.is_none(), "the connection is closed");
    assert_eq!(rig.told_one().outcome, Outcome::Malformed);
}
