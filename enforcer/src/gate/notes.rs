//! What an answer of the engine's says of ownership: effects that a verdict announced, made changes of the store. Pure;
//! what an answer does not say is left to be asked for.

use serde_json::Value;

use super::{
    store::Note,
    verdict::{Effect, Forward, Kind},
};

/// Digits of a full id.
const ID: usize = 64;

/// A change, or what has to be asked for before there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is known.
    Note(Note),
    /// The engine gave this container a name.
    NameOf(String),
    /// The image that a tag stands for.
    ImageOf(String),
}

/// What is noted before the engine is asked: an answer that says no may still leave a volume behind.
pub(super) fn before(forward: &Forward) -> Vec<Note> {
    let volumes = forward.effects.iter().filter_map(|effect| match effect {
        Effect::Made(Kind::Volume, name) => Some(add(Kind::Volume, name, "")),
        _ => None,
    });
    volumes.collect()
}

/// What is noted once the engine has said yes; `None`: its answer is none that is understood.
pub(super) fn after(forward: &Forward, answer: &Value) -> Option<Vec<Found>> {
    let mut found = Vec::new();
    for effect in &forward.effects {
        match effect {
            Effect::Created(kind) => found.push(created(*kind, forward, answer)?),
            Effect::Made(Kind::Image, tag) => found.push(Found::ImageOf(tag.clone())),
            Effect::Made(kind, id) => found.push(Found::Note(add(*kind, id, ""))),
            Effect::Removed(kind, id) => found.push(Found::Note(remove(*kind, id))),
            Effect::Renamed(id, name) => {
                found.push(Found::Note(add(Kind::Container, id, name)));
            }
            Effect::Pruned(kind) => {
                let gone = pruned(*kind, answer)?;
                found.extend(gone.into_iter().map(|id| Found::Note(remove(*kind, &id))));
            }
        }
    }
    Some(found)
}

fn created(kind: Kind, forward: &Forward, answer: &Value) -> Option<Found> {
    let body = |name: &str| forward.body.as_ref()?.get(name)?.as_str();
    let id = || answer.get("Id")?.as_str().filter(|id| is_id(id));
    Some(match kind {
        Kind::Container => match name(&forward.target) {
            Some(name) => Found::Note(add(kind, id()?, &name)),
            None => Found::NameOf(id()?.to_owned()),
        },
        Kind::Volume => Found::Note(add(kind, answer.get("Name")?.as_str()?, "")),
        Kind::Network => Found::Note(add(kind, id()?, body("Name")?)),
        Kind::Exec => {
            let container = forward.target.split('/').nth(2)?;
            Found::Note(add(kind, id()?, container))
        }
        Kind::Image => return None,
    })
}

/// What a prune took away, as the engine calls it. Networks are listed by name, and volumes have no id.
fn pruned(kind: Kind, answer: &Value) -> Option<Vec<String>> {
    let field = match kind {
        Kind::Container => "ContainersDeleted",
        Kind::Volume => "VolumesDeleted",
        // By name: the next look at the engine ends them.
        Kind::Network => return Some(Vec::new()),
        Kind::Exec | Kind::Image => return None,
    };
    match answer.get(field) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(list) => list.as_array()?.iter().map(|id| id.as_str().map(str::to_owned)).collect(),
    }
}

/// The name in a create's query.
fn name(target: &str) -> Option<String> {
    let (_, query) = target.split_once('?')?;
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).ok()?;
    pairs.into_iter().find(|(key, _)| key == "name").map(|(_, name)| name)
}

fn is_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn add(kind: Kind, id: &str, about: &str) -> Note {
    Note::Add { kind, id: id.to_owned(), about: about.to_owned() }
}

fn remove(kind: Kind, id: &str) -> Note {
    Note::Remove { kind, id: id.to_owned() }
}

#[cfg(test)]
mod tests {
    use hyper::Method;
    use serde_json::json;

    use super::*;
    use crate::gate::verdict::Answer;

    const ID: &str = "ab00000000000000000000000000000000000000000000000000000000000001";

    fn forward(target: &str, body: Value, effects: Vec<Effect>) -> Forward {
        Forward {
            method: Method::POST,
            target: target.to_owned(),
            body: Some(body),
            answer: Answer::Whole,
            effects,
            shown: Value::Null,
        }
    }

    #[test]
    fn s3_what_the_engine_made_is_noted_by_what_it_says_and_nothing_else() {
        let create = "/containers/create";
        let note = |note| Some(vec![Found::Note(note)]);
        let (made, id) = (|kind| vec![Effect::Created(kind)], json!({"Id": ID}));
        for (target, effects, answer, expected) in [
            (
                "/containers/create?name=web%2D1&platform=x",
                made(Kind::Container),
                id.clone(),
                note(add(Kind::Container, ID, "web-1")),
            ),
            (create, made(Kind::Container), id.clone(), Some(vec![Found::NameOf(ID.to_owned())])),
            (create, made(Kind::Container), json!({"Id": "../x"}), None),
            (create, made(Kind::Container), json!({}), None),
            (create, made(Kind::Container), json!([]), None),
            (
                "/networks/create",
                made(Kind::Network),
                id.clone(),
                note(add(Kind::Network, ID, "mark-app")),
            ),
            (
                "/volumes/create",
                made(Kind::Volume),
                json!({"Name": "mark-data"}),
                note(add(Kind::Volume, "mark-data", "")),
            ),
            ("/containers/cd/exec", made(Kind::Exec), id.clone(), note(add(Kind::Exec, ID, "cd"))),
            (
                "/images/x/tag",
                vec![Effect::Made(Kind::Image, "mark-x:1".to_owned())],
                Value::Null,
                Some(vec![Found::ImageOf("mark-x:1".to_owned())]),
            ),
            (
                "/containers/ab/rename?name=y",
                vec![Effect::Renamed(ID.to_owned(), "y".to_owned())],
                Value::Null,
                note(add(Kind::Container, ID, "y")),
            ),
            (
                "/volumes/prune",
                vec![Effect::Pruned(Kind::Volume)],
                json!({"VolumesDeleted": ["a"], "SpaceReclaimed": 1}),
                note(remove(Kind::Volume, "a")),
            ),
            (
                "/containers/prune",
                vec![Effect::Pruned(Kind::Container)],
                json!({"ContainersDeleted": null}),
                Some(Vec::new()),
            ),
        ] {
            let forward = forward(target, json!({"Name": "mark-app"}), effects);
            assert_eq!(after(&forward, &answer), expected, "{target} {answer}");
        }
    }

    #[test]
    fn s3_volumes_are_noted_before_the_engine_can_make_them() {
        let effects = vec![
            Effect::Created(Kind::Container),
            Effect::Made(Kind::Volume, "mark-data".to_owned()),
        ];
        let forward = forward("/containers/create", Value::Null, effects);
        assert_eq!(before(&forward), [add(Kind::Volume, "mark-data", "")]);
    }
}
