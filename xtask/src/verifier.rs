//! `verifier`: how many instructions the kernel walks to verify each program, against a committed
//! table. The kernel refuses a program at a million; growth is seen here long before.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use aya::{Btf, EbpfLoader, programs::Program};

use crate::{
    toolchain::{TARGET, Toolchain},
    workspace::{Workspace, output, require_root, succeed},
};

const TABLE: &str = "docs/verifier-instructions.toml";

const HEADER: &str = "\
# Instructions that the kernel's verifier walks for each program; a million is its limit.
# `cargo xtask verifier` and `cargo xtask vm` compare; with `--write` they write their kernels' columns.
";

/// Stamps as the daemon would choose them: the verifier prunes what constants rule out.
const GLOBALS: [(&str, u32); 3] =
    [("MARK_FROM_GUEST", 0x0200_0000), ("MARK_FROM_HOST", 0x0400_0000), ("MARK_MASK", 0x0600_0000)];

/// Growth in percent that passes unremarked: kernels and compilers differ a little.
const TOLERATED: u32 = 10;

/// The kernel's limit, and the part of it in percent that a program may reach.
const LIMIT: u32 = 1_000_000;
const REACHED: u32 = 80;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write this kernel's column of the table instead of comparing
    #[arg(long)]
    write: bool,
}

/// Verified instructions by name of the program.
pub(crate) type Counts = BTreeMap<String, u32>;

/// The committed table: by program, then by kernel series.
type Table = BTreeMap<String, BTreeMap<String, u32>>;

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    require_root("verifier", "loads eBPF programs")?;
    let counted = count(workspace)?;
    let series = running_series(workspace)?;
    if arguments.write {
        return write(workspace, &series, &counted);
    }
    compare(workspace, &series, &counted)
}

/// As `cargo xtask verifier`, for CI.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    compare(workspace, &running_series(workspace)?, &count(workspace)?)
}

fn running_series(workspace: &Workspace) -> Result<String> {
    let release = output(workspace.command("uname").arg("-r"))?;
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    let (major, minor) = (parts.next(), parts.next());
    Ok(format!("{}.{}", major.unwrap_or_default(), minor.unwrap_or_default()))
}

fn count(workspace: &Workspace) -> Result<Counts> {
    let bytes = fs::read(object(workspace)?)?;
    let btf = Btf::from_sys_fs().context("cannot read the kernel's BTF")?;
    let mut loader = EbpfLoader::new();
    loader.btf(Some(&btf));
    for (name, value) in &GLOBALS {
        loader.override_global(name, value, true);
    }
    let mut ebpf = loader.load(&bytes)?;
    let mut table = Counts::new();
    for (name, program) in ebpf.programs_mut() {
        let outcome = match program {
            // Not every kernel takes them: they are counted in the virtual machines.
            Program::Lsm(_) => continue,
            Program::SchedClassifier(program) => program.load(),
            Program::CgroupSockAddr(program) => program.load(),
            Program::BtfTracePoint(program) => program.load("sched_process_exec", &btf),
            other => bail!("{name} is of a kind that nobody counts: {:?}", other.prog_type()),
        };
        outcome.with_context(|| format!("the kernel refuses {name}"))?;
        let count = program.info()?.verified_instruction_count();
        table.insert(name.to_owned(), count.context("this kernel does not say (since 5.16)")?);
    }
    Ok(table)
}

fn object(workspace: &Workspace) -> Result<PathBuf> {
    let toolchain = Toolchain::find(&workspace.target).map_err(anyhow::Error::msg)?;
    succeed(toolchain.cargo("build", &workspace.target).current_dir(&workspace.root))?;
    Ok(toolchain.output_dir(&workspace.target).join(TARGET).join("bpf/enforcer-ebpf"))
}

fn read(workspace: &Workspace) -> Result<Table> {
    let path = workspace.root.join(TABLE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {TABLE}"))?;
    toml::from_str(&text).with_context(|| format!("{TABLE} is no table"))
}

/// Writes the column of one kernel series; the others stay.
pub(crate) fn write(workspace: &Workspace, series: &str, counted: &Counts) -> Result<()> {
    let mut table = read(workspace).unwrap_or_default();
    for (program, row) in &mut table {
        if !counted.contains_key(program) {
            row.remove(series);
        }
    }
    table.retain(|_, row| !row.is_empty());
    for (program, count) in counted {
        table.entry(program.clone()).or_default().insert(series.to_owned(), *count);
    }
    let lines = table.iter().map(|(program, row)| {
        let cells: Vec<_> = row.iter().map(|(series, n)| format!("\"{series}\" = {n}")).collect();
        format!("{program} = {{ {} }}\n", cells.join(", "))
    });
    let text: String = std::iter::once(HEADER.to_owned()).chain(lines).collect();
    Ok(fs::write(workspace.root.join(TABLE), text)?)
}

/// Compares what a kernel counted with its column. A kernel without one has only the limit.
pub(crate) fn compare(workspace: &Workspace, series: &str, counted: &Counts) -> Result<()> {
    let table = read(workspace)?;
    let has_column = table.values().any(|row| row.contains_key(series));
    let then = |name: &str| table.get(name).and_then(|row| row.get(series)).copied();
    println!("verified instructions under {series}");
    for (name, now) in counted {
        let then = then(name).map_or("none".to_owned(), |then| then.to_string());
        println!("{name:<16}{now:>8}  table {then:>8}");
    }
    if let Some((name, now)) = counted.iter().find(|(_, now)| **now > LIMIT / 100 * REACHED) {
        bail!("{name} has {now} instructions to verify, over {REACHED} % of the kernel's limit");
    }
    let gone = |(name, row): &(&String, &BTreeMap<_, _>)| {
        row.contains_key(series) && !counted.contains_key(*name)
    };
    if let Some((gone, _)) = table.iter().find(gone) {
        bail!("{gone} is in {TABLE}, but was not counted");
    }
    let grown: Vec<&str> = counted
        .iter()
        .filter(|(name, now)| has_column && !then(name).is_some_and(|then| within(**now, then)))
        .map(|(name, _)| name.as_str())
        .collect();
    if !grown.is_empty() {
        bail!(
            "{} grew by more than {TOLERATED} % under {series}, or are not in {TABLE}; if that is \
             meant: cargo xtask verifier --write; cargo xtask vm --write",
            grown.join(", ")
        );
    }
    if !has_column {
        println!("{TABLE} has no column for {series}: compared with the limit only");
    }
    Ok(())
}

fn within(now: u32, then: u32) -> bool {
    u64::from(now) * 100 <= u64::from(then) * u64::from(100 + TOLERATED)
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn growth_beyond_ten_percent_is_noticed() {
        assert!(within(1100, 1000));
        assert!(!within(1101, 1000));
        assert!(within(1, 1000));
    }
}
