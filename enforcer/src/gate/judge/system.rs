//! What is asked of the engine itself.

use hyper::Method;

use super::{
    own::{self, NOBODY},
    plain,
    target::Target,
};
use crate::gate::{
    body::Context,
    call::Call,
    verdict::{Answer, Forward, View},
    words::filters::Filters,
};

pub(super) fn judge(context: &Context<'_>, call: &Call) -> Forward {
    let get = |path: &str, answer| plain(Method::GET, Target::new(path), answer);
    match call {
        Call::Version => get("/version", Answer::Shown(View::Version)),
        Call::Info => get("/info", Answer::Shown(View::Info)),
        Call::Events { since, until, filters } => {
            let target = Target::new("/events")
                .maybe("since", since.as_ref())
                .maybe("until", until.as_ref())
                .filters(&events(context, filters));
            plain(Method::GET, target, Answer::Shown(View::Events))
        }
        Call::Ping { is_head: true } => plain(Method::HEAD, Target::new("/_ping"), Answer::Stream),
        _ => get("/_ping", Answer::Stream),
    }
}

/// Names as the engine has them. What is not the principal's matches nothing: left out, a filter would let
/// everything through.
fn events(context: &Context<'_>, filters: &Filters) -> Filters {
    let facts = context.facts;
    let mut filters = filters.clone();
    let resolve = |values: Vec<String>, find: &dyn Fn(&str) -> Option<String>| {
        let found: Vec<String> = values.iter().filter_map(|value| find(value)).collect();
        if found.is_empty() { vec![NOBODY.to_owned()] } else { found }
    };
    if let Some(values) = filters.take("container") {
        filters.set(
            "container",
            resolve(values, &|called| Some(own::container(facts, called).ok()?.id.clone())),
        );
    }
    if let Some(values) = filters.take("network") {
        filters.set(
            "network",
            resolve(values, &|called| Some(own::network(facts, called).ok()?.id.clone())),
        );
    }
    if let Some(values) = filters.take("volume") {
        filters.set(
            "volume",
            resolve(values, &|called| Some(own::volume(facts, called).ok()?.engine_name.clone())),
        );
    }
    filters
}
