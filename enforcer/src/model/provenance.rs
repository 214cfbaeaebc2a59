//! Whom a container was started for, and from what: as whoever created it said. What its image says of
//! itself does not count, for anybody may build an image.

use std::collections::BTreeMap;

/// What the creator of a container said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Whether what its creator said has been told apart from what its image says; else nothing of it is known.
    pub is_told: bool,
    /// The user that it was started for.
    pub user: Option<String>,
    /// The user's group.
    pub group: Option<String>,
    /// The user's server, where a user has several; the default one is empty.
    pub server: Option<String>,
    /// The hub that it was started by.
    pub hub: Option<String>,
    /// Groups that the user was in when it was started, at most [`MOST_GROUPS`].
    pub groups: Vec<String>,
    /// Where the user came from, as the hub said.
    pub client: Option<String>,
    /// Image as it was asked for.
    pub image: Option<String>,
    /// Its labels, but for those that the image has itself.
    pub labels: BTreeMap<String, String>,
    /// The same with what its image may have said, where that makes a difference: nobody can tell whether
    /// its creator said the same.
    pub in_doubt: Option<Box<Self>>,
}

/// What an image brings along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSettings {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Environment, `NAME=value`.
    pub env: Vec<String>,
}

/// A label, and the variable that `JupyterHub`'s spawners set, in this order.
const USER: (&str, Option<&str>) = ("enforcer.user", Some("JUPYTERHUB_USER"));
const GROUP: (&str, Option<&str>) = ("enforcer.group", None);
const SERVER: (&str, Option<&str>) = ("enforcer.server", Some("JUPYTERHUB_SERVER_NAME"));
const HUB: (&str, Option<&str>) = ("enforcer.hub", None);
const GROUPS: (&str, Option<&str>) = (GROUPS_LABEL, None);
const CLIENT: (&str, Option<&str>) = (CLIENT_LABEL, None);

/// Label that says which groups a user was in when a container was started. The gate sets it; no policy looks at it.
pub const GROUPS_LABEL: &str = "enforcer.groups";
/// Label that says where a user came from, as the hub said. The gate sets it; no policy looks at it.
pub const CLIENT_LABEL: &str = "enforcer.client";

/// Label by which the gate says through which socket something was made: `hub` or `user`.
pub const GATE_LABEL: &str = "enforcer.gate";

/// Most groups that a container's label, and so each record of it, names.
pub const MOST_GROUPS: usize = 16;
/// Longest such label, bytes.
const MOST_BYTES: usize = 1024;
/// Stands between groups: no name of one has it.
const BETWEEN: char = '/';

/// The label of a user in these groups; those that there is no room for are left out. `None`: there are none.
pub fn groups_label<'a>(groups: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut label = String::new();
    for group in groups.into_iter().take(MOST_GROUPS) {
        if label.len() + group.len() < MOST_BYTES {
            label.extend((!label.is_empty()).then_some(BETWEEN));
            label += group;
        }
    }
    Some(label).filter(|label| !label.is_empty())
}

impl Provenance {
    /// From what `inspect` shows of a container, and of its image. A label or variable that the image
    /// sets to the same value may be the image's: it is left out.
    #[must_use]
    pub fn new(
        image: Option<String>,
        labels: BTreeMap<String, String>,
        env: &[String],
        from_image: &ImageSettings,
    ) -> Self {
        let all = Self::without(image.clone(), labels.clone(), env, &ImageSettings::default());
        let own = Self::without(image, labels, env, from_image);
        let in_doubt = (all != own).then(|| Box::new(all));
        Self { in_doubt, ..own }
    }

    /// Whether a user made it through a socket of the gate, as far as anybody can tell: its image may have said the
    /// same label, and then what was made is nobody's to trust.
    #[must_use]
    pub fn is_of_a_user_s_socket(&self) -> bool {
        let doubt = self.in_doubt.as_deref().map(|all| &all.labels);
        let mut all = [&self.labels].into_iter().chain(doubt);
        all.any(|labels| labels.get(GATE_LABEL).is_some_and(|through| through == "user"))
    }

    fn without(
        image: Option<String>,
        labels: BTreeMap<String, String>,
        env: &[String],
        from_image: &ImageSettings,
    ) -> Self {
        let mut labels = labels;
        labels.retain(|key, value| from_image.labels.get(key) != Some(value));
        let said = |(label, variable): (&str, Option<&str>)| {
            let labelled = labels.get(label).cloned();
            let set = || {
                let prefix = format!("{}=", variable?);
                // The last one counts, as for the process.
                let entry = env.iter().rfind(|entry| entry.starts_with(&prefix))?;
                let given = !from_image.env.contains(entry);
                given.then(|| entry.strip_prefix(&prefix).unwrap_or_default().to_owned())
            };
            labelled.or_else(set).filter(|value| !value.is_empty())
        };
        let groups = said(GROUPS).unwrap_or_default();
        let groups = groups.split(BETWEEN).filter(|group| !group.is_empty()).take(MOST_GROUPS);
        Self {
            is_told: true,
            user: said(USER),
            group: said(GROUP),
            server: said(SERVER),
            hub: said(HUB),
            groups: groups.map(str::to_owned).collect(),
            client: said(CLIENT),
            image,
            labels,
            in_doubt: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a2_the_user_is_named_by_the_label_else_by_the_hub_s_variable() {
        let env = ["PATH=/bin".to_owned(), "JUPYTERHUB_USER=ada".to_owned()];
        let none = ImageSettings::default();
        let by_env = Provenance::new(None, BTreeMap::new(), &env, &none);
        assert_eq!(
            (by_env.user.as_deref(), by_env.group, by_env.server),
            (Some("ada"), None, None)
        );
        let labels = texts([("enforcer.user", "ben"), ("enforcer.group", "course-7"), ("x", "y")]);
        let by_label = Provenance::new(None, labels.clone(), &env, &none);
        assert_eq!(by_label.user.as_deref(), Some("ben"));
        assert_eq!((by_label.group.as_deref(), by_label.labels), (Some("course-7"), labels));
        let empty = Provenance::new(None, BTreeMap::new(), &["JUPYTERHUB_USER=".to_owned()], &none);
        assert_eq!(empty.user, None);
    }

    #[test]
    fn a2_the_hub_and_the_groups_are_what_the_gate_s_labels_say() {
        let label = groups_label(["staff", "course 7, monday"]).expect("a label");
        let labels = texts([
            ("enforcer.hub", "lab"),
            ("enforcer.groups", &label),
            ("enforcer.client", "192.0.2.7"),
        ]);
        let image = ImageSettings { labels: labels.clone(), ..ImageSettings::default() };
        let said = Provenance::new(None, labels.clone(), &[], &ImageSettings::default());
        assert_eq!((said.hub.as_deref(), said.client.as_deref()), (Some("lab"), Some("192.0.2.7")));
        assert_eq!(said.groups, ["staff", "course 7, monday"]);
        // Anybody may build an image.
        let by_image = Provenance::new(None, labels, &[], &image);
        assert_eq!((by_image.hub, by_image.groups, by_image.client), (None, Vec::new(), None));
    }

    #[test]
    fn a_label_of_groups_is_bounded() {
        assert_eq!(groups_label([]), None);
        let many: Vec<String> = (0..100).map(|number| format!("g{number}")).collect();
        let label = groups_label(many.iter().map(String::as_str)).expect("a label");
        assert_eq!(label.split('/').count(), MOST_GROUPS);
        let long = "x".repeat(600);
        let label = groups_label([&*long, &*long, "short"]).expect("a label");
        assert_eq!(label, format!("{long}/short"));
    }

    #[test]
    fn a2_what_an_image_says_of_itself_names_nobody() {
        let env = vec!["JUPYTERHUB_USER=root".to_owned()];
        let labels = texts([("enforcer.group", "staff"), ("enforcer.user", "ann")]);
        let image =
            ImageSettings { labels: texts([("enforcer.group", "staff")]), env: env.clone() };
        let found = Provenance::new(None, labels, &env, &image);
        assert_eq!((found.user.as_deref(), &found.group), (Some("ann"), &None));
        assert_eq!(&found.labels, &texts([("enforcer.user", "ann")]));
        let by_image = Provenance::new(None, BTreeMap::new(), &env, &image);
        assert_eq!(by_image.user, None);
        // But the creator may have said the same.
        let group = |provenance: &Provenance| provenance.in_doubt.as_ref()?.group.clone();
        assert_eq!(group(&found).as_deref(), Some("staff"));
        assert_eq!(by_image.in_doubt.and_then(|all| all.user).as_deref(), Some("root"));
        let plain = Provenance::new(None, BTreeMap::new(), &env, &ImageSettings::default());
        assert_eq!(plain.in_doubt, None);
    }
}
