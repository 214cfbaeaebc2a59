//! The signals, what raises each, and the answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Something that a guest does too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Distinct addresses that it tried to reach.
    Destinations,
    /// Percent of its attempts that failed.
    FailedConnects,
    /// Distinct ports that it tried at one address.
    PortSweep,
    /// Distinct addresses at which it tried one port; web and DNS do not count.
    AddressSweep,
    /// Attempts to reach a mail server.
    Smtp,
    /// Attempts to reach a port where mining pools listen, at a public address.
    Stratum,
    /// Frames and calls of it that were denied, each second.
    DeniedRate,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 7] = [
        Self::Destinations,
        Self::FailedConnects,
        Self::PortSweep,
        Self::AddressSweep,
        Self::Smtp,
        Self::Stratum,
        Self::DeniedRate,
    ];

    /// The word in the config and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Destinations => "destinations",
            Self::FailedConnects => "failed_connects",
            Self::PortSweep => "port_sweep",
            Self::AddressSweep => "address_sweep",
            Self::Smtp => "smtp",
            Self::Stratum => "stratum",
            Self::DeniedRate => "denied_rate",
        }
    }

    /// What raises it where the config says nothing: more than anybody has whose notebook installs packages,
    /// clones repositories and drives a browser, in a minute.
    #[must_use]
    pub fn limit(self) -> Limit {
        let limit = |more_than| Limit { more_than, ..Limit::default() };
        match self {
            Self::Destinations => limit(200),
            Self::FailedConnects => Limit { at_least: 200, ..limit(70) },
            // A traceroute over UDP has 90.
            Self::PortSweep => limit(100),
            Self::AddressSweep => limit(50),
            Self::Smtp => Limit { ports: vec![25, 465, 587, 2525], ..limit(20) },
            // A miner opens one connection and keeps it.
            Self::Stratum => Limit {
                ports: vec![3333, 4444, 5555, 7777, 10_128, 10_300, 10_343, 14_433, 14_444, 45_700],
                ..limit(0)
            },
            Self::DeniedRate => limit(100),
        }
    }
}

/// What raises a signal, and what comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// It is raised above this.
    pub more_than: u64,
    /// But not before there were so many attempts; of [`Signal::FailedConnects`] only.
    pub at_least: u64,
    /// Ports that it is about; of [`Signal::Smtp`] and [`Signal::Stratum`] only.
    pub ports: Vec<u16>,
    /// What is done, one after the other, as it is raised again; empty: nobody looks.
    pub answers: Vec<Answer>,
}

impl Default for Limit {
    fn default() -> Self {
        Self { more_than: 0, at_least: 0, ports: Vec::new(), answers: vec![Answer::Record] }
    }
}

/// What raises each signal; one that is missing is never raised.
pub type Limits = BTreeMap<Signal, Limit>;

/// What is done about a signal, from mild to harsh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A record, and nothing else.
    Record,
    /// The guest has stricter limits, for a while.
    Slow,
    /// The guest opens no more connections but to its hubs, for a while.
    Cut,
    /// Its processes are frozen until somebody lets them go on.
    Pause,
    /// Its container is stopped.
    Stop,
}

impl Answer {
    /// Every answer, from mild to harsh.
    pub const ALL: [Self; 5] = [Self::Record, Self::Slow, Self::Cut, Self::Pause, Self::Stop];

    /// The word in the config and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Slow => "slow",
            Self::Cut => "cut",
            Self::Pause => "pause",
            Self::Stop => "stop",
        }
    }

    /// The answer of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|answer| answer.name() == name)
    }
}
