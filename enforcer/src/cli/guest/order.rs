//! `enforcer guest start`: arguments become an order.

use std::collections::BTreeMap;

use clap::Args;

use super::{
    super::{DaemonAt, Dry},
    Whose,
};
use crate::model::guest::{GuestOrder, VolumeOrder, WhichGuest};

/// Arguments of `guest start`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer guest start alice --hub lab --image quay.io/jupyter/base-notebook --volume home:/home/jovyan
  enforcer guest start bob --image python:3 --memory 512m --cpus 0.5 --publish 127.0.0.1:8080:80 -- \\
    python -m http.server 80

It waits until the kernel holds the guest's policy. Of a start that fails nothing is left, but the image. A
guest of the same user that does not run makes way; its volumes stay.")]
pub(super) struct StartArgs {
    /// The user that it is for.
    user: String,
    /// The image; it is pulled if it is not there.
    #[arg(long)]
    image: String,
    /// A variable; can be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// The user inside, by number or name, also with a group: 1000:100 [default: the image's].
    #[arg(long, value_name = "USER")]
    run_as: Option<String>,
    /// Group whose policy it has, where its network has an override for it.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// The guest network [default: the only one that the hub has].
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Memory, as 512m or 2g [default: that of the config].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
    /// Processors, as 0.5 or 2 [default: those of the config].
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    cpus: Option<u64>,
    /// Processes and threads [default: those of the config].
    #[arg(long, value_name = "NUMBER")]
    pids: Option<u64>,
    /// What it may write beside its volumes, as 10g, where the engine can limit that [default: that of the config].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    disk: Option<u64>,
    /// A volume of the user's, home, workspace or cache, and where it is inside; can be given several times.
    #[arg(long, value_name = "VOLUME:PATH", value_parser = parse_volume)]
    volume: Vec<VolumeOrder>,
    /// A port that is published, as 8080:80, 127.0.0.1:8080:80 or 5353:53/udp; can be given several times.
    #[arg(long, value_name = "PORT")]
    publish: Vec<String>,
    /// When the engine starts it again: no, on-failure, on-failure:5, unless-stopped or always [default: no].
    #[arg(long, value_name = "WHEN")]
    restart: Option<String>,
    /// A label; can be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_label)]
    label: Vec<(String, String)>,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    dry: Dry,
    #[command(flatten)]
    whose: Whose,
    /// What it runs [default: what the image says].
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl StartArgs {
    /// The order, whether it is for programs or in earnest, and which daemon gets it.
    pub(super) fn order(self) -> (GuestOrder, bool, Dry, DaemonAt) {
        let (WhichGuest { hub, user, server }, at) = self.whose.which(self.user);
        let order = GuestOrder {
            hub,
            user,
            server,
            image: self.image,
            command: self.command,
            env: self.env,
            run_as: self.run_as,
            group: self.group,
            network: self.network,
            memory: self.memory,
            cpu_millis: self.cpus,
            pids: self.pids,
            disk: self.disk,
            volumes: self.volume,
            ports: self.publish,
            restart: self.restart,
            labels: self.label.into_iter().collect::<BTreeMap<_, _>>(),
        };
        (order, self.json, self.dry, at)
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is no size: write 512m, 2g or a number of bytes");
    let lower = text.to_ascii_lowercase();
    let (number, shift) = match lower.char_indices().next_back() {
        Some((at, 'k')) => (lower.split_at(at).0, 10),
        Some((at, 'm')) => (lower.split_at(at).0, 20),
        Some((at, 'g')) => (lower.split_at(at).0, 30),
        _ => (lower.as_str(), 0),
    };
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| is_plain).ok_or_else(wrong)?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// Thousandths of a processor.
fn parse_cpus(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is no number of processors: write 2 or 0.5");
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if !(1..=4).contains(&whole.len())
        || !(1..=3).contains(&part.len())
        || !is_plain(text.split('.').collect::<String>().as_str())
    {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_none| wrong())?;
    let part: u64 = format!("{part:0<3}").parse().map_err(|_none| wrong())?;
    Ok(whole * 1000 + part)
}

fn parse_volume(text: &str) -> Result<VolumeOrder, String> {
    let (volume, path) = text
        .split_once(':')
        .ok_or_else(|| format!("\"{text}\" is no volume and path: write home:/home/jovyan"))?;
    Ok(VolumeOrder { volume: volume.to_owned(), path: path.to_owned() })
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(format!("\"{text}\" is no label: write KEY=VALUE"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_processors_are_what_docker_s_users_write() {
        for (text, size) in
            [("512m", 512 << 20), ("2g", 2 << 30), ("2G", 2 << 30), ("64k", 64 << 10), ("7", 7)]
        {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "m", "-1", "+1", "1.5g", "1t", "99999999999999g"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        for (text, millis) in [("1", 1000), ("0.5", 500), ("1.25", 1250), ("0.001", 1)] {
            assert_eq!(parse_cpus(text), Ok(millis), "{text}");
        }
        for text in ["", ".5", "1.", "-1", "+1", "1.0001", "1e3", "1.2.3", "99999"] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
    }
}
