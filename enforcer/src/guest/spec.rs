//! A container as enforcer wants it of the engine: plain values, with nothing left to decide. Pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    str::FromStr,
};

use super::names::Use;

/// Where a guest finds its Docker socket.
pub const SOCKET_PATH: &str = "/var/run/docker.sock";

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// Its image, as it was asked for.
    pub image: String,
    /// What it runs; empty: what the image says.
    pub command: Vec<String>,
    /// Variables.
    pub env: Vec<String>,
    /// The user inside; `None`: the image's.
    pub run_as: Option<String>,
    /// Labels, those of enforcer among them.
    pub labels: BTreeMap<String, String>,
    /// How large it may become.
    pub size: Size,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// When the engine starts it again.
    pub restart: Restart,
    /// Its only network.
    pub network: String,
    /// Its name server; `None`: the engine's choice.
    pub dns: Option<Ipv4Addr>,
    /// The Docker socket that it has, on this host.
    pub socket: Option<PathBuf>,
}

/// How large a guest may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Bytes of memory, swap included.
    pub memory: u64,
    /// Thousandths of a processor.
    pub cpu_millis: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes of its own layer; `None`: as many as there are.
    pub disk: Option<u64>,
}

/// A volume in a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// What it is for.
    pub of: Use,
    /// Its name.
    pub name: String,
    /// Where it is inside.
    pub path: String,
    /// Its labels, if it is made now.
    pub labels: BTreeMap<String, String>,
}

/// A published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Address of this host; `None`: all of them.
    pub address: Option<IpAddr>,
    /// Port of this host.
    pub host: u16,
    /// Port of the guest.
    pub guest: u16,
    /// Whether it is of UDP, or of TCP.
    pub is_udp: bool,
}

/// A text is no published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a port as 8080:80, 127.0.0.1:8080:80, [::1]:8080:80 or 5353:53/udp")]
pub struct PortError;

impl FromStr for Port {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let (rest, is_udp) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.strip_suffix("/tcp").unwrap_or(text), false),
            Some((rest, "udp")) => (rest, true),
            Some(_) => return Err(PortError),
        };
        let (rest, guest) = rest.rsplit_once(':').ok_or(PortError)?;
        let (address, host) = match rest.rsplit_once(':') {
            None => (None, rest),
            Some((address, host)) => (Some(self::address(address)?), host),
        };
        let port = |text: &str| {
            let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse::<u16>().ok().filter(|number| *number > 0 && is_plain);
            number.ok_or(PortError)
        };
        Ok(Self { address, host: port(host)?, guest: port(guest)?, is_udp })
    }
}

fn address(text: &str) -> Result<IpAddr, PortError> {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(six) => six.parse().map(IpAddr::V6).map_err(|_none| PortError),
        None => text.parse().map(IpAddr::V4).map_err(|_none| PortError),
    }
}

/// When the engine starts a guest again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// When it failed, at most so often; 0: as often as it does.
    OnFailure(u16),
    /// Whenever it ends, but not after it was stopped.
    UnlessStopped,
    /// Whenever it ends.
    Always,
}

/// A text is no restart policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a restart policy is no, on-failure, on-failure:5, unless-stopped or always")]
pub struct RestartError;

impl FromStr for Restart {
    type Err = RestartError;

    fn from_str(text: &str) -> Result<Self, RestartError> {
        match text.split_once(':') {
            None if text == "no" => Ok(Self::No),
            None if text == "on-failure" => Ok(Self::OnFailure(0)),
            None if text == "unless-stopped" => Ok(Self::UnlessStopped),
            None if text == "always" => Ok(Self::Always),
            Some(("on-failure", count)) => {
                count.parse().map(Self::OnFailure).map_err(|_none| RestartError)
            }
            _ => Err(RestartError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_port_is_what_docker_s_users_write() {
        let port = |address: Option<&str>, host, guest, is_udp| Port {
            address: address.map(|text| text.parse().expect("an address")),
            host,
            guest,
            is_udp,
        };
        for (text, expected) in [
            ("8080:80", port(None, 8080, 80, false)),
            ("8080:80/tcp", port(None, 8080, 80, false)),
            ("5353:53/udp", port(None, 5353, 53, true)),
            ("127.0.0.1:8080:80", port(Some("127.0.0.1"), 8080, 80, false)),
            ("[::1]:8080:80", port(Some("::1"), 8080, 80, false)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "80",
            ":80",
            "8080:",
            "0:80",
            "80:0",
            "80:65536",
            "+80:80",
            "a:80",
            "80:80/sctp",
            "80:80/tcp/tcp",
            "::1:8080:80",
            "1.2.3:80:80",
            "[127.0.0.1]:80:80",
            "8000-8010:80",
        ] {
            assert_eq!(text.parse::<Port>(), Err(PortError), "{text}");
        }
    }

    #[test]
    fn a_restart_policy_is_one_of_dockers() {
        for (text, expected) in [
            ("no", Restart::No),
            ("on-failure", Restart::OnFailure(0)),
            ("on-failure:5", Restart::OnFailure(5)),
            ("unless-stopped", Restart::UnlessStopped),
            ("always", Restart::Always),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "No", "on-failure:", "on-failure:-1", "always:1", "never"] {
            assert_eq!(text.parse::<Restart>(), Err(RestartError), "{text}");
        }
    }
}
