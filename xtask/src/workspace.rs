//! Where the workspace and its build output are, and how a verb runs other programs.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// The workspace that this binary was built from.
pub(crate) struct Workspace {
    /// Its root directory.
    pub(crate) root: PathBuf,
    /// Where cargo builds to.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds both; `CARGO_TARGET_DIR` moves the second.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies in the workspace")?
            .to_owned();
        let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        Ok(Self { target: root.join(target), root })
    }

    /// `cargo`, the one that runs us, in the root of the workspace.
    pub(crate) fn cargo<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments);
        command
    }

    /// Another program, in the root of the workspace.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }
}

/// Runs `command` to its end; anything but success is an error that names the command.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", line(command)))?;
    if !status.success() {
        bail!("{status}: {}", line(command));
    }
    Ok(())
}

/// What `command` prints, when it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", line(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}\n{said}", output.status, line(command));
    }
    String::from_utf8(output.stdout).with_context(|| format!("not text: {}", line(command)))
}

/// As [`succeed`], and hands each line of standard output to `seen` after passing it on.
pub(crate) fn succeed_watched(command: &mut Command, mut seen: impl FnMut(&str)) -> Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", line(command)))?;
    if let Some(stdout) = child.stdout.take() {
        for bytes in BufReader::new(stdout).split(b'\n') {
            let bytes = bytes?;
            // Line by line: others may run beside it.
            std::io::stdout().write_all(&[&bytes[..], b"\n"].concat())?;
            seen(String::from_utf8_lossy(&bytes).trim_end());
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{status}: {}", line(command));
    }
    Ok(())
}

/// Becomes `command`; returns only if that fails.
pub(crate) fn become_command(command: &mut Command) -> Result<()> {
    Err(command.exec()).with_context(|| format!("cannot run {}", line(command)))
}

/// Whether this process is root's.
pub(crate) fn is_root() -> Result<bool> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}

/// Refuses early, in words one can act on, what only root can do.
pub(crate) fn require_root(verb: &str, why: &str) -> Result<()> {
    if !is_root()? {
        bail!("{verb} needs root: it {why}. Try: sudo ./x {verb}");
    }
    Ok(())
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
