//! Policies: the packet path says of every destination what the rules say, whatever rules there are.

use std::{net::IpAddr, thread};

use anyhow::{Context as _, Result, ensure};
use aya::maps::Array;
use enforcer::{
    config,
    control::rules::{Here, policy_rules},
    kernel::maps::Maps,
    policy::{
        compile::{Tables, compile},
        rule::{Action, Net, Ports, Rule, opens},
    },
};
use enforcer_common::{
    abi::{
        event::Hook,
        policy::{BY_RULE_ONLY, Direction, Policy, PortKey, PrefixKey, Quotas},
        verdict::DropReason,
    },
    packet::{ICMP, IPV4, TCP, UDP, widen},
};
use enforcer_tests::{
    frames::{Ipv4, Ipv6, ethernet, ethertype, icmp, protocol, udp_packet},
    policy_cases::{Case, POLICY as TEXT, audited_cases, audited_policy, cases},
};

use crate::{
    frame::{
        A, A_MAC, A6, ALLOWED_PORT, BRIDGE_MAC, GATEWAY, GATEWAY6, HUB, HUB_MAC, WORLD, framed,
        out, segment, syn, v4, v6,
    },
    rig::{ALLOW, DENY, FROM_GUEST, GUEST, HUB_PORT, ID, Meta, POLICY, Rig, can_run, policy},
};

fn rules(policy: &str) -> Result<Vec<Rule>> {
    let text = format!("{policy}\n[networks.lab]\nbridge = \"lab0\"\npolicy = \"course\"\n");
    let config = config::parse(&text, "cases.toml")?;
    let own = ["10.7.0.0/24", "fd07::/64"]
        .map(str::parse)
        .into_iter()
        .collect::<Result<Vec<Net>, _>>()?;
    let course = config.policies.get("course").context("no policy")?;
    let gateways = [GATEWAY.into(), GATEWAY6.into()];
    let resolvers = gateways.to_vec();
    let (hubs, services) = (Vec::new(), Vec::new());
    let here = Here { gateways: &gateways, resolvers, hubs, services, own: &own };
    Ok(policy_rules(course, &here))
}

/// The first frame of a conversation of A's.
fn first(to: IpAddr, kind: u8, port: u16) -> Vec<u8> {
    let ip = match to {
        IpAddr::V4(to) => v4(A, to),
        IpAddr::V6(to) => v6(A6, to),
    };
    match (kind, to) {
        (TCP, _) => out(&ip, &segment(40_000, port, 2, 999, 0)),
        (UDP, _) => framed(BRIDGE_MAC, A_MAC, &ip, &udp_packet(&ip, 5353, port, b"q")),
        (_, IpAddr::V4(to)) => {
            let packet =
                Ipv4::new(A, to, protocol::ICMP).packet(&icmp(8, 0, [0, 7, 0, 1], &[0; 28]));
            ethernet(BRIDGE_MAC, A_MAC, ethertype::IPV4, &packet)
        }
        (_, IpAddr::V6(to)) => {
            let body = [&[128, 0, 0, 0, 0, 7, 0, 1][..], &[0; 28]].concat();
            let packet = Ipv6::new(A6, to, protocol::ICMPV6).icmp(&body);
            ethernet(BRIDGE_MAC, A_MAC, ethertype::IPV6, &packet)
        }
    }
}

fn put(rig: &mut Rig, epoch: u32, tables: Tables) -> Result<()> {
    for (key, prefix) in tables.prefixes {
        rig.map("PREFIXES")?.insert(PrefixKey { epoch, ..key }, prefix, 0)?;
    }
    for (key, rule) in tables.ports {
        rig.map("PORTS")?.insert(PortKey { epoch, ..key }, rule, 0)?;
    }
    rig.policy(POLICY, policy(epoch))
}

#[test]
fn n1_every_case_has_one_answer_by_rules_by_tables_and_in_the_packet_path() -> Result<()> {
    let cases = cases();
    ensure!(cases.len() >= 60, "{}", cases.len());
    have_one_answer(TEXT, &cases)
}

/// N1, N2, N3: audit mode lets through what it is to let through, with the bit that says so, and nothing of this
/// host, of other guests or of the cloud.
#[test]
fn n1_n2_n3_every_case_of_audit_mode_has_one_answer() -> Result<()> {
    have_one_answer(&audited_policy(), &audited_cases())
}

fn have_one_answer(policy: &str, cases: &[Case]) -> Result<()> {
    let rules = rules(policy)?;
    let tables = compile(&rules)?;
    let mut wrong = Vec::new();
    for case in cases {
        let to = Net::host(case.to);
        let by_rules = opens(&rules, &to, case.protocol, case.port);
        let port = (case.protocol, case.port);
        let by_tables = tables.look_up(Direction::Out, &to, port).opened_by();
        if (by_rules, by_tables) != (case.rule, case.rule) {
            wrong.push(format!("{to} {port:?}: {:?}, {by_rules:?}, {by_tables:?}", case.rule));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    put(&mut rig, 9, tables)?;
    for case in cases {
        let frame = first(case.to, case.protocol, case.port);
        let code = rig.sent_by_a(&frame)?;
        let wanted = if case.rule.is_some() { ALLOW } else { DENY };
        let event = rig.events()?.pop();
        let rule = event.filter(|_| case.rule.is_some()).map(|event| event.rule);
        if (code, rule) != (wanted, case.rule) {
            wrong.push(format!(
                "{} {} {}: {code}, rule {rule:?}",
                case.to, case.protocol, case.port
            ));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Ten thousand rules: each opens what it says and nothing beside it.
#[test]
fn n1_many_rules_open_what_each_says() -> Result<()> {
    const RULES: u32 = 10_000;
    if !can_run() {
        return Ok(());
    }
    let net = |number: u32| {
        let address = std::net::Ipv4Addr::from_bits(0x5000_0000 + (number << 9));
        Net::new(address.into(), 24).context("a network")
    };
    let rules = (0..RULES).map(|number| {
        Ok(Rule {
            action: Action::Allow,
            to: vec![net(number)?],
            ports: vec![Ports::one(TCP, u16::try_from(1 + number % 50_000)?)],
            ..Rule::default()
        })
    });
    let rules = rules.collect::<Result<Vec<_>>>()?;
    let mut rig = Rig::new()?;
    put(&mut rig, 9, compile(&rules)?)?;
    for number in (0..RULES).step_by(997) {
        let port = u16::try_from(1 + number % 50_000)?;
        let inside = net(number)?.address();
        let beside = std::net::Ipv4Addr::from_bits(0x5000_0000 + (number << 9) + 0x100).into();
        for (to, protocol, port, wanted) in [
            (inside, TCP, port, ALLOW),
            (inside, TCP, port + 1, DENY),
            (inside, UDP, port, DENY),
            (inside, ICMP, 0, DENY),
            (beside, TCP, port, DENY),
        ] {
            let code = rig.sent_by_a(&first(to, protocol, port))?;
            ensure!(code == wanted, "rule {number}: {to} {protocol} {port}: {code}");
        }
    }
    Ok(())
}

/// F08: a policy whose entries have no room leaves nothing of itself, and the one before it in force.
#[test]
fn f08_a_policy_that_does_not_fit_is_taken_back_whole() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    // Each network is opened by a rule of its own, for a port of its own.
    let tables = |count: u16| -> Result<Tables> {
        let rules = (1..=count).map(|number| {
            let address = std::net::Ipv4Addr::from_bits(0x5000_0000 + (u32::from(number) << 8));
            let net = Net::new(address.into(), 24).context("a network")?;
            Ok(Rule {
                action: Action::Allow,
                to: vec![net],
                ports: vec![Ports::one(TCP, number)],
                ..Rule::default()
            })
        });
        Ok(compile(&rules.collect::<Result<Vec<_>>>()?)?)
    };
    for full in ["PREFIXES", "PORTS"] {
        let mut ebpf = aya::EbpfLoader::new()
            .map_max_entries("FLOWS", 1024)
            .map_max_entries(full, 128)
            .load(enforcer::kernel::object::embedded()?)?;
        let mut maps = Maps::take(&mut ebpf)?;
        maps.put_policy(POLICY, policy(1), &tables(10)?)?;
        let before = (maps.list_policies()?, maps.list_tables()?);
        ensure!(*before.1[&1] == tables(10)?, "{before:?}");
        let error = maps.put_policy(POLICY, policy(2), &tables(200)?).err().context("it fits")?;
        ensure!(error.to_string().contains(full), "{error}");
        ensure!((maps.list_policies()?, maps.list_tables()?) == before, "something is left");
    }
    Ok(())
}

/// N2: a hub reaches its guests, and a service does not; what guests ask of it, it answers.
#[test]
fn n2_a_service_answers_guests_and_opens_nothing_to_them() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let sent = |rig: &Rig, from: u16, to: u16, flags, acknowledged| {
        let ip = v4(HUB, A);
        let packet = segment(from, to, flags, 7, acknowledged).packet(&ip, &[]);
        let meta = Meta { ifindex: HUB_PORT, ingress: HUB_PORT, ..Meta::default() };
        Ok::<_, anyhow::Error>(
            rig.run(Hook::FromGuest, &framed(A_MAC, HUB_MAC, &ip, &packet), meta)?.code,
        )
    };
    assert_eq!(sent(&rig, 50_000, 8888, 2, 0)?, ALLOW, "a hub");
    rig.policy(POLICY, Policy { traits: BY_RULE_ONLY, ..policy(1) })?;
    assert_eq!(sent(&rig, 50_001, 8888, 2, 0)?, DENY, "a service");
    let reason = DropReason::GuestToGuest as u16;
    let denied = rig.counter(HUB_PORT + ID, reason, Hook::FromGuest)?;
    assert_eq!((denied.events, denied.recorded), (1, 1));

    let ask = |to| {
        let ip = v4(A, HUB);
        framed(HUB_MAC, A_MAC, &ip, &segment(40_000, to, 2, 99, 0).packet(&ip, &[]))
    };
    assert_eq!(rig.sent_by_a(&ask(ALLOWED_PORT))?, ALLOW, "a rule opens it");
    assert_eq!(rig.sent_by_a(&ask(22))?, DENY, "no rule does");
    let meta = Meta { ifindex: HUB_PORT, ingress: GUEST, mark: FROM_GUEST, ..Meta::default() };
    assert_eq!(rig.run(Hook::ToGuest, &ask(ALLOWED_PORT), meta)?.code, ALLOW);
    assert_eq!(sent(&rig, ALLOWED_PORT, 40_000, 18, 100)?, ALLOW, "its answer");

    // Its answers outlive what the guest may ask: they open nothing the other way round.
    let ip = v4(HUB, A);
    let late = framed(A_MAC, HUB_MAC, &ip, &udp_packet(&ip, ALLOWED_PORT, 41_000, b"late"));
    let before = rig.counter(GUEST + ID, reason, Hook::ToGuest)?.events;
    assert_eq!(rig.sent_to_a(HUB_PORT, &late)?, DENY, "a datagram of a service");
    assert_eq!(rig.counter(GUEST + ID, reason, Hook::ToGuest)?.events, before + 1);
    rig.policy(POLICY, policy(2))?;
    assert_eq!(rig.sent_to_a(HUB_PORT, &late)?, ALLOW, "the same of a hub");
    Ok(())
}

/// A flow is remembered under the version of the policy that it was judged by: under a later one, which would deny it, nobody
/// would ask again.
#[test]
fn n1_a_flow_that_opens_while_its_policy_changes_is_of_the_version_that_opened_it() -> Result<()> {
    const VERSIONS: u32 = 20_000;
    if !can_run() {
        return Ok(());
    }
    let version = |epoch| {
        let quotas = Quotas {
            inbound_half_open: 1 << 16,
            outbound_half_open: 1 << 16,
            ..policy(epoch).quotas
        };
        Policy { quotas, ..policy(epoch) }
    };
    let mut rig = Rig::with_flows(1 << 16)?;
    // Every other version opens the port, by a rule with its number; the others open nothing.
    for epoch in (1..VERSIONS).step_by(2) {
        rig.open(epoch, (IPV4, widen(WORLD.octets())), (TCP, ALLOWED_PORT), epoch)?;
    }
    rig.policy(POLICY, version(1))?;
    let map = rig.ebpf.take_map("POLICIES").context("POLICIES")?;
    let mut policies = Array::<_, Policy>::try_from(map)?;
    let opened = thread::scope(|scope| -> Result<u32> {
        let changes = scope.spawn(move || {
            (2..VERSIONS).try_for_each(|epoch| policies.set(POLICY, version(epoch), 0))
        });
        let (mut opened, mut ports) = (0, 1024..u16::MAX);
        while !changes.is_finished()
            && let Some(port) = ports.next()
        {
            opened += u32::from(rig.sent_by_a(&syn(port))? == ALLOW);
        }
        changes.join().map_err(|panic| anyhow::anyhow!("{panic:?}"))??;
        Ok(opened)
    })?;
    ensure!(opened > 0, "nothing was opened meanwhile");
    // Under an older version it is judged again with its next packet; under a newer one it would not be.
    let wrong = rig.flows()?.into_iter().filter(|flow| flow.epoch > flow.rule).count();
    ensure!(
        wrong == 0,
        "{wrong} of {opened} flows are filed under versions that came after their rule"
    );
    Ok(())
}
