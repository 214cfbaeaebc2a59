//! Whom the engine's own resolver asks on behalf of containers.

use std::{fmt, net::IpAddr};

use crate::audit::store::time;

/// Where the questions of containers go that were created without name servers of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Upstream {
    /// Name servers that the engine asks from the host's network namespace. No program of ours sees
    /// whose question it was: it is no frame of the guest, and no process of its cgroup sends it.
    pub from_host: Vec<IpAddr>,
    /// The file that names them, as the engine sees it.
    pub file: String,
    /// When that was written, microseconds since 1970; 0: not known, or there is none. What a container that began
    /// earlier was told is not known from it.
    pub written: u64,
}

impl Upstream {
    /// What a container was told that started then, in RFC 3339: nothing that is known, if the file was written
    /// later. Nobody is stopped on a guess.
    #[must_use]
    pub fn told_to(self, started: &str) -> Self {
        let began = time::micros(started);
        if began.is_some_and(|began| began < self.written) { Self::default() } else { self }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, server) in self.from_host.iter().enumerate() {
            write!(formatter, "{}{server}", if index == 0 { "" } else { ", " })?;
        }
        write!(formatter, " ({})", self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d10_a_file_tells_nothing_of_those_who_started_before_it_was_written() {
        let server = std::net::Ipv4Addr::LOCALHOST.into();
        let written = time::micros("2026-11-23T08:00:00Z").expect("a time");
        let upstream = Upstream { from_host: vec![server], file: "f".to_owned(), written };
        for (started, is_known) in [
            ("2026-11-23T07:59:59.999999999Z", false),
            ("2026-11-23T08:00:00.000000001Z", true),
            ("2026-11-24T00:00:00Z", true),
            ("", true),
        ] {
            let told = upstream.clone().told_to(started);
            assert_eq!(!told.from_host.is_empty(), is_known, "{started}");
        }
    }
}
