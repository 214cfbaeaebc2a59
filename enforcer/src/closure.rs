//! Closes guest bridges where no program of ours sits, by a table of our own in nftables' bridge
//! family. It needs neither eBPF nor Docker nor a bridge that exists, so it can be there at boot,
//! before the first container. The adapter beside `kernel` and `netlink`; it decides nothing.

mod listing;
mod ruleset;

use std::{
    io::{self, Write as _},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::model::closure::{By, Closure, Drops};

/// The program that writes and lists tables.
const NFT: &str = "nft";
/// Where it is found beside the caller's PATH, which need not name directories for root.
const SBIN: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";
/// A reading younger than this is not repeated: links change in bursts.
const FRESH: Duration = Duration::from_secs(1);

/// The table could not be written, listed or removed.
#[derive(Debug, thiserror::Error)]
pub enum ClosureError {
    /// No such program.
    #[error(
        "cannot run nft, which closes guest bridges: install nftables, or set closed_by = \
         \"nobody\" under [daemon] and accept that ports reach one another until they are policed"
    )]
    NoProgram(#[source] io::Error),
    /// The kernel has no such table.
    #[error(
        "this kernel cannot close guest bridges: it lacks CONFIG_NF_TABLES_BRIDGE; run a kernel that \
         has it, or set closed_by = \"nobody\" under [daemon] and accept that ports reach one another until they \
         are policed (nft: {answer})"
    )]
    Unsupported {
        /// What nft said.
        answer: String,
    },
    /// Something else.
    #[error("nft cannot {operation} the table that closes guest bridges: {answer}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// What nft said.
        answer: String,
    },
}

impl ClosureError {
    /// Whether the host lacks something: trying again is of no use.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::NoProgram(_) | Self::Unsupported { .. })
    }
}

/// The table, as this process wrote it.
#[derive(Clone, Debug, Default)]
pub struct Table(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// What was written, and how the kernel listed it right after.
    written: Option<(Closure, Value)>,
    reading: Option<(Instant, (Option<Closure>, Drops))>,
}

/// What this host's nftables can tell frames of guest bridges by.
#[derive(Debug)]
pub enum Ability {
    /// By the bridge.
    Bridge,
    /// By ports only.
    Ports,
    /// Not at all, and why.
    None(ClosureError),
}

/// Asks the kernel; changes nothing. Blocks.
#[must_use]
pub fn ability(closure: &Closure) -> Ability {
    match probe(closure) {
        Ok(()) => Ability::Bridge,
        Err(ClosureError::Unsupported { .. }) => {
            let by = By::Ports { others: <_>::default() };
            match probe(&Closure { by, ..closure.clone() }) {
                Ok(()) => Ability::Ports,
                Err(error) => Ability::None(error),
            }
        }
        Err(error) => Ability::None(error),
    }
}

impl Table {
    /// Writes the table in one transaction, in place of any other of its name. Blocks.
    pub fn write(&self, closure: &Closure) -> Result<(), ClosureError> {
        let mut known = self.lock();
        *known = Known::default();
        write(closure)?;
        // Versions of nft list one table differently: what it says now is what it has to say, unless
        // somebody has changed it already.
        let listing = list()?.0;
        if listing::rules(&listing) == ruleset::rules(closure) {
            known.written = Some((closure.clone(), listing));
        }
        Ok(())
    }

    /// Writes the table, or removes it where none is wanted. Blocks.
    pub fn set(&self, closure: Option<&Closure>) -> Result<(), ClosureError> {
        match closure {
            Some(closure) => self.write(closure),
            // Where there can be no table, there is none.
            None => match self.remove() {
                Err(error) if !error.is_lasting() => Err(error),
                _ => Ok(()),
            },
        }
    }

    /// Removes the table, if there is one. Blocks.
    pub fn remove(&self) -> Result<(), ClosureError> {
        *self.lock() = Known::default();
        remove()
    }

    /// What the kernel holds: the closure that this process wrote, if nobody changed it since, and
    /// what it dropped. Blocks.
    #[must_use]
    pub fn read(&self) -> (Option<Closure>, Drops) {
        let mut known = self.lock();
        let Known { written: Some((closure, as_written)), reading } = &mut *known else {
            return <_>::default();
        };
        if let Some((at, reading)) = reading
            && at.elapsed() < FRESH
        {
            return reading.clone();
        }
        let read = match list() {
            Ok((listed, drops)) if listed == *as_written => (Some(closure.clone()), drops),
            Ok((_, drops)) => (None, drops),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "no closure");
                <_>::default()
            }
        };
        *reading = Some((Instant::now(), read.clone()));
        read
    }

    /// A panic elsewhere left at worst no memory of what was written: it is written again.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the table in one transaction, in place of any other of its name. Blocks.
pub fn write(closure: &Closure) -> Result<(), ClosureError> {
    nft("write", &["-f", "-"], &ruleset::render(closure)).map(drop)
}

/// Removes the table, if there is one. Blocks.
pub fn remove() -> Result<(), ClosureError> {
    nft("remove", &["-f", "-"], &ruleset::removal()).map(drop)
}

/// Whether there is a table of that name, whoever wrote it. Blocks.
#[must_use]
pub fn exists() -> bool {
    list().is_ok()
}

/// Asks the kernel whether it would take such a table; changes nothing. Blocks.
pub fn probe(closure: &Closure) -> Result<(), ClosureError> {
    nft("check", &["-c", "-f", "-"], &ruleset::render(closure)).map(drop)
}

fn list() -> Result<(Value, Drops), ClosureError> {
    let arguments = ["-j", "list", "table", ruleset::FAMILY, ruleset::TABLE];
    let answer = nft("list", &arguments, "")?;
    listing::read(&answer)
        .map_err(|error| ClosureError::Refused { operation: "list", answer: error.to_string() })
}

fn nft(operation: &'static str, arguments: &[&str], input: &str) -> Result<String, ClosureError> {
    let Output { status, stdout, stderr } =
        run(arguments, input).map_err(ClosureError::NoProgram)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    // The first line has the cause; the rest quotes the rules.
    let answer = String::from_utf8_lossy(&stderr);
    let answer = answer.lines().next().unwrap_or("it does not say why").to_owned();
    let unsupported = ["Operation not supported", "Protocol not supported", "netlink socket"];
    if unsupported.iter().any(|words| answer.contains(words)) {
        return Err(ClosureError::Unsupported { answer });
    }
    Err(ClosureError::Refused { operation, answer })
}

fn run(arguments: &[&str], input: &str) -> io::Result<Output> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut child = Command::new(NFT)
        .args(arguments)
        .env("PATH", format!("{path}:{SBIN}"))
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ended early says why on its standard error.
        let _broken_pipe = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}
