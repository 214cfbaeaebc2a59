//! `verifier`: how many instructions the kernel walks to verify each program, against a committed
//! table. The kernel refuses a program at a million; growth is seen here long before.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use aya::{Btf, EbpfLoader, programs::SchedClassifier};

use crate::{
    toolchain::{TARGET, Toolchain},
    workspace::{Workspace, output, require_root, succeed},
};

const TABLE: &str = "docs/verifier-instructions.toml";

const HEADER: &str = "\
# Instructions that the kernel's verifier walks for each program; a million is its limit.
# `cargo xtask verifier` compares, `cargo xtask verifier --write` writes this file.
";

/// Stamps as the daemon would choose them: the verifier prunes what constants rule out.
const GLOBALS: [(&str, u32); 3] =
    [("MARK_FROM_GUEST", 0x0200_0000), ("MARK_FROM_HOST", 0x0400_0000), ("MARK_MASK", 0x0600_0000)];

/// Growth in percent that passes unremarked: kernels and compilers differ a little.
const TOLERATED: u32 = 10;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write the table instead of comparing
    #[arg(long)]
    write: bool,
}

/// Verified instructions by name of the program.
type Table = BTreeMap<String, u32>;

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    require_root("verifier", "loads eBPF programs")?;
    let counted = count(workspace)?;
    if arguments.write {
        fs::write(workspace.root.join(TABLE), HEADER.to_owned() + &toml::to_string(&counted)?)?;
        return Ok(());
    }
    compare(workspace, &counted)
}

/// As `cargo xtask verifier`, for CI.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    compare(workspace, &count(workspace)?)
}

fn count(workspace: &Workspace) -> Result<Table> {
    let bytes = fs::read(object(workspace)?)?;
    let btf = Btf::from_sys_fs().context("cannot read the kernel's BTF")?;
    let mut loader = EbpfLoader::new();
    loader.btf(Some(&btf));
    for (name, value) in &GLOBALS {
        loader.override_global(name, value, true);
    }
    let mut ebpf = loader.load(&bytes)?;
    let mut table = Table::new();
    for (name, program) in ebpf.programs_mut() {
        let program: &mut SchedClassifier = program.try_into()?;
        program.load().with_context(|| format!("the kernel refuses {name}"))?;
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

fn compare(workspace: &Workspace, counted: &Table) -> Result<()> {
    let path = workspace.root.join(TABLE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {TABLE}"))?;
    let table: Table = toml::from_str(&text).with_context(|| format!("{TABLE} is no table"))?;
    let kernel = output(workspace.command("uname").arg("-r"))?;
    println!("verified instructions under {}", kernel.trim());
    for (name, now) in counted {
        println!("{name:<16}{now:>8}  table {:>8}", table.get(name).copied().unwrap_or_default());
    }
    let grown: Vec<&str> = counted
        .iter()
        .filter(|(name, now)| !table.get(*name).is_some_and(|then| within(**now, *then)))
        .map(|(name, _)| name.as_str())
        .collect();
    if !grown.is_empty() {
        bail!(
            "{} grew by more than {TOLERATED} %, or are not in {TABLE}; if that is meant: \
             cargo xtask verifier --write",
            grown.join(", ")
        );
    }
    if let Some(gone) = table.keys().find(|name| !counted.contains_key(*name)) {
        bail!("{gone} is in {TABLE}, but the object has no such program");
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
