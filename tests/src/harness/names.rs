//! A name server that knows a few names by heart, on a socket of whatever namespace.

use std::{
    collections::BTreeMap,
    net::{IpAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

/// How long an answer says that it holds, seconds: far longer than anybody should believe.
pub const TTL: u32 = 86_400;

/// Types and classes of records (RFC 1035, 3.2).
const A: u16 = 1;
const AAAA: u16 = 28;
const IN: u16 = 1;

/// A running name server. It ends when it is dropped.
pub struct Names {
    asked: Arc<Mutex<Vec<String>>>,
    ended: Arc<Mutex<bool>>,
    task: Option<JoinHandle<()>>,
}

impl Names {
    /// Answers for these names; there are no others.
    pub fn serve(socket: UdpSocket, known: &[(&str, IpAddr)]) -> Result<Self> {
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let known: BTreeMap<String, Vec<IpAddr>> = {
            let mut all: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
            for (name, address) in known {
                all.entry((*name).to_owned()).or_default().push(*address);
            }
            all
        };
        let (asked, ended) = (Arc::default(), Arc::new(Mutex::new(false)));
        let (log, end) = (Arc::clone(&asked), Arc::clone(&ended));
        let task = thread::spawn(move || {
            let mut bytes = [0; 2048];
            while !*end.lock().unwrap_or_else(PoisonError::into_inner) {
                let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
                let Ok((name, answer)) = answer(&bytes[..length], &known) else { continue };
                let log: &Mutex<Vec<String>> = &log;
                log.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                let _gone = socket.send_to(&answer, from);
            }
        });
        Ok(Self { asked, ended, task: Some(task) })
    }

    /// Names that it was asked for, in lower case, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        if let Some(task) = self.task.take() {
            let _ = task.join();
        }
    }
}

/// The name in a question, and the answer to it.
fn answer(question: &[u8], known: &BTreeMap<String, Vec<IpAddr>>) -> Result<(String, Vec<u8>)> {
    let (header, rest) = question.split_at_checked(12).context("no header")?;
    let (mut labels, mut at) = (Vec::new(), 0);
    loop {
        let length = usize::from(*rest.get(at).context("no name")?);
        at += 1;
        if length == 0 {
            break;
        }
        ensure!(length < 64, "a pointer in a question");
        labels.push(String::from_utf8(rest.get(at..at + length).context("no label")?.to_vec())?);
        at += length;
    }
    let name = labels.join(".").to_ascii_lowercase();
    let asked = rest.get(..at + 4).context("no type")?;
    let kind = u16::from_be_bytes([rest[at], rest[at + 1]]);
    let found = known.get(&name);
    let of_kind = |address: &&IpAddr| kind == if address.is_ipv4() { A } else { AAAA };
    let answers: Vec<&IpAddr> = found.into_iter().flatten().filter(of_kind).collect();
    let mut reply = header[..2].to_vec();
    // An authoritative answer; without such a name, NXDOMAIN.
    reply.extend([0x85, if found.is_some() { 0x80 } else { 0x83 }]);
    reply.extend([0, 1]);
    reply.extend(u16::try_from(answers.len())?.to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(asked);
    for address in answers {
        let bytes = match address {
            IpAddr::V4(four) => four.octets().to_vec(),
            IpAddr::V6(six) => six.octets().to_vec(),
        };
        // The name is that of the question, which begins after the header.
        reply.extend([0xc0, 12]);
        reply.extend([kind, IN].map(u16::to_be_bytes).concat());
        reply.extend(TTL.to_be_bytes());
        reply.extend(u16::try_from(bytes.len())?.to_be_bytes());
        reply.extend(bytes);
    }
    Ok((name, reply))
}
