//! Own networks.

use hyper::Method;

use super::{
    containers::own_labels,
    misplaced,
    own::{self, NOBODY},
    plain,
    target::Target,
    with_body,
};
use crate::gate::{
    body::{self, Context},
    call::Call,
    facts::OwnNetwork,
    json::Json,
    verdict::{Answer, Effect, Forward, Kind, Refusal, View},
    words::filters::Filters,
};

pub(super) fn judge(context: &Context<'_>, call: &Call, body: &Json) -> Result<Forward, Refusal> {
    let facts = context.facts;
    Ok(match call {
        Call::NetworkList { filters } => {
            let target = Target::new("/networks").filters(&list(context, filters));
            plain(Method::GET, target, Answer::Shown(View::Networks))
        }
        Call::NetworkCreate => {
            let judged = body::network::judge(body, context)?;
            let forward = with_body(Target::new("/networks/create"), judged, Answer::Whole);
            forward.noting(Effect::Created(Kind::Network))
        }
        Call::NetworkInspect { network, verbose } => {
            let guest = facts.guest_network.as_ref().filter(|guest| guest.name == *network);
            let id = match guest {
                Some(guest) => &guest.name,
                None => &own::network(facts, network)?.id,
            };
            let target = Target::new(format!("/networks/{id}")).flag("verbose", *verbose);
            plain(Method::GET, target, Answer::Shown(View::Network))
        }
        Call::NetworkConnect { network } => {
            let own = own::network(facts, network)?;
            let target = Target::new(format!("/networks/{}/connect", own.id));
            with_body(target, body::network::judge_connect(body, context)?, Answer::Whole)
        }
        Call::NetworkDisconnect { network } => {
            let own = own::network(facts, network)?;
            let target = Target::new(format!("/networks/{}/disconnect", own.id));
            with_body(target, body::network::judge_disconnect(body, context)?, Answer::Whole)
        }
        Call::NetworkRemove { network } => {
            let own = own::network(facts, network)?;
            let target = Target::new(format!("/networks/{}", own.id));
            let removed = Effect::Removed(Kind::Network, own.id.clone());
            plain(Method::DELETE, target, Answer::Whole).noting(removed)
        }
        Call::NetworkPrune { filters } => {
            let target = Target::new("/networks/prune").filters(&own_labels(context, filters));
            plain(Method::POST, target, Answer::Shown(View::Pruned))
                .noting(Effect::Pruned(Kind::Network))
        }
        _ => return Err(misplaced()),
    })
}

/// By id: the names that clients ask for are not those that the engine has. A part of a name is enough, as for
/// the engine.
fn list(context: &Context<'_>, filters: &Filters) -> Filters {
    let mut filters = filters.clone();
    let (names, ids) = (filters.take("name"), filters.take("id"));
    let is_asked = |own: &&OwnNetwork| {
        let has = |values: &Option<Vec<String>>, text: &str| {
            values
                .as_ref()
                .is_none_or(|values| values.iter().any(|value| text.contains(value.as_str())))
        };
        has(&names, &own.name) && has(&ids, &own.id)
    };
    let found: Vec<String> =
        context.facts.networks.iter().filter(is_asked).map(|own| own.id.clone()).collect();
    filters.set("id", if found.is_empty() { vec![NOBODY.to_owned()] } else { found });
    filters
}
