//! Who asks the daemon for something, as the kernel says.

use serde::{Deserialize, Serialize};

/// A process that asks. Nothing of it is the process's own word, but for its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Caller {
    /// Its user's number on this host; absent: nobody asked, but a signal, or the daemon itself.
    #[serde(rename = "enforcer.by.uid", skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its user's name on this host.
    #[serde(rename = "enforcer.by.user", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its number; absent: it is in no namespace below the daemon's.
    #[serde(rename = "enforcer.by.pid", skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What it calls itself.
    #[serde(rename = "enforcer.by.comm", skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
}
