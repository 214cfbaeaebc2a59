//! How much a guest may ask, and what that costs the others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RecordType,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::rig::*;
use crate::{config::Dns, model::names::Outcome};

/// The resolver's answer without a socket between.
async fn direct(rig: &Rig, text: &str) -> Option<ResponseCode> {
    let bytes = question(text, RecordType::A, None).to_vec().expect("is encoded");
    let admitted = rig.resolver.admit(ANN, &bytes)?;
    let answer = rig.resolver.answer(admitted, false).await?;
    Some(code(&Message::from_vec(&answer).expect("a message")))
}

fn count(rig: &Rig, outcome: Outcome) -> u64 {
    let counts = rig.resolver.counts();
    counts.each().find(|(word, _)| *word == outcome.name()).map_or(0, |(_, count)| count)
}

#[tokio::test]
async fn p30_ten_thousand_labels_carry_few_words_out_and_every_one_is_accounted_for() {
    let upstream = Upstream::of("151.101.0.223").await;
    let settings = Dns {
        upstream: vec![upstream.address],
        queries_per_second: 10_000,
        burst: 10_000,
        ..Dns::default()
    };
    let rig = Rig::with(&["any", "*.example.org"], settings).await;
    for number in 0..10_000 {
        let expected = if number < 200 { ResponseCode::NoError } else { ResponseCode::Refused };
        let got = direct(&rig, &format!("secret{number}.evil.net")).await;
        assert_eq!(got, Some(expected), "{number}");
    }
    assert_eq!(upstream.asked(), 200);
    // Names that a rule names go on, and so does a name of before.
    for text in ["a.example.org", "secret0.evil.net"] {
        assert_eq!(direct(&rig, text).await, Some(ResponseCode::NoError), "{text}");
    }
    // A1: what is written and what is told to be suppressed is what happened, of each outcome.
    let (told, suppressed) = (rig.told(), rig.suppressed());
    for (outcome, happened) in [(Outcome::Answered, 202), (Outcome::RefusedRate, 9800)] {
        let written = told.iter().filter(|asked| asked.outcome == outcome).count();
        let rest = suppressed.iter().filter(|(id, of)| (*id, *of) == (ANN_ID, outcome)).count();
        assert_eq!(written + rest, happened, "{outcome:?}");
        assert_eq!(count(&rig, outcome), u64::try_from(happened).expect("fits"));
        assert!((64..2000).contains(&written), "{outcome:?}: {written}");
    }
}

#[tokio::test]
async fn p30_a_flood_is_refused_then_dropped_and_another_guest_notices_nothing() {
    let upstream = Upstream::of("151.101.0.223").await;
    let settings = Dns {
        upstream: vec![upstream.address],
        queries_per_second: 1,
        burst: 10,
        ..Dns::default()
    };
    let rig = Rig::with(&["pypi.org"], settings).await;
    let mut got = Vec::new();
    for _ in 0..100 {
        got.push(direct(&rig, "pypi.org").await);
    }
    let of = |wanted| got.iter().filter(|code| **code == wanted).count();
    let (answered, refused) = (of(Some(ResponseCode::NoError)), of(Some(ResponseCode::Refused)));
    assert!((10..=20).contains(&answered) && (10..=20).contains(&refused), "{answered} {refused}");
    assert_eq!(answered + refused + of(None), 100);
    assert_eq!(count(&rig, Outcome::RefusedRate), u64::try_from(100 - answered).expect("fits"));
    let question = question("pypi.org", RecordType::A, None);
    let answer = rig.exchange(BEN, &question).await.expect("an answer");
    assert_eq!(addresses(&answer).len(), 1);
}

/// All guests of a network share a socket. What one of them sends beyond its rate is not even read.
#[tokio::test(flavor = "multi_thread")]
async fn p30_while_one_guest_floods_the_socket_another_is_answered() {
    const QUESTIONS: usize = 100;
    let upstream = Upstream::of("151.101.0.223").await;
    let settings = Dns { upstream: vec![upstream.address], ..Dns::default() };
    let rig = Rig::with(&["pypi.org"], settings).await;
    let bytes = question("pypi.org", RecordType::A, None).to_vec().expect("is encoded");
    let socket = std::net::UdpSocket::bind((ANN, 0)).expect("bound");
    let (at, ends) = (rig.at, Arc::new(AtomicBool::new(false)));
    let flood = std::thread::spawn({
        let ends = Arc::clone(&ends);
        move || {
            let mut sent = 0_u64;
            while !ends.load(Ordering::Relaxed) {
                for _ in 0..100 {
                    sent += u64::from(socket.send_to(&bytes, at).is_ok());
                }
                // 50,000 a second at most: the machine has other work.
                std::thread::sleep(Duration::from_millis(2));
            }
            sent
        }
    });
    let mut answered = 0;
    for _ in 0..QUESTIONS {
        let answer = rig.exchange(BEN, &question("pypi.org", RecordType::A, None)).await;
        answered += usize::from(answer.is_some_and(|answer| addresses(&answer).len() == 1));
        // Its own rate is no more.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ends.store(true, Ordering::Relaxed);
    let sent = flood.join().expect("ended");
    let refused = count(&rig, Outcome::RefusedRate);
    assert_eq!(answered, QUESTIONS, "beside {sent} of a flood");
    assert!(refused > 5_000, "{refused} of {sent} were too many");
    let told = rig.told();
    let dropped = told.iter().filter(|one| one.outcome == Outcome::RefusedRate);
    assert!(dropped.clone().all(|one| one.endpoint == ANN_ID));
    assert!(
        dropped.clone().any(|one| one.name.is_empty()),
        "a question is read that nobody answers"
    );
}

#[tokio::test]
async fn questions_that_wait_are_bounded_for_each_guest() {
    let silent = Upstream::start(|_, _| Vec::new()).await;
    let rig = Rig::start(&["*.example.org"], &[&silent]).await;
    let bytes = |number| {
        let text = format!("a{number}.example.org");
        question(&text, RecordType::A, None).to_vec().expect("is encoded")
    };
    let waiting: Vec<_> =
        (0..64).map(|number| rig.resolver.admit(ANN, &bytes(number)).expect("admitted")).collect();
    assert_eq!(direct(&rig, "one-more.example.org").await, Some(ResponseCode::Refused));
    assert_eq!((rig.told_one().outcome, silent.asked()), (Outcome::RefusedRate, 0));
    drop(waiting);
    let settings = Dns { upstream: Vec::new(), ..Dns::default() };
    rig.settings.send_replace(Arc::new(settings));
    assert_eq!(direct(&rig, "one-more.example.org").await, Some(ResponseCode::ServFail));
}

#[tokio::test]
async fn slow_tcp_clients_are_few_are_left_and_keep_nobody_waiting() {
    let upstream = Upstream::of("151.101.0.223").await;
    let rig = Rig::start(&["pypi.org"], &[&upstream]).await;
    let begun = std::time::Instant::now();
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = rig.connect(ANN).await;
        // The first byte of a length, and no more.
        stream.write_all(&[0]).await.expect("sent");
        slow.push(stream);
    }
    // Their places are taken as soon as they are accepted.
    let mut byte = [0];
    let mut fifth = rig.connect(ANN).await;
    let ended = fifth.read(&mut byte).await;
    assert!(matches!(ended, Ok(0) | Err(_)) && begun.elapsed() < Duration::from_secs(3));
    assert_eq!(rig.told_one().outcome, Outcome::RefusedRate);
    assert_eq!(addresses(&rig.ask("pypi.org", RecordType::A).await).len(), 1);
    let mut other = rig.connect(BEN).await;
    send(&mut other, &question("pypi.org", RecordType::A, None)).await;
    assert!(receive(&mut other).await.is_some());
    for mut stream in slow {
        assert!(matches!(stream.read(&mut byte).await, Ok(0) | Err(_)));
    }
    let took = begun.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(9)).contains(&took), "{took:?}");
    // Their places are free again.
    let mut again = rig.connect(ANN).await;
    send(&mut again, &question("pypi.org", RecordType::A, None)).await;
    assert!(receive(&mut again).await.is_some());
}

#[tokio::test]
async fn nothing_is_remembered_of_a_guest_that_left() {
    let rig = Rig::start(&["any"], &[]).await;
    assert_eq!(direct(&rig, "a.evil.net").await, Some(ResponseCode::ServFail));
    assert_eq!(rig.resolver.remembered(), 1);
    rig.directory.send_replace(Arc::default());
    for _ in 0..100 {
        if rig.resolver.remembered() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is remembered for ever");
}
