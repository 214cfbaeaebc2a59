//! What was learnt, as text of a config file with what a reviewer needs to know.

use enforcer_common::packet::{ICMP, ICMPV6, TCP, UDP};

use super::{Learnt, LearntRule, Wish};
use crate::policy::write::{WrittenRule, comment, head, rule};

/// Names of one address, and guests that scan, that are listed.
const LISTED: usize = 5;

/// Writes it.
pub(super) fn write(wish: &Wish<'_>, learnt: &Learnt) -> String {
    let mut lines = vec![
        format!("Learnt from what {} guests did in {} recorded attempts{}.", learnt.guests, learnt.attempts, of(wish)),
        "READ IT BEFORE USE: each rule opens what guests wanted, not what they should have. Remove what the tutorial does"
            .to_owned(),
        "not need; a name in a comment is only what an address was called. Hubs and this host are not in it.".to_owned(),
        "With mode = \"audit\" in the table below, what is missing is still let through and recorded.".to_owned(),
    ];
    if wish.image.is_none() && learnt.images.len() > 1 {
        lines
            .push(format!("They had {}: use --image for a policy of one.", listed(&learnt.images)));
    }
    if !learnt.scans.is_empty() {
        lines.push(format!(
            "Left out, for more than {} destinations each: {}.",
            wish.scan,
            listed(&learnt.scans)
        ));
    }
    for (count, words) in [
        (learnt.neighbours, "attempts were towards other guests or hubs: no address opens those."),
        (learnt.others, "attempts are not in it: there was no room, or too little was told."),
        (learnt.lost, "records were lost or are missing: what they would tell is not in it."),
    ] {
        if count > 0 {
            lines.push(format!("{count} {words}"));
        }
    }
    let mut toml: String = lines.iter().map(|line| comment(line) + "\n").collect();
    toml += &head(wish.policy);
    toml.extend(learnt.rules.iter().map(|learnt| rule(wish.policy, &written(learnt))));
    toml
}

fn of(wish: &Wish<'_>) -> String {
    let image = wish.image.map(|image| format!(", image {image}")).unwrap_or_default();
    let network = wish.network.map(|network| format!(", network {network}")).unwrap_or_default();
    image + &network
}

fn written(learnt: &LearntRule) -> WrittenRule {
    let LearntRule { guests, attempts, unopened, first, last, names, addresses, .. } = learnt;
    let mut comments = Vec::new();
    if let Some(why) = &learnt.left_out {
        comments.push(format!("Left out: {why}."));
    }
    let unopened = match unopened {
        0 => String::new(),
        count => format!(", {count} of them not opened by any rule"),
    };
    comments
        .push(format!("{guests} guests, {attempts} attempts{unopened}, from {first} to {last}"));
    if *addresses > 1 {
        comments.push(format!("{addresses} addresses of it were seen: it opens all of them"));
    }
    if !names.is_empty() {
        comments.push(format!("called {}", listed(names)));
    }
    WrittenRule {
        comments,
        action: "allow",
        to: vec![learnt.to.clone()],
        protocol: Some(learnt.protocol),
        ports: learnt.ports.clone(),
        is_comment: learnt.left_out.is_some(),
    }
}

fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let mut names = names.into_iter();
    let first: Vec<&str> = names.by_ref().take(LISTED).map(String::as_str).collect();
    match names.count() {
        0 => first.join(", "),
        others => format!("{} and {others} more", first.join(", ")),
    }
}

/// The word that a rule has for it.
pub(super) const fn protocol(number: u8) -> &'static str {
    match number {
        TCP => "tcp",
        UDP => "udp",
        ICMP | ICMPV6 => "icmp",
        // The packet path lets nothing else through.
        _ => "any",
    }
}

pub(super) const fn has_ports(number: u8) -> bool {
    matches!(number, TCP | UDP)
}
