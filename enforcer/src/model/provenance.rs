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
        let (user, group, server) = (said(USER), said(GROUP), said(SERVER));
        Self { is_told: true, user, group, server, image, labels, in_doubt: None }
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
