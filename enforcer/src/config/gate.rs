//! The tables `[gate]` and `[hubs.NAME.gate]`: what a filtered Docker socket lets its user do.

use std::{collections::BTreeMap, fmt::Display, net::Ipv4Addr, ops::RangeInclusive, str::FromStr};

use toml::{Spanned, Value};

use super::{
    GuestNetwork, OWNED_PREFIX, check,
    problem::Problems,
    raw::{RawGate, RawNamedHub},
};
use crate::{access::name::HubName, gate::rules::Rules};

/// Things of a kind that one user may have.
const COUNTS: RangeInclusive<u32> = 0..=10_000;
/// Processes of one container.
const PIDS: RangeInclusive<u32> = 1..=4_194_304;
/// Memory of one container, bytes: the engine takes no less than 6 MiB.
const MEMORY: RangeInclusive<u64> = 6 << 20..=1 << 44;
/// Context of a build, bytes.
const CONTEXT: RangeInclusive<u64> = 1 << 20..=4 << 30;
/// CPUs of one container: the engine takes no less than a hundredth.
const CPUS: RangeInclusive<f64> = 0.01..=1024.0;
/// Host ports that may be published: those below are the host's own services'.
const PORTS: RangeInclusive<u16> = 1024..=u16::MAX;
/// Most patterns of images, and their longest, bytes.
const IMAGES: (usize, usize) = (256, 255);
/// Where own networks have their subnets when the config says nothing.
const POOL: &str = "10.201.0.0/16";
/// Units of memory.
const UNITS: [(&str, u64); 4] =
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// `[gate]`, and what hubs have instead for their users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// For users of hubs that have nothing else, and of none.
    pub users: Rules,
    /// For users of these hubs.
    pub hubs: BTreeMap<HubName, Rules>,
    /// Where own networks have their subnets, of [`OWNED_PREFIX`] bits each; `None`: nobody makes one.
    pub own_networks: Option<(Ipv4Addr, u8)>,
}

impl Default for Gate {
    fn default() -> Self {
        let own_networks = pool(POOL, &BTreeMap::new()).ok();
        Self { users: Rules::default(), hubs: BTreeMap::new(), own_networks }
    }
}

impl Gate {
    /// What users of a hub may do by a filtered socket.
    #[must_use]
    pub fn of(&self, hub: &HubName) -> &Rules {
        self.hubs.get(hub).unwrap_or(&self.users)
    }
}

/// Checks all of it. What a hub's table leaves out is as `[gate]` has it.
pub(super) fn gate(
    raw: &RawGate,
    hubs: &BTreeMap<Spanned<String>, Spanned<RawNamedHub>>,
    networks: &BTreeMap<String, GuestNetwork>,
    problems: &mut Problems<'_>,
) -> Gate {
    let users = read(raw, Rules::default(), problems);
    let own_networks = match &raw.own_networks {
        // Where the file has something there, nobody makes one unless somebody says where.
        None => pool(POOL, networks).ok(),
        Some(text) if text.get_ref().is_empty() => None,
        Some(text) => {
            let found = pool(text.get_ref(), networks);
            found.map_err(|message| problems.add(text.span(), message)).ok()
        }
    };
    for table in hubs.values().filter_map(|table| table.get_ref().gate.as_ref()) {
        if let Some(text) = &table.own_networks {
            problems.add(text.span(), "own_networks is this host's: write it in [gate]");
        }
    }
    let of_hubs = hubs.iter().filter_map(|(name, table)| {
        let own = table.get_ref().gate.as_ref()?;
        let rules = read(own, users.clone(), problems);
        // A name that is none is a problem of its table's.
        Some((name.get_ref().parse().ok()?, rules))
    });
    let hubs = of_hubs.collect();
    Gate { users, hubs, own_networks }
}

/// Where own networks have their subnets: nowhere near a network of the file.
fn pool(text: &str, networks: &BTreeMap<String, GuestNetwork>) -> Result<(Ipv4Addr, u8), String> {
    let (address, length) = check::subnet4(text)?;
    if length > OWNED_PREFIX {
        return Err(format!(
            "each own network has a /{OWNED_PREFIX}: \"{text}\" has room for none; use /8 to /{OWNED_PREFIX}"
        ));
    }
    let of_network = |network: &GuestNetwork| {
        network.subnet4.is_some_and(|subnet| check::overlap4(subnet, (address, length)))
    };
    match networks.iter().find(|(_, network)| of_network(network)) {
        Some((name, _)) => Err(format!("\"{text}\" overlaps the subnet of network \"{name}\"")),
        None => Ok((address, length)),
    }
}

fn read(raw: &RawGate, mut rules: Rules, problems: &mut Problems<'_>) -> Rules {
    if let Some(listed) = &raw.images {
        rules.images = images(listed, problems);
    }
    let mut count = |of: &Option<Spanned<i64>>, into: &mut u32, bounds| {
        if let Some(value) = of {
            match number(*value.get_ref(), &bounds) {
                Ok(number) => *into = number,
                Err(message) => problems.add(value.span(), message),
            }
        }
    };
    count(&raw.max_containers, &mut rules.max_containers, COUNTS);
    count(&raw.max_volumes, &mut rules.max_volumes, COUNTS);
    count(&raw.max_networks, &mut rules.max_networks, COUNTS);
    count(&raw.pids, &mut rules.pids, PIDS);
    if let Some(value) = &raw.memory {
        match memory(value.get_ref()) {
            Some(bytes) => rules.memory = bytes,
            None => problems.add(value.span(), "memory is \"6MiB\" to \"16TiB\", such as \"2GiB\""),
        }
    }
    if let Some(value) = &raw.cpus {
        match nano_cpus(value.get_ref()) {
            Some(nano) => rules.nano_cpus = nano,
            None => problems.add(value.span(), "cpus is a number from 0.01 to 1024, such as 1.5"),
        }
    }
    if let Some(value) = &raw.build_context {
        match context(value.get_ref()) {
            Some(bytes) => rules.build_context = bytes,
            None => problems.add(
                value.span(),
                "build_context is \"1MiB\" to \"4GiB\", such as \"64MiB\", or \"0\", by which nothing is built",
            ),
        }
    }
    if let Some(value) = &raw.host_ports {
        match ports(value.get_ref()) {
            Some(ports) => rules.host_ports = Some(ports),
            None => problems.add(
                value.span(),
                "host_ports is a range from 1024 to 65535, such as \"20000-20099\"",
            ),
        }
    }
    rules
}

fn images(listed: &[Spanned<String>], problems: &mut Problems<'_>) -> Vec<String> {
    let (most, longest) = IMAGES;
    if let Some(one) = listed.get(most) {
        problems.add(one.span(), format!("more than {most} images"));
    }
    for image in listed {
        let text = image.get_ref();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:@*".contains(&byte);
        if text.is_empty() || text.len() > longest || !text.bytes().all(is_plain) {
            let message = "an image is a reference such as \"docker.io/library/python:3.*\"; `*` stands for any text";
            problems.add(image.span(), message);
        }
    }
    listed.iter().map(|image| image.get_ref().clone()).collect()
}

fn number(value: i64, bounds: &RangeInclusive<u32>) -> Result<u32, String> {
    let number = u32::try_from(value).ok().filter(|number| bounds.contains(number));
    let wrong = || format!("{value} is not between {} and {}", bounds.start(), bounds.end());
    number.ok_or_else(wrong)
}

fn memory(text: &str) -> Option<u64> {
    bytes(text).filter(|bytes| MEMORY.contains(bytes))
}

fn context(text: &str) -> Option<u64> {
    if text == "0" { Some(0) } else { bytes(text).filter(|bytes| CONTEXT.contains(bytes)) }
}

fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| text.strip_suffix(name).map(|digits| (digits.trim_end(), unit)))?;
    plain::<u64>(digits)?.checked_mul(*unit)
}

fn nano_cpus(value: &Value) -> Option<u64> {
    let text = match value {
        Value::Integer(whole) => whole.to_string(),
        Value::Float(number) if CPUS.contains(number) => number.to_string(),
        _ => return None,
    };
    let number = text.parse::<f64>().ok().filter(|number| CPUS.contains(number))?;
    // Thousandths, as the engine's own command line has them; no cast is needed.
    format!("{:.0}", number * 1000.0).parse::<u64>().ok().map(|thousandths| thousandths * 1_000_000)
}

fn ports(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (plain::<u16>(low.trim())?, plain::<u16>(high.trim())?);
    (PORTS.contains(&low) && low <= high).then_some((low, high))
}

/// Digits, and nothing else that a number may have.
fn plain<T: FromStr + Display>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|number| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::{super::parse, *};

    const LEAST: &str = "[networks.lab]\nbridge = \"br-lab\"\n";

    fn table(lines: &str) -> String {
        format!("[gate]\n{lines}\n{LEAST}")
    }

    #[test]
    fn s3_bounds_are_the_gate_s_and_a_hub_has_its_own() {
        let none = parse(LEAST, "f").expect("valid").gate;
        assert_eq!((&none.users, none.hubs.len()), (&Rules::default(), 0));
        let text = format!(
            "[gate]\nimages = [\"python:3*\"]\nmax_containers = 4\nmax_volumes = 5\nmax_networks = 0\n\
             memory = \"512MiB\"\ncpus = 1.5\npids = 64\nhost_ports = \"20000-20099\"\nbuild_context = \"1MiB\"\n\
             [hubs.course]\nnetworks = [\"lab\"]\n[hubs.course.gate]\nmemory = \"1 GiB\"\ncpus = 2\nbuild_context = \"0\"\n{LEAST}"
        );
        let gate = parse(&text, "f").expect("valid").gate;
        let users = &gate.users;
        assert_eq!(users.images, ["python:3*"]);
        assert_eq!((users.max_containers, users.max_volumes, users.max_networks), (4, 5, 0));
        assert_eq!((users.memory, users.nano_cpus, users.pids), (512 << 20, 1_500_000_000, 64));
        assert_eq!((users.host_ports, users.build_context), (Some((20_000, 20_099)), 1 << 20));
        let (local, course) = (HubName::local(), "course".parse().expect("a hub"));
        assert_eq!(gate.of(&local), users);
        let own = gate.of(&course);
        assert_eq!((own.memory, own.nano_cpus, own.build_context), (1 << 30, 2_000_000_000, 0));
        assert_eq!((own.pids, &own.images), (64, &users.images), "the rest is as [gate] has it");
    }

    #[test]
    fn o2_the_pool_of_own_networks_is_this_host_s_and_overlaps_nothing() {
        let none = parse(LEAST, "f").expect("valid").gate.own_networks;
        assert_eq!(none, Some((Ipv4Addr::new(10, 201, 0, 0), 16)), "as in the example");
        let off = parse(&table("own_networks = \"\""), "f").expect("valid").gate.own_networks;
        assert_eq!(off, None, "nobody makes one");
        let there = format!("{LEAST}subnet = \"10.201.9.0/24\"\n");
        let taken = parse(&there, "f").expect("valid").gate.own_networks;
        assert_eq!(taken, None, "nobody makes one unless somebody says where");
        let given = parse(&table("own_networks = \"10.201.0.0/16\""), "f").expect("valid");
        assert_eq!(given.gate.own_networks, Some((Ipv4Addr::new(10, 201, 0, 0), 16)));
        let taken = "subnet = \"10.201.9.0/24\"";
        for (text, words) in [
            (table("own_networks = \"10.201.0.0/27\""), "room for none"),
            (table("own_networks = \"10.201.0.1/16\""), "host bits"),
            (table("own_networks = \"fd00::/48\""), "not a subnet of this family"),
            (format!("{}{taken}", table("own_networks = \"10.201.0.0/16\"")), "network \"lab\""),
            (
                format!(
                    "[hubs.course]\nnetworks = [\"lab\"]\n[hubs.course.gate]\n\
                     own_networks = \"10.201.0.0/16\"\n{LEAST}"
                ),
                "write it in [gate]",
            ),
        ] {
            let error = parse(&text, "f.toml").expect_err(&text).to_string();
            assert!(error.contains(words), "{text}\n{error}");
        }
        let text = "[networks.lab]\nbridge = \"en-own-1\"\n";
        assert!(parse(text, "f.toml").is_err(), "such bridges are own networks'");
    }

    #[test]
    fn o2_bounds_that_are_wrong_are_refused_with_line_and_advice() {
        for (text, line, words) in [
            (table("max_containers = -1"), 2, "not between 0 and 10000"),
            (table("max_networks = 10001"), 2, "not between"),
            (table("pids = 0"), 2, "not between 1 and"),
            (table("memory = \"2GB\""), 2, "such as \"2GiB\""),
            (table("memory = \"+2GiB\""), 2, "such as"),
            (table("memory = \"1MiB\""), 2, "6MiB"),
            (table("memory = \"99999999999TiB\""), 2, "16TiB"),
            (table("cpus = 0"), 2, "0.01 to 1024"),
            (table("cpus = nan"), 2, "0.01 to 1024"),
            (table("cpus = \"2\""), 2, "0.01 to 1024"),
            (table("host_ports = \"80-90\""), 2, "from 1024"),
            (table("host_ports = \"20099-20000\""), 2, "from 1024"),
            (table("host_ports = \"20000-\""), 2, "from 1024"),
            (table("build_context = \"1\""), 2, "such as \"64MiB\""),
            (table("build_context = \"1KiB\""), 2, "1MiB"),
            (table("build_context = \"5GiB\""), 2, "4GiB"),
            (table("images = [\"a b\"]"), 2, "reference"),
            (table("images = [\"\"]"), 2, "reference"),
            (table("image = []"), 2, "did you mean `images`"),
            (
                format!("[hubs.course]\nnetworks = [\"lab\"]\ngate = {{ pids = 0 }}\n{LEAST}"),
                3,
                "not between 1 and",
            ),
        ] {
            let error = parse(&text, "f.toml").expect_err(&text);
            let [problem] = error.problems.as_slice() else { panic!("{text}\n{error}") };
            assert!(problem.line == line && problem.message.contains(words), "{text}\n{error}");
        }
    }
}
