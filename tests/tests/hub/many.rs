//! Twenty visitors at once: each has a notebook, none reaches another, and what they tried is told of each exactly.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{
    dockerd::Options,
    enforcer::Counters,
    run::wait_for,
    topology::{GATEWAY, WORLD},
};

use super::{
    party::{Guest, MANY, PORT, Party},
    restarts,
    site::{self, PUBLIC, Plan, Site},
};

const PLANS: [Plan; 1] = [Plan { remove: false, ..PUBLIC }];

/// What a call was told, and whether within a second.
type Told = (String, bool);

/// N2, A1, A2, then N7: at a full site nobody reaches anybody, by no call and by no frame; records and counters of each user
/// are exact. It stays so while the daemon, the hub, the proxy and the engine are killed under the visitors.
#[test]
fn n2_n7_of_twenty_visitors_none_reaches_another_whatever_is_killed_under_them() -> Result<()> {
    let options = Options { live_restore: true, ..Options::default() };
    site::with(options, &PLANS, |site| {
        let mut party = Party::gather(site)?;
        apart(site, &mut party)?;
        restarts::survived(site, &mut party)
    })
}

fn apart(site: &Site, party: &mut Party) -> Result<()> {
    let before = site.daemon()?.counts(&site.base.host)?;
    let watch = party.watch(site)?;
    let code = "print(json.dumps([told for ip in TARGETS for told in calls(ip)]))";
    let codes: Vec<_> = (0..MANY).map(|who| party.cell(who, code)).collect();
    for (said, guest) in party.visitors.cells(&codes)?.iter().zip(&party.guests) {
        let all: Vec<Told> = serde_json::from_str(said).context(said.clone())?;
        let refused = all.iter().filter(|(told, is_prompt)| told == "EPERM" && *is_prompt).count();
        ensure!(refused == 10 && all.len() == 10, "{}: {all:?}", guest.user);
    }
    for who in 0..MANY {
        let sent = party.trespass(who)?;
        ensure!(sent == 9, "the kernel took {sent} frames of 9");
    }
    watch.ensure_nothing_else()?;
    // 5 addresses by TCP and by UDP; 3 neighbours with 3 frames each.
    for (who, guest) in party.guests.iter().enumerate() {
        wait_for("the last records", std::time::Duration::from_secs(20), || {
            ensure_told(site, party, who).map(Some)
        })?;
        let after = site.daemon()?.counts(&site.base.host)?;
        let rose = rise(&before, &after, guest);
        // A frame to another guest's MAC address is refused by that alone.
        let expected = [("connect_refused", 10), ("l2_destination", 6), ("guest_to_guest", 3)];
        let counted = expected.map(|(reason, _)| (reason, rose.get(reason).copied().unwrap_or(0)));
        ensure!(counted == expected, "{}: {rose:?}", guest.user);
    }
    Ok(())
}

/// Records of a user, by what they are about and where to.
fn ensure_told(site: &Site, party: &Party, who: usize) -> Result<()> {
    let guest = party.guests.get(who).context("nobody")?;
    let mut told: BTreeMap<(String, String), u32> = BTreeMap::new();
    for record in site.daemon()?.records() {
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        // The host's own call to see that the capture sees opened a flow.
        let is_ours = !text("event.action").starts_with("flow_")
            && record["destination.port"] == PORT
            && record["user.name"] == guest.user.as_str();
        if is_ours {
            ensure!(text("container.name") == guest.container, "another's: {record}");
            *told.entry((text("event.action"), text("destination.ip"))).or_default() += 1;
        }
    }
    let mut expected = BTreeMap::new();
    for ip in party.neighbours(who).map(|guest| guest.ip).chain([WORLD, GATEWAY]) {
        expected.insert(("connect_refused".to_owned(), ip.to_string()), 2);
    }
    for neighbour in party.neighbours(who) {
        expected.insert(("denied".to_owned(), neighbour.ip.to_string()), 3);
    }
    ensure!(told == expected, "{}: {told:?}, expected {expected:?}", guest.user);
    Ok(())
}

/// How much a guest's counters rose, by reason.
fn rise(before: &Counters, after: &Counters, guest: &Guest) -> BTreeMap<String, u64> {
    let mut rose = BTreeMap::new();
    for (key, count) in after.iter().filter(|(key, _)| key.endpoint == guest.container) {
        let then = before.get(key).copied().unwrap_or_default();
        *rose.entry(key.reason.clone()).or_default() += count.events - then.events;
    }
    rose
}
