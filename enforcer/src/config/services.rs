//! `[[networks.NAME.service]]`: containers on a guest network that rules may open to guests; and how rules name
//! them.

use std::{fmt, ops::Range};

use toml::{Spanned, Value};

use super::{
    Config, GuestNetwork, HubPlace, HubRule, Place, check, outside::GuestLabel, problem::Problems,
    raw::RawService,
};
use crate::model::provenance::Provenance;

/// Containers, by what they are called or by what their creator said of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// The one with this name.
    Container(String),
    /// Those with this label.
    Label(GuestLabel),
}

impl Service {
    /// Whether a container is one of them: what its image says of itself does not count.
    #[must_use]
    pub fn includes(&self, name: &str, provenance: &Provenance) -> bool {
        match self {
            Self::Container(container) => container == name,
            Self::Label(label) => provenance.is_told && label.is_among(&provenance.labels),
        }
    }

    /// Whether it may be one of them, as far as anybody can tell.
    #[must_use]
    pub fn may_include(&self, name: &str, provenance: &Provenance) -> bool {
        let doubt = provenance.in_doubt.as_deref();
        self.includes(name, provenance)
            || matches!(self, Self::Label(label)
                if !provenance.is_told || doubt.is_some_and(|all| label.is_among(&all.labels)))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => write!(f, "container {name}"),
            Self::Label(label) => write!(f, "containers labelled {label}"),
        }
    }
}

impl GuestNetwork {
    /// Whether a container on it is one of its services. What a user's socket made is none, whatever it is called.
    #[must_use]
    pub fn serves(&self, name: &str, provenance: &Provenance) -> bool {
        !provenance.is_of_a_user_s_socket()
            && self.services.iter().any(|service| service.includes(name, provenance))
    }

    /// Whether a container on it is one of its hubs, by its name. What a user's socket made is none.
    #[must_use]
    pub fn is_hub(&self, name: &str, provenance: &Provenance) -> bool {
        !provenance.is_of_a_user_s_socket() && self.names_hub(name)
    }

    fn names_hub(&self, name: &str) -> bool {
        self.hubs.iter().any(|hub| match &hub.at {
            HubPlace::Container(container) => container == name,
            HubPlace::Gateway | HubPlace::Address(_) => false,
        })
    }

    /// Whether what a rule names may be on it: a label may be any service's, and a service with a label may have
    /// any name.
    fn may_have(&self, named: &Service) -> bool {
        let has_hub = || self.hubs.iter().any(|hub| matches!(hub.at, HubPlace::Container(_)));
        let has_label = || self.services.iter().any(|one| matches!(one, Service::Label(_)));
        match named {
            Service::Container(name) => {
                self.services.contains(named) || has_label() || self.names_hub(name)
            }
            Service::Label(_) => !self.services.is_empty() || has_hub(),
        }
    }
}

impl Config {
    /// Labels that give a container what other guests do not have: of a service, and of who is not judged. Who makes
    /// containers for strangers gives none of them either.
    pub fn labels_of_privilege(&self) -> impl Iterator<Item = &str> {
        let services = self.networks.values().flat_map(|network| &network.services);
        let of_services = services.filter_map(|service| match service {
            Service::Label(label) => Some(label),
            Service::Container(_) => None,
        });
        of_services.chain(&self.abuse.except_labels).map(|label| label.key.as_str())
    }

    /// Whether a container is the operator's: a hub, on whatever network, or a service of one that it is on. Labels
    /// are a hub's to give, and mean nothing on another's network.
    #[must_use]
    pub fn is_operators(
        &self,
        name: &str,
        provenance: &Provenance,
        is_on: impl Fn(&str) -> bool,
    ) -> bool {
        self.networks.iter().any(|(called, network)| {
            network.is_hub(name, provenance) || (is_on(called) && network.serves(name, provenance))
        })
    }
}

/// Checks a network's services.
pub(super) fn services(
    raw: &[Spanned<RawService>],
    hubs: &[HubRule],
    problems: &mut Problems<'_>,
) -> Vec<Service> {
    let mut known = Vec::new();
    for raw in raw {
        let span = raw.span();
        let RawService { container, label } = raw.get_ref();
        let service = match (container, label) {
            (Some(name), None) => self::container(name.get_ref(), name.span(), problems),
            (None, Some(label)) => Some(Service::Label(GuestLabel::parse(label, problems))),
            _ => {
                let message = "a service has exactly one of `container` and `label`";
                problems.add(span.clone(), message);
                None
            }
        };
        let Some(service) = service else { continue };
        let is_hub = |hub: &HubRule| matches!((&hub.at, &service), (HubPlace::Container(hub), Service::Container(name)) if hub == name);
        if known.contains(&service) {
            problems.add(span, "this service is listed twice; remove one");
        } else if hubs.iter().any(is_hub) {
            let message = "this container is a hub, which rules may name as it is; remove one";
            problems.add(span, message);
        } else {
            known.push(service);
        }
    }
    known
}

/// Services as a rule names them: its values, and whether they are labels.
pub(super) fn named(
    values: &[Value],
    is_label: bool,
    span: Range<usize>,
    problems: &mut Problems<'_>,
) -> Option<Vec<Service>> {
    let mut found = Vec::new();
    for value in values {
        let service = match value.as_str() {
            Some(text) if is_label => {
                let text = Spanned::new(span.clone(), text.to_owned());
                Some(Service::Label(GuestLabel::parse(&text, problems)))
            }
            Some(text) => container(text, span.clone(), problems),
            None => {
                problems.add(span.clone(), format!("{value} is not a text"));
                None
            }
        };
        found.push(service);
    }
    if found.is_empty() {
        problems.add(span, "nothing is named here: name at least one");
        return None;
    }
    found.into_iter().collect()
}

fn container(name: &str, span: Range<usize>, problems: &mut Problems<'_>) -> Option<Service> {
    let name = name.strip_prefix('/').unwrap_or(name);
    let checked = check::docker_name("container", name);
    checked.map_err(|message| problems.add(span, message)).ok()?;
    Some(Service::Container(name.to_owned()))
}

/// Checks that what the rules of a network's policies name can be a service of it. `span` is the network's.
pub(super) fn known(
    name: &str,
    network: &GuestNetwork,
    config: &std::collections::BTreeMap<String, super::Policy>,
    span: &Range<usize>,
    problems: &mut Problems<'_>,
) {
    let policies = network.other_policies().into_iter().chain(network.policy.as_deref());
    for (policy, of) in policies.filter_map(|policy| Some((policy, config.get(policy)?))) {
        for rule in &of.rules {
            let Place::Services(named) = &rule.to else { continue };
            for service in named.iter().filter(|service| !network.may_have(service)) {
                let message = format!(
                    "policy \"{policy}\" names {service} ({}), and network \"{name}\" has no such \
                     service; add a table [[networks.{name}.service]]",
                    rule.name
                );
                problems.add(span.clone(), message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::parse, model::provenance::ImageSettings};

    #[test]
    fn n2_a_label_counts_as_its_creator_said_and_denies_in_doubt() {
        let label = |value: &str| [("tier".to_owned(), value.to_owned())].into();
        let own = Provenance { is_told: true, labels: label("db"), ..Provenance::default() };
        let plain = Provenance { is_told: true, ..Provenance::default() };
        let claims = Provenance { in_doubt: Some(Box::new(own.clone())), ..plain.clone() };
        let untold = Provenance { is_told: false, ..own.clone() };
        let named = |text: &str| {
            let text = Spanned::new(0..0, text.to_owned());
            Service::Label(GuestLabel::parse(&text, &mut Problems::new("")))
        };
        for (service, provenance, includes, may_include) in [
            (named("tier=db"), &own, true, true),
            (named("tier"), &own, true, true),
            (named("tier=web"), &own, false, false),
            (named("tier=db"), &plain, false, false),
            (named("tier=db"), &claims, false, true),
            (named("tier=db"), &untold, false, true),
            (Service::Container("db".to_owned()), &plain, true, true),
            (Service::Container("web".to_owned()), &untold, false, false),
        ] {
            let found = (service.includes("db", provenance), service.may_include("db", provenance));
            assert_eq!(found, (includes, may_include), "{service} {provenance:?}");
        }
    }

    #[test]
    fn s22_what_a_user_s_socket_made_is_neither_hub_nor_service() {
        let text = "[networks.a]\nbridge = \"br-a\"\n\
            [[networks.a.hub]]\ncontainer = \"hub\"\nport = 1\n\
            [[networks.a.service]]\ncontainer = \"files\"\n\
            [[networks.a.service]]\nlabel = \"tier\"\n";
        let config = parse(text, "f").expect("valid");
        let network = &config.networks["a"];
        let made = |through: &str, is_image_s: bool| {
            let labels: std::collections::BTreeMap<String, String> =
                [("tier", "db"), ("enforcer.gate", through)]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into();
            let mut image = ImageSettings::default();
            if is_image_s {
                image.labels = [("enforcer.gate".to_owned(), through.to_owned())].into();
            }
            Provenance::new(None, labels, &[], &image)
        };
        for (provenance, may) in [
            (made("hub", false), true),
            (made("user", false), false),
            // An image that says the same as the gate hides what the gate said.
            (made("user", true), false),
        ] {
            let found = [
                network.is_hub("hub", &provenance),
                network.serves("files", &provenance),
                network.serves("x", &provenance),
                config.is_operators("hub", &provenance, |_| true),
                config.is_operators("x", &provenance, |_| true),
            ];
            assert_eq!(found, [may; 5], "{provenance:?}");
            assert!(!network.is_hub("files", &provenance));
        }
    }

    #[test]
    fn o2_a_bad_service_is_refused_with_its_line() {
        let text = |service: &str, rule: &str| {
            format!(
                "[policies.p]\n[[policies.p.allow]]\n{rule}\n[networks.a]\nbridge = \"br-a\"\n\
                 policy = \"p\"\n[[networks.a.hub]]\ncontainer = \"hub\"\nport = 1\n{service}"
            )
        };
        let one = |table: &str| format!("[[networks.a.service]]\n{table}\n");
        let db = one("container = \"db\"");
        let tier = one("label = \"tier\"");
        let rule = |key: &str| format!("{key}\nport = 5432");
        for (service, rule) in [
            (db.clone(), rule("container = \"db\"")),
            (db.clone(), rule("container = [\"db\", \"hub\"]")),
            (db.clone(), rule("label = \"tier=db\"")),
            (tier.clone(), rule("container = \"any\"")),
            (String::new(), rule("container = \"hub\"")),
        ] {
            assert!(parse(&text(&service, &rule), "f").is_ok(), "{service} {rule}");
        }
        for (service, rule, line, words) in [
            (one(""), rule("hub = true"), 11, "exactly one of `container` and `label`"),
            (one("container = \"a b\""), rule("hub = true"), 12, "is none that Docker takes"),
            (one("container = \"hub\""), rule("hub = true"), 11, "is a hub"),
            (format!("{db}{db}"), rule("hub = true"), 13, "listed twice"),
            (db.clone(), rule("container = \"bd\""), 5, "names container bd (allow at f:2)"),
            (String::new(), rule("container = \"files\""), 5, "no such service"),
            (db.clone(), "container = \"db\"".to_owned(), 3, "names the `port`"),
            (db.clone(), rule("container = []"), 3, "name at least one"),
            (db.clone(), rule("container = 7"), 3, "7 is not a text"),
            (tier, rule("label = \"=x\""), 3, "no key of a label"),
            (db, rule("container = \"db\"\nto = \"any\""), 2, "exactly one of"),
        ] {
            let error = parse(&text(&service, &rule), "f").expect_err(words);
            let [problem] = error.problems.as_slice() else { panic!("{service} {rule}: {error}") };
            let found = problem.message.contains(words);
            assert!(found && problem.line == line, "{service} {rule}: {error}");
        }
    }
}
