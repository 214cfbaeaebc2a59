use hyper::StatusCode;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    access::name::User,
    gate::{
        call::call,
        explain::explain,
        facts::{Facts, GuestNetwork, OwnContainer, OwnExec, OwnImage, OwnNetwork, OwnVolume},
        image::Reference,
        names,
        networks::Prepared,
        principal::Principal,
        rules::Rules,
        verdict::Kind,
    },
};

const DB: &str = "ab00000000000000000000000000000000000000000000000000000000000001";
const WEB: &str = "ab10000000000000000000000000000000000000000000000000000000000002";
const NOTEBOOK: &str = "cd00000000000000000000000000000000000000000000000000000000000003";
const NETWORK: &str = "ef00000000000000000000000000000000000000000000000000000000000004";
const EXEC: &str = "0100000000000000000000000000000000000000000000000000000000000005";
const NOTEBOOK_EXEC: &str = "0200000000000000000000000000000000000000000000000000000000000006";
const IMAGE: &str = "9900000000000000000000000000000000000000000000000000000000000007";

fn user() -> Principal {
    let user = User { hub: "lab".parse().expect("a hub"), name: "ada".parse().expect("a user") };
    Principal::User(user)
}

fn hub() -> Principal {
    Principal::Hub("lab".parse().expect("a hub"))
}

fn facts(principal: &Principal) -> Facts {
    let container = |id: &str, name: &str, is_notebook| OwnContainer {
        id: id.to_owned(),
        name: name.to_owned(),
        is_notebook,
    };
    let exec =
        |id: &str, container: &str| OwnExec { id: id.to_owned(), container: container.to_owned() };
    Facts {
        containers: vec![
            container(DB, "db", false),
            container(WEB, "web", false),
            container(NOTEBOOK, "jupyter-ada", true),
        ],
        volumes: vec![OwnVolume {
            name: "data".to_owned(),
            engine_name: names::engine_name(principal, "data"),
            is_plain: true,
        }],
        networks: vec![OwnNetwork {
            id: NETWORK.to_owned(),
            name: "app".to_owned(),
            engine_name: names::engine_name(principal, "app"),
        }],
        images: vec![OwnImage {
            id: format!("sha256:{IMAGE}"),
            tags: vec![format!("{}mine:1", names::mark(principal)), "python:3".to_owned()],
        }],
        execs: vec![exec(EXEC, DB), exec(NOTEBOOK_EXEC, NOTEBOOK)],
        guest_network: Some(GuestNetwork {
            name: "guests".to_owned(),
            gateway: [192, 0, 2, 1].into(),
            resolves: true,
        }),
        socket: None,
        ..Facts::default()
    }
}

fn verdict_of(principal: &Principal, request: &str, body: Option<&str>) -> Verdict {
    let rules = Rules {
        images: vec!["python:*".to_owned(), "quay.io/lab/*".to_owned()],
        reserved_names: vec!["hub".to_owned(), "files".to_owned()],
        ..Rules::default()
    };
    let facts = facts(principal);
    let context = Context {
        principal,
        rules: &rules,
        facts: &facts,
        name: None,
        bridge: Some(Prepared::made_up()),
    };
    let (method, target) = request.split_once(' ').expect(request);
    explain(&context, &method.parse().expect(method), target, body)
}

fn allowed(request: &str, body: Option<&str>) -> Forward {
    match verdict_of(&user(), request, body) {
        Verdict::Allow(forward) => *forward,
        Verdict::Deny(refusal) => panic!("{request}: {refusal}"),
    }
}

fn denied(request: &str, body: Option<&str>) -> Refusal {
    match verdict_of(&user(), request, body) {
        Verdict::Allow(forward) => panic!("{request}: {}", forward.target),
        Verdict::Deny(refusal) => refusal,
    }
}

/// A filter as it stands in a target.
fn filters(target: &str) -> Value {
    let query = target.split_once('?').expect("a query").1;
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).expect("a form");
    let text = pairs.into_iter().find(|(key, _)| key == "filters").expect("filters").1;
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn s22_what_goes_on_is_the_full_id() {
    for called in ["db", DB, "ab0", "ab0000000000"] {
        for (verb, method) in
            [("start", "POST"), ("stop", "POST"), ("logs", "GET"), ("attach", "POST")]
        {
            let forward = allowed(&format!("{method} /v1.46/containers/{called}/{verb}"), None);
            assert_eq!(forward.target, format!("/containers/{DB}/{verb}"));
            assert_eq!(forward.method.as_str(), method);
        }
    }
    let forward = allowed("DELETE /containers/web?force=1&v=1", None);
    assert_eq!(forward.target, format!("/containers/{WEB}?v=1&force=1"));
    assert_eq!(forward.effects, [Effect::Removed(Kind::Container, WEB.to_owned())]);
    assert_eq!(
        allowed("POST /containers/db/kill?signal=SIGHUP", None).target,
        format!("/containers/{DB}/kill?signal=HUP")
    );
    assert_eq!(
        allowed("GET /volumes/data", None).target,
        format!("/volumes/{}data", names::mark(&user()))
    );
    assert_eq!(allowed("DELETE /networks/app", None).target, format!("/networks/{NETWORK}"));
    assert_eq!(allowed("GET /networks/guests", None).target, "/networks/guests");
}

#[test]
fn s12_what_is_not_ones_own_is_missing_in_the_engines_words() {
    let other = "ff".repeat(32);
    for called in ["hub", "other", &other, "ff", "a", "AB0", "db2", "0", "web-db"] {
        for (method, rest) in [
            ("POST", "start"),
            ("POST", "stop"),
            ("POST", "kill"),
            ("GET", "json"),
            ("GET", "logs"),
            ("POST", "attach"),
            ("POST", "wait"),
            ("GET", "top"),
            ("GET", "stats"),
            ("POST", "rename?name=x"),
        ] {
            let refusal = denied(&format!("{method} /containers/{called}/{rest}"), None);
            let is_prefix = called == "a";
            let status = if is_prefix { StatusCode::BAD_REQUEST } else { StatusCode::NOT_FOUND };
            assert_eq!(refusal.status, status, "{called} {rest}");
            if !is_prefix {
                assert_eq!(refusal.message, format!("No such container: {called}"));
            }
        }
        let refusal = denied(&format!("POST /containers/{called}/exec"), Some(r#"{"Cmd":["sh"]}"#));
        assert_ne!(refusal.rule, "route.unknown");
    }
    for request in [
        "GET /volumes/other",
        "DELETE /volumes/other",
        "GET /networks/bridge",
        "GET /networks/host",
        "DELETE /networks/guests",
        "GET /exec/ff/json",
        "GET /images/alpine:3/json",
        "GET /images/99aa/json",
    ] {
        assert_eq!(denied(request, None).status, StatusCode::NOT_FOUND, "{request}");
    }
}

#[test]
fn s12_the_notebook_is_looked_at_and_nothing_else() {
    for (request, body) in [
        ("POST /containers/jupyter-ada/stop", None),
        ("DELETE /containers/cd?force=1", None),
        ("GET /containers/jupyter-ada/logs", None),
        ("POST /containers/jupyter-ada/rename?name=x", None),
        ("POST /containers/jupyter-ada/update", Some("{}")),
        ("POST /containers/jupyter-ada/exec", Some(r#"{"Cmd":["sh"]}"#)),
        ("GET /exec/02/json", None),
        ("POST /exec/02/start", Some(r#"{"Detach":false,"Tty":false}"#)),
    ] {
        assert_eq!(denied(request, body).rule, "own.notebook", "{request}");
    }
    let forward = allowed("GET /containers/jupyter-ada/json", None);
    assert_eq!(forward.target, format!("/containers/{NOTEBOOK}/json"));
    let forward = allowed("POST /networks/app/connect", Some(r#"{"Container":"jupyter-ada"}"#));
    assert_eq!(forward.body.expect("a body")["Container"], NOTEBOOK);
    let Verdict::Allow(forward) = verdict_of(&hub(), "POST /containers/jupyter-ada/stop", None)
    else {
        panic!("the hub stops what it started");
    };
    assert_eq!(forward.target, format!("/containers/{NOTEBOOK}/stop"));
}

#[test]
fn s3_a_list_asks_for_ones_own() {
    let ids = |request: &str| filters(&allowed(request, None).target)["id"].clone();
    assert_eq!(ids("GET /containers/json"), json!([DB, WEB, NOTEBOOK]));
    assert_eq!(ids("GET /containers/json?filters=%7B%22id%22:%5B%22ab%22%5D%7D"), json!([DB, WEB]));
    assert_eq!(
        ids("GET /containers/json?filters=%7B%22id%22:%5B%22ff%22%5D%7D"),
        json!([own::NOBODY])
    );
    assert_eq!(ids("GET /networks"), json!([NETWORK]));
    assert_eq!(
        ids("GET /networks?filters=%7B%22name%22:%5B%22bridge%22%5D%7D"),
        json!([own::NOBODY])
    );
    assert_eq!(
        ids("GET /networks?filters=%7B%22name%22:%7B%22app%22:true%7D%7D"),
        json!([NETWORK])
    );
    // That somebody else's is there is not told by an error of the engine.
    let refusal = denied("GET /containers/json?filters=%7B%22before%22:%5B%22other%22%5D%7D", None);
    assert_eq!(refusal.status, StatusCode::NOT_FOUND);
    let volume = filters(
        &allowed("GET /containers/json?filters=%7B%22volume%22:%5B%22x%22%5D%7D", None).target,
    );
    assert_eq!(volume["volume"], json!([own::NOBODY]));
    let events =
        filters(&allowed("GET /events?filters=%7B%22container%22:%5B%22x%22%5D%7D", None).target);
    assert_eq!(events["container"], json!([own::NOBODY]));
}

#[test]
fn s3_a_prune_takes_what_this_socket_made() {
    for what in ["containers", "volumes", "networks"] {
        let forward =
            allowed(&format!("POST /{what}/prune?filters=%7B%22label%22:%5B%22a%22%5D%7D"), None);
        let labels = json!(["a", "enforcer.gate=user", "enforcer.hub=lab", "enforcer.user=ada"]);
        assert_eq!(filters(&forward.target)["label"], labels, "{what}");
    }
    assert_eq!(denied("POST /images/prune", None).rule, "route.images-prune");
}

#[test]
fn d16_images_come_from_the_list_alone() {
    let target = |request: &str| allowed(request, None).target;
    assert_eq!(
        target("POST /images/create?fromImage=python&tag=3.11"),
        "/images/create?fromImage=docker.io%2Flibrary%2Fpython&tag=3.11"
    );
    assert_eq!(
        target("POST /images/create?fromImage=quay.io/lab/a&tag=1"),
        "/images/create?fromImage=quay.io%2Flab%2Fa&tag=1"
    );
    let other = "POST /images/create?fromImage=quay.io/lab/a&tag=1&platform=linux/s390x";
    assert_eq!(denied(other, None).rule, "image.platform");
    for image in [
        "alpine",
        "evil.example/python",
        "python/python",
        "quay.io/other/a",
        "quay.io/labs",
        "docker.io/x/python",
    ] {
        let refusal = denied(&format!("POST /images/create?fromImage={image}&tag=1"), None);
        assert_eq!(refusal.rule, "image.not-listed", "{image}");
    }
    for image in ["Python", "python%20x", "http://10.0.0.1/x", "-", "a//b", "../x"] {
        assert!(matches!(
            verdict_of(&user(), &format!("POST /images/create?fromImage={image}&tag=1"), None),
            Verdict::Deny(_)
        ));
    }
    assert_eq!(target("GET /images/python:3.9/json"), "/images/python:3.9/json");
    assert_eq!(target("GET /images/9900/json"), format!("/images/sha256:{IMAGE}/json"));
}

#[test]
fn s3_nobody_gives_an_image_a_name_that_others_use() {
    let mark = names::mark(&user());
    let forward = allowed(&format!("POST /images/python:3/tag?repo={mark}x&tag=2"), None);
    assert_eq!(forward.target, format!("/images/python:3/tag?repo={mark}x&tag=2"));
    assert_eq!(forward.effects, [Effect::Made(Kind::Image, format!("{mark}x:2"))]);
    let other = names::mark(&hub());
    for repository in [
        "python",
        "mine",
        "docker.io/library/python",
        "quay.io/lab/a",
        &other,
        &format!("{other}x"),
        &mark,
        &format!("{mark}x/y"),
        &format!("evil.example/{mark}x"),
        &format!("{mark}x%40sha256"),
    ] {
        let refusal = denied(&format!("POST /images/python:3/tag?repo={repository}&tag=2"), None);
        assert_eq!(refusal.rule, "image.tag-name", "{repository}");
    }
    assert_eq!(
        allowed(&format!("DELETE /images/{mark}mine:1"), None).target,
        format!("/images/{mark}mine:1")
    );
    // The id stands for the one own tag; another's tag of the same image stays.
    assert_eq!(allowed("DELETE /images/9900", None).target, format!("/images/{mark}mine:1"));
    assert_eq!(denied("DELETE /images/python:3", None).rule, "image.shared");
    assert_eq!(denied("DELETE /images/alpine", None).status, StatusCode::NOT_FOUND);
}

#[test]
fn s06_a_body_is_where_one_is_asked_for() {
    for request in [
        "POST /containers/db/start",
        "GET /info",
        "POST /containers/prune",
        "DELETE /containers/db",
    ] {
        assert_eq!(denied(request, Some(r#"{"a":1}"#)).rule, "body.unasked", "{request}");
        assert!(allowed(request, Some("{}")).body.is_none());
        assert!(allowed(request, Some("null")).body.is_none());
    }
    for request in [
        "POST /containers/create",
        "POST /containers/db/exec",
        "POST /networks/create",
        "POST /volumes/create",
    ] {
        assert_eq!(denied(request, None).rule, "body.missing", "{request}");
    }
}

#[test]
fn s22_names_of_hubs_guests_are_not_for_users() {
    let body = Some(r#"{"Image":"python:3"}"#);
    for name in
        ["jupyter-ben", "jupyterhub", "enforcer-x", "guest-lab-ben", "Guest-x", "JupyterHub"]
    {
        let rule = denied(&format!("POST /containers/create?name={name}"), body).rule;
        assert_eq!(rule, "container.name-reserved");
        assert_eq!(denied(&format!("POST /containers/db/rename?name={name}"), None).rule, rule);
    }
    // Of a hub or a service nobody has the name, while the real one is down.
    for name in ["hub", "files", "Hub"] {
        let create = format!("POST /containers/create?name={name}");
        for principal in [user(), hub()] {
            match verdict_of(&principal, &create, body) {
                Verdict::Deny(refusal) => assert_eq!(refusal.rule, "container.name-reserved"),
                Verdict::Allow(forward) => panic!("{principal}: {}", forward.target),
            }
        }
        let rename = format!("POST /containers/db/rename?name={name}");
        assert_eq!(denied(&rename, None).rule, "container.name-reserved");
    }
    allowed("POST /containers/create?name=hub2", body);
    // An address that others on the network ask for.
    for request in ["POST /containers/create?name=pypi.org", "POST /containers/db/rename?name=a.b"]
    {
        let body = body.filter(|_| request.contains("create"));
        assert_eq!(denied(request, body).rule, "container.name-dotted", "{request}");
    }
    assert!(matches!(
        verdict_of(&hub(), "POST /containers/create?name=jupyter-ann.smith", body),
        Verdict::Allow(_)
    ));
    let forward = allowed("POST /containers/create?name=db2&platform=linux/amd64", body);
    assert_eq!(forward.target, "/containers/create?name=db2&platform=linux%2Famd64");
    assert_eq!(forward.effects, [Effect::Created(Kind::Container)]);
    assert_eq!(forward.body.expect("a body")["Image"], "python:3");
}

#[test]
fn s2_exec_is_in_ones_own_containers_and_hijacked_when_attached() {
    let forward =
        allowed("POST /containers/db/exec", Some(r#"{"Cmd":["sh"],"AttachStdout":true}"#));
    assert_eq!(forward.target, format!("/containers/{DB}/exec"));
    assert_eq!(forward.effects, [Effect::Created(Kind::Exec)]);
    for (body, answer) in [
        (r#"{"Detach":false,"Tty":true}"#, Answer::Hijack),
        (r#"{"Detach":true,"Tty":false}"#, Answer::Whole),
    ] {
        let forward = allowed(&format!("POST /exec/{EXEC}/start"), Some(body));
        assert_eq!((forward.answer, forward.target), (answer, format!("/exec/{EXEC}/start")));
    }
    let refusal = denied("POST /containers/db/exec", Some(r#"{"Cmd":["sh"],"Privileged":true}"#));
    assert_eq!(refusal.status, StatusCode::FORBIDDEN);
}

proptest! {
    #[test]
    fn s22_no_name_of_a_client_goes_to_the_engine(called in "[a-zA-Z0-9_.-]{1,70}|ab[01]?0{0,62}|db|web") {
        for verb in ["start", "kill", "wait"] {
            if let Verdict::Allow(forward) = verdict_of(&user(), &format!("POST /containers/{called}/{verb}"), None) {
                let is_own = [DB, WEB].iter().any(|id| forward.target == format!("/containers/{id}/{verb}"));
                prop_assert!(is_own, "{}", forward.target);
            }
        }
    }

    #[test]
    fn s08_what_goes_on_is_read_as_the_same_call(t in 0..=600_i32, signal in 1..=31_u8) {
        let target = allowed(&format!("POST /containers/db/stop?signal={signal}&t={t}"), None).target;
        let again = call(&user(), &Method::POST, &target).expect("ours");
        let is_same = matches!(&again, Call::ContainerStop { container, seconds, .. } if container == DB && *seconds == Some(t));
        prop_assert!(is_same, "{again:?}");
    }

    #[test]
    fn d16_no_image_off_the_list_is_pulled(image in "[a-z0-9./:@_-]{1,30}", tag in "[a-z0-9.:]{1,10}") {
        let image = image.replace('@', "%40");
        if let Verdict::Allow(forward) = verdict_of(&user(), &format!("POST /images/create?fromImage={image}&tag={tag}"), None) {
            let query = forward.target.split_once('?').expect("a query").1;
            let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).expect("a form");
            let [(_, name), (_, tag)] = &pairs[..] else { panic!("{pairs:?}") };
            let reference = Reference::parse(&format!("{name}:{tag}")).or_else(|| Reference::parse(&format!("{name}@{tag}")));
            prop_assert!(reference.is_some_and(|it| it.is_among(&["python:*".to_owned(), "quay.io/lab/*".to_owned()])));
        }
    }
}
