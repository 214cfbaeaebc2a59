//! A host to install packages on: the files of this machine with a layer above them that takes all changes, as old as one
//! thread. Its network namespace has nothing but a loopback interface, so what is closed and opened there is nobody's.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
};

use anyhow::{Context as _, Result, ensure};

/// Where the program in systemctl's place notes what it was asked for.
const ASKED: &str = "systemctl.asked";
/// What it answers.
const SAYS: &str = "systemctl.says";

/// See the module.
pub(crate) struct Host {
    root: PathBuf,
}

/// Has `test` on a host of its own, on a thread that takes the host with it.
pub(crate) fn with(test: impl FnOnce(&Host) -> Result<()> + Send + 'static) -> Result<()> {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let dir = env::temp_dir().join(format!("enforcer-package-{}-{number}", process::id()));
    fs::create_dir_all(&dir)?;
    let base = dir.clone();
    let outcome = thread::spawn(move || {
        // SAFETY: changes this thread alone.
        let alone = unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWNET) };
        ensure!(alone == 0, "unshare: {}", std::io::Error::last_os_error());
        test(&Host::make(&base)?)
    })
    .join();
    fs::remove_dir_all(&dir)?;
    outcome.map_err(|panic| anyhow::anyhow!("{panic:?}"))?
}

impl Host {
    fn make(base: &Path) -> Result<Self> {
        let at = |name: &str| base.join(name).display().to_string();
        run(Command::new("mount").args(["--make-rprivate", "/"]))?;
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", &at("")]))?;
        for name in ["upper", "work", "root"] {
            fs::create_dir(base.join(name))?;
        }
        let layers = format!("lowerdir=/,upperdir={},workdir={}", at("upper"), at("work"));
        run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers, &at("root")]))?;
        let host = Self { root: base.join("root") };
        // Neither the machine's services nor its kernel's files: what the package does is seen here alone.
        for fresh in ["run", "tmp"] {
            run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(host.path(fresh)))?;
        }
        for own in ["var/lib/enforcer", "var/log/enforcer", "etc/enforcer"] {
            let _absent = fs::remove_dir_all(host.path(own));
        }
        run(Command::new("mount").args(["--rbind", "/dev"]).arg(host.path("dev")))?;
        run(Command::new("mount").args(["-t", "proc", "proc"]).arg(host.path("proc")))?;
        run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
        Ok(host)
    }

    /// A path below its root.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Runs a program on it; what it printed.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("chroot");
        // As where packages are installed.
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg(&self.root).args(words);
        run(&mut command)
    }

    /// Installs a package; what was said.
    pub(crate) fn install(&self, deb: &Path) -> Result<String> {
        fs::copy(deb, self.path("tmp/enforcer.deb")).with_context(|| deb.display().to_string())?;
        // The machine's manual is not to be indexed anew, and nothing has to survive a power cut.
        self.run(&["dpkg", "--no-triggers", "--force-unsafe-io", "-i", "/tmp/enforcer.deb"])
    }

    /// Writes a file, and the directories above it.
    pub(crate) fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.path(path);
        fs::create_dir_all(path.parent().context("the root")?)?;
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// Reads one.
    pub(crate) fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.path(path)).with_context(|| path.to_owned())
    }

    /// From now on systemd seems to run, and a program notes what it is asked for.
    pub(crate) fn pretend_systemd(&self) -> Result<()> {
        fs::create_dir_all(self.path("run/systemd/system"))?;
        let systemctl = "usr/local/bin/systemctl";
        self.write(systemctl, &format!("#!/bin/sh\necho \"$*\" >> /{ASKED}\ncat /{SAYS}\n"))?;
        self.systemd_says("")?;
        fs::set_permissions(self.path(systemctl), fs::Permissions::from_mode(0o755))?;
        self.forget_asked()
    }

    /// From now on the answer to whatever it is asked.
    pub(crate) fn systemd_says(&self, text: &str) -> Result<()> {
        self.write(SAYS, text)
    }

    /// What systemd was asked for by this package, in order.
    pub(crate) fn asked(&self) -> Result<Vec<String>> {
        Ok(self.read(ASKED)?.lines().map(str::to_owned).collect())
    }

    /// Begins anew with that.
    pub(crate) fn forget_asked(&self) -> Result<()> {
        self.write(ASKED, "")
    }
}

/// Runs a command to its end; what it printed.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    Ok(said)
}
