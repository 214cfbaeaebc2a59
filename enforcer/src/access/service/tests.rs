//! The object that the daemon owns, on a real disk and beside a hub of the test's own.

mod lately;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use super::*;
use crate::{
    access::{
        grant::Socket,
        jupyterhub::{
            Settings,
            tests::{Act, Server, say},
        },
        store::{PRIVILEGED, tests::Dir},
    },
    config::Hub,
};

/// A daemon's part that is about access.
struct Rig {
    access: Access,
    config: watch::Sender<Arc<Config>>,
    journal: mpsc::UnboundedReceiver<Body>,
    dir: Dir,
}

impl Rig {
    /// Hub `lab` keeps its groups here; hub `jh`, if there are settings, by itself.
    async fn start(hub: Option<Settings>) -> Self {
        Self::on(Dir::new(), hub).await
    }

    async fn on(dir: Dir, hub: Option<Settings>) -> Self {
        let of = |groups| Hub { networks: Vec::new(), user: None, groups };
        let lab = (name("lab"), of(GroupsFrom::Store));
        let asked = hub.map(|settings| (name("jh"), of(GroupsFrom::JupyterHub(settings))));
        let hubs = [lab].into_iter().chain(asked).collect();
        let config = Config { state_dir: dir.0.clone(), hubs, ..Config::default() };
        let (config, config_out) = watch::channel(Arc::new(config));
        let (sender, journal) = mpsc::unbounded_channel();
        let access = Access::new(config_out, sender);
        access.tend().await;
        Self { access, config, journal, dir }
    }

    /// Records since the last question: kind, event, hub, group and user.
    fn records(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(body) = self.journal.try_recv() {
            let (event, about) = match &body {
                Body::Group(change) => (&change.event, &change.about),
                Body::Grant(change) => (&change.event, &change.about),
                other => panic!("{other:?}"),
            };
            let words = [about.group.as_deref(), about.user.as_deref()];
            let words = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
            let line = format!("{} {event} {} {words}", body.kind(), about.hub);
            told.push(line.trim().to_owned());
        }
        told
    }

    fn change_config(&self, change: impl FnOnce(&mut Config)) {
        self.config.send_modify(|config| change(Arc::make_mut(config)));
    }

    fn file(&self) -> PathBuf {
        self.dir.0.join("access.redb")
    }
}

fn name(text: &str) -> HubName {
    text.parse().expect("a hub")
}

fn group(text: &str) -> GroupName {
    text.parse().expect("a group")
}

fn user(hub: &str, text: &str) -> User {
    User { hub: name(hub), name: text.parse().expect("a user") }
}

fn root() -> (By, Reason) {
    let by = By { uid: Some(0), name: "root".to_owned(), via: "control".to_owned() };
    (by, "a course".parse().expect("a reason"))
}

fn socket(answer: &Answer) -> Option<Socket> {
    match answer {
        Answer::Granted(granted) => Some(granted.socket),
        Answer::Refused(_) => None,
    }
}

#[tokio::test]
async fn s1_a_member_of_the_built_in_group_gets_a_filtered_socket_and_nobody_else_any() {
    let mut rig = Rig::start(None).await;
    let (privileged, ann) = (group(PRIVILEGED), user("lab", "ann"));
    let made = |hub| {
        [format!("group recreated {hub} {PRIVILEGED}"), format!("grant set {hub} {PRIVILEGED}")]
    };
    assert_eq!(rig.records(), ["lab", "local"].map(made).concat());
    let refused = Answer::Refused(Why::NotMember);
    assert_eq!(rig.access.socket_for(&ann).await, refused);
    let changes = rig.access.changes();
    rig.access.add(&ann, &privileged, None, root()).await.expect("added");
    assert!(changes.has_changed().expect("it lives"), "whoever holds a socket judges again");
    let answer = rig.access.socket_for(&ann).await;
    assert_eq!(socket(&answer), Some(Socket::Filtered));
    assert_eq!(rig.access.look_up(&ann).await, (answer, vec![privileged.clone()]));
    // The same name in another hub, or in none, is somebody else.
    assert_eq!(rig.access.socket_for(&user("local", "ann")).await, refused);
    assert_eq!(rig.access.socket_for(&user("other", "ann")).await, Answer::Refused(Why::NoHub));
    rig.access.remove(&ann, &privileged, root()).await.expect("removed");
    assert_eq!(rig.access.socket_for(&ann).await, refused);
    let told = ["group added", "group removed"].map(|what| format!("{what} lab {PRIVILEGED} ann"));
    assert_eq!(rig.records(), told);
    let error = rig.access.delete(&name("lab"), &privileged, root()).await.expect_err("built in");
    assert!(error.to_string().contains("built in and cannot be deleted"), "{error}");
    let error = rig.access.create(&name("nowhere"), &privileged, root()).await.expect_err("no hub");
    assert!(matches!(error, AccessError::NoHub(_)), "{error}");
}

#[tokio::test]
async fn s1_one_line_of_the_config_ends_it_for_all_and_another_adds_a_built_in_group() {
    let mut rig = Rig::start(None).await;
    let ann = user("local", "ann");
    rig.access.add(&ann, &group(PRIVILEGED), None, root()).await.expect("added");
    rig.records();
    assert!(socket(&rig.access.socket_for(&ann).await).is_some());
    rig.change_config(|config| config.access.docker_socket = false);
    assert_eq!(rig.access.socket_for(&ann).await, Answer::Refused(Why::Disabled));
    let known = rig.access.look_up(&ann).await;
    assert_eq!(known, (Answer::Refused(Why::Disabled), vec![group(PRIVILEGED)]), "for records");
    rig.change_config(|config| {
        config.access.docker_socket = true;
        config.access.builtin_groups.push(group("gpu"));
    });
    // It is there before the next guest starts, whoever that is.
    assert!(socket(&rig.access.socket_for(&ann).await).is_some());
    assert_eq!(rig.records(), ["group recreated local gpu"]);
    let local = rig.access.groups(&name("local")).await.expect("groups");
    let local: Vec<_> =
        local.iter().map(|one| (one.name.as_str(), one.is_builtin, one.members)).collect();
    assert_eq!(local, [(PRIVILEGED, true, Some(1)), ("gpu", true, Some(0))]);
}

#[tokio::test]
async fn s1_an_end_takes_effect_at_once_and_is_told_when_it_is_swept() {
    let mut rig = Rig::start(None).await;
    let (ann, staff) = (user("lab", "ann"), group("staff"));
    rig.access.create(&ann.hub, &staff, root()).await.expect("created");
    rig.access.add(&ann, &staff, None, root()).await.expect("added");
    let end = Some(Seconds(now().0 + 2));
    rig.access.set_grant(&ann.hub, &staff, (Kind::Raw, end), root()).await.expect("set");
    let Answer::Granted(granted) = rig.access.socket_for(&ann).await else { panic!("refused") };
    assert_eq!((granted.socket, granted.until, granted.note.by.uid), (Socket::Raw, end, Some(0)));
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(rig.access.socket_for(&ann).await, Answer::Refused(Why::Expired(staff)));
    rig.records();
    rig.access.tend().await;
    assert_eq!(rig.records(), ["grant expired lab staff"]);
    rig.access.tend().await;
    assert_eq!(rig.records(), Vec::<String>::new());
}

#[tokio::test]
async fn s1_what_is_over_goes_before_a_slow_hub_has_answered() {
    let server = Server::start(&[Act::Hang]).await;
    let settings = Settings { timeout: Duration::from_secs(30), ..server.settings.clone() };
    let mut rig = Rig::start(None).await;
    let (ann, staff) = (user("lab", "ann"), group("staff"));
    rig.access.create(&ann.hub, &staff, root()).await.expect("created");
    let end = Some(Seconds(now().0 + 1));
    rig.access.set_grant(&ann.hub, &staff, (Kind::Raw, end), root()).await.expect("set");
    rig.change_config(|config| {
        let groups = GroupsFrom::JupyterHub(settings);
        config.hubs.insert(name("jh"), Hub { networks: Vec::new(), user: None, groups });
    });
    tokio::time::sleep(Duration::from_millis(1100)).await;
    rig.records();
    let tending = tokio::spawn({
        let access = rig.access.clone();
        async move { access.tend().await }
    });
    while server.asked().is_empty() {
        assert!(!tending.is_finished(), "it did not ask the hub");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(rig.records().contains(&"grant expired lab staff".to_owned()));
    assert!(!tending.is_finished(), "the hub has not answered");
    tending.abort();
}

#[tokio::test]
async fn s1_what_a_killed_daemon_may_not_have_told_the_next_one_tells() {
    let mut rig = Rig::start(None).await;
    let ann = user("lab", "ann");
    rig.access.add(&ann, &group(PRIVILEGED), None, root()).await.expect("added");
    let before = rig.records();
    assert_eq!(before.len(), 5);
    let Rig { access, dir, .. } = rig;
    drop(access);
    let mut rig = Rig::on(dir, None).await;
    assert_eq!(rig.records(), before, "nobody knows what of it is on the disk");
    assert!(socket(&rig.access.socket_for(&ann).await).is_some());
}

#[tokio::test]
async fn s1_a_damaged_store_gives_nobody_a_socket_until_it_is_put_back() {
    let rig = Rig::start(None).await;
    let ann = user("lab", "ann");
    rig.access.add(&ann, &group(PRIVILEGED), None, root()).await.expect("added");
    let file = rig.file();
    let Rig { access, dir, .. } = rig;
    drop(access);
    let good = fs::read(&file).expect("is read");
    fs::write(&file, &good[..good.len() / 3]).expect("written");
    let mut rig = Rig::on(dir, None).await;
    let answer = rig.access.socket_for(&ann).await;
    assert!(
        matches!(&answer, Answer::Refused(Why::NoGrants(why)) if why.contains("damaged")),
        "{answer:?}"
    );
    assert_eq!(
        rig.records(),
        ["grant unavailable", "grant unavailable lab  ann"].map(|line| line.replace("  ", " "))
    );
    let problems = rig.access.problems().borrow().clone();
    assert!(
        problems.iter().any(|problem| problem.contains("nobody has a Docker socket")),
        "{problems:?}"
    );
    let error = rig.access.add(&ann, &group("x"), None, root()).await.expect_err("closed");
    assert!(matches!(error, AccessError::Closed(_)), "{error}");
    fs::write(&file, &good).expect("put back");
    rig.access.tend().await;
    assert!(socket(&rig.access.socket_for(&ann).await).is_some());
    assert!(rig.access.problems().borrow().is_empty());
}

#[tokio::test]
async fn s1_a_hub_s_word_counts_at_the_moment_and_its_silence_is_no_grant_and_is_told() {
    let there = say(200, &format!(r#"{{"name": "{PRIVILEGED}", "users": []}}"#));
    let member = say(200, &format!(r#"{{"name": "ann", "groups": ["{PRIVILEGED}"]}}"#));
    let nobody = say(200, r#"{"name": "ann", "groups": []}"#);
    let script = [
        // The start: the group is missing and is made.
        say(404, "{}"),
        say(201, "{}"),
        // Three guests.
        there.clone(),
        member.clone(),
        there.clone(),
        nobody,
        say(500, ""),
        say(500, ""),
        // The operator takes the hub's grant away, and gives it back.
        there.clone(),
        member,
        there,
    ];
    let server = Server::start(&script).await;
    let mut rig = Rig::start(Some(server.settings.clone())).await;
    let ann = user("jh", "ann");
    let told = rig.records();
    // By this host's store, where the grant is, and by the hub.
    assert_eq!(
        told.iter().filter(|line| **line == format!("group recreated jh {PRIVILEGED}")).count(),
        2,
        "{told:?}"
    );
    assert_eq!(socket(&rig.access.socket_for(&ann).await), Some(Socket::Filtered));
    assert_eq!(rig.access.socket_for(&ann).await, Answer::Refused(Why::NotMember), "asked again");
    assert_eq!(rig.records(), Vec::<String>::new());
    let answer = rig.access.socket_for(&ann).await;
    assert!(
        matches!(&answer, Answer::Refused(Why::NoMemberships(why)) if why.contains("500")),
        "{answer:?}"
    );
    assert_eq!(
        rig.records(),
        ["group unavailable jh", "group unavailable jh  ann"].map(|line| line.replace("  ", " "))
    );
    let none = (Kind::None, None);
    rig.access.set_grant(&ann.hub, &group(PRIVILEGED), none, root()).await.expect("set");
    assert_eq!(rig.access.socket_for(&ann).await, Answer::Refused(Why::NotMember));
    // Groups of that hub are changed there.
    let error =
        rig.access.add(&ann, &group(PRIVILEGED), None, root()).await.expect_err("elsewhere");
    assert!(matches!(error, AccessError::Elsewhere(_)), "{error}");
    let raw = (Kind::Raw, None);
    rig.access.set_grant(&ann.hub, &group(PRIVILEGED), raw, root()).await.expect("set");
    // Memberships that this host kept before say nothing about that hub.
    assert_eq!(rig.access.members(&name("local"), &group(PRIVILEGED)).await.expect("members"), []);
}

#[tokio::test]
async fn s1_a_hub_that_hangs_holds_a_guest_up_no_longer_than_its_time() {
    let server = Server::start(&[Act::Hang]).await;
    let rig = Rig::start(Some(server.settings.clone())).await;
    let begun = Instant::now();
    let answer = rig.access.socket_for(&user("jh", "ann")).await;
    assert!(matches!(&answer, Answer::Refused(Why::NoMemberships(_))), "{answer:?}");
    assert!(begun.elapsed() < 3 * server.settings.timeout, "{:?}", begun.elapsed());
    // Users of another hub do not wait for it.
    let begun = Instant::now();
    assert_eq!(rig.access.socket_for(&user("lab", "ann")).await, Answer::Refused(Why::NotMember));
    assert!(begun.elapsed() < server.settings.timeout, "{:?}", begun.elapsed());
    let problems = rig.access.problems().borrow().clone();
    assert!(problems.iter().any(|problem| problem.starts_with("hub jh")), "{problems:?}");
    let mode = fs::metadata(rig.file()).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn s20_holders_are_those_whom_the_judge_gives_a_socket_and_a_silent_hub_is_told() {
    let server = Server::start(&[Act::Hang]).await;
    let rig = Rig::start(Some(server.settings.clone())).await;
    let (staff, privileged) = (group("staff"), group(PRIVILEGED));
    let access = &rig.access;
    access.create(&name("lab"), &staff, root()).await.expect("made");
    let raw = (Kind::Raw, None);
    access.set_grant(&name("lab"), &staff, raw, root()).await.expect("set");
    let far = Some(Seconds(now().0 + 1000));
    for (who, of, until) in [
        (user("lab", "ann"), &staff, far),
        (user("lab", "ann"), &privileged, None),
        (user("lab", "ben"), &privileged, None),
        (user("local", "ann"), &privileged, None),
    ] {
        access.add(&who, of, until, root()).await.expect("added");
    }
    // A group of that hub had a grant when it was heard of last.
    let store = lock(&access.0.store).clone().expect("a store");
    let author = Author { by: root().0, reason: root().1, now: now() };
    store.set_grant((&name("jh"), &staff), raw, true, &author).expect("set");
    let (holders, unknown) = access.holders().await;
    let told = holders.iter().map(|holder| {
        let Holder { user, granted, member } = holder;
        let reason = member.as_ref().map(|note| note.reason.as_str());
        assert_eq!(reason, Some("a course"), "{holder:?}");
        (user.to_string(), granted.socket, granted.group.clone(), granted.until)
    });
    let filtered = |who: User| (who.to_string(), Socket::Filtered, privileged.clone(), None);
    let expected = [
        // Hubs by name, and the users of none first; of two grants the stronger one counts.
        filtered(user("local", "ann")),
        (user("lab", "ann").to_string(), Socket::Raw, staff.clone(), far),
        filtered(user("lab", "ben")),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    assert!(unknown.len() == 1 && unknown[0].contains("hub jh"), "{unknown:?}");
    rig.change_config(|config| config.access.docker_socket = false);
    assert_eq!(rig.access.holders().await, (Vec::new(), Vec::new()));
}
