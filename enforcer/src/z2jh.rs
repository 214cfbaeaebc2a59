//! A policy of zero-to-jupyterhub, the Helm chart, as one of ours: `text -> yaml -> values -> meaning -> TOML`.
//! What has no equal is told with its place, and never opens anything. Pure.

mod chart;
mod meaning;
mod values;
mod yaml;

#[cfg(test)]
mod tests;

use serde::Serialize;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Name of the policy that is written.
    pub policy: &'a str,
    /// Where the chart's `singleuser` is, with dots; `None`: look for it.
    pub at: Option<&'a str>,
    /// Version of the chart, whose defaults hold for what the file leaves out.
    pub chart: Chart,
    /// Whether our config has a preset `dns`.
    pub has_dns: bool,
}

/// Versions of the chart, by their defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chart {
    /// 1: no `egressAllowRules`; egress is open to all but the metadata service unless `egress` says otherwise.
    One,
    /// 2: `egressAllowRules`, without those for name servers in the cluster.
    Two,
    /// 3 and later.
    #[default]
    Three,
}

/// Something wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl Problem {
    fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// Something that ours says otherwise, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Its place in the file, `singleuser.networkPolicy.egress[0].to[1]`; of a default where it would be.
    pub path: String,
    /// Its line; `None`: a default of the chart.
    pub line: Option<usize>,
    /// Why, and what to do.
    pub why: String,
}

/// The policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// For the config file.
    pub toml: String,
    /// What has no equal: it is not in the policy, which opens less without it.
    pub no_equal: Vec<Note>,
    /// What is in the policy, and means something else to some extent.
    pub differs: Vec<Note>,
}

/// Reads a values file of the chart. `file` is for comments.
pub fn import(text: &str, file: &str, wish: &Wish<'_>) -> Result<Imported, Vec<Problem>> {
    let root = yaml::read(text).map_err(|problem| vec![problem])?;
    let values = values::read(&root, wish)?;
    Ok(meaning::written(&values, file, wish))
}
