//! A JupyterHub of a pinned version, and an admin who uses its API.

use std::{
    ffi::OsString,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// The versions, with all that they need.
pub const VERSIONS: [(&str, &str); 2] = [
    ("4.1.6", include_str!("requirements-4.1.6.txt")),
    ("5.4.6", include_str!("requirements-5.4.6.txt")),
];
/// Configs by their names; one may read another.
const CONFIGS: [(&str, &str); 4] = [
    ("config.py", include_str!("config.py")),
    ("own_spawner.py", include_str!("own_spawner.py")),
    ("spawner.py", include_str!("spawner.py")),
    ("tmpnb.py", include_str!("tmpnb.py")),
];
/// Whom it knows.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const ADMIN: &str = "fedcba9876543210fedcba9876543210";
/// Longest wait for a hub that starts.
const PATIENCE: Duration = Duration::from_mins(1);

/// Installs a version, unless it is there, and gives its directory.
pub fn install((version, requirements): (&str, &str)) -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("the target directory")?;
    let dir = target.join("hub").join(version);
    let done = dir.join("requirements.txt");
    if fs::read_to_string(&done).is_ok_and(|text| text == requirements) {
        return Ok(dir);
    }
    // Half of an installation is none.
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let wanted = dir.join("wanted.txt");
    fs::write(&wanted, requirements)?;
    let venv = Command::new("python3").args(["-m", "venv"]).arg(&dir).output();
    succeeded(&venv.context("python3")?, "python3 -m venv")?;
    let mut pip = Command::new(dir.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&wanted);
    succeeded(&pip.output()?, "pip install")?;
    fs::rename(wanted, done)?;
    Ok(dir)
}

fn succeeded(output: &std::process::Output, what: &str) -> Result<()> {
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what}: {}: {told}", output.status);
    Ok(())
}

/// A running hub. It ends with this.
pub struct Server {
    /// Where its API is.
    pub port: u16,
    process: Child,
}

impl Server {
    /// Starts it in a directory of its own; answers when it does.
    pub fn start(installed: &Path, dir: &Path, port: u16) -> Result<Self> {
        Self::start_as("config.py", installed, dir, (port, &[]))
    }

    /// The same with another config, which reads more of its environment. In a directory where one was it goes on from
    /// what that one left.
    pub fn start_as(
        config: &str,
        installed: &Path,
        dir: &Path,
        (port, environment): (u16, &[(&str, OsString)]),
    ) -> Result<Self> {
        fs::create_dir_all(dir)?;
        for (name, text) in CONFIGS {
            fs::write(dir.join(name), text)?;
        }
        let log = fs::File::options().create(true).append(true).open(dir.join("log"))?;
        let process = Command::new(installed.join("bin/jupyterhub"))
            .args(["--config", config])
            .current_dir(dir)
            .envs(environment.iter().cloned())
            .env("HUB_PORT", port.to_string())
            .env("ENFORCER_TOKEN", TOKEN)
            .env("ADMIN_TOKEN", ADMIN)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start JupyterHub")?;
        let server = Self { port, process };
        let begun = Instant::now();
        while !server.call("GET", "/", None).is_ok_and(|(status, _)| status == 200) {
            if begun.elapsed() > PATIENCE {
                bail!("JupyterHub does not answer: {}", fs::read_to_string(dir.join("log"))?);
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(server)
    }

    /// What an admin does: status and body.
    pub fn call(&self, method: &str, path: &str, body: Option<&str>) -> Result<(u16, String)> {
        ask(self.port, method, path, body)
    }

    /// The same, and it must work.
    pub fn manage(&self, method: &str, path: &str, body: Option<&str>) -> Result<String> {
        let (status, body) = self.call(method, path, body)?;
        ensure!((200..300).contains(&status), "{method} {path}: {status} {body}");
        Ok(body)
    }

    /// Ends it at once.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.kill();
    }
}

/// A call to the API at a port of this host, as an admin where the hub knows one: status and body.
pub fn ask(port: u16, method: &str, path: &str, body: Option<&str>) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let body = body.unwrap_or_default();
    write!(
        stream,
        "{method} /hub/api{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: token {ADMIN}\r\n\
         Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let (head, body) = reply.split_once("\r\n\r\n").context("an answer")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, body.to_owned()))
}
