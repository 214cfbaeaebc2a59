//! Resolver 1: bytes become one question, or nothing. Strict: what is more than a question is none.

use hickory_proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{DNSClass, Name, RecordType},
    serialize::binary::{BinDecodable as _, BinDecoder},
};

use crate::model::names::DomainName;

/// Longest question, bytes. A name has 255 at most; the rest is room for EDNS options.
pub const MAX_QUESTION: usize = 512;
/// Answer by UDP to a client that says nothing about its room (RFC 1035, 4.2.1), bytes.
const LEAST_ROOM: u16 = 512;
/// Answer by UDP at most, bytes: what no path cuts into fragments (DNS flag day 2020).
pub const MOST_ROOM: u16 = 1232;
/// Bytes of a header.
const HEADER: usize = 12;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// How its answer is headed.
    pub head: Head,
    /// The name as it was asked for, which the answer repeats.
    pub asked: Name,
    /// The same as a name that rules know; `None`: it has other characters in it than names have.
    pub name: Option<DomainName>,
    /// The type.
    pub kind: RecordType,
}

/// What an answer takes over from its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its id.
    pub id: u16,
    /// Whether the client asked for recursion: that is repeated.
    pub recursion: bool,
    /// Room for an answer by UDP, bytes, [`MOST_ROOM`] at most.
    pub room: u16,
    /// Whether the client speaks EDNS.
    pub edns: bool,
}

/// Why bytes are no question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoQuestion {
    /// No header, or the header of an answer: there is nobody to tell.
    Silent,
    /// The client is told this.
    Tell(Head, ResponseCode),
}

/// Reads a question.
pub fn read(bytes: &[u8]) -> Result<Question, NoQuestion> {
    let head = head(bytes).ok_or(NoQuestion::Silent)?;
    let wrong = NoQuestion::Tell(head, ResponseCode::FormErr);
    // The decoder makes room for as many questions as the header promises.
    if bytes.len() > MAX_QUESTION || !has_one_question(bytes) {
        return Err(wrong);
    }
    let mut decoder = BinDecoder::new(bytes);
    let Ok(message) = Message::read(&mut decoder) else { return Err(wrong) };
    if message.metadata.op_code != OpCode::Query {
        return Err(NoQuestion::Tell(head, ResponseCode::NotImp));
    }
    let head = match &message.edns {
        None => head,
        Some(edns) => {
            let room = edns.max_payload().clamp(LEAST_ROOM, MOST_ROOM);
            let head = Head { room, edns: true, ..head };
            if edns.version() != 0 {
                return Err(NoQuestion::Tell(head, ResponseCode::BADVERS));
            }
            head
        }
    };
    let is_bare = message.answers.is_empty()
        && message.authorities.is_empty()
        && message.additionals.is_empty()
        && message.signature.is_none()
        && decoder.is_empty();
    let [query] = message.queries.as_slice() else { return Err(wrong) };
    if !is_bare || message.metadata.truncation || query.query_class != DNSClass::IN {
        return Err(wrong);
    }
    let name = query.name.to_ascii().parse().ok();
    Ok(Question { head, asked: query.name.clone(), name, kind: query.query_type })
}

/// The header of what may be a question. Read by hand: it is all that there is of a malformed one.
fn head(bytes: &[u8]) -> Option<Head> {
    let (header, _) = bytes.split_first_chunk::<HEADER>()?;
    let [id_high, id_low, flags, ..] = *header;
    let is_answer = flags & 0x80 != 0;
    let id = u16::from_be_bytes([id_high, id_low]);
    let head = Head { id, recursion: flags & 1 != 0, room: LEAST_ROOM, edns: false };
    (!is_answer).then_some(head)
}

/// Whether a message says that it has exactly one question.
pub(super) fn has_one_question(bytes: &[u8]) -> bool {
    bytes.get(4..6) == Some(&[0, 1])
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{Edns, MessageType, Query},
        rr::{RData, Record, rdata::A},
    };
    use proptest::prelude::*;

    use super::*;

    fn message() -> Message {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        let name = Name::from_ascii("PyPI.org.").expect("a name");
        message.add_query(Query::query(name, RecordType::A));
        message
    }

    fn bytes(message: &Message) -> Vec<u8> {
        message.to_vec().expect("is encoded")
    }

    fn refusal(bytes: &[u8]) -> Option<ResponseCode> {
        match read(bytes).expect_err("is no question") {
            NoQuestion::Silent => None,
            NoQuestion::Tell(_, code) => Some(code),
        }
    }

    #[test]
    fn a_question_is_read_with_its_name_in_small_letters() {
        let question = read(&bytes(&message())).expect("a question");
        assert_eq!(question.name.as_ref().map(DomainName::as_str), Some("pypi.org"));
        assert_eq!((question.kind, question.head.id, question.head.room), (RecordType::A, 7, 512));
        assert!(question.asked.eq_case(&Name::from_ascii("PyPI.org.").expect("a name")));
        for (room, expected) in [(100, 512), (900, 900), (u16::MAX, MOST_ROOM)] {
            let mut edns = Edns::new();
            edns.set_max_payload(room);
            let mut message = message();
            message.set_edns(edns);
            let head = read(&bytes(&message)).expect("a question").head;
            assert_eq!((head.room, head.edns), (expected, true));
        }
    }

    #[test]
    fn p30_what_is_more_than_a_question_is_none() {
        type Change = fn(&mut Message);
        let record = || Record::from_rdata(Name::root(), 1, RData::A(A::new(192, 0, 2, 1)));
        let table: [(&str, Change, ResponseCode); 7] = [
            ("no question", |m| m.queries.clear(), ResponseCode::FormErr),
            ("two", |m| m.queries.push(m.queries[0].clone()), ResponseCode::FormErr),
            ("class", |m| m.queries[0].query_class = DNSClass::CH, ResponseCode::FormErr),
            ("cut", |m| m.metadata.truncation = true, ResponseCode::FormErr),
            ("update", |m| m.metadata.op_code = OpCode::Update, ResponseCode::NotImp),
            ("status", |m| m.metadata.op_code = OpCode::Status, ResponseCode::NotImp),
            (
                "edns 1",
                |m| {
                    m.set_edns(Edns::new().set_version(1).clone());
                },
                ResponseCode::BADVERS,
            ),
        ];
        for (what, change, code) in table {
            let mut message = message();
            change(&mut message);
            assert_eq!(refusal(&bytes(&message)), Some(code), "{what}");
        }
        for section in 0..3 {
            let mut message = message();
            let sections =
                [&mut message.answers, &mut message.authorities, &mut message.additionals];
            sections.into_iter().nth(section).expect("a section").push(record());
            assert_eq!(refusal(&bytes(&message)), Some(ResponseCode::FormErr), "{section}");
        }
        let mut long = bytes(&message());
        long.push(0);
        assert_eq!(refusal(&long), Some(ResponseCode::FormErr), "bytes behind it");
        long.resize(MAX_QUESTION + 1, 0);
        assert_eq!(refusal(&long), Some(ResponseCode::FormErr), "too long");
    }

    #[test]
    fn an_answer_and_what_has_no_header_get_no_answer() {
        let mut answer = message();
        answer.metadata.message_type = MessageType::Response;
        assert_eq!(refusal(&bytes(&answer)), None);
        for length in 0..HEADER {
            assert_eq!(refusal(&bytes(&message())[..length]), None);
        }
        assert_eq!(refusal(&bytes(&message())[..HEADER]), Some(ResponseCode::FormErr));
    }

    #[test]
    fn a_name_of_other_characters_is_no_name_for_rules() {
        for label in [&b"a b"[..], b"a.b", b"a\0", b"\xff", b"a\"\n{}", b"*"] {
            let mut message = message();
            let labels: [&[u8]; 2] = [label, b"org"];
            message.queries[0].name = Name::from_labels(labels).expect("a name");
            message.queries[0].name.set_fqdn(true);
            let question = read(&bytes(&message)).expect("a question");
            assert_eq!(question.name, None, "{label:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_never_get_more_than_a_word(
            bytes in proptest::collection::vec(any::<u8>(), 0..700),
        ) {
            if let Err(NoQuestion::Tell(head, code)) = read(&bytes) {
                prop_assert!(bytes.len() >= HEADER);
                prop_assert!(matches!(
                    code, ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS
                ));
                prop_assert_eq!(head.id.to_be_bytes(), [bytes[0], bytes[1]]);
            }
        }

        #[test]
        fn a_question_with_a_byte_changed_never_panics(at in 0usize..26, to in any::<u8>()) {
            let mut bytes = bytes(&message());
            bytes[at] = to;
            let _ = read(&bytes);
        }
    }
}
