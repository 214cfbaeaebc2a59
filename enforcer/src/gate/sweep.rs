//! Now and then what the store has is held against what the engine has: containers end by themselves, and the host's
//! administrator removes and renames what he likes.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use tokio::task::spawn_blocking;

use super::{
    answer,
    serve::Server,
    upstream,
    verdict::{Kind, Refusal},
};

/// Where the engine lists a kind of things.
const fn list(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Container => Some("/containers/json?all=1"),
        Kind::Volume => Some("/volumes"),
        Kind::Network => Some("/networks"),
        Kind::Image => Some("/images/json"),
        Kind::Exec => None,
    }
}

/// What the engine lists: ids, and what the store keeps beside them.
fn there(kind: Kind, answer: &Value) -> Option<BTreeMap<String, Option<String>>> {
    let text = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
    let all = match kind {
        Kind::Volume => answer.get("Volumes")?,
        _ => answer,
    };
    let mut found = BTreeMap::new();
    for one in all.as_array().map(Vec::as_slice).unwrap_or_default() {
        match kind {
            Kind::Container => {
                let names = one.get("Names").and_then(Value::as_array);
                // Links have names with more than one slash.
                let mut names = names.into_iter().flatten().filter_map(|name| {
                    name.as_str()?.strip_prefix('/').filter(|name| !name.contains('/'))
                });
                let name = names.next().map(str::to_owned);
                found.insert(text(one, "Id")?, name);
            }
            Kind::Volume => drop(found.insert(text(one, "Name")?, None)),
            Kind::Network => drop(found.insert(text(one, "Id")?, None)),
            Kind::Image => {
                let id = text(one, "Id")?;
                let tags = one.get("RepoTags").and_then(Value::as_array);
                let tags = tags.into_iter().flatten().filter_map(Value::as_str);
                found.extend(tags.map(|tag| (tag.to_owned(), Some(id.clone()))));
            }
            Kind::Exec => return None,
        }
    }
    Some(found)
}

impl Server {
    /// Looks at all kinds of which there is something.
    pub(super) async fn sweep_all(&self) {
        // One look at a time, however often it is asked for: an engine that hangs keeps each waiting.
        let Ok(_looking) = self.sweeping.try_lock() else { return };
        for kind in [Kind::Container, Kind::Volume, Kind::Network, Kind::Image] {
            if self.store.has(kind)
                && let Err(error) = self.sweep(kind).await
            {
                tracing::debug!("gate: what the engine has was not looked at: {error}");
            }
        }
    }

    /// Looks at one kind.
    pub(super) async fn sweep(&self, kind: Kind) -> Result<(), Refusal> {
        let Some(path) = list(kind) else { return Ok(()) };
        let serial = self.store.serial();
        let answer = upstream::value(&self.engine_socket, &self.api()?, path).await?;
        let odd = || answer::odd("engine.answer", "the engine's list is none");
        let there = there(kind, &answer).ok_or_else(odd)?;
        let store = Arc::clone(&self.store);
        let comparing =
            spawn_blocking(move || store.compare(kind, serial, |id| there.get(id).cloned()));
        match comparing.await {
            Ok(Ok(changed)) => {
                if changed > 0 {
                    tracing::debug!(changed, ?kind, "gate: changed beside it");
                }
                Ok(())
            }
            Ok(Err(error)) => Err(answer::odd("gate.store", &error.to_string())),
            Err(_) => Err(answer::odd("gate.store", "the store does not answer")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn s3_what_the_engine_lists_is_read_by_id_and_name() {
        let name = |text: &str| Some(text.to_owned());
        for (kind, answer, expected) in [
            (
                Kind::Container,
                json!([{"Id": "a", "Names": ["/other/alias", "/web"]}, {"Id": "b", "Names": null}]),
                vec![("a", name("web")), ("b", None)],
            ),
            (Kind::Volume, json!({"Volumes": [{"Name": "v"}]}), vec![("v", None)]),
            (Kind::Volume, json!({"Volumes": null}), vec![]),
            (Kind::Network, json!([{"Id": "n", "Name": "x"}]), vec![("n", None)]),
            (
                Kind::Image,
                json!([{"Id": "sha256:i", "RepoTags": ["a:1", "b:2"]}, {"Id": "sha256:j", "RepoTags": null}]),
                vec![("a:1", name("sha256:i")), ("b:2", name("sha256:i"))],
            ),
        ] {
            let found = there(kind, &answer).expect("a list");
            let expected = expected.into_iter().map(|(id, about)| (id.to_owned(), about));
            assert_eq!(found, expected.collect(), "{answer}");
        }
        assert!(there(Kind::Container, &json!([{"Names": []}])).is_none());
        assert!(there(Kind::Volume, &json!([])).is_none());
    }
}
