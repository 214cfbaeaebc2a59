//! Orders that are good, and those that are refused.

use super::*;
use crate::{
    config::{GuestNetwork, Owned, parse},
    model::guest::VolumeOrder,
};

const CONFIG: &str = "\
[networks.free]
bridge = \"br-free\"
[networks.one]
bridge = \"br-one\"
[networks.two]
bridge = \"br-two\"
[hubs.lab]
networks = [\"one\"]
[hubs.course]
networks = [\"two\"]
[guests]
images = [\"python:*\"]
memory_mib = 64
";

fn config() -> Config {
    parse(CONFIG, "f").expect("valid")
}

fn order() -> GuestOrder {
    GuestOrder { user: "ann".to_owned(), image: "python:3".to_owned(), ..GuestOrder::default() }
}

fn hub(name: &str) -> HubName {
    name.parse().expect("a hub")
}

fn checked(order: GuestOrder) -> Result<Checked, Refusal> {
    check(order, hub("lab"), true, &config())
}

fn refusal(change: impl FnOnce(&mut GuestOrder)) -> String {
    let mut order = order();
    change(&mut order);
    checked(order).expect_err("refused").to_string()
}

#[test]
fn an_order_becomes_a_container_with_the_labels_limits_and_network_of_the_config() {
    let mut asked = order();
    asked.labels.insert("course".to_owned(), "5".to_owned());
    asked.volumes = vec![VolumeOrder { volume: "home".to_owned(), path: "/home/ann/".to_owned() }];
    asked.ports = vec!["8080:80".to_owned()];
    let checked = checked(asked).expect("good");
    let found = Found {
        dns: Some([172, 30, 0, 1].into()),
        socket: Some((Socket::Filtered, "/run/x.sock".into())),
        new_volumes: vec![Use::Home],
        groups: ["course-7", "staff"].map(|group| group.parse().expect("a group")).to_vec(),
    };
    let spec = checked.spec(found);
    assert_eq!(spec.network, "one");
    assert_eq!((spec.size.memory, spec.size.cpu_millis, spec.size.disk), (64 << 20, 1000, None));
    assert_eq!(spec.socket, Some("/run/x.sock".into()));
    assert_eq!((spec.volumes[0].path.as_str(), spec.ports[0].guest), ("/home/ann", 80));
    let label = |key: &str| spec.labels[key].as_str();
    assert_eq!((label("course"), label("enforcer.hub")), ("5", "lab"));
    assert_eq!((label("enforcer.user"), label("enforcer.socket")), ("ann", "filtered"));
    assert_eq!((label("enforcer.group"), label("enforcer.new_volumes")), ("", "home"));
    assert_eq!((label("enforcer.groups"), label("enforcer.client")), ("course-7/staff", ""));
    // It is known again, and so is what was asked for.
    let known = names::known(&spec.name, &spec.labels).expect("ours");
    assert_eq!((known.seat, known.socket), (checked.seat.clone(), Some(Socket::Filtered)));
    let again: GuestOrder = serde_json::from_str(label("enforcer.order")).expect("JSON");
    assert_eq!(check(again, hub("lab"), true, &config()), Ok(checked.clone()));
    let without = checked.spec(Found::default());
    assert_eq!((without.socket, without.labels["enforcer.socket"].as_str()), (None, "none"));
}

#[test]
fn s3_a_guest_of_a_hub_is_on_a_network_of_that_hub() {
    let on = |name: &str, network: Option<&str>| {
        let order = GuestOrder { network: network.map(str::to_owned), ..order() };
        check(order, hub(name), true, &config()).map(|checked| checked.network)
    };
    assert_eq!(on("lab", None).as_deref(), Ok("one"));
    assert_eq!(on("course", Some("two")).as_deref(), Ok("two"));
    assert_eq!(on("local", None).as_deref(), Ok("free"));
    let owner = User { hub: hub("local"), name: "ben".parse().expect("a user") };
    let of_ben = Owned { owner: Some(owner), slot: 0 };
    let network = GuestNetwork::of_owner(of_ben, "en-own-00000000".to_owned());
    let with = config().with_owned(&[("ben-s".to_owned(), network)].into());
    assert_eq!(networks_of(&hub("local"), &with).as_deref(), Some(&["free".to_owned()][..]));
    for (name, network) in [("lab", "two"), ("lab", "free"), ("local", "one"), ("lab", "none")] {
        let error = on(name, Some(network)).expect_err("another's").to_string();
        assert!(error.contains("is no guest network of hub"), "{error}");
    }
    assert_eq!(on("other", None), Err(Refusal::NoHub(hub("other"))));
    let two = format!("{CONFIG}\n[networks.more]\nbridge = \"br-more\"\n");
    let config = parse(&two, "f").expect("valid");
    let error = check(order(), hub("local"), true, &config).expect_err("which?").to_string();
    assert!(error.contains("has free, more as guest networks"), "{error}");
}

#[test]
fn d16_an_image_that_is_not_listed_or_is_no_name_is_refused() {
    for image in ["busybox", "evil/python:3", "Python:3"] {
        let said = refusal(|order| image.clone_into(&mut order.image));
        assert!(said.contains("not listed in [guests] images"), "{said}");
    }
    for image in [
        "",
        "-x",
        "/python:3",
        "python:3/../../x",
        "python:3?a=b",
        "python:3 ",
        "python:3#",
        "a//b",
    ] {
        let said = refusal(|order| image.clone_into(&mut order.image));
        assert!(said.contains("is no name of an image"), "{image}: {said}");
    }
}

type Change = Box<dyn FnOnce(&mut GuestOrder)>;

#[test]
fn what_an_order_may_not_say_is_refused_with_advice() {
    let volume =
        |volume: &str, path: &str| VolumeOrder { volume: volume.to_owned(), path: path.to_owned() };
    let at = |path: &'static str| -> Change {
        Box::new(move |order| order.volumes = vec![volume("home", path)])
    };
    let label = |key: &'static str| -> Change {
        Box::new(move |order| drop(order.labels.insert(key.to_owned(), String::new())))
    };
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(|order| order.user = "a/b".to_owned()), "no '/'"),
        (Box::new(|order| order.server = Some("a/b".to_owned())), "name of a server"),
        (Box::new(|order| order.group = Some(String::new())), "a group has a name"),
        (Box::new(|order| order.command = vec!["a\0".to_owned()]), "a NUL"),
        (Box::new(|order| order.env = vec!["A=\0".to_owned()]), "a NUL"),
        (Box::new(|order| order.env = vec!["A".to_owned()]), "NAME=value"),
        (Box::new(|order| order.env = vec!["=a".to_owned()]), "NAME=value"),
        (Box::new(|order| order.run_as = Some("a:b:c".to_owned())), "1000:100"),
        (Box::new(move |order| order.volumes = vec![volume("root", "/a")]), "home, workspace"),
        (at("home"), "absolute path"),
        (at("/"), "absolute path"),
        (at("/a/../b"), "absolute path"),
        (at("/a//b"), "absolute path"),
        (at("/proc/x"), "absolute path"),
        (at("/var"), "absolute path"),
        (at("/var/run/docker.sock"), "absolute path"),
        (at("/run"), "absolute path"),
        (
            Box::new(move |order| {
                order.volumes = vec![volume("home", "/a"), volume("cache", "/a/")];
            }),
            "twice",
        ),
        (
            Box::new(move |order| {
                order.volumes = vec![volume("home", "/a"), volume("home", "/b")];
            }),
            "twice",
        ),
        (Box::new(|order| order.ports = vec!["80".to_owned()]), "8080:80"),
        (
            Box::new(|order| {
                order.ports = vec!["1:1".to_owned(), "127.0.0.1:1:2".to_owned()];
            }),
            "published twice",
        ),
        (Box::new(|order| order.restart = Some("maybe".to_owned())), "unless-stopped"),
        (label("enforcer.user"), "not for orders"),
        (label("Enforcer.managed"), "not for orders"),
        (label("com.docker.compose.project"), "not for orders"),
        (label(""), "not for orders"),
        (Box::new(|order| order.memory = Some(1)), "less than"),
        (Box::new(|order| order.pids = Some(0)), "less than"),
    ];
    for (change, words) in cases {
        let said = refusal(change);
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn only_an_admin_gives_labels_by_which_a_service_is_told() {
    let services =
        "[[networks.one.service]]\nlabel = \"role=db\"\n[abuse]\nexcept_labels = [\"spare=1\"]\n";
    let config = parse(&format!("{CONFIG}{services}"), "f").expect("valid");
    for (key, is_privilege) in [("role", true), ("spare", true), ("course", false)] {
        let labels = [(key.to_owned(), "x".to_owned())].into();
        let order = GuestOrder { labels, ..order() };
        assert!(check(order.clone(), hub("lab"), true, &config).is_ok(), "{key}");
        let refused = check(order, hub("lab"), false, &config).err();
        let expected = is_privilege.then(|| Refusal::Privilege(key.to_owned()));
        assert_eq!(refused, expected, "{key}");
    }
}

#[test]
fn only_an_admin_goes_beyond_the_sizes_of_the_config() {
    let large = GuestOrder { memory: Some(128 << 20), ..order() };
    let size = |order: &GuestOrder, is_admin| {
        let checked = check(order.clone(), hub("lab"), is_admin, &config());
        checked.map(|checked| checked.size.memory)
    };
    assert_eq!(size(&large, true), Ok(128 << 20));
    let said = size(&large, false).expect_err("too large").to_string();
    assert!(said.contains("[guests] lets a hub have"), "{said}");
    let small = GuestOrder { memory: Some(32 << 20), ..order() };
    assert_eq!(size(&small, false), Ok(32 << 20));
    assert_eq!(size(&order(), false), Ok(64 << 20));
}
