//! Images: own ones and those that the rules list, by tags that are the principal's to see.

use serde_json::{Map, Value, json};

use super::{each, only, text};
use crate::gate::{body::Context, image::Reference, judge};

const LISTED: [&str; 10] = [
    "Containers",
    "Created",
    "Descriptor",
    "Id",
    "Labels",
    "ParentId",
    "RepoDigests",
    "RepoTags",
    "SharedSize",
    "Size",
];
const INSPECTED: [&str; 12] = [
    "Architecture",
    "Author",
    "Config",
    "Created",
    "Descriptor",
    "Id",
    "Os",
    "RepoDigests",
    "RepoTags",
    "RootFS",
    "Size",
    "Variant",
];
const LAYER: [&str; 5] = ["Created", "CreatedBy", "Id", "Size", "Tags"];

pub(super) fn list(context: &Context<'_>, answer: &Value) -> Option<Value> {
    each(answer, |image| {
        let mut shown = only(image, &LISTED);
        let has_tags =
            tags(context, &mut shown, "RepoTags") | tags(context, &mut shown, "RepoDigests");
        // How many containers others have of it.
        shown.insert("Containers".to_owned(), json!(-1));
        (has_tags || is_own(context, text(image, "Id")?)).then_some(shown)
    })
}

pub(super) fn inspect(context: &Context<'_>, answer: &Value) -> Option<Value> {
    let mut shown = only(answer.as_object()?, &INSPECTED);
    tags(context, &mut shown, "RepoTags");
    tags(context, &mut shown, "RepoDigests");
    Some(Value::Object(shown))
}

pub(super) fn history(context: &Context<'_>, answer: &Value) -> Option<Value> {
    each(answer, |layer| {
        let mut shown = only(layer, &LAYER);
        tags(context, &mut shown, "Tags");
        Some(shown)
    })
}

fn is_own(context: &Context<'_>, id: &str) -> bool {
    context.facts.images.iter().any(|own| own.id == id)
}

/// Leaves out tags that are not to be seen; whether any is left.
fn tags(context: &Context<'_>, image: &mut Map<String, Value>, key: &str) -> bool {
    let Some(all) = image.get(key).and_then(Value::as_array) else { return false };
    let own: Vec<&String> = context.facts.images.iter().flat_map(|own| &own.tags).collect();
    let is_seen = |tag: &str| {
        let listed = |tag| {
            Reference::parse(tag).is_some_and(|tag: Reference| tag.is_among(&context.rules.images))
        };
        own.iter().any(|own| *own == tag) || judge::sees_all_images(context) || listed(tag)
    };
    let seen: Vec<&str> = all.iter().filter_map(Value::as_str).filter(|tag| is_seen(tag)).collect();
    let is_any = !seen.is_empty();
    let seen = json!(seen);
    image.insert(key.to_owned(), seen);
    is_any
}
