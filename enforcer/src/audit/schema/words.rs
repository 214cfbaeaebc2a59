//! The closed sets of words, from the code that writes them.

use enforcer_common::{
    abi::{
        endpoint::Role,
        event::{Call, EndCause, Hook, SocketCall},
        verdict::DropReason,
    },
    decide::{Opener, Origin},
};
use serde_json::{Value, json};

use super::super::{
    enrich::{opener_name, role_name},
    loss::{query_reason, reason_name},
    record::LifeEvent,
};
use crate::{
    abuse::{ASKED, Answer, Signal},
    access::{grant::Kind, store::Event},
    gate,
    model::names::Outcome,
};

pub(in super::super) fn hooks() -> Vec<&'static str> {
    Hook::ALL.map(Hook::name).to_vec()
}

pub(in super::super) fn calls() -> Vec<&'static str> {
    Call::ALL.map(Call::name).to_vec()
}

pub(in super::super) fn socket_calls() -> Vec<&'static str> {
    SocketCall::ALL.map(SocketCall::name).to_vec()
}

pub(in super::super) fn reasons() -> Vec<&'static str> {
    DropReason::ALL.iter().map(|reason| reason.name()).collect()
}

/// What becomes of a question to the resolver.
pub(in super::super) fn query_outcomes() -> Vec<&'static str> {
    Outcome::ALL.map(Outcome::name).to_vec()
}

/// What a loss is a loss of: denials, flows, or something that this daemon has no word for.
pub(in super::super) fn loss_reasons() -> Value {
    let others = ["flow_opened", "flow_closed", "exec", "connect_refused", "socket_refused"];
    let words = reasons().into_iter().chain(others).map(str::to_owned);
    let queries = Outcome::ALL.map(|outcome| reason_name(query_reason(outcome)));
    let words: Vec<String> = words.chain(queries).collect();
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
    let peers = [Origin::Host, Origin::Hub, Origin::Guest, Origin::Beyond, Origin::Service]
        .map(Opener::Peer);
    [Opener::Endpoint].into_iter().chain(peers).map(opener_name).collect()
}

pub(in super::super) fn signals() -> Vec<&'static str> {
    Signal::ALL.map(Signal::name).into_iter().chain([ASKED]).collect()
}

pub(in super::super) fn answers() -> Vec<&'static str> {
    Answer::ALL.map(Answer::name).into_iter().chain(["expire", "pardon"]).collect()
}

pub(in super::super) fn group_events() -> Vec<&'static str> {
    let events = Event::ALL.into_iter().filter(|event| !event.is_of_a_grant());
    events.map(Event::name).chain(["unavailable"]).collect()
}

pub(in super::super) fn grant_events() -> Vec<&'static str> {
    let events = Event::ALL.into_iter().filter(|event| event.is_of_a_grant());
    events.map(Event::name).chain(["unavailable"]).collect()
}

pub(in super::super) fn life_events() -> Vec<&'static str> {
    LifeEvent::ALL.map(LifeEvent::name).to_vec()
}

pub(in super::super) fn gate_events() -> Vec<&'static str> {
    gate::tell::Event::ALL.map(gate::tell::Event::name).to_vec()
}

pub(in super::super) fn grants() -> Vec<&'static str> {
    Kind::ALL.map(Kind::name).to_vec()
}

pub(in super::super) fn ip_formats() -> Value {
    json!([{ "format": "ipv4" }, { "format": "ipv6" }])
}
