//! The floor: the least that anyone would do to write the same bytes. What is the same in each line is
//! known beforehand; the rest is formatted into one buffer, each line is hashed, and the buffer is
//! written.
//!
//! Where the changing fields are is learnt from a line of the pipeline's own, so that names and order of
//! the fields are the same whatever they are.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
    time::SystemTime,
};

use anyhow::{Context as _, Result, ensure};
use enforcer::{
    audit::{decode::decode, enrich::Names, record::Clock, stream::line},
    model::owner::{Owner, Owners},
};
use enforcer_common::{abi::event::Event, packet::IPV6};
use sha2::{Digest as _, Sha256};

use crate::workload::{Shape, bytes, fixed, guest};

/// Lines that are written at once, as the sink takes them.
pub const BATCH: usize = 1024;

/// A field that differs between events of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Seq,
    Time,
    Mono,
    Endpoint,
    ContainerId,
    Container,
    Interface,
    Ingress,
    SourceMac,
    Source,
    Destination,
    SourcePort,
    DestinationPort,
}

/// A line: text, and fields between it.
struct Template {
    parts: Vec<(String, Field)>,
    end: String,
}

/// The floor's formatter.
pub struct Floor<'a> {
    templates: BTreeMap<Shape, Template>,
    owners: &'a Owners,
    clock: Clock,
}

/// Numbers and names that stand nowhere else in a line.
const SEQ: u64 = 7_654_321_987;
const OWNER: u32 = 3_141_592_653;

fn sentinel(shape: Shape) -> Event {
    let mut event = Event {
        owner: OWNER,
        time_ns: 8_765_432_109_876,
        ingress_ifindex: 1_712_345_678,
        source_port: 61616,
        destination_port: 47474,
        source_mac: [0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6],
        ..fixed(shape)
    };
    if shape == Shape::Segment6 {
        event.source[14] = 0x77;
        event.destination[15] = 0x99;
    } else {
        event.source[..4].copy_from_slice(&[172, 29, 131, 241]);
        event.destination[..4].copy_from_slice(&[203, 113, 157, 219]);
    }
    event
}

impl<'a> Floor<'a> {
    pub fn new(owners: &'a Owners, clock: Clock) -> Result<Self> {
        let templates = Shape::ALL.into_iter().map(|shape| Ok((shape, template(shape, clock)?)));
        Ok(Self { templates: templates.collect::<Result<_>>()?, owners, clock })
    }

    /// Appends a line, as the pipeline makes it, without its end.
    pub fn format(&self, seq: u64, shape: Shape, event: &Event, out: &mut Vec<u8>) -> Result<()> {
        let template = self.templates.get(&shape).context("a shape")?;
        let owner = self.owners.get(&event.owner).context("an owner")?;
        for (text, field) in &template.parts {
            out.extend_from_slice(text.as_bytes());
            put(*field, seq, event, owner, self.clock, out)?;
        }
        out.extend_from_slice(template.end.as_bytes());
        Ok(())
    }

    /// Formats, hashes and writes all of them; the bytes that were written.
    pub fn write(&self, events: &[(Shape, Event)], path: &Path, sync: bool) -> Result<u64> {
        let mut file = File::create(path)?;
        let (mut buffer, mut chain, mut written) = (Vec::new(), [0_u8; 32], 0);
        for (batch, first) in events.chunks(BATCH).zip((1_u64..).step_by(BATCH)) {
            buffer.clear();
            for ((shape, event), seq) in batch.iter().zip(first..) {
                let begin = buffer.len();
                self.format(seq, *shape, event, &mut buffer)?;
                chain = Sha256::new()
                    .chain_update(chain)
                    .chain_update(&buffer[begin..])
                    .finalize()
                    .into();
                // In the place of the brace that closes the object.
                buffer.pop();
                buffer.extend_from_slice(br#","chain":""#);
                chain[..16].iter().for_each(|byte| buffer.extend(digits(*byte)));
                buffer.extend_from_slice(b"\"}\n");
            }
            file.write_all(&buffer)?;
            written += buffer.len() as u64;
        }
        if sync {
            file.sync_data()?;
        }
        Ok(written)
    }
}

/// Finds the fields in the pipeline's own line of an event that has nothing twice.
fn template(shape: Shape, clock: Clock) -> Result<Template> {
    let event = sentinel(shape);
    let owner = Owner {
        interface: "interface-of-nobody".to_owned(),
        container: Some("container-id-of-nobody".to_owned()),
        name: "name-of-nobody".to_owned(),
        ..guest(OWNER)
    };
    let mut names = Names::default();
    names.update(&std::sync::Arc::new([(OWNER, owner.clone())].into()), 0);
    let text = line(SEQ, names.draft(&decode(&bytes(&event))?, clock), &mut Vec::new()).text;
    let mut places = Vec::new();
    for field in [
        Field::Seq,
        Field::Time,
        Field::Mono,
        Field::Endpoint,
        Field::ContainerId,
        Field::Container,
        Field::Interface,
        Field::Ingress,
        Field::SourceMac,
        Field::Source,
        Field::Destination,
        Field::SourcePort,
        Field::DestinationPort,
    ] {
        let mut value = Vec::new();
        put(field, SEQ, &event, &owner, clock, &mut value)?;
        let value = String::from_utf8(value)?;
        let found: Vec<_> =
            text.match_indices(&value).map(|(at, _)| (at, value.len(), field)).collect();
        ensure!(!found.is_empty(), "{field:?} {value} is not in {text}");
        places.extend(found);
    }
    places.sort_unstable_by_key(|(at, ..)| *at);
    let (mut parts, mut done) = (Vec::new(), 0);
    for (at, length, field) in places {
        let before = text.get(done..at).with_context(|| format!("{field:?} overlaps in {text}"))?;
        parts.push((before.to_owned(), field));
        done = at + length;
    }
    Ok(Template { parts, end: text.get(done..).context("the end")?.to_owned() })
}

fn put(
    field: Field,
    seq: u64,
    event: &Event,
    owner: &Owner,
    clock: Clock,
    out: &mut Vec<u8>,
) -> Result<()> {
    match field {
        Field::Seq => write!(out, "{seq}")?,
        Field::Time => time(clock, event.time_ns, out)?,
        Field::Mono => write!(out, "{}", event.time_ns)?,
        Field::Endpoint => write!(out, "{}", event.owner)?,
        Field::ContainerId => {
            out.extend_from_slice(owner.container.as_deref().unwrap_or_default().as_bytes());
        }
        Field::Container => out.extend_from_slice(owner.name.as_bytes()),
        Field::Interface => out.extend_from_slice(owner.interface.as_bytes()),
        Field::Ingress => write!(out, "{}", event.ingress_ifindex)?,
        Field::SourceMac => {
            for byte in event.source_mac {
                out.extend(digits(byte));
                out.push(b':');
            }
            out.pop();
        }
        Field::Source => address(event.source, event.family, out)?,
        Field::Destination => address(event.destination, event.family, out)?,
        Field::SourcePort => write!(out, "{}", event.source_port)?,
        Field::DestinationPort => write!(out, "{}", event.destination_port)?,
    }
    Ok(())
}

fn address(bytes: [u8; 16], family: u8, out: &mut Vec<u8>) -> Result<()> {
    let [a, b, c, d, ..] = bytes;
    if family == IPV6 {
        write!(out, "{}", Ipv6Addr::from(bytes))?;
    } else {
        write!(out, "{}", Ipv4Addr::new(a, b, c, d))?;
    }
    Ok(())
}

fn digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// RFC 3339, by hand: `std` has none.
fn time(clock: Clock, mono_ns: u64, out: &mut Vec<u8>) -> Result<()> {
    let wall = clock.wall.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
    let nanos = wall + u128::from(mono_ns) - u128::from(clock.mono_ns);
    let micros = u64::try_from(nanos / 1000)?;
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")?;
    Ok(())
}
