//! What the chart has: its values once they are read, and its defaults.

use std::net::IpAddr;

use super::Chart;
use crate::policy::rule::Net;

/// Something that stands in the file, or that the chart has where it does not.
#[derive(Clone, Debug)]
pub(super) struct Said<T> {
    pub(super) value: T,
    /// Its place.
    pub(super) path: String,
    /// `None`: a default.
    pub(super) line: Option<usize>,
}

/// What the chart makes a guest's network policy of.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) enabled: Said<bool>,
    pub(super) flags: Vec<(Flag, Said<bool>)>,
    pub(super) egress: Vec<Rule>,
    pub(super) metadata: Said<IpAddr>,
    pub(super) block: Said<bool>,
    /// What lets others in, which is not ours to say: what it is.
    pub(super) inward: Vec<Said<&'static str>>,
}

/// A key of `egressAllowRules`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    CloudMetadataServer,
    DnsPortsCloudMetadataServer,
    DnsPortsKubeSystemNamespace,
    DnsPortsPrivateIps,
    NonPrivateIps,
    PrivateIps,
}

impl Flag {
    pub(super) const ALL: [Self; 6] = [
        Self::CloudMetadataServer,
        Self::DnsPortsCloudMetadataServer,
        Self::DnsPortsKubeSystemNamespace,
        Self::DnsPortsPrivateIps,
        Self::NonPrivateIps,
        Self::PrivateIps,
    ];

    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::CloudMetadataServer => "cloudMetadataServer",
            Self::DnsPortsCloudMetadataServer => "dnsPortsCloudMetadataServer",
            Self::DnsPortsKubeSystemNamespace => "dnsPortsKubeSystemNamespace",
            Self::DnsPortsPrivateIps => "dnsPortsPrivateIPs",
            Self::NonPrivateIps => "nonPrivateIPs",
            Self::PrivateIps => "privateIPs",
        }
    }

    /// Whether a version of the chart has it, and has it on for guests.
    pub(super) fn default_of(self, chart: Chart) -> Option<bool> {
        let since = match self {
            Self::DnsPortsCloudMetadataServer | Self::DnsPortsKubeSystemNamespace => Chart::Three,
            _ => Chart::Two,
        };
        let on = !matches!(self, Self::CloudMetadataServer | Self::PrivateIps);
        (chart >= since).then_some(on)
    }
}

/// An egress rule of Kubernetes.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) path: String,
    /// `None`: everywhere.
    pub(super) to: Option<Vec<Said<Peer>>>,
    /// `None`: everything.
    pub(super) ports: Option<Vec<Said<Port>>>,
}

/// A destination.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    Block {
        cidr: Net,
        except: Vec<Net>,
    },
    /// By labels of pods, namespaces or both.
    Selected,
}

/// Ports of a rule.
#[derive(Clone, Debug)]
pub(super) enum Port {
    Numbers {
        protocol: Protocol,
        first: u16,
        last: u16,
    },
    /// By a name that a pod has for it.
    Named(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}
