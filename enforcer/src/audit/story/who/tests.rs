//! Words and whom they mean.

use serde_json::json;

use super::*;

fn record(user: &str, container: &str, id: &str) -> Value {
    json!({"event.action": "denied", "user.name": user, "container.name": container, "container.id": id,
        "enforcer.hook": "from_guest", "event.reason": "policy", "source.ip": "10.0.0.2"})
}

fn ask(word: &str, records: &[Value]) -> Result<Scope, WhoError> {
    let mut candidates = Candidates::new(Who::parse(word));
    for (record, at) in records.iter().zip(1..) {
        candidates.take(record, at);
    }
    candidates.one()
}

#[test]
fn a_word_is_a_user_a_server_a_container_an_id_or_an_address() {
    let mut gpu = record("ben", "jupyter-ben--gpu", "beef02");
    gpu["enforcer.server"] = json!("gpu");
    gpu["source.ip"] = json!("10.0.0.3");
    let records = [record("alice", "jupyter-alice", "beef01"), gpu];
    let alice = Candidate::User("alice".into());
    let server = Candidate::Server { user: "ben".into(), server: "gpu".into() };
    let container = Candidate::Container { name: "jupyter-alice".into(), user: "alice".into() };
    for (word, expected) in [
        ("alice", Some(alice.clone())),
        ("user:alice", Some(alice)),
        ("server:alice", None),
        ("gpu", Some(server.clone())),
        ("ben/gpu", Some(server)),
        ("alice/gpu", None),
        ("jupyter-alice", Some(container)),
        ("beef01", Some(Candidate::Id("beef01".into()))),
        ("bee", None),
        ("10.0.0.3", Some(Candidate::Id("beef02".into()))),
        ("10.0.0.4", None),
        ("mallory", None),
    ] {
        let found = ask(word, &records);
        assert_eq!(found.as_ref().ok().map(|scope| &scope.candidate), expected.as_ref(), "{word}");
        assert!(expected.is_some() || found == Err(WhoError::Nobody(Who::parse(word).word)));
    }
}

#[test]
fn a_word_that_may_be_two_names_both() {
    // A container of ben's that is called as another user; an id of two; a name of two users.
    let records = [
        record("alice", "jupyter-alice", "beef01"),
        record("ben", "alice", "beef02"),
        record("eve", "lab", "cafe03"),
        record("joe", "lab", "cafe04"),
    ];
    for (word, wanted) in [
        ("alice", ["user:alice", "id:beef02"]),
        ("beef", ["id:beef01", "id:beef02"]),
        ("lab", ["id:cafe03", "id:cafe04"]),
        ("10.0.0.2", ["id:beef01", "id:beef02"]),
    ] {
        let error = ask(word, &records).expect_err(word).to_string();
        assert!(wanted.iter().all(|wanted| error.contains(wanted)), "{word}: {error}");
    }
    assert!(ask("user:alice", &records).is_ok());
}

#[test]
fn a_user_and_their_own_container_are_one_and_so_is_what_was_not_named_yet() {
    let early =
        json!({"event.action": "docker", "container.name": "alice", "container.id": "beef01"});
    let records = [early.clone(), record("alice", "alice", "beef01"), record("ben", "b", "beef02")];
    let scope = ask("alice", &records).expect("one");
    assert_eq!(scope.candidate, Candidate::User("alice".into()));
    assert_eq!(records.each_ref().map(|record| scope.has(record)), [true, true, false]);
    let scope = ask("container:alice", &records).expect("one");
    assert_eq!((scope.seen.records, scope.has(&early)), (2, true));
}

#[test]
fn an_address_that_a_guest_forged_is_not_its_own() {
    let mut forged = record("eve", "evil", "cafe03");
    forged["event.reason"] = json!("source_address");
    let mut inward = record("ben", "b", "beef02");
    inward["enforcer.hook"] = json!("to_guest");
    let found = ask("10.0.0.2", &[record("alice", "a", "beef01"), forged, inward]);
    assert_eq!(found.expect("one").candidate, Candidate::Id("beef01".into()));
}
