//! A test for each row of the threat list, with the catalogue's attacks of that row.

use anyhow::{Result, ensure};
use enforcer_tests::{
    attacks::catalogue,
    harness::{
        enforcer::Mode,
        proof::{judge, observe},
    },
};

use crate::shared;

/// Performs every attack of a row: nothing arrives, everything is counted and recorded, and legal
/// traffic works after each.
fn deny(row: &str) -> Result<()> {
    shared::with(|shared| {
        let mut complaints = Vec::new();
        let attacks = catalogue(&shared.rig.scene()?);
        let attacks: Vec<_> = attacks.iter().filter(|attack| attack.row == row).collect();
        ensure!(!attacks.is_empty(), "no attack has row {row}");
        for attack in attacks {
            let seen = observe(&shared.rig, Mode::Enforcing, Some(&shared.daemon), attack)?;
            let title = attack.title();
            println!("{title:60} {:5} of {:5} {}", seen.reached, seen.sent, seen.reasons());
            complaints
                .extend(judge(Mode::Enforcing, attack, &seen).iter().map(ToString::to_string));
            if let Err(error) = shared.ensure_legal() {
                complaints.push(format!("{title}: after it, {error:#}"));
            }
        }
        ensure!(complaints.is_empty(), "\n{}", complaints.join("\n"));
        Ok(())
    })
}

macro_rules! rows {
    ($($name:ident: $row:literal;)+) => {
        $(
            #[test]
            fn $name() -> Result<()> {
                deny($row)
            }
        )+
    };
}

rows! {
    p01_frames_that_are_not_ip: "P01";
    p02_vlan_tags: "P02";
    p04_arp_spoofing: "P04";
    p05_router_and_neighbour_spoofing: "P05";
    p06_ipv6_as_the_forgotten_family: "P06";
    p07_source_spoofing: "P07";
    p08_egress_disguised_as_answers: "P08";
    p09_other_protocols: "P09";
    p10_tunnels: "P10";
    p11_host_services: "P11";
    p12_loopback: "P12";
    p14_published_port_hairpin: "P14";
    p15_every_kind_of_socket: "P15";
    p16_non_linear_frames: "P16";
    p17_ipv4_fragments: "P17";
    p18_ipv6_extension_headers: "P18";
    p19_ip_options: "P19";
    p20_malformed_lengths: "P20";
    p22_closed_tuples: "P22";
    p23_forged_resets: "P23";
    p25_icmp_as_a_channel: "P25";
    p27_broadcast_and_multicast: "P27";
    p28_rogue_dhcp: "P28";
    p32_super_packets_and_checksums: "P32";
    p35_land_and_bogus_sources: "P35";
    p37_virtio_headers_that_lie: "P37";
    p38_tcp_options_and_data_on_syn: "P38";
    p40_proxy_arp_and_redirects: "P40";
    p42_the_host_in_a_trace: "P42";
}

/// A row that is added to the catalogue needs its test here.
#[test]
fn every_row_of_the_catalogue_has_a_test() -> Result<()> {
    shared::with(|shared| {
        let source = include_str!("rows.rs");
        for attack in catalogue(&shared.rig.scene()?) {
            let line = format!(": \"{}\";", attack.row);
            ensure!(source.contains(&line), "{} has no test", attack.row);
        }
        Ok(())
    })
}
