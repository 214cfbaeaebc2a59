//! Names: an address that the resolver told a guest is open to that guest, under the ports of the name,
//! until its lease ends. And sources: who may come in from beyond the bridge.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use enforcer::{
    control::{desired::abi_address, leases::Leases},
    kernel::monotonic_ns,
    model::names::Pattern,
    policy::{
        compile::{compile, traits},
        rule::{Action, Net, Ports, Rule},
    },
};
use enforcer_common::{
    abi::{
        event::Hook,
        policy::{Direction, LeaseKey, PortKey, PrefixKey},
        verdict::DropReason,
    },
    packet::TCP,
};

use crate::{
    frame::{A, B, WORLD, into, out, segment, v4},
    rig::{
        ALLOW, DENY, FROM_HOST, GUEST, ID, Meta, OTHER_GUEST, POLICY, Rig, UPLINK, can_run, policy,
    },
};

const SYN: u8 = 2;
const ACK: u8 = 16;
const SYN_ACK: u8 = SYN | ACK;
const SECOND: u64 = 1_000_000_000;
/// Another address of the same name.
const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// One that a rule denies by its number.
const EVIL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);

fn name(text: &str) -> Pattern {
    text.parse().expect("a name")
}

fn rule(action: Action, to: &[Ipv4Addr], names: &[&str], ports: &[Ports]) -> Rule {
    Rule {
        action,
        to: to.iter().map(|to| Net::host((*to).into())).collect(),
        names: names.iter().map(|text| name(text)).collect(),
        ports: ports.to_vec(),
        ..Rule::default()
    }
}

fn rules() -> Vec<Rule> {
    let web = [Ports::one(TCP, 443)];
    vec![
        rule(Action::Deny, &[EVIL], &[], &web),
        rule(Action::Allow, &[], &["pypi.org", "*.pypi.org"], &web),
        rule(Action::Allow, &[], &["mail.example"], &[Ports::one(TCP, 587)]),
    ]
}

fn put(rig: &mut Rig, epoch: u32, rules: &[Rule]) -> Result<()> {
    let tables = compile(rules)?;
    for (key, prefix) in tables.prefixes {
        rig.map("PREFIXES")?.insert(PrefixKey { epoch, ..key }, prefix, 0)?;
    }
    for (key, rule) in tables.ports {
        rig.map("PORTS")?.insert(PortKey { epoch, ..key }, rule, 0)?;
    }
    rig.policy(
        POLICY,
        enforcer_common::abi::policy::Policy { traits: traits(rules), ..policy(epoch) },
    )
}

/// Leases an address to A under a name, for so long from now.
fn lease(
    rig: &mut Rig,
    leases: &mut Leases,
    to: Ipv4Addr,
    text: &str,
    ns: u64,
) -> Result<LeaseKey> {
    let (address, family) = abi_address(to.into());
    let key = LeaseKey { endpoint: GUEST + ID, address, family, reserved: [0; 3] };
    let now = monotonic_ns();
    let lease = leases.grant(key, name(text).class(false), now + ns, now)?;
    rig.map("LEASES")?.insert(key, lease, 0)?;
    Ok(key)
}

#[test]
fn p31_a_lease_opens_the_ports_of_its_name_to_its_guest_until_it_ends() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    put(&mut rig, 7, &rules())?;
    let mut leases = Leases::default();
    let mut next = 40_000;
    let mut open = |rig: &mut Rig, to: Ipv4Addr, port: u16| -> Result<(bool, u32)> {
        next += 1;
        let code = rig.sent_by_a(&out(&v4(A, to), &segment(next, port, SYN, 99, 0)))?;
        let event = rig.events()?.pop().context("no record")?;
        assert_eq!(event.reason == 0, code == ALLOW);
        assert!(code == ALLOW || event.reason == DropReason::Policy as u16);
        Ok((code == ALLOW, event.rule))
    };
    assert_eq!(open(&mut rig, WORLD, 443)?, (false, 0), "before the name is resolved");
    lease(&mut rig, &mut leases, WORLD, "pypi.org", 60 * SECOND)?;
    assert_eq!(open(&mut rig, WORLD, 443)?, (true, 2));
    assert_eq!(open(&mut rig, WORLD, 444)?, (false, 0), "another port");
    assert_eq!(open(&mut rig, NEAR, 443)?, (false, 0), "another address");
    let of_b = out(&v4(B, WORLD), &segment(40_000, 443, SYN, 99, 0));
    let of_b = [&of_b[..6], &crate::frame::B_MAC, &of_b[12..]].concat();
    let from_b = Meta { ifindex: OTHER_GUEST, ingress: OTHER_GUEST, ..Meta::default() };
    assert_eq!(rig.run(Hook::FromGuest, &of_b, from_b)?.code, DENY, "another guest");
    assert_eq!(rig.only_reason()?, Some(DropReason::Policy));
    // Under two names at once, each has its ports.
    lease(&mut rig, &mut leases, WORLD, "mail.example", 60 * SECOND)?;
    assert_eq!((open(&mut rig, WORLD, 587)?, open(&mut rig, WORLD, 443)?), ((true, 3), (true, 2)));
    // What a rule says of the address itself comes first.
    lease(&mut rig, &mut leases, EVIL, "pypi.org", 60 * SECOND)?;
    assert_eq!(open(&mut rig, EVIL, 443)?, (false, 1), "denied by rule 1");
    // A name that no rule of this policy names any more.
    lease(&mut rig, &mut leases, NEAR, "gone.example", 60 * SECOND)?;
    assert_eq!(open(&mut rig, NEAR, 443)?, (false, 0));
    lease(&mut rig, &mut leases, NEAR, "*.pypi.org", SECOND / 2)?;
    assert_eq!(open(&mut rig, NEAR, 443)?, (true, 2));
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert_eq!(open(&mut rig, NEAR, 443)?, (false, 0), "after the lease");
    Ok(())
}

#[test]
fn p31_a_flow_outlives_its_lease_but_not_its_name() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    put(&mut rig, 7, &rules())?;
    let key = lease(&mut rig, &mut Leases::default(), WORLD, "pypi.org", 60 * SECOND)?;
    let sent = |rig: &Rig, flags, sequence, ack| {
        rig.sent_by_a(&out(&v4(A, WORLD), &segment(40_000, 443, flags, sequence, ack)))
    };
    assert_eq!(sent(&rig, SYN, 99, 0)?, ALLOW);
    let answer = into(&v4(WORLD, A), &segment(443, 40_000, SYN_ACK, 7, 100));
    let meta = Meta { ifindex: GUEST, ingress: UPLINK, mark: FROM_HOST, ..Meta::default() };
    assert_eq!(rig.run(Hook::ToGuest, &answer, meta)?.code, ALLOW);
    assert_eq!(sent(&rig, ACK, 100, 8)?, ALLOW);
    rig.map::<LeaseKey, enforcer_common::abi::policy::Lease>("LEASES")?.remove(&key)?;
    assert_eq!(sent(&rig, ACK, 100, 8)?, ALLOW, "the lease is over");
    // Other rules that open the name, too.
    put(&mut rig, 8, &rules()[1..])?;
    assert_eq!(sent(&rig, ACK, 100, 8)?, ALLOW, "decided anew");
    assert_eq!(rig.flows()?.first().context("no flow")?.rule, 1, "by its new number");
    // Rules that do not.
    put(&mut rig, 9, &rules()[2..])?;
    assert_eq!(sent(&rig, ACK, 100, 8)?, DENY);
    assert_eq!(sent(&rig, ACK, 100, 8)?, DENY);
    assert_eq!(rig.flows()?.len(), 0);
    Ok(())
}

#[test]
fn p33_published_ports_are_open_to_the_sources_that_rules_name() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let from = |action, net: &str| -> Result<Rule> {
        let ports = vec![Ports::one(TCP, 8888)];
        Ok(Rule {
            action,
            direction: Direction::In,
            to: vec![net.parse()?],
            ports,
            ..Rule::default()
        })
    };
    let asks = |rig: &mut Rig, from: [u8; 4], port: u16| -> Result<(i32, u16, u32)> {
        let frame = into(&v4(from.into(), A), &segment(50_000, port, SYN, 99, 0));
        let meta = Meta { ifindex: GUEST, ingress: UPLINK, mark: FROM_HOST, ..Meta::default() };
        let code = rig.run(Hook::ToGuest, &frame, meta)?.code;
        let event = rig.events()?.pop().context("no record")?;
        Ok((code, event.reason, event.rule))
    };
    let (source, unpublished) = (DropReason::Source as u16, DropReason::NotPublished as u16);
    // Without a rule about sources, whoever is routed there.
    assert_eq!(asks(&mut rig, [198, 51, 100, 1], 8888)?, (ALLOW, 0, 0));
    let rules = [from(Action::Allow, "198.51.100.0/24")?, from(Action::Deny, "198.51.100.7")?];
    put(&mut rig, 7, &rules)?;
    assert_eq!(asks(&mut rig, [198, 51, 100, 2], 8888)?, (ALLOW, 0, 1));
    assert_eq!(asks(&mut rig, [198, 51, 100, 7], 8888)?, (DENY, source, 2));
    assert_eq!(asks(&mut rig, [203, 0, 113, 1], 8888)?, (DENY, source, 0));
    assert_eq!(asks(&mut rig, [198, 51, 100, 2], 8889)?, (DENY, unpublished, 0));
    // The host reaches any port whatever the rules say of others, as N4 has it.
    let host = into(&v4(crate::frame::GATEWAY, A), &segment(50_001, 8888, SYN, 99, 0));
    let meta = Meta { ifindex: GUEST, mark: FROM_HOST, ..Meta::default() };
    assert_eq!(rig.run(Hook::ToGuest, &host, meta)?.code, ALLOW);
    Ok(())
}
