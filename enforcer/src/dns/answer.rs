//! Resolver 3: what an upstream said becomes what a guest hears. Nothing is passed on: an answer is made
//! anew of the chain of aliases that begins at the question, and of the addresses at its end. Pure.

use std::{net::IpAddr, time::Duration};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, PTR},
    },
};

use super::{
    address::Ranges,
    question::{Head, MOST_ROOM, Question},
};
use crate::{
    model::names::{Lease, NameRule},
    policy::rule::Net,
};

/// Most aliases from a name to its addresses.
const MOST_ALIASES: usize = 8;
/// Most addresses, or other records, of an answer.
pub const MOST_RECORDS: usize = 64;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// There is no such name at the end of the chain.
    pub is_missing: bool,
    /// Aliases in their order, the name that was asked for not among them.
    pub aliases: Vec<Name>,
    /// Addresses at the end.
    pub addresses: Vec<IpAddr>,
    /// What else was asked for, at the end.
    pub others: Vec<RData>,
    /// For how long all of it holds, at the least.
    pub ttl: Option<Duration>,
    /// Records beyond [`MOST_RECORDS`].
    pub cut: usize,
}

/// Why an answer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The upstream could not tell.
    #[error("it answers {0}")]
    Code(ResponseCode),
    /// Aliases without end.
    #[error("it names more than {MOST_ALIASES} aliases, or goes in a circle")]
    Aliases,
    /// An alias with characters that no name has.
    #[error("it names an alias that is no name")]
    Odd,
}

/// Follows the chain of aliases from the question to its end, and takes what is there.
pub fn read(message: &Message, asked: &Name, kind: RecordType) -> Result<Found, AnswerError> {
    let is_missing = match message.metadata.response_code {
        ResponseCode::NoError => false,
        ResponseCode::NXDomain => true,
        other => return Err(AnswerError::Code(other)),
    };
    let records = || message.answers.iter().filter(|record| record.dns_class == DNSClass::IN);
    let mut found = Found {
        is_missing,
        aliases: Vec::new(),
        addresses: Vec::new(),
        others: Vec::new(),
        ttl: None,
        cut: 0,
    };
    let mut at = asked;
    if kind != RecordType::CNAME {
        while let Some((ttl, next)) = records().find_map(|record| alias(record, at)) {
            if found.aliases.len() == MOST_ALIASES || next == asked || found.aliases.contains(next)
            {
                return Err(AnswerError::Aliases);
            }
            if !is_plain(next) {
                return Err(AnswerError::Odd);
            }
            found.hold(ttl);
            found.aliases.push(next.clone());
            at = next;
        }
    }
    for record in records().filter(|record| record.name == *at && record.record_type() == kind) {
        if found.addresses.len() + found.others.len() == MOST_RECORDS {
            found.cut += 1;
            continue;
        }
        found.hold(record.ttl);
        match &record.data {
            RData::A(A(address)) => found.addresses.push((*address).into()),
            RData::AAAA(AAAA(address)) => found.addresses.push((*address).into()),
            RData::CNAME(CNAME(name)) | RData::PTR(PTR(name)) if !is_plain(name) => {
                return Err(AnswerError::Odd);
            }
            data => found.others.push(data.clone()),
        }
    }
    Ok(found)
}

impl Found {
    fn hold(&mut self, seconds: u32) {
        let ttl = Duration::from_secs(seconds.into());
        self.ttl = Some(self.ttl.map_or(ttl, |known| known.min(ttl)));
    }

    /// How long it holds, within bounds; nothing holds for the least time.
    #[must_use]
    pub fn ttl_within(&self, least: Duration, most: Duration) -> Duration {
        self.ttl.map_or(least, |ttl| ttl.clamp(least, most))
    }

    /// The first address that nobody may be told.
    #[must_use]
    pub fn forbidden(&self, rules: &[&NameRule], own: &[Net], ranges: &Ranges) -> Option<IpAddr> {
        let private = rules.iter().any(|rule| rule.private);
        let permits = |address: &&IpAddr| !ranges.permit(**address, private, own);
        self.addresses.iter().find(permits).copied()
    }

    /// The leases that go with it: of each rule for each address that this rule may have.
    #[must_use]
    pub fn leases(
        &self,
        endpoint: u32,
        rules: &[&NameRule],
        (own, ranges): (&[Net], &Ranges),
        ttl: Duration,
    ) -> Vec<Lease> {
        let of = |address: &IpAddr| {
            let address = *address;
            let may = move |rule: &&&NameRule| ranges.permit(address, rule.private, own);
            let lease = move |rule: &&NameRule| Lease { endpoint, address, group: rule.group, ttl };
            rules.iter().filter(may).map(lease)
        };
        let mut leases: Vec<Lease> = self.addresses.iter().flat_map(of).collect();
        leases.sort_by_key(|lease| (lease.address, lease.group));
        leases.dedup();
        leases
    }
}

fn alias<'a>(record: &'a Record, of: &Name) -> Option<(u32, &'a Name)> {
    match &record.data {
        RData::CNAME(CNAME(next)) if record.name == *of => Some((record.ttl, next)),
        _ => None,
    }
}

/// Whether a name has nothing in it that a program which prints it has to be afraid of. More than in a
/// question: reverse zones are delegated under names with a `/` (RFC 2317).
fn is_plain(name: &Name) -> bool {
    let is_one = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/');
    name.iter().all(|label| label.iter().all(is_one))
}

/// The answer that says nothing but a code.
#[must_use]
pub fn refusal(head: Head, question: Option<&Question>, code: ResponseCode) -> Message {
    let mut message = Message::new(head.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_desired = head.recursion;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    if let Some(question) = question {
        message.add_query(Query::query(question.asked.clone(), question.kind));
    }
    if head.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(MOST_ROOM);
        message.set_edns(edns);
    }
    message
}

/// The answer that a client gets.
#[must_use]
pub fn build(question: &Question, found: &Found, ttl: Duration) -> Message {
    let code = if found.is_missing { ResponseCode::NXDomain } else { ResponseCode::NoError };
    let mut message = refusal(question.head, Some(question), code);
    let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
    let mut at = &question.asked;
    for next in &found.aliases {
        message.add_answer(Record::from_rdata(at.clone(), ttl, RData::CNAME(CNAME(next.clone()))));
        at = next;
    }
    for address in &found.addresses {
        message.add_answer(Record::from_rdata(at.clone(), ttl, data(*address)));
    }
    for other in &found.others {
        message.add_answer(Record::from_rdata(at.clone(), ttl, other.clone()));
    }
    message
}

fn data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

/// A message as it is sent; one that has no room is cut, so that the client asks again by TCP.
#[must_use]
pub fn encode(message: &Message, room: usize) -> Option<Vec<u8>> {
    let bytes = message.to_vec().ok()?;
    if bytes.len() <= room {
        return Some(bytes);
    }
    message.truncate().to_vec().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).expect("a name")
    }

    fn question(kind: RecordType) -> Question {
        let asked = name("Q.example.org.");
        let head = Head { id: 1, recursion: true, room: 512, edns: false };
        Question { head, asked, name: "q.example.org".parse().ok(), kind }
    }

    /// Names that records of an upstream are under: the question's, those of its chain, others.
    const NAMES: [&str; 5] =
        ["q.example.org.", "a.example.net.", "b.example.net.", "evil.net.", "other.example.org."];

    fn record() -> impl Strategy<Value = Record> {
        let owner = (0..NAMES.len()).prop_map(|index| name(NAMES[index]));
        let data = prop_oneof![
            any::<u32>().prop_map(|bits| RData::A(A(Ipv4Addr::from_bits(bits)))),
            any::<u128>().prop_map(|bits| RData::AAAA(AAAA(Ipv6Addr::from_bits(bits)))),
            // Most addresses at random are public.
            prop_oneof![Just("10.0.0.1"), Just("127.0.0.1"), Just("151.101.0.223")]
                .prop_map(|text| RData::A(A(text.parse().expect("an address")))),
            (0..NAMES.len()).prop_map(|index| RData::CNAME(CNAME(name(NAMES[index])))),
        ];
        (owner, any::<u32>(), data)
            .prop_map(|(owner, ttl, data)| Record::from_rdata(owner, ttl, data))
    }

    fn addresses(message: &Message) -> Vec<IpAddr> {
        let address = |record: &Record| match &record.data {
            RData::A(A(address)) => Some(IpAddr::V4(*address)),
            RData::AAAA(AAAA(address)) => Some(IpAddr::V6(*address)),
            _ => None,
        };
        message.answers.iter().filter_map(address).collect()
    }

    proptest! {
        #[test]
        fn p31_what_leaves_never_carries_a_forbidden_address(
            records in proptest::collection::vec(record(), 0..90),
            is_v6 in any::<bool>(),
            private in any::<bool>(),
        ) {
            let kind = if is_v6 { RecordType::AAAA } else { RecordType::A };
            let (question, ranges) = (question(kind), Ranges::default());
            let own = [Net::new(Ipv4Addr::new(151, 101, 0, 0).into(), 17).expect("a network")];
            let rule = NameRule { pattern: "q.example.org".parse().expect("one"), group: 1, private };
            let mut message = Message::new(1, MessageType::Response, OpCode::Query);
            message.insert_answers(records);
            let Ok(found) = read(&message, &question.asked, kind) else { return Ok(()) };
            prop_assert!(found.aliases.len() <= MOST_ALIASES);
            prop_assert!(found.addresses.len() <= MOST_RECORDS);
            if found.forbidden(&[&rule], &own, &ranges).is_some() {
                return Ok(());
            }
            let ttl = found.ttl_within(Duration::from_secs(5), Duration::from_mins(5));
            prop_assert!((5..=300).contains(&ttl.as_secs()));
            let leases = found.leases(7, &[&rule], (&own, &ranges), ttl);
            let bytes = encode(&build(&question, &found, ttl), 65_535).expect("is encoded");
            let answer = Message::from_vec(&bytes).expect("a message");
            for address in addresses(&answer) {
                prop_assert!(ranges.permit(address, private, &own), "{}", address);
                prop_assert!(leases.iter().any(|lease| lease.address == address), "{}", address);
            }
            prop_assert!(answer.authorities.is_empty() && answer.additionals.is_empty());
        }

        #[test]
        fn p31_bytes_of_an_upstream_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            if let Ok(message) = Message::from_vec(&bytes) {
                let _ = read(&message, &name("q.example.org."), RecordType::A);
            }
        }
    }

    #[test]
    fn an_answer_that_has_no_room_is_cut_and_says_so() {
        let addresses = (0..64).map(|last| Ipv4Addr::new(151, 101, 0, last).into()).collect();
        let found = Found {
            is_missing: false,
            aliases: Vec::new(),
            addresses,
            others: Vec::new(),
            ttl: None,
            cut: 0,
        };
        let message = build(&question(RecordType::A), &found, Duration::from_secs(5));
        for (room, is_cut) in [(512, true), (1232, false)] {
            let bytes = encode(&message, room).expect("is encoded");
            let read = Message::from_vec(&bytes).expect("a message");
            assert_eq!((read.metadata.truncation, read.answers.is_empty()), (is_cut, is_cut));
            assert!(bytes.len() <= room && read.queries.len() == 1);
        }
    }
}
