//! The kernel's tables of sockets, `/proc/PID/net/*`. Pure. A line that is not understood is left out.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

/// `TCP_LISTEN`.
const LISTENS: &str = "0A";
/// `__SO_ACCEPTCON`, in the column of flags of unix sockets.
const ACCEPTS: u32 = 1 << 16;

/// Unix sockets that listen and have a path, with their inodes in sockfs.
pub(super) fn unix(text: &str) -> Vec<(PathBuf, u64)> {
    let row = |line: &str| {
        // Num RefCount Protocol Flags Type St Inode Path; a path may have blanks.
        let mut rest = line;
        let mut fields = [""; 7];
        for field in &mut fields {
            let (next, after) = rest.trim_start().split_once(' ')?;
            (*field, rest) = (next, after);
        }
        let is_listening = u32::from_str_radix(fields[3], 16).ok()? & ACCEPTS != 0;
        let path = rest.trim_start();
        (is_listening && path.starts_with('/')).then_some((path.into(), fields[6].parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}

/// TCP sockets that listen, with their inodes in sockfs.
pub(super) fn tcp(text: &str) -> Vec<(SocketAddr, u64)> {
    let row = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (at, state) = (fields.nth(1)?, fields.nth(1)?);
        let inode = fields.nth(5)?.parse().ok()?;
        (state == LISTENS).then_some((address(at)?, inode))
    };
    text.lines().filter_map(row).collect()
}

/// `0100007F:1F90`: words of the address as this machine has them in memory, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = ip.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from_octets(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            IpAddr::V6(Ipv6Addr::from_octets(words.concat().try_into().ok()?))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s20_unix_sockets_that_listen_are_told_by_path() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            ffff8b0a3f2c0000: 00000002 00000000 00010000 0001 01 21407 /run/docker.sock\n\
            ffff8b0a3f2c0001: 00000003 00000000 00000000 0001 03 21408 /run/docker.sock\n\
            ffff8b0a3f2c0002: 00000002 00000000 00010000 0001 01 7 /srv/a b/podman.sock\n\
            ffff8b0a3f2c0003: 00000002 00000000 00010000 0001 01 8 @abstract\n\
            ffff8b0a3f2c0004: 00000002 00000000 00010000 0001 01 9\n\
            nonsense\n";
        let expected: [(PathBuf, u64); 2] =
            [("/run/docker.sock".into(), 21407), ("/srv/a b/podman.sock".into(), 7)];
        assert_eq!(unix(text), expected);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn s14_tcp_sockets_that_listen_are_told_by_address() {
        let rest = "00000000:00000000 00:00000000 00000000     0        0";
        let text = format!(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
               0: 0100007F:0947 00000000:0000 0A {rest} 31 1 0000000000000000 100 0 0 10 0\n\
               1: 0100007F:0947 0200007F:C350 01 {rest} 32 1 0000000000000000 100 0 0 10 0\n\
               2: 00000000000000000000000001000000:0947 00000000000000000000000000000000:0000 0A {rest} 33 1 0 100\n\
               3: 00000000:0948 00000000:0000 0A {rest} 34\n\
               4: zz:0948 00000000:0000 0A {rest} 35\n"
        );
        let expected = [("127.0.0.1:2375", 31), ("[::1]:2375", 33), ("0.0.0.0:2376", 34)];
        let expected = expected.map(|(at, inode)| (at.parse().expect("an address"), inode));
        assert_eq!(tcp(&text), expected);
    }
}
