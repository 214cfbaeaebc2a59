//! One policy, and what it says of sixty destinations: judged by the pure code, by the packet path frame
//! by frame, and by real guests.

use std::net::IpAddr;

use enforcer_common::{
    abi::policy::AUDITED,
    packet::{ICMP, ICMPV6, TCP, UDP},
};

/// The policy, of a network that has no hubs.
pub const POLICY: &str = r#"
[policies.course]
presets = ["public-internet"]

# A server of the institute, within private addresses.
[[policies.course.allow]]
to = ["10.50.0.0/16", "fd50::/16"]
port = [443, "8000-8099"]

# Of which a part is nobody's business.
[[policies.course.deny]]
to = ["10.50.7.0/24", "fd50:7::/32"]

# All but one port of a single machine there: denied all the same.
[[policies.course.allow]]
to = "10.50.7.7"

[[policies.course.allow]]
to = ["10.60.1.1", "fd60::1"]
protocol = "udp"
port = 123

[[policies.course.allow]]
to = ["10.70.0.0/24", "fd70::/64"]
protocol = "icmp"

[[policies.course.allow]]
to = "10.80.0.0/14"
protocol = "any"
port = "1-1023"

[[policies.course.allow]]
host = true
port = 9999

# Mail is not taught here.
[[policies.course.deny]]
to = "any"
port = [25, 465, 587]

[[policies.course.deny]]
to = ["198.51.100.0/25", "2600:bad::/32"]

[[policies.course.deny]]
to = "203.0.113.64/26"
protocol = "udp"
"#;

/// A destination, and the place of the rule that opens it: from 1, in the order of presets, allow, deny.
pub struct Case {
    /// Its address.
    pub to: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Its port; 0 for an echo request.
    pub port: u16,
    /// `None`: denied. With [`AUDITED`]: let through, and denied by that rule, or by none (0), but for audit mode.
    pub rule: Option<u32>,
}

const PUBLIC: Option<u32> = Some(1);
const INSTITUTE: Option<u32> = Some(2);
const CLOCK: Option<u32> = Some(4);
const ECHO: Option<u32> = Some(5);
const LOW: Option<u32> = Some(6);
const HOST: Option<u32> = Some(7);

/// Audit mode, and no rule opens it.
const UNOPENED: Option<u32> = Some(AUDITED);
/// Audit mode, and one of the denials, in their order, would deny it.
const DENIED_BY: [Option<u32>; 4] =
    [Some(AUDITED + 8), Some(AUDITED + 9), Some(AUDITED + 10), Some(AUDITED + 11)];

const TABLE: &[(&str, u8, u16, Option<u32>)] = &[
    // The public internet, and its private corners.
    ("1.1.1.1", TCP, 443, PUBLIC),
    ("1.1.1.1", UDP, 443, PUBLIC),
    ("1.1.1.1", ICMP, 0, PUBLIC),
    ("151.101.0.223", TCP, 22, PUBLIC),
    ("9.255.255.255", TCP, 443, PUBLIC),
    ("10.0.0.0", TCP, 443, None),
    ("10.255.255.255", TCP, 443, None),
    ("11.0.0.0", TCP, 443, PUBLIC),
    ("100.63.255.255", TCP, 80, PUBLIC),
    ("100.64.0.1", TCP, 80, None),
    ("100.127.255.255", TCP, 80, None),
    ("100.128.0.0", TCP, 80, PUBLIC),
    ("169.254.169.254", TCP, 80, None),
    ("169.254.169.254", UDP, 53, None),
    ("169.254.170.2", TCP, 80, None),
    ("168.63.129.16", TCP, 80, None),
    ("168.63.129.17", TCP, 80, PUBLIC),
    ("172.15.255.255", TCP, 80, PUBLIC),
    ("172.16.0.1", TCP, 80, None),
    ("172.31.255.255", TCP, 80, None),
    ("172.32.0.0", TCP, 80, PUBLIC),
    ("192.167.255.255", TCP, 80, PUBLIC),
    ("192.168.1.1", TCP, 80, None),
    ("192.169.0.0", TCP, 80, PUBLIC),
    ("2606:4700::1111", TCP, 443, PUBLIC),
    ("2606:4700::1111", ICMPV6, 0, PUBLIC),
    ("fd00:ec2::254", TCP, 80, None),
    ("64:ff9b::a00:1", TCP, 443, None),
    ("2002:a00:1::1", TCP, 443, None),
    ("4000::1", TCP, 443, None),
    // The institute: ports, ranges, and the part that is denied.
    ("10.50.0.1", TCP, 443, INSTITUTE),
    ("10.50.0.1", TCP, 442, None),
    ("10.50.0.1", TCP, 7999, None),
    ("10.50.0.1", TCP, 8000, INSTITUTE),
    ("10.50.0.1", TCP, 8063, INSTITUTE),
    ("10.50.0.1", TCP, 8099, INSTITUTE),
    ("10.50.0.1", TCP, 8100, None),
    ("10.50.0.1", UDP, 443, None),
    ("10.50.0.1", ICMP, 0, None),
    ("10.49.255.255", TCP, 443, None),
    ("10.51.0.0", TCP, 443, None),
    ("10.50.6.255", TCP, 443, INSTITUTE),
    ("10.50.7.0", TCP, 443, None),
    ("10.50.7.7", TCP, 443, None),
    ("10.50.7.7", TCP, 22, None),
    ("10.50.8.0", TCP, 443, INSTITUTE),
    ("fd50::1", TCP, 443, INSTITUTE),
    ("fd50::1", TCP, 444, None),
    ("fd50:7::1", TCP, 443, None),
    ("fd50:8::1", TCP, 8050, INSTITUTE),
    ("fd51::1", TCP, 443, None),
    // A clock, echo, low ports.
    ("10.60.1.1", UDP, 123, CLOCK),
    ("10.60.1.1", TCP, 123, None),
    ("10.60.1.2", UDP, 123, None),
    ("fd60::1", UDP, 123, CLOCK),
    ("fd60::2", UDP, 123, None),
    ("10.70.0.255", ICMP, 0, ECHO),
    ("10.70.1.0", ICMP, 0, None),
    ("10.70.0.9", TCP, 80, None),
    ("fd70::9", ICMPV6, 0, ECHO),
    ("10.80.0.1", TCP, 1, LOW),
    ("10.83.255.255", UDP, 1023, LOW),
    ("10.83.255.255", UDP, 1024, None),
    ("10.84.0.0", TCP, 80, None),
    ("10.80.0.1", TCP, 25, None),
    ("10.80.0.1", UDP, 25, LOW),
    // Mail, and destinations that are denied whatever else says.
    ("1.1.1.1", TCP, 25, None),
    ("1.1.1.1", TCP, 465, None),
    ("1.1.1.1", TCP, 466, PUBLIC),
    ("2606:4700::1111", TCP, 587, None),
    ("198.51.100.1", TCP, 443, None),
    ("198.51.100.129", TCP, 443, PUBLIC),
    ("2600:bad::1", TCP, 443, None),
    ("2600:bae::1", TCP, 443, PUBLIC),
    ("203.0.113.70", UDP, 443, None),
    ("203.0.113.70", TCP, 443, PUBLIC),
    ("203.0.113.63", UDP, 443, PUBLIC),
    // This host at the bridge: by name only.
    ("10.7.0.1", TCP, 9999, HOST),
    ("10.7.0.1", TCP, 443, None),
    ("fd07::1", TCP, 9999, HOST),
    ("fd07::1", TCP, 9998, None),
];

/// The same policy in audit mode.
const AUDITED_TABLE: &[(&str, u8, u16, Option<u32>)] = &[
    // What a rule opens it opens.
    ("1.1.1.1", TCP, 443, PUBLIC),
    ("2606:4700::1111", ICMPV6, 0, PUBLIC),
    ("10.50.0.1", TCP, 8099, INSTITUTE),
    ("10.60.1.1", UDP, 123, CLOCK),
    ("10.70.0.255", ICMP, 0, ECHO),
    ("10.80.0.1", UDP, 25, LOW),
    ("10.7.0.1", TCP, 9999, HOST),
    ("fd07::1", TCP, 9999, HOST),
    // What none opens is let through.
    ("10.0.0.0", TCP, 443, UNOPENED),
    ("10.50.0.1", TCP, 442, UNOPENED),
    ("10.50.0.1", TCP, 8100, UNOPENED),
    ("10.50.0.1", UDP, 443, UNOPENED),
    ("10.50.0.1", ICMP, 0, UNOPENED),
    ("100.64.0.1", TCP, 80, UNOPENED),
    ("192.168.1.1", UDP, 123, UNOPENED),
    ("10.60.1.2", UDP, 123, UNOPENED),
    ("10.70.1.0", ICMP, 0, UNOPENED),
    ("fd50::1", TCP, 444, UNOPENED),
    ("fd51::1", UDP, 443, UNOPENED),
    ("fd70::9", TCP, 80, UNOPENED),
    // What one denies is let through, and that one is told, the first of several.
    ("1.1.1.1", TCP, 25, DENIED_BY[1]),
    ("2606:4700::1111", TCP, 587, DENIED_BY[1]),
    ("192.168.1.1", TCP, 465, DENIED_BY[1]),
    ("10.50.7.0", TCP, 443, DENIED_BY[0]),
    ("10.50.7.0", TCP, 25, DENIED_BY[0]),
    ("10.50.7.7", UDP, 22, DENIED_BY[0]),
    ("fd50:7::1", TCP, 443, DENIED_BY[0]),
    ("198.51.100.3", TCP, 443, DENIED_BY[2]),
    ("2600:bad::1", TCP, 443, DENIED_BY[2]),
    ("203.0.113.70", UDP, 443, DENIED_BY[3]),
    ("203.0.113.70", TCP, 443, PUBLIC),
    // Metadata services stay closed, by whatever address.
    ("169.254.169.254", TCP, 80, None),
    ("169.254.169.254", UDP, 53, None),
    ("169.254.170.2", TCP, 80, None),
    ("168.63.129.16", TCP, 80, None),
    ("100.100.100.200", TCP, 80, None),
    ("192.0.0.192", TCP, 80, None),
    ("fd00:ec2::254", TCP, 80, None),
    ("64:ff9b::a9fe:a9fe", TCP, 80, None),
    ("2002:a9fe:a9fe::1", TCP, 80, None),
    // So does this host, and so do other guests.
    ("10.7.0.1", TCP, 443, None),
    ("10.7.0.1", ICMP, 0, None),
    ("fd07::1", TCP, 9998, None),
    ("10.7.0.11", TCP, 80, None),
    ("fd07::11", UDP, 53, None),
];

/// [`POLICY`] in audit mode.
#[must_use]
pub fn audited_policy() -> String {
    POLICY.replacen("[policies.course]", "[policies.course]\nmode = \"audit\"", 1)
}

/// Every case.
///
/// # Panics
/// Where the table has no address.
#[must_use]
pub fn cases() -> Vec<Case> {
    of(TABLE)
}

/// Every case of [`audited_policy`].
///
/// # Panics
/// Where the table has no address.
#[must_use]
pub fn audited_cases() -> Vec<Case> {
    of(AUDITED_TABLE)
}

fn of(table: &[(&str, u8, u16, Option<u32>)]) -> Vec<Case> {
    let case = |(to, protocol, port, rule): &(&str, u8, u16, Option<u32>)| Case {
        to: to.parse().expect("an address"),
        protocol: *protocol,
        port: *port,
        rule: *rule,
    };
    table.iter().map(case).collect()
}
