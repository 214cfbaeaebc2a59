//! A prune of a user's containers, one by one. The engine's own leaves the volumes that have no name: they would be
//! nobody's, and count for nobody (S30).

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::Request;
use serde_json::{Value, json};

use super::{
    answer,
    errand::{Errand, not_understood},
    facts::Facts,
    raw::Done,
    upstream,
    verdict::Refusal,
};

/// States of containers that a prune means.
const STOPPED: [&str; 3] = ["created", "dead", "exited"];

impl Errand {
    /// Removes each of the principal's stopped containers that the filters mean, as `docker rm -v` does, and answers as
    /// the engine answers a prune. What cannot be removed stays, as with the engine's.
    pub(super) async fn prune(&self) -> Result<Done, Refusal> {
        let meant = Meant::of(&self.forward.target).ok_or_else(not_understood)?;
        let list = self.value(&meant.list()).await?;
        let (mut removed, mut space) = (Vec::new(), 0_u64);
        for (id, size) in meant.among(&list, &self.facts).ok_or_else(not_understood)? {
            if self.remove(&id).await? {
                removed.push(id);
                space = space.saturating_add(size);
            }
        }
        let answer = json!({"ContainersDeleted": removed, "SpaceReclaimed": space});
        self.settle(&answer).await?;
        Ok((answer::json(&answer), None))
    }

    /// Whether the engine removed a container; one that runs by now it does not.
    async fn remove(&self, id: &str) -> Result<bool, Refusal> {
        let api = self.server.api()?;
        let request = Request::delete(format!("/v{api}/containers/{id}?v=1"));
        let request = request.body(Either::Left(Full::<Bytes>::default()));
        let request = request.map_err(|_error| not_understood())?;
        match upstream::ask(&self.server.engine_socket, request).await {
            Ok((response, _line)) => Ok(response.status().is_success()),
            Err(error) => {
                tracing::debug!(id, "gate: a prune leaves a container: {error}");
                Ok(false)
            }
        }
    }
}

/// Filters of a prune.
#[derive(Debug, Default, PartialEq, Eq)]
struct Meant {
    /// Labels that a container has.
    with: Vec<String>,
    /// Labels of which it lacks one.
    without: Vec<String>,
}

impl Meant {
    /// Of a prune's target, as the judge wrote it.
    fn of(target: &str) -> Option<Self> {
        let (_, query) = target.split_once('?')?;
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).ok()?;
        let (_, filters) = pairs.into_iter().find(|(key, _)| key == "filters")?;
        let mut filters: BTreeMap<String, Vec<String>> = serde_json::from_str(&filters).ok()?;
        let mut take = |key: &str| filters.remove(key).unwrap_or_default();
        let meant = Self { with: take("label"), without: take("label!") };
        // A filter that is not understood would prune too much.
        filters.is_empty().then_some(meant)
    }

    /// The list of the containers that may be meant. A list knows no `label!`.
    fn list(&self) -> String {
        let filters = json!({"label": self.with, "status": STOPPED}).to_string();
        let pairs = [("all", "1"), ("size", "1"), ("filters", &filters)];
        let query = serde_urlencoded::to_string(pairs).unwrap_or_default();
        format!("/containers/json?{query}")
    }

    /// Own containers of a list that are meant, with the bytes that each wrote; `None`: it is no such list.
    fn among(&self, list: &Value, facts: &Facts) -> Option<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for container in list.as_array()? {
            let id = container.get("Id")?.as_str()?;
            let is_own = facts.containers.iter().any(|own| own.id == id && !own.is_notebook);
            if is_own && !self.excludes(container.get("Labels").unwrap_or(&Value::Null)) {
                let size = container.get("SizeRw").and_then(Value::as_u64).unwrap_or_default();
                found.push((id.to_owned(), size));
            }
        }
        Some(found)
    }

    /// Whether all labels are there of which one is to be missing.
    fn excludes(&self, labels: &Value) -> bool {
        let has = |asked: &String| match asked.split_once('=') {
            Some((key, value)) => labels.get(key).and_then(Value::as_str) == Some(value),
            None => labels.get(asked).is_some(),
        };
        !self.without.is_empty() && self.without.iter().all(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::facts::OwnContainer;

    fn own(id: &str, is_notebook: bool) -> OwnContainer {
        OwnContainer { id: id.to_owned(), is_notebook, ..OwnContainer::default() }
    }

    #[test]
    fn s3_of_a_list_own_containers_are_pruned_that_the_filters_mean() {
        let facts = Facts {
            containers: vec![own("a", false), own("b", false), own("n", true)],
            ..Facts::default()
        };
        let list = json!([
            {"Id": "a", "SizeRw": 7, "Labels": {"keep": "yes", "x": ""}},
            {"Id": "b", "SizeRw": 8, "Labels": {}},
            {"Id": "n", "SizeRw": 9, "Labels": {}},
            {"Id": "other", "SizeRw": 10, "Labels": {}},
        ]);
        for (without, expected) in [
            (vec![], vec!["a", "b"]),
            (vec!["keep"], vec!["b"]),
            (vec!["keep=yes"], vec!["b"]),
            (vec!["keep=no"], vec!["a", "b"]),
            (vec!["keep", "x"], vec!["b"]),
            (vec!["keep", "y"], vec!["a", "b"]),
        ] {
            let without = without.into_iter().map(str::to_owned).collect();
            let meant = Meant { without, ..Meant::default() };
            let found = meant.among(&list, &facts).expect("a list");
            let ids: Vec<_> = found.iter().map(|(id, _)| id.as_str()).collect();
            assert_eq!(ids, expected, "{meant:?}");
        }
        assert_eq!(Meant::default().among(&json!({"message": "no"}), &facts), None);
        assert_eq!(Meant::default().among(&json!([{"Names": []}]), &facts), None);
    }

    #[test]
    fn s07_a_prune_means_what_the_judge_wrote_and_nothing_is_left_out() {
        let target = "/containers/prune?filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%2C%22label%21%22%3A%5B%22k%22%5D%7D";
        let meant = Meant::of(target).expect("filters");
        assert_eq!(
            (&*meant.with, &*meant.without),
            (&["a=b".to_owned()][..], &["k".to_owned()][..])
        );
        let list = meant.list();
        assert!(list.starts_with("/containers/json?all=1&size=1&filters="), "{list}");
        assert!(list.contains("%22a%3Db%22") && list.contains("exited"), "{list}");
        assert!(!list.contains("running") && !list.contains("paused"), "{list}");
        for target in [
            "/containers/prune",
            "/containers/prune?filters=x",
            "/containers/prune?filters=%7B%22until%22%3A%5B%221h%22%5D%7D",
        ] {
            assert_eq!(Meant::of(target), None, "{target}");
        }
    }
}
