//! A gate without a daemon: groups on a disk, an engine of the test's own, clients over pairs of sockets.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use super::{
    super::{Desk, Door, Principal, Server, Stranger, Visitor, accept, serve},
    engine::Engine,
};
use crate::{
    access::{
        grant::{By, Kind, Reason},
        name::{GroupName, HubName, User},
        service::Access,
    },
    api::roles::Roles,
    audit::record::{Body, GateCall},
    config::{Config, parse},
    docker::inventory::EngineState,
    gate::{identity::Doorman, store::Store},
    model::inventory::{DockerNetwork, Inventory, Subnet},
};

/// See the module.
pub(super) struct Rig {
    pub(super) server: Arc<Server>,
    pub(super) engine: Engine,
    access: Access,
    user: User,
    journal: Mutex<mpsc::UnboundedReceiver<Body>>,
    dir: PathBuf,
    /// Kept, or there would be nothing to watch.
    _config: watch::Sender<Arc<Config>>,
    _engine: watch::Sender<EngineState>,
}

/// A socket that listens.
pub(super) struct Listening {
    pub(super) path: PathBuf,
    _close: watch::Sender<()>,
}

const CONFIG: &str = "[gate]\nimages = [\"python:*\"]\n[networks.lab]\nbridge = \"br-lab\"\nsubnet = \"192.0.2.0/24\"\n";

fn group() -> GroupName {
    "docker-privileged".parse().expect("a group")
}

fn root() -> (By, Reason) {
    (By::config(), Reason::default())
}

impl Rig {
    /// `ann` is in a group with this grant.
    pub(super) async fn start(kind: Kind) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("enforcer-gate-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).expect("made");
        let state_dir = dir.join("state");
        let config = parse(CONFIG, "f").expect("valid");
        let config = Config { state_dir, run_dir: dir.clone(), ..config };
        let (config, config_out) = watch::channel(Arc::new(config));
        let (sender, journal) = mpsc::unbounded_channel();
        let access = Access::new(config_out.clone(), sender.clone());
        access.tend().await;
        let state = EngineState::Connected {
            version: "28".to_owned(),
            api: "1.43".to_owned(),
            userns_remap: false,
        };
        let (state, engine_out) = watch::channel(state);
        let engine_socket = dir.join("engine.sock");
        let engine = Engine::start(engine_socket.clone());
        let network = DockerNetwork {
            id: "lab".to_owned(),
            name: "lab".to_owned(),
            bridge: "br-lab".to_owned(),
            subnets: vec![Subnet {
                address: [192, 0, 2, 0].into(),
                prefix: 24,
                gateway: Some([192, 0, 2, 1].into()),
            }],
            attachments: BTreeMap::new(),
        };
        let networks = [("lab".to_owned(), network)].into();
        let inventory = Inventory { networks, ..Inventory::default() };
        let (_, inventory) = watch::channel(Arc::new(inventory));
        let (_, roles) = watch::channel(Roles::default());
        let doorman = Doorman { inventory, config: config_out, roles };
        let around = (engine_out, engine_socket);
        let store = Store::open(&dir.join("state")).expect("opens");
        let mut server = Server::new(doorman, access.clone(), around, Desk::new(sender), store);
        server.patience = Duration::from_secs(1);
        let user = User { hub: HubName::local(), name: "ann".parse().expect("a user") };
        access.add(&user, &group(), None, root()).await.expect("added");
        let rig = Self {
            server: Arc::new(server),
            engine,
            access,
            user,
            journal: Mutex::new(journal),
            dir,
            _config: config,
            _engine: state,
        };
        rig.grant(kind).await;
        rig
    }

    pub(super) fn principal(&self) -> Principal {
        Principal::User(self.user.clone())
    }

    pub(super) async fn grant(&self, kind: Kind) {
        let hub = HubName::local();
        self.access.set_grant(&hub, &group(), (kind, None), root()).await.expect("set");
    }

    pub(super) async fn leave(&self) {
        self.access.remove(&self.user, &group(), root()).await.expect("removed");
    }

    /// A client of `ann`'s socket.
    pub(super) fn connect(&self) -> UnixStream {
        self.connect_as(Ok(()))
    }

    pub(super) fn connect_as(&self, admitted: Result<(), Stranger>) -> UnixStream {
        self.connect_to(self.principal(), admitted)
    }

    /// A client of somebody's socket.
    pub(super) fn connect_to(
        &self,
        principal: Principal,
        admitted: Result<(), Stranger>,
    ) -> UnixStream {
        let (client, stream) = UnixStream::pair().expect("a pair");
        let server = Arc::clone(&self.server);
        tokio::spawn(async move {
            let seat = server.users.take(1).expect("a place");
            serve(stream, &seat, &principal, &server, (Visitor::default(), admitted)).await;
        });
        client
    }

    /// Everything that is answered to these bytes.
    pub(super) async fn ask(&self, bytes: &[u8]) -> String {
        self.ask_at(self.principal(), bytes).await
    }

    /// The same at somebody's socket.
    pub(super) async fn ask_at(&self, principal: Principal, bytes: &[u8]) -> String {
        let mut client = self.connect_to(principal, Ok(()));
        // It may have been answered before all of it was taken.
        let _refused = client.write_all(bytes).await;
        let mut answer = Vec::new();
        let reading = timeout(Duration::from_secs(5), client.read_to_end(&mut answer)).await;
        // A connection that is closed before all was taken is reset, after the answer.
        let _reset = reading.expect("it stays open");
        text(&answer)
    }

    /// Records, as soon as there are so many that end something.
    pub(super) async fn records(&self, count: usize) -> Vec<GateCall> {
        let mut calls: Vec<GateCall> = Vec::new();
        for _ in 0..500 {
            while let Ok(body) = self.journal.lock().expect("not poisoned").try_recv() {
                if let Body::Gate(call) = body {
                    calls.push(*call);
                }
            }
            if calls.iter().filter(|call| call.event != "begun").count() >= count {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        calls
    }

    /// The socket of a hub, with this number.
    pub(super) fn listen(&self, hub: &str, number: u32) -> Listening {
        let path = self.dir.join(format!("{hub}.sock"));
        let listener = UnixListener::bind(&path).expect("bound");
        let (close, closed) = watch::channel(());
        let principal = Principal::Hub(hub.parse().expect("a hub"));
        let door = Door { principal, number, closed };
        tokio::spawn(accept(listener, Arc::new(door), Arc::clone(&self.server)));
        Listening { path, _close: close }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.dir);
    }
}

/// Reads an answer's head, and nothing after it.
pub(super) async fn head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = timeout(Duration::from_secs(5), stream.read_u8()).await;
        head.push(byte.expect("in time").expect("an answer"));
    }
    text(&head)
}

/// Bytes as text, each a character.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
