use super::*;
use crate::audit::{
    record::{Exec, GroupChange, Life, Outside, Process, Traffic},
    store::PREFIX,
};

fn body(role: &str) -> Body {
    Body::Denied(Box::new(Traffic {
        subject: Subject {
            user: Some("alice".to_owned()),
            group: Some("course".to_owned()),
            server: Some("alices-own".to_owned()),
            hub: Some("lab".to_owned()),
            groups: vec!["staff".to_owned()],
            client: Some("alice.example.org".to_owned()),
            container: "jupyter-alice".to_owned(),
            container_id: Some("beef01".to_owned()),
            labels: [("mail".to_owned(), "alice@example.org".to_owned())].into(),
            role: role.to_owned(),
            ..Subject::default()
        },
        hook: String::new(),
        verdict: String::new(),
        reason: None,
        rule: None,
        would_deny: None,
        ingress_ifindex: 0,
        frame_len: 0,
        ethertype: String::new(),
        source_mac: String::new(),
        destination_mac: String::new(),
        source: Some("10.0.0.2".to_owned()),
        destination: None,
        protocol: None,
        source_port: None,
        destination_port: None,
        tcp_flags: None,
    }))
}

#[test]
fn whatever_names_a_person_becomes_a_pseudonym_and_the_rest_stays() {
    let mut book = Book::unkept().expect("random");
    let (now, mut guest) = (SystemTime::now(), body("guest"));
    conceal(&mut book, &mut guest, now);
    let line = serde_json::to_string(&guest).expect("serialises");
    assert!(!line.contains("alice"), "{line}");
    for kept in ["course", "beef01", "10.0.0.2", "\"mail\"", "\"lab\"", "\"staff\""] {
        assert!(line.contains(kept), "{kept}: {line}");
    }
    let mut again = body("guest");
    conceal(&mut book, &mut again, now);
    assert_eq!(again, guest, "one name, one pseudonym");
    let names: Vec<_> = book.rows().iter().map(|row| row.name.as_str()).collect();
    let all = ["alice", "jupyter-alice", "alices-own", "alice.example.org", "alice@example.org"];
    assert_eq!(names, all);
    let user = book.rows()[0].pseudonym.clone();
    assert!(book.rows().iter().all(|row| row.goes_with(&user)), "{:?}", book.rows());
    let mut hub = body("hub");
    conceal(&mut book, &mut hub, now);
    assert_eq!(hub, body("hub"), "a hub is nobody");
}

#[test]
fn a_path_that_has_the_user_s_name_has_the_pseudonym() {
    let mut book = Book::unkept().expect("random");
    let subject = Subject { user: Some("alice".to_owned()), ..Subject::default() };
    let mut body = Body::Exec(Box::new(Exec {
        subject: Subject { role: "guest".to_owned(), ..subject },
        executable: "/home/alice/bin/malice".to_owned(),
        process: Process { name: "run-alice".to_owned(), ..Process::default() },
        cut: false,
    }));
    conceal(&mut book, &mut body, SystemTime::now());
    let Body::Exec(exec) = &body else { panic!("{body:?}") };
    let user = exec.subject.user.as_deref().expect("a user");
    assert_eq!(exec.executable, format!("/home/{user}/bin/malice"));
    assert_eq!(exec.process.name, format!("run-{user}"));
}

#[test]
fn s1_a_change_of_a_group_names_who_made_it_and_not_whom_it_is_about() {
    let mut book = Book::unkept().expect("random");
    let about = AccessChange {
        hub: "lab".to_owned(),
        group: Some("staff".to_owned()),
        user: Some("alice".to_owned()),
        by_name: "root".to_owned(),
        why: Some("alice asked; malice did not".to_owned()),
        error: "no user alice".to_owned(),
        ..AccessChange::default()
    };
    let life = Life {
        user: Some("alice".to_owned()),
        server: Some("thesis".to_owned()),
        container: "guest-lab-alice-0".to_owned(),
        error: "volume of alice is in use".to_owned(),
        ..Life::default()
    };
    let mut body = Body::Life(Box::new(life));
    conceal(&mut book, &mut body, SystemTime::UNIX_EPOCH);
    let told = serde_json::to_string(&body).expect("JSON");
    assert!(!told.contains("alice") && !told.contains("thesis"), "{told}");
    let user = book.rows().iter().find(|row| row.name == "alice").expect("a row");
    let user = user.pseudonym.clone();
    assert!(book.rows().iter().all(|row| row.goes_with(&user)), "{:?}", book.rows());

    let mut body = Body::Group(Box::new(GroupChange { event: "added".to_owned(), about }));
    conceal(&mut book, &mut body, SystemTime::now());
    let Body::Group(change) = &body else { panic!("{body:?}") };
    let user = change.about.user.clone().expect("a user");
    assert!(user.starts_with(PREFIX));
    assert_eq!(change.about.why, Some(format!("{user} asked; malice did not")));
    assert_eq!(change.about.error, format!("no user {user}"));
    assert_eq!((change.about.by_name.as_str(), change.about.hub.as_str()), ("root", "lab"));
    // The same person as in a record about packets.
    let mut guest = self::body("guest");
    conceal(&mut book, &mut guest, SystemTime::now());
    assert_eq!(guest.subject().and_then(|subject| subject.user.clone()), Some(user));
}

/// A hub's call about somebody, with what stock spawners write in it.
fn hub_s_call() -> GateCall {
    let text = |text: &str| Some(text.to_owned());
    let request = r#"{"Image":"python:3","Hostname":"jupyter-alice-40x","Labels":
        {"enforcer.user":"alice@x","enforcer.client":"192.0.2.7","a":"alice"},
        "HostConfig":{"Binds":["home-alice-40x:/home/alice"]}}"#;
    GateCall {
        hub: "lab".to_owned(),
        path: text("/containers/create"),
        query: text("name=jupyter-alice-40x&filters=%22alice%22"),
        request: text(request),
        why: text("alice@x from 192.0.2.7 has jupyter-alice-40x"),
        about: About {
            user: text("alice@x"),
            client: text("192.0.2.7"),
            names: vec!["jupyter-alice-40x".to_owned()],
        },
        ..GateCall::default()
    }
}

#[test]
fn s22_a_hub_s_call_names_nobody_and_erasure_takes_what_went_with_a_user() {
    let mut book = Book::unkept().expect("random");
    let mut concealed = |call: GateCall| {
        let mut body = Body::Gate(Box::new(call));
        conceal(&mut book, &mut body, SystemTime::now());
        serde_json::to_value(&body).expect("JSON")
    };
    // Before a create nobody knows whose the name is going to be.
    let early = GateCall {
        hub: "lab".to_owned(),
        path: Some("/containers/jupyter-alice-40x/json".to_owned()),
        about: About { names: vec!["jupyter-alice-40x".to_owned()], ..About::default() },
        ..GateCall::default()
    };
    let early = concealed(early).to_string();
    let call = concealed(hub_s_call());
    let unparsed = GateCall { request: Some("{\"a\":\"al".to_owned()), ..hub_s_call() };
    let unparsed = concealed(unparsed);
    for told in [&early, &call.to_string(), &unparsed.to_string()] {
        // With its parts: a name is never there in another writing.
        for name in ["jupyter-alice", "alice@x", "alice-40x", "192.0.2.7", "%22alice"] {
            assert!(!told.contains(name), "{name}: {told}");
        }
        assert!(!told.contains("about"), "{told}");
    }
    assert!(call.get("user.name").is_none(), "the socket is the hub's");
    let request = call["enforcer.request"].as_str().expect("a request");
    assert!(request.contains("python:3") && request.contains("\"enforcer.user\":\"***\""));
    assert!(unparsed.get("enforcer.request").is_none());
    let of_user = |row: &&crate::audit::store::Row| row.name == "alice@x";
    let user = book.rows().iter().find(of_user).expect("a row").pseudonym.clone();
    assert!(request.contains(&user));
    let with: Vec<_> = book.rows().iter().filter(|row| row.goes_with(&user)).collect();
    assert_eq!(with.len(), 3, "user, container and client: {:?}", book.rows());
}

#[test]
fn s22_a_user_s_call_is_scrubbed_as_it_was() {
    let mut book = Book::unkept().expect("random");
    let call = GateCall {
        user: Some("alice".to_owned()),
        path: Some("/volumes/home-alice".to_owned()),
        request: Some("{\"Labels\":{\"a\":\"b\"}}".to_owned()),
        ..GateCall::default()
    };
    let mut body = Body::Gate(Box::new(call));
    conceal(&mut book, &mut body, SystemTime::now());
    let Body::Gate(call) = &body else { panic!("{body:?}") };
    let user = call.user.as_deref().expect("a user");
    assert_eq!(call.path, Some(format!("/volumes/home-{user}")));
    assert_eq!(call.request.as_deref(), Some("{\"Labels\":{\"a\":\"b\"}}"));
}

#[test]
fn a_way_out_names_neither_container() {
    let mut book = Book::unkept().expect("random");
    for to in ["guest jupyter-ben", "jupyter-ben", "hub hub"] {
        let mut body = Body::Outside(Outside {
            container_id: Some("beef01".to_owned()),
            container: "jupyter-alice".to_owned(),
            why: "container_namespace".to_owned(),
            to: to.to_owned(),
            error: "cannot kill jupyter-alice: it has jupyter-alice2".to_owned(),
            ..Outside::default()
        });
        conceal(&mut book, &mut body, SystemTime::now());
        let Body::Outside(outside) = &body else { panic!("{body:?}") };
        assert!(outside.container.starts_with(PREFIX) && !outside.to.contains("ben"), "{body:?}");
        assert_eq!(outside.to == "hub hub", to == "hub hub");
        let error = format!("cannot kill {}: it has jupyter-alice2", outside.container);
        assert_eq!(outside.error, error, "whole words");
    }
}
