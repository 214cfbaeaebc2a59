//! Resolver 4: asks the upstreams. Each question goes out from a socket of its own, so that a forged answer
//! has to guess a port and an id; what does not fit the question is not there.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout_at},
};

use super::question::{MOST_ROOM, has_one_question};

/// Longest wait for one upstream.
const PATIENCE: Duration = Duration::from_secs(2);
/// Upstreams that are asked for one question, or the only one so many times.
const TRIES: usize = 2;
/// Longest datagram.
const MOST_BYTES: usize = 65_535;

/// Why no upstream answered.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// There is none.
    #[error("no upstream is configured")]
    None,
    /// No random number for an id.
    #[error("no random numbers")]
    Random(#[source] getrandom::Error),
    /// The question cannot be written.
    #[error("the question cannot be written")]
    Encode(#[source] hickory_proto::ProtoError),
    /// It was too late.
    #[error("{upstream} does not answer")]
    Late {
        /// Which.
        upstream: SocketAddr,
    },
    /// It cannot be reached.
    #[error("{upstream} cannot be asked")]
    Io {
        /// Which.
        upstream: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not tell.
    #[error("{upstream} answers {code}")]
    Code {
        /// Which.
        upstream: SocketAddr,
        /// What it says.
        code: ResponseCode,
    },
    /// What came by TCP is no answer.
    #[error("{upstream} sends something else than an answer")]
    Garbled {
        /// Which.
        upstream: SocketAddr,
    },
}

/// A question to an upstream.
struct Asking {
    id: u16,
    name: Name,
    kind: RecordType,
    bytes: Vec<u8>,
}

/// Asks one upstream after the other. The name goes out in small letters: how a guest writes it says
/// something, too.
pub async fn ask(
    upstreams: &[SocketAddr],
    name: &Name,
    kind: RecordType,
) -> Result<Message, UpstreamError> {
    let mut last = UpstreamError::None;
    for upstream in upstreams.iter().cycle().take(TRIES) {
        match ask_one(*upstream, name.to_lowercase(), kind).await {
            Ok(message) => return Ok(message),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn ask_one(
    upstream: SocketAddr,
    name: Name,
    kind: RecordType,
) -> Result<Message, UpstreamError> {
    let deadline = Instant::now() + PATIENCE;
    let asking = Asking::new(name, kind)?;
    let failed = |source| UpstreamError::Io { upstream, source };
    let late = |_elapsed| UpstreamError::Late { upstream };
    let by_udp = timeout_at(deadline, asking.by_udp(upstream));
    let mut message = by_udp.await.map_err(late)?.map_err(failed)?;
    if message.metadata.truncation {
        // The whole of it takes longer.
        let by_tcp = timeout_at(deadline + PATIENCE, asking.by_tcp(upstream));
        let bytes = by_tcp.await.map_err(late)?.map_err(failed)?;
        let whole = asking.answer(&bytes).filter(|whole| !whole.metadata.truncation);
        message = whole.ok_or(UpstreamError::Garbled { upstream })?;
    }
    match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(message),
        code => Err(UpstreamError::Code { upstream, code }),
    }
}

impl Asking {
    fn new(name: Name, kind: RecordType) -> Result<Self, UpstreamError> {
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(UpstreamError::Random)?;
        let id = u16::from_be_bytes(id);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name.clone(), kind));
        let mut edns = Edns::new();
        edns.set_max_payload(MOST_ROOM);
        message.set_edns(edns);
        let bytes = message.to_vec().map_err(UpstreamError::Encode)?;
        Ok(Self { id, name, kind, bytes })
    }

    /// The answer among the datagrams that come. The socket is connected: what others than the
    /// upstream send does not come.
    async fn by_udp(&self, upstream: SocketAddr) -> io::Result<Message> {
        let any: IpAddr = match upstream {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // Port 0: the kernel takes one at random.
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(upstream).await?;
        socket.send(&self.bytes).await?;
        let mut buffer = vec![0; MOST_BYTES];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if let Some(message) = buffer.get(..length).and_then(|bytes| self.answer(bytes)) {
                return Ok(message);
            }
        }
    }

    async fn by_tcp(&self, upstream: SocketAddr) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(upstream).await?;
        let length = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX);
        stream.write_all(&[&length.to_be_bytes()[..], &self.bytes].concat()).await?;
        let mut bytes = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    /// The message, if it answers this question.
    fn answer(&self, bytes: &[u8]) -> Option<Message> {
        // The decoder makes room for as many questions as the header promises.
        let message = Some(bytes).filter(|bytes| has_one_question(bytes))?;
        let message = Message::from_vec(message).ok()?;
        let [query] = message.queries.as_slice() else { return None };
        let is_answer = message.metadata.message_type == MessageType::Response
            && message.metadata.op_code == OpCode::Query
            && message.metadata.id == self.id
            && query.name == self.name
            && query.query_type == self.kind
            && query.query_class == DNSClass::IN;
        is_answer.then_some(message)
    }
}
