//! Answers of the engine, reduced to what is the principal's. Fields are named that go on; what a newer engine adds
//! stays here until somebody has looked at it.

mod containers;
mod events;
mod images;
mod networks;
mod system;
#[cfg(test)]
mod tests;
mod volumes;

use serde_json::{Map, Value};

pub use self::{events::event_line, system::spoken};
use super::{body::Context, verdict::View};

/// What goes on of an answer. `None`: it does not look as such an answer does, and nothing of it goes on. For
/// [`View::Events`] each line is a value: see [`event_line`].
#[must_use]
pub fn reduce(view: View, context: &Context<'_>, answer: &Value) -> Option<Value> {
    match view {
        View::Containers => containers::list(context, answer),
        View::Container => containers::inspect(context, answer),
        View::Exec => containers::exec(context, answer),
        View::Images => images::list(context, answer),
        View::Image => images::inspect(context, answer),
        View::History => images::history(context, answer),
        View::Networks => networks::list(context, answer),
        View::Network => networks::inspect(context, answer),
        View::Volumes => volumes::list(context, answer),
        View::Volume => volumes::one(context, answer),
        View::Pruned => networks::pruned(context, answer),
        View::Info => system::info(context, answer),
        View::Version => system::version(answer),
        View::Events => events::event(context, answer),
    }
}

/// An error of the engine, without ids that are not the principal's: a name that is taken tells whose container has it.
#[must_use]
pub fn error(context: &Context<'_>, message: &str) -> String {
    let facts = context.facts;
    let is_own = |id: &str| {
        facts.containers.iter().any(|own| own.id == id)
            || facts.networks.iter().any(|own| own.id == id)
            || facts.execs.iter().any(|own| own.id == id)
            || facts.images.iter().any(|own| own.id.strip_prefix("sha256:") == Some(id))
    };
    let mut shown = String::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_hexdigit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        shown += if digits.len() == 64 && !is_own(digits) { "…" } else { digits };
        let mut letters = after.chars();
        shown.extend(letters.next());
        rest = letters.as_str();
    }
    shown.replace(&super::names::mark(context.principal), "")
}

/// The named fields of an object, those that it has.
fn only(object: &Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    let fields =
        names.iter().filter_map(|name| Some(((*name).to_owned(), object.get(*name)?.clone())));
    fields.collect()
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str()
}

/// A list of objects, each reduced; those that are nobody's business are left out.
fn each(
    answer: &Value,
    reduce: impl Fn(&Map<String, Value>) -> Option<Map<String, Value>>,
) -> Option<Value> {
    let items = answer.as_array()?.iter().filter_map(Value::as_object);
    Some(Value::Array(items.filter_map(reduce).map(Value::Object).collect()))
}
