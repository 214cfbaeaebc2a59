//! The closed sets of words, from the code that writes them.

use enforcer_common::{
    abi::{
        endpoint::Role,
        event::{Call, EndCause, Hook},
        verdict::DropReason,
    },
    decide::{Opener, Origin},
};
use serde_json::{Value, json};

use super::super::enrich::{opener_name, role_name};

pub(in super::super) fn hooks() -> Vec<&'static str> {
    Hook::ALL.map(Hook::name).to_vec()
}

pub(in super::super) fn calls() -> Vec<&'static str> {
    Call::ALL.map(Call::name).to_vec()
}

pub(in super::super) fn reasons() -> Vec<&'static str> {
    DropReason::ALL.iter().map(|reason| reason.name()).collect()
}

/// What a loss is a loss of: denials, flows, or something that this daemon has no word for.
pub(in super::super) fn loss_reasons() -> Value {
    let words = [reasons(), vec!["flow_opened", "flow_closed", "exec", "connect_refused"]].concat();
    json!([{ "enum": words }, { "pattern": "^reason_[0-9]+$" }])
}

pub(in super::super) fn causes() -> Vec<&'static str> {
    EndCause::ALL.map(EndCause::name).to_vec()
}

pub(in super::super) fn roles() -> Vec<&'static str> {
    let roles = [Role::Guest, Role::Hub, Role::Other, Role::Unknown];
    roles.map(role_name).into_iter().chain(["network"]).collect()
}

pub(in super::super) fn openers() -> Vec<&'static str> {
    let peers = [Origin::Host, Origin::Hub, Origin::Guest, Origin::Beyond].map(Opener::Peer);
    [Opener::Endpoint].into_iter().chain(peers).map(opener_name).collect()
}

pub(in super::super) fn ip_formats() -> Value {
    json!([{ "format": "ipv4" }, { "format": "ipv6" }])
}
