//! About whom a hub's request is: its record has no such field, and names all the same, in its path and its words.
//! Who keeps pseudonyms has to know which. Pure.

use super::json::Json;
use crate::{
    access::name::HubName,
    audit::record::About,
    model::inventory::{Container, Inventory},
};

/// The variable by which a hub says for whom a container is.
const USER: &str = "JUPYTERHUB_USER=";
/// What stands behind `/containers` or `/volumes` and is no name.
const VERBS: [&str; 3] = ["json", "create", "prune"];
/// Length of a full id, digits.
const ID: usize = 64;

/// What its target says.
pub(super) fn target(hub: &HubName, target: &str, inventory: &Inventory) -> About {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let words: Vec<&str> = path.split('/').collect();
    let behind = |word: &str| {
        let place = words.iter().position(|found| *found == word)?;
        words.get(place + 1).copied().filter(|name| !VERBS.contains(name))
    };
    let called = behind("containers");
    let mut about = called.map(|called| container(hub, called, inventory)).unwrap_or_default();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let new = pairs.filter(|(key, _)| *key == "name").map(|(_, name)| name);
    let named = [called, behind("volumes")].into_iter().flatten().chain(new);
    about.names.extend(named.filter(|name| is_name(name)).map(str::to_owned));
    about
}

/// What its body says, where it can be read at all: of a create, an announcement, a network that is joined.
pub(super) fn body(hub: &HubName, body: &Json, inventory: &Inventory) -> About {
    let Json::Map(fields) = body else { return About::default() };
    let text = |name: &str| {
        fields.iter().find_map(|(field, value)| match value {
            Json::Text(text) if field == name => Some(text.as_str()),
            _ => None,
        })
    };
    let joined = text("Container");
    let mut about = joined.map(|called| container(hub, called, inventory)).unwrap_or_default();
    about.names.extend(joined.filter(|name| is_name(name)).map(str::to_owned));
    let variables = fields.iter().find_map(|(field, value)| match value {
        Json::List(variables) if field == "Env" => Some(variables),
        _ => None,
    });
    let mut variables = variables.into_iter().flatten();
    let made_for = variables.find_map(|variable| match variable {
        Json::Text(text) => text.strip_prefix(USER),
        _ => None,
    });
    about.user = made_for.or_else(|| text("user")).map(str::to_owned).or(about.user);
    about.client = text("client").map(str::to_owned).or(about.client);
    about
}

/// Whose a container is, by its name or by how its id begins.
fn container(hub: &HubName, called: &str, inventory: &Inventory) -> About {
    let is_it = |container: &&Container| {
        container.name == called || (called.len() >= 12 && container.id.starts_with(called))
    };
    let Some(found) = inventory.containers.values().find(is_it) else { return About::default() };
    let said = &found.provenance;
    if said.hub.as_deref() != Some(hub.as_str()) {
        return About::default();
    }
    let names = vec![found.name.clone()];
    About { user: said.user.clone(), client: said.client.clone(), names }
}

/// An id names nobody.
fn is_name(called: &str) -> bool {
    let is_id = called.len() == ID && called.bytes().all(|byte| byte.is_ascii_hexdigit());
    !called.is_empty() && !is_id
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        gate::json::{Limits, read},
        model::provenance::Provenance,
    };

    #[test]
    fn a2_a_hub_s_request_is_about_whom_it_names_and_whose_container_it_names() {
        let hub: HubName = "lab".parse().expect("a hub");
        let id = "ab".repeat(32);
        let provenance = Provenance {
            is_told: true,
            user: Some("ann@x".to_owned()),
            client: Some("192.0.2.7".to_owned()),
            hub: Some("lab".to_owned()),
            ..Provenance::default()
        };
        let container = Container {
            id: id.clone(),
            name: "jupyter-ann-40x".to_owned(),
            provenance: Arc::new(provenance),
            ..Container::default()
        };
        let inventory =
            Inventory { containers: [(id.clone(), container)].into(), ..Inventory::default() };
        let of = |line: &str| {
            let about = target(&hub, line, &inventory);
            (about.user, about.names.join(" "))
        };
        let ann = || Some("ann@x".to_owned());
        let twice = "jupyter-ann-40x jupyter-ann-40x".to_owned();
        assert_eq!(of("/v1.43/containers/jupyter-ann-40x/json"), (ann(), twice));
        assert_eq!(of(&format!("/containers/{id}/start")), (ann(), "jupyter-ann-40x".to_owned()));
        let new = of("/containers/create?name=jupyter-ben&platform=x");
        assert_eq!(new, (None, "jupyter-ben".to_owned()));
        assert_eq!(of("/volumes/home-ben"), (None, "home-ben".to_owned()));
        assert_eq!(of("/containers/json?all=1"), (None, String::new()));
        let two = "two".parse().expect("a hub");
        let other = target(&two, &format!("/containers/{id}/start"), &inventory);
        assert_eq!(other, About::default(), "another hub's user");

        let said = |text: &str| {
            let json = read(text.as_bytes(), Limits::default()).expect("JSON");
            body(&hub, &json, &inventory)
        };
        let create = said(r#"{"Env":["A=b","JUPYTERHUB_USER=ben"]}"#);
        assert_eq!(create.user.as_deref(), Some("ben"));
        let announced = said(r#"{"user":"ben","client":"not an address","groups":[""]}"#);
        let told = (announced.user.as_deref(), announced.client.as_deref());
        assert_eq!(told, (Some("ben"), Some("not an address")));
        assert_eq!(said(r#"{"Container":"jupyter-ann-40x"}"#).user, ann());
    }
}
