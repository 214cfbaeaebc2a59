//! A resolver, its clients, and an upstream that answers as it is told.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use crate::{
    config::Dns,
    dns::{Asked, Journal, Resolver, listen},
    model::names::{Client, Directory, Granting, Lease, Leases, NamePolicy, NameRule, Outcome},
};

/// Addresses of two guests, and of somebody who is none.
pub(super) const ANN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
pub(super) const BEN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
pub(super) const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
/// Their endpoints.
pub(super) const ANN_ID: u32 = 7;
pub(super) const BEN_ID: u32 = 8;

/// Longest wait for what is to come; what is not to come is waited for much less.
const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

/// What an upstream sends: itself, or somebody else from another port.
pub(super) enum Sent {
    Itself(Message),
    Forger(Message),
}

/// What an upstream says to a question; the flag: by TCP.
type Says = dyn Fn(&Message, bool) -> Vec<Sent> + Send + Sync;

pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    pub(super) async fn start(
        says: impl Fn(&Message, bool) -> Vec<Sent> + Send + Sync + 'static,
    ) -> Self {
        let (says, asked): (Arc<Says>, _) = (Arc::new(says), Arc::<AtomicUsize>::default());
        let (socket, listener) = both(Ipv4Addr::LOCALHOST.into()).await;
        let address = socket.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(by_udp(socket, Arc::clone(&says), Arc::clone(&asked)));
        tasks.spawn(by_tcp(listener, says));
        Self { address, asked, _tasks: tasks }
    }

    /// One that has these records for every question.
    pub(super) async fn with(
        records: impl Fn(&Name) -> Vec<Record> + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |question, _| {
            vec![Sent::Itself(reply(question, records(question.queries[0].name())))]
        })
        .await
    }

    /// One that says the same address whatever it is asked for.
    pub(super) async fn of(address: &str) -> Self {
        let address: IpAddr = address.parse().expect("an address");
        Self::with(move |name| vec![at(name, 60, address)]).await
    }

    /// Questions by UDP so far.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn by_udp(socket: UdpSocket, says: Arc<Says>, asked: Arc<AtomicUsize>) {
    let forger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let mut buffer = vec![0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.expect("received");
        asked.fetch_add(1, Ordering::SeqCst);
        let question = Message::from_vec(&buffer[..length]).expect("a question");
        for sent in says(&question, false) {
            let (socket, message) = match &sent {
                Sent::Itself(message) => (&socket, message),
                Sent::Forger(message) => (&forger, message),
            };
            let bytes = message.to_vec().expect("is encoded");
            socket.send_to(&bytes, from).await.expect("sent");
        }
    }
}

async fn by_tcp(listener: TcpListener, says: Arc<Says>) {
    loop {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let question = receive(&mut stream).await.expect("a question");
        for sent in says(&question, true) {
            let (Sent::Itself(message) | Sent::Forger(message)) = sent;
            send(&mut stream, &message).await;
        }
    }
}

/// A message from a stream; `None`: it ended.
pub(super) async fn receive(stream: &mut TcpStream) -> Option<Message> {
    let mut bytes = vec![0; stream.read_u16().await.ok()?.into()];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(Message::from_vec(&bytes).expect("a message"))
}

pub(super) async fn send(stream: &mut TcpStream, message: &Message) {
    let bytes = message.to_vec().expect("is encoded");
    let length = u16::try_from(bytes.len()).expect("fits");
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await.expect("sent");
}

/// Both sockets on one port that is free.
async fn both(address: IpAddr) -> (UdpSocket, TcpListener) {
    loop {
        let listener = TcpListener::bind((address, 0)).await.expect("bound");
        let at = listener.local_addr().expect("an address");
        if let Ok(socket) = UdpSocket::bind(at).await {
            return (socket, listener);
        }
    }
}

/// Remembers what was recorded.
#[derive(Default)]
pub(super) struct Memory {
    written: Mutex<Vec<Asked>>,
    suppressed: Mutex<Vec<(u32, Outcome)>>,
}

impl Journal for Memory {
    fn write(&self, asked: Asked) {
        self.written.lock().expect("whole").push(asked);
    }

    fn suppress(&self, endpoint: u32, outcome: Outcome) {
        self.suppressed.lock().expect("whole").push((endpoint, outcome));
    }
}

/// Remembers what was granted, and refuses on request.
#[derive(Default)]
pub(super) struct Granted {
    leases: Mutex<Vec<Lease>>,
    pub(super) refuses: AtomicBool,
}

impl Leases for Granted {
    fn grant(&self, lease: Lease) -> Granting<'_> {
        let outcome = if self.refuses.load(Ordering::SeqCst) {
            Err("the map is full".to_owned())
        } else {
            self.leases.lock().expect("whole").push(lease);
            Ok(())
        };
        Box::pin(std::future::ready(outcome))
    }
}

pub(super) struct Rig {
    pub(super) at: SocketAddr,
    pub(super) resolver: Arc<Resolver>,
    pub(super) settings: watch::Sender<Arc<Dns>>,
    pub(super) directory: watch::Sender<Arc<Directory>>,
    pub(super) wanted: watch::Sender<BTreeSet<SocketAddr>>,
    pub(super) held: watch::Receiver<BTreeSet<SocketAddr>>,
    pub(super) problems: watch::Receiver<Vec<String>>,
    pub(super) leases: Arc<Granted>,
    memory: Arc<Memory>,
    _tasks: JoinSet<()>,
}

/// A policy of these patterns; `~` before one: its answers may be private; `any`: every name.
pub(super) fn policy(patterns: &[&str]) -> NamePolicy {
    let rules = patterns.iter().filter(|pattern| **pattern != "any").zip(1..);
    let rule = |(pattern, group): (&&str, u32)| NameRule {
        pattern: pattern.trim_start_matches('~').parse().expect("a pattern"),
        group,
        private: pattern.starts_with('~'),
    };
    let own = ["203.0.113.7", "192.168.7.0/24", "2001:db8:7::/64"];
    NamePolicy {
        any: patterns.contains(&"any"),
        allow: rules.map(rule).collect(),
        deny: vec!["denied.example.org".parse().expect("a pattern")],
        own: own.map(|net| net.parse().expect("a network")).to_vec(),
    }
}

/// Both guests under this policy.
pub(super) fn guests(patterns: &[&str]) -> Arc<Directory> {
    let policy = Arc::new(policy(patterns));
    let client = |endpoint| Client { endpoint, policy: Arc::clone(&policy) };
    Arc::new([(ANN, client(ANN_ID)), (BEN, client(BEN_ID))].into())
}

impl Rig {
    /// A resolver that asks these upstreams.
    pub(super) async fn start(patterns: &[&str], upstreams: &[&Upstream]) -> Self {
        let upstream = upstreams.iter().map(|upstream| upstream.address).collect();
        Self::with(patterns, Dns { upstream, ..Dns::default() }).await
    }

    pub(super) async fn with(patterns: &[&str], settings: Dns) -> Self {
        let (settings, settings_out) = watch::channel(Arc::new(settings));
        let (directory, directory_out) = watch::channel(guests(patterns));
        let (memory, leases) = (Arc::<Memory>::default(), Arc::<Granted>::default());
        let granting: Arc<dyn Leases> = Arc::<Granted>::clone(&leases);
        let journal: Arc<dyn Journal> = Arc::<Memory>::clone(&memory);
        let resolver = Arc::new(Resolver::new(settings_out, directory_out, granting, journal));
        let (socket, listener) = both(Ipv4Addr::LOCALHOST.into()).await;
        let at = socket.local_addr().expect("an address");
        drop((socket, listener));
        let (wanted, wanted_out) = watch::channel([at].into());
        let (publish, problems) = watch::channel(Vec::new());
        let (answered, held) = watch::channel(BTreeSet::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(Arc::clone(&resolver), wanted_out, (answered, publish)));
        let forgetting = Arc::clone(&resolver);
        tasks.spawn(async move { forgetting.forget().await });
        let rig = Self {
            at,
            resolver,
            settings,
            directory,
            wanted,
            held,
            problems,
            leases,
            memory,
            _tasks: tasks,
        };
        // It hears as soon as it hangs up.
        let mut stream = rig.connect(STRANGER).await;
        assert!(receive(&mut stream).await.is_none(), "a stranger is answered");
        rig
    }

    /// A connection from this address, as soon as the resolver listens.
    pub(super) async fn connect(&self, from: IpAddr) -> TcpStream {
        loop {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind(SocketAddr::new(from, 0)).expect("bound");
            match socket.connect(self.at).await {
                Ok(stream) => return stream,
                Err(_not_yet) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// The answer that Ann gets by UDP.
    pub(super) async fn ask(&self, name: &str, kind: RecordType) -> Message {
        let question = question(name, kind, None);
        self.exchange(ANN, &question).await.expect("an answer")
    }

    /// The answer to this question from this address; `None`: there is none.
    pub(super) async fn exchange(&self, from: IpAddr, question: &Message) -> Option<Message> {
        let bytes = question.to_vec().expect("is encoded");
        let wait = if from == STRANGER { SHORT } else { LONG };
        let answer = self.raw(from, &bytes, wait).await?;
        let answer = Message::from_vec(&answer).expect("a message");
        assert_eq!(answer.metadata.id, question.metadata.id);
        assert_eq!(answer.metadata.message_type, MessageType::Response);
        Some(answer)
    }

    /// What comes back for these bytes.
    pub(super) async fn raw(&self, from: IpAddr, bytes: &[u8], wait: Duration) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind((from, 0)).await.expect("bound");
        socket.connect(self.at).await.expect("connected");
        socket.send(bytes).await.expect("sent");
        let mut buffer = vec![0; 4096];
        let length = timeout(wait, socket.recv(&mut buffer)).await.ok()?.expect("received");
        buffer.truncate(length);
        Some(buffer)
    }

    /// What was recorded, and forgets it.
    pub(super) fn told(&self) -> Vec<Asked> {
        std::mem::take(&mut self.memory.written.lock().expect("whole"))
    }

    /// The one record since the last look.
    pub(super) fn told_one(&self) -> Asked {
        let mut told = self.told();
        assert_eq!(told.len(), 1, "{told:?}");
        told.remove(0)
    }

    /// What was not recorded, only counted.
    pub(super) fn suppressed(&self) -> Vec<(u32, Outcome)> {
        self.memory.suppressed.lock().expect("whole").clone()
    }

    /// Leases since the last look.
    pub(super) fn granted(&self) -> Vec<Lease> {
        std::mem::take(&mut self.leases.leases.lock().expect("whole"))
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::from_ascii(text)
        .expect("a name")
        .to_lowercase()
        .append_domain(&Name::root())
        .expect("fits")
}

/// A question; `room`: by EDNS.
pub(super) fn question(text: &str, kind: RecordType, room: Option<u16>) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(text), kind));
    if let Some(room) = room {
        let mut edns = Edns::new();
        edns.set_max_payload(room);
        message.set_edns(edns);
    }
    message
}

/// The answer of an upstream.
pub(super) fn reply(question: &Message, records: Vec<Record>) -> Message {
    let mut message = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    message.add_queries(question.queries.iter().cloned());
    message.insert_answers(records);
    message
}

pub(super) fn at(name: &Name, ttl: u32, address: IpAddr) -> Record {
    let data = match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Record::from_rdata(name.clone(), ttl, data)
}

pub(super) fn alias(from: &Name, ttl: u32, to: &str) -> Record {
    Record::from_rdata(from.clone(), ttl, RData::CNAME(CNAME(name(to))))
}

/// The addresses of an answer.
pub(super) fn addresses(message: &Message) -> Vec<IpAddr> {
    let address = |record: &Record| match &record.data {
        RData::A(A(address)) => Some(IpAddr::V4(*address)),
        RData::AAAA(AAAA(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    };
    message.answers.iter().filter_map(address).collect()
}

pub(super) fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}
