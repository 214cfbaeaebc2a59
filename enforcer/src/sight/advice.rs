//! What an operator can do about a denial, by its reason. Pure.

use enforcer_common::abi::verdict::DropReason;

/// What a reason means, in a sentence.
#[must_use]
pub fn means(reason: &str) -> &'static str {
    match (reason, known(reason)) {
        ("foreign_socket", _) => "The unix socket was made outside of the guest's container.",
        ("connect_refused", _) => {
            "A call was refused before there was a packet; its record has the reason."
        }
        ("socket_refused", _) => {
            "A unix socket was refused that was made outside of the guest's container."
        }
        (_, Some(reason)) => reason.describe(),
        (_, None) => "A reason of another version.",
    }
}

/// What to do about it, where something is to be done.
#[must_use]
pub fn what_to_do(reason: &str) -> &'static str {
    use DropReason as R;
    let Some(reason) = known(reason) else {
        return "Nothing: guests have sockets of their own, and those that their grant gives them.";
    };
    match reason {
        R::Policy => {
            "If guests are to reach it: add a rule to their policy and `enforcer reload`; for a while and this guest only: \
             `enforcer allow`."
        }
        R::GuestToGuest | R::Hairpin => {
            "Nothing: guests never reach one another. A service for all of them is a [[networks.NAME.service]]; one owner's \
             containers meet on a network of their own: `enforcer network create`."
        }
        R::NotPublished => "Publish the container's port, on an address that is not loopback.",
        R::Source => {
            "Add the source to a rule with `from` of the guest's policy, and `enforcer reload`."
        }
        R::QuotaHalfOpen | R::QuotaEstablished | R::FlowTableFull => {
            "Look at its flows first: many half-open ones are a scan. [networks.NAME.quotas] and max_flows say how many there may be."
        }
        R::RateNewFlows | R::RatePackets | R::RateBits => {
            "It has reached its limits: [networks.NAME.limits], its policy's, or [abuse.slow] while it is slowed (`enforcer pardon`)."
        }
        R::UnknownInterface | R::RoleOther | R::Unstamped | R::Internal => {
            "If it lasts for more than a few seconds: `enforcer status` and `enforcer doctor` say what is missing."
        }
        R::NoFamily => {
            "Give the network a `subnet6` if guests are to have IPv6; otherwise nothing."
        }
        R::NoFlow | R::FlowState | R::IcmpNoFlow | R::NotAddressed | R::Multicast | R::Router => {
            "Nothing, as a rule: late packets and noise of the network end here."
        }
        _ => {
            "Nothing: no honest program needs it. Where a guest goes on with it, cut it off, or have [abuse] do so."
        }
    }
}

fn known(name: &str) -> Option<DropReason> {
    DropReason::ALL.iter().copied().find(|reason| reason.name() == name)
}
