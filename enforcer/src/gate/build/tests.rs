//! A build with an engine of the test's own behind it, byte by byte.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};

use super::*;
use crate::{
    access::name::User,
    gate::{
        call::{Call, call},
        facts::{Facts, GuestNetwork, OwnImage},
        judge::judge,
        rules::Rules,
        verdict::{Effect, Kind, Verdict},
    },
};

const ALPINE: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const OWN: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

struct Rig {
    dir: PathBuf,
    builds: Arc<Builds>,
    principal: Principal,
    rules: Rules,
    facts: Facts,
    heard: mpsc::UnboundedReceiver<(String, Vec<u8>)>,
}

impl Rig {
    fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("enforcer-build-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).expect("made");
        let listener = UnixListener::bind(dir.join("engine.sock")).expect("bound");
        let (sender, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, sender.clone()));
            }
        });
        let user =
            User { hub: "lab".parse().expect("a hub"), name: "ada".parse().expect("a user") };
        let network = GuestNetwork {
            name: "guests".to_owned(),
            gateway: [192, 0, 2, 1].into(),
            resolves: true,
        };
        Self {
            builds: Arc::new(Builds::new(dir.join("contexts"))),
            principal: Principal::User(user),
            rules: Rules {
                images: vec!["alpine:*".to_owned(), "late:1".to_owned(), "gone:1".to_owned()],
                ..Rules::default()
            },
            facts: Facts {
                images: vec![OwnImage { id: OWN.to_owned(), tags: vec![] }],
                guest_network: Some(network),
                ..Facts::default()
            },
            heard,
            dir,
        }
    }

    /// What is answered to a build of this Dockerfile: status and text.
    async fn build(&self, query: &str, dockerfile: &str) -> Result<(StatusCode, String), Refusal> {
        let archive = context_of(dockerfile);
        let (response, _line) = self.begin(query, Full::new(Bytes::from(archive))).await?;
        let (parts, body) = response.into_parts();
        let read = body.collect().await.expect("an answer").to_bytes();
        Ok((parts.status, String::from_utf8(read.to_vec()).expect("a text")))
    }

    async fn begin<B>(
        &self,
        query: &str,
        mut body: B,
    ) -> Result<(Response<Incoming>, Line), Refusal>
    where
        B: Body<Data = Bytes, Error: Display> + Unpin,
    {
        let context = Context {
            principal: &self.principal,
            rules: &self.rules,
            facts: &self.facts,
            name: None,
            bridge: None,
        };
        let call = call(&self.principal, &hyper::Method::POST, &format!("/v1.41/build{query}"))?;
        let Call::ImageBuild(asked) = &call else { panic!("{call:?}") };
        let forward = match judge(&context, &call, None) {
            Verdict::Allow(forward) => forward,
            Verdict::Deny(refusal) => return Err(refusal),
        };
        let engine = self.dir.join("engine.sock");
        let engine = (&*engine, "1.43");
        let ready = prepare(&self.builds, engine, &context, asked, &mut body).await?;
        ready.send(engine, &forward).await
    }

    /// What the engine was asked, in turn.
    fn heard(&mut self) -> Vec<(String, Vec<u8>)> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.dir);
    }
}

fn context_of(dockerfile: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, text) in [("Dockerfile", dockerfile), ("data", "x")] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(u64::try_from(text.len()).expect("short"));
        archive.append_data(&mut header, path, text.as_bytes()).expect("written");
    }
    archive.into_inner().expect("written")
}

/// An engine with a few images, which tells what it hears.
async fn answer(mut stream: UnixStream, told: mpsc::UnboundedSender<(String, Vec<u8>)>) {
    let mut bytes = Vec::new();
    let (mut head, mut length) = (None, 0);
    loop {
        if head.is_none()
            && let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n")
        {
            let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let said = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            length = said.map_or(0, |length| length.parse().expect("a number"));
            head = Some((text, end + 4));
        }
        if head.as_ref().is_some_and(|(_, start)| bytes.len() >= start + length) {
            break;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let (head, start) = head.expect("read");
    let target = head.split(' ').nth(1).expect("a target").to_owned();
    let _ended = told.send((head, bytes.split_off(start)));
    let image =
        |id: &str, later: &str| format!("{{\"Id\":\"{id}\",\"Config\":{{\"OnBuild\":{later}}}}}");
    let (status, text) = match target.split('?').next().expect("a path") {
        "/v1.43/images/alpine:3/json" => ("200 OK", image(ALPINE, "null")),
        path if path == format!("/v1.43/images/{OWN}/json") => ("200 OK", image(OWN, "[]")),
        "/v1.43/images/late:1/json" => ("200 OK", image(ALPINE, "[\"ADD http://a/ /\"]")),
        "/v1.43/images/alpine:odd/json" => ("200 OK", image("alpine", "null")),
        "/v1.43/build" => ("200 OK", "{\"stream\":\"Successfully built\"}\r\n".to_owned()),
        _ => ("404 Not Found", "{\"message\":\"none\"}".to_owned()),
    };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    let _gone = stream.write_all(answer.as_bytes()).await;
}

#[tokio::test]
async fn s2_a_build_goes_to_the_engine_with_our_dockerfile_and_our_limits() {
    let mut rig = Rig::start();
    let query = "?buildargs=%7B%22A%22%3A%22secret%22%7D&cachefrom=%5B%5D&cgroupparent=&cpuperiod=0&cpuquota=0&cpusetcpus=\
                 &cpusetmems=&cpushares=0&dockerfile=Dockerfile&labels=%7B%7D&memory=0&memswap=0&networkmode=default&rm=1&shmsize=0\
                 &target=&ulimits=null&version=1";
    let dockerfile = format!("FROM alpine:3 AS one\nRUN id\nFROM {OWN}\nCOPY --from=one /x /\n");
    let (status, text) = rig.build(query, &dockerfile).await.expect("built");
    assert_eq!((status, &*text), (StatusCode::OK, "{\"stream\":\"Successfully built\"}\r\n"));
    let asked = rig.heard();
    let (head, body) = asked.last().expect("a build");
    let target = head.split(' ').nth(1).expect("a target");
    let (path, query) = target.split_once('?').expect("a query");
    let pairs: BTreeMap<String, String> = serde_urlencoded::from_str(query).expect("a form");
    let mark = names::mark(&rig.principal);
    let expected = [
        ("version", "1"),
        ("dockerfile", ".enforcer.dockerfile"),
        ("t", &format!("{mark}build:latest")),
        ("rm", "1"),
        ("forcerm", "1"),
        ("networkmode", "guests"),
        ("memory", "2147483648"),
        ("memswap", "2147483648"),
        ("cpuperiod", "100000"),
        ("cpuquota", "100000"),
        ("buildargs", "{\"A\":\"secret\"}"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!((path, pairs), ("/v1.43/build", BTreeMap::from(expected)));
    assert!(head.contains("content-type: application/x-tar"), "{head}");
    assert!(!head.to_lowercase().contains("registry"), "{head}");
    let mut archive = tar::Archive::new(body.as_slice());
    let mut texts = BTreeMap::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).expect("a text");
        texts.insert(entry.path().expect("a path").display().to_string(), text);
    }
    let label = format!("LABEL enforcer.build={mark}\n");
    assert_eq!(
        texts[".enforcer.dockerfile"],
        format!("FROM {ALPINE} AS one\n{label}RUN id\nFROM {OWN}\n{label}COPY --from=one /x /\n")
    );
    assert_eq!((&*texts["data"], &texts["Dockerfile"]), ("x", &dockerfile));
    assert_eq!(
        fs::read_dir(rig.dir.join("contexts")).expect("there").count(),
        0,
        "files with names"
    );
}

#[tokio::test]
async fn s22_a_build_is_made_from_listed_and_own_images_that_are_here() {
    let mut rig = Rig::start();
    for (dockerfile, rule) in [
        ("FROM private:1", "build.base"),
        ("FROM alpine:3\nCOPY --from=private:1 /x /", "build.base"),
        ("FROM alpine:3\nCOPY --from=cccccccccccc /x /", "build.base"),
        ("FROM bbbbbbbbbbbb", "build.base"),
        ("FROM late:1", "build.on-build"),
        ("FROM gone:1", "build.base-missing"),
        ("FROM alpine:odd", "engine.answer"),
        ("FROM alpine:3\nADD http://a/ /", "build.dockerfile"),
        ("FROM alpine:3\nLABEL enforcer.user=ben", "build.dockerfile"),
    ] {
        let refusal = rig.build("", dockerfile).await.expect_err(dockerfile);
        assert_eq!(refusal.rule, rule, "{dockerfile}: {refusal}");
    }
    assert!(rig.heard().iter().all(|(head, _)| head.starts_with("GET /v1.43/images/")));
}

#[tokio::test]
async fn s30_one_build_of_a_principal_is_on_its_way_at_a_time() {
    let rig = Rig::start();
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, String>>(1);
    let slow = StreamBody::new(futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|frame| (frame, receiver))
    }));
    let first = rig.begin("", Box::pin(slow));
    let second = async {
        sender.send(Ok(Frame::data(Bytes::from_static(b"x")))).await.expect("taken");
        let refusal = rig.build("", "FROM scratch\nCOPY data /").await.expect_err("one is there");
        drop(sender);
        refusal
    };
    let (first, refusal) = tokio::join!(first, second);
    assert_eq!((refusal.rule, refusal.status), ("build.busy", StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(first.expect_err("no archive").rule, "build.context");
    assert!(rig.build("", "FROM scratch\nCOPY data /").await.is_ok(), "it is over");
}

#[tokio::test]
async fn s30_a_context_that_is_too_long_or_not_offered_is_refused_unheard() {
    let mut rig = Rig::start();
    rig.rules.build_context = 1_000;
    assert_eq!(rig.build("", "FROM alpine:3").await.expect_err("long").rule, "build.context-long");
    rig.rules.build_context = 0;
    assert_eq!(rig.build("", "FROM alpine:3").await.expect_err("off").rule, "build.off");
    assert!(rig.heard().is_empty());
}

#[tokio::test]
async fn s11_s23_what_a_build_may_not_ask_is_refused_by_its_query() {
    let rig = Rig::start();
    for (query, rule) in [
        ("?remote=http%3A%2F%2F127.0.0.1%2Fx", "build.remote"),
        ("?remote=client-session", "build.remote"),
        ("?version=2", "build.buildkit"),
        ("?session=x", "build.buildkit"),
        ("?version=1&buildid=x", "build.buildkit"),
        ("?outputs=%5B%7B%22Type%22%3A%22local%22%7D%5D", "build.buildkit"),
        ("?networkmode=host", "build.network"),
        ("?networkmode=container%3Ax", "build.network"),
        ("?networkmode=other", "build.network"),
        ("?extrahosts=a%3A1.2.3.4", "query.value"),
        ("?securityopt=seccomp%3Dunconfined", "query.value"),
        ("?cachefrom=%5B%22private%22%5D", "query.value"),
        ("?ulimits=%5B%7B%22Name%22%3A%22core%22%7D%5D", "query.value"),
        ("?squash=1", "query.value"),
        ("?cgroupparent=%2F", "query.value"),
        ("?cpusetcpus=0", "query.value"),
        ("?platform=linux%2Farm64", "query.value"),
        ("?isolation=hyperv", "query.value"),
        ("?pull=1", "build.pull"),
        ("?memory=99999999999", "build.limit"),
        ("?memory=100000000&memswap=-1", "build.memswap"),
        ("?cpuquota=200000", "build.limit"),
        ("?cpuperiod=10", "build.limit"),
        ("?shmsize=99999999999", "build.limit"),
        ("?t=alpine%3A3", "image.tag-name"),
        ("?t=enforcer-0000000000000000-x", "image.tag-name"),
        ("?t=a&t=b", "query.twice"),
        ("?dockerfile=..%2Fx", "build.dockerfile"),
        ("?dockerfile=%2F", "build.dockerfile"),
        ("?labels=%7B%22enforcer.user%22%3A%22ben%22%7D", "build.label"),
        ("?labels=%7B%22a%22%3A%22b%22%2C%22a%22%3A%22c%22%7D", "json.duplicate"),
        ("?labels=%5B%5D", "build.map"),
        ("?buildargs=%7B%22JUPYTERHUB_USER%22%3A%22ben%22%7D", "build.map"),
        ("?buildargs=%7B%22a%22%3A1%7D", "build.map"),
        ("?buildargs=%7B%22a%20b%22%3A%22c%22%7D", "build.map"),
        ("?target=a%2Fb", "name.form"),
        ("?unknown=1", "query.unknown"),
    ] {
        let refusal = rig.build(query, "FROM alpine:3").await.expect_err(query);
        assert_eq!(refusal.rule, rule, "{query}: {refusal}");
    }
}

#[test]
fn s3_a_build_s_image_is_its_maker_s() {
    let rig_user =
        User { hub: "lab".parse().expect("a hub"), name: "ada".parse().expect("a user") };
    let principal = Principal::User(rig_user);
    let mark = names::mark(&principal);
    let network =
        GuestNetwork { name: "guests".to_owned(), gateway: [192, 0, 2, 1].into(), resolves: true };
    let facts = Facts { guest_network: Some(network), ..Facts::default() };
    let context = Context {
        principal: &principal,
        rules: &Rules::default(),
        facts: &facts,
        name: None,
        bridge: None,
    };
    let target = format!("/build?t={mark}app&buildargs=%7B%22TOKEN%22%3A%22hidden%22%7D");
    let call = call(&principal, &hyper::Method::POST, &target).expect("read");
    let Verdict::Allow(forward) = judge(&context, &call, None) else { panic!("denied") };
    assert_eq!(forward.effects, [Effect::Made(Kind::Image, format!("{mark}app:latest"))]);
    assert!(
        forward.shown.to_string().contains("TOKEN")
            && !forward.shown.to_string().contains("hidden")
    );
    let hub = Principal::Hub("lab".parse().expect("a hub"));
    let refusal = super::super::call::call(&hub, &hyper::Method::POST, "/build");
    assert_eq!(refusal.expect_err("not a hub's").rule, "route.hub");
}
