//! What a kernel (6.18) said, byte by byte.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

/// Answer to a dump of IPv4: a datagram flow, a connection over a translated port, one half closed.
const DUMP4: &str = concat!(
    "a400000000012200000000007477000002000000340001801400018008000100c0000201080002000a07000a",
    "1c000280050001001100000006000200c352000006000300003500003400028014000180080001000a07000a",
    "08000200c00002011c0002800500010011000000060002000035000006000300c35200000800030000000188",
    "080008000000000008000c00b03d605c08000b0000000001080007000000001dd40000000001220000000000",
    "7477000002000000340001801400018008000100c0000201080002000a07000a1c0002800500010006000000",
    "06000200c35300000600030022b800003400028014000180080001000a07000a08000200c00002011c000280",
    "05000100060000000600020022b8000006000300c3530000080003000000018e080008000000000008000c00",
    "0c4f13fb08000b0000000001080007000000003b300004802c0001800500010005000000050002000a000000",
    "050003000a00000006000400270000000600050023000000d400000000012200000000007477000002000000",
    "3400018014000180080001000a07000a08000200c00002011c000280050001000600000006000200c3500000",
    "060003001f4000003400028014000180080001000a07000a080002000a07000a1c0002800500010006000000",
    "0600020022b8000006000300c350000008000300000001ae080008000000000008000c009acca5b608000b00",
    "00000001080007000006977f300004802c0001800500010003000000050002000a000000050003000a000000",
    "06000400230000000600050023000000",
);

/// Answer to a dump of IPv6: one connection.
const DUMP6: &str = concat!(
    "040100000001220000000000747700000a0000004c0001802c00018014000300fd0700000000000000000000",
    "0000000114000400fd07000000000000000000000000000a1c000280050001000600000006000200c3510000",
    "0600030022b800004c0002802c00018014000300fd07000000000000000000000000000a14000400fd070000",
    "0000000000000000000000011c00028005000100060000000600020022b8000006000300c351000008000300",
    "0000000e080008000000000008000c00e3b554fa08000b0000000001080007000006977f300004802c000180",
    "0500010003000000050002000a000000050003000a00000006000400230000000600050023000000",
);

/// The end of a dump.
const DONE: &str = concat!("1400000003000200000000007477000000000000",);

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn parsed(hex: &str) -> Vec<Connection> {
    let mut found = Vec::new();
    assert_eq!(answer(&bytes(hex), &mut found), Some(Progress::More));
    found
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("a literal")
}

fn direction(source: &str, destination: &str) -> Direction {
    Direction { source: at(source), destination: at(destination) }
}

#[test]
fn n7_connections_are_read_with_both_their_directions() {
    let mut found = parsed(DUMP4);
    found.sort_by_key(|connection| connection.original.source.port());
    let translated = Connection {
        protocol: TCP,
        original: direction("10.7.0.10:50000", "192.0.2.1:8000"),
        reply: direction("10.7.0.10:8888", "10.7.0.10:50000"),
        assured: true,
        established: true,
    };
    let datagrams = Connection {
        protocol: UDP,
        original: direction("192.0.2.1:50002", "10.7.0.10:53"),
        reply: direction("10.7.0.10:53", "192.0.2.1:50002"),
        assured: false,
        established: false,
    };
    let half_closed = Connection {
        protocol: TCP,
        original: direction("192.0.2.1:50003", "10.7.0.10:8888"),
        reply: direction("10.7.0.10:8888", "192.0.2.1:50003"),
        assured: true,
        established: false,
    };
    assert_eq!(found, [translated, datagrams, half_closed]);
    let six = Connection {
        protocol: TCP,
        original: direction("[fd07::1]:50001", "[fd07::a]:8888"),
        reply: direction("[fd07::a]:8888", "[fd07::1]:50001"),
        assured: true,
        established: true,
    };
    assert_eq!(parsed(DUMP6), [six]);
}

#[test]
fn the_end_and_a_refusal_are_understood() {
    let mut found = Vec::new();
    assert_eq!(answer(&bytes(DONE), &mut found), Some(Progress::Done));
    let mut refusal = bytes(DONE);
    refusal[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
    refusal[16..20].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
    assert_eq!(answer(&refusal, &mut found), Some(Progress::Refused(libc::EPERM)));
    assert_eq!(found, []);
}

#[test]
fn what_is_cut_short_is_malformed() {
    let whole = bytes(DUMP6);
    for length in 1..whole.len() {
        assert_eq!(answer(&whole[..length], &mut Vec::new()), None, "{length} bytes");
    }
}

#[test]
fn connections_of_another_zone_are_left_out() {
    let mut message = bytes(DUMP6);
    message.extend([6, 0]);
    message.extend(CTA_ZONE.to_ne_bytes());
    message.extend([0, 5, 0, 0]);
    let length = u32::try_from(message.len()).expect("short");
    message[..4].copy_from_slice(&length.to_ne_bytes());
    let mut found = Vec::new();
    assert_eq!(answer(&message, &mut found), Some(Progress::More));
    assert_eq!(found, []);
}

proptest! {
    #[test]
    fn no_bytes_do_harm(at in 0..588_usize, with in prop::collection::vec(any::<u8>(), 1..8)) {
        let mut message = bytes(DUMP4);
        let end = (at + with.len()).min(message.len());
        message.splice(at..end, with);
        let _whatever = answer(&message, &mut Vec::new());
    }

    #[test]
    fn no_noise_does_harm(message in prop::collection::vec(any::<u8>(), 0..200)) {
        let _whatever = answer(&message, &mut Vec::new());
    }
}
