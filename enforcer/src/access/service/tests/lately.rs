//! Who asks with every request.

use super::*;

/// Whatever changes in the store counts with the next request, and an end does without a change.
#[tokio::test]
async fn s19_a_request_is_judged_by_the_store_as_it_is() {
    let rig = Rig::start(None).await;
    let (privileged, ann, ben) = (group(PRIVILEGED), user("lab", "ann"), user("lab", "ben"));
    let refused = Answer::Refused(Why::NotMember);
    for _ in 0..3 {
        assert_eq!(rig.access.socket_lately(&ann).await, refused);
        rig.access.add(&ann, &privileged, None, root()).await.expect("added");
        for _ in 0..3 {
            let answer = rig.access.socket_lately(&ann).await;
            assert_eq!(socket(&answer), Some(Socket::Filtered));
            assert_eq!(answer, rig.access.socket_for(&ann).await, "the same as who starts a guest");
            assert_eq!(rig.access.socket_lately(&ben).await, refused, "somebody else's word");
        }
        rig.access.remove(&ann, &privileged, root()).await.expect("removed");
    }
    let end = Some(Seconds(now().0 + 2));
    rig.access.add(&ann, &privileged, end, root()).await.expect("added");
    assert!(socket(&rig.access.socket_lately(&ann).await).is_some());
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let expired = Answer::Refused(Why::Expired(privileged));
    assert_eq!(rig.access.socket_lately(&ann).await, expired);
    rig.change_config(|config| config.access.docker_socket = false);
    assert_eq!(rig.access.socket_lately(&ann).await, Answer::Refused(Why::Disabled));
    assert_eq!(rig.access.socket_lately(&user("no", "ann")).await, Answer::Refused(Why::Disabled));
}

/// A store that cannot be used gives nobody anything, whatever it said before.
#[tokio::test]
async fn s1_what_a_store_said_before_it_broke_does_not_count() {
    let rig = Rig::start(None).await;
    let ann = user("lab", "ann");
    rig.access.add(&ann, &group(PRIVILEGED), None, root()).await.expect("added");
    assert!(socket(&rig.access.socket_lately(&ann).await).is_some());
    *lock(&rig.access.0.store) = Err("gone".to_owned());
    let answer = rig.access.socket_lately(&ann).await;
    assert!(socket(&answer).is_none(), "{answer:?}");
}

/// However many requests a user makes, the hub has a question a second; and what it says then counts.
#[tokio::test]
async fn s30_a_user_s_requests_are_few_questions_for_the_hub() {
    let there = say(200, &format!(r#"{{"name": "{PRIVILEGED}", "users": []}}"#));
    let member = say(200, &format!(r#"{{"name": "ann", "groups": ["{PRIVILEGED}"]}}"#));
    let nobody = say(200, r#"{"name": "ann", "groups": []}"#);
    // The start asks for the group.
    let server = Server::start(&[there, member, nobody, say(500, "")]).await;
    let mut rig = Rig::start(Some(server.settings.clone())).await;
    let ann = user("jh", "ann");
    let before = server.asked().len();
    let (asked_of, who) = (rig.access.clone(), ann.clone());
    let asking = || {
        let (access, ann) = (asked_of.clone(), who.clone());
        let all = (0..50).map(move |_| {
            let (access, ann) = (access.clone(), ann.clone());
            tokio::spawn(async move { access.socket_lately(&ann).await })
        });
        all.collect::<Vec<_>>()
    };
    let pause = || tokio::time::sleep(Duration::from_millis(1100));
    for asked in asking() {
        assert_eq!(socket(&asked.await.expect("an answer")), Some(Socket::Filtered));
    }
    assert_eq!(server.asked().len() - before, 1, "{:?}", server.asked());
    pause().await;
    for asked in asking() {
        assert_eq!(asked.await.expect("an answer"), Answer::Refused(Why::NotMember));
    }
    assert_eq!(server.asked().len() - before, 2);
    pause().await;
    rig.records();
    for asked in [asking(), asking()].into_iter().flatten() {
        let answer = asked.await.expect("an answer");
        assert!(matches!(&answer, Answer::Refused(Why::NoMemberships(_))), "{answer:?}");
    }
    assert_eq!(server.asked().len() - before, 3, "silence is used again, too");
    assert_eq!(rig.records(), ["group unavailable jh  ann".replace("  ", " ")], "told once");
    // Who starts a guest asks afresh.
    let _ = rig.access.look_up(&ann).await;
    assert!(server.asked().len() - before > 3);
}
