//! What an engine says of itself, and how its daemon was told to set up networks: flags and config file, which
//! the engine's API does not tell.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokio::net::UnixStream;

use super::{Engine, EngineError};

/// Where the engine's daemon looks for its config when it is not told.
const DEFAULT_CONFIG: &str = "/etc/docker/daemon.json";
/// Where it leaves its process id.
const PID_FILE: &str = "/run/docker.pid";

/// What matters of an engine to whoever looks after the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineFacts {
    /// Its version.
    pub version: String,
    /// API version in use.
    pub api: String,
    /// Whether containers outlive its daemon.
    pub live_restore: bool,
    /// How its daemon was told to set up networks, or why nobody knows.
    pub settings: Result<EngineSettings, String>,
}

/// How the engine's daemon sets up networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// It writes netfilter rules: translation of addresses, published ports.
    pub iptables: bool,
    /// The same for IPv6.
    pub ip6tables: bool,
    /// It starts docker-proxy for each published port.
    pub userland_proxy: bool,
}

/// Asks the engine behind `socket`, and looks at the process that listens there.
pub async fn ask(socket: &Path) -> Result<EngineFacts, EngineError> {
    let engine = Engine::connect(socket).await?;
    let info = engine.docker.info().await.map_err(EngineError::request("describe itself"))?;
    let settings = settings(socket, has_ip6tables(&engine.version)).await;
    Ok(EngineFacts {
        version: engine.version,
        api: engine.api.to_string(),
        live_restore: info.live_restore_enabled.unwrap_or(false),
        settings,
    })
}

/// From 27 on it is the default.
fn has_ip6tables(version: &str) -> bool {
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major >= 27)
}

async fn settings(socket: &Path, ip6tables: bool) -> Result<EngineSettings, String> {
    let pid = listener(socket).await.ok_or("no process dockerd is known behind the socket")?;
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let arguments = fs::read(proc.join("cmdline")).map_err(|error| {
        format!("cannot read the arguments of dockerd (process {pid}): {error}")
    })?;
    let arguments = String::from_utf8_lossy(&arguments).into_owned();
    let arguments: Vec<&str> = arguments.split('\0').collect();
    // As that process sees it: it may have another root.
    let file = config_file(&arguments);
    let inside = proc.join("root").join(file.strip_prefix("/").unwrap_or(&file));
    let text = match fs::read_to_string(&inside) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("cannot read {}: {error}", file.display())),
    };
    read(&arguments, &text, ip6tables).map_err(|why| format!("{}: {why}", file.display()))
}

/// The process behind the socket. Where systemd made the socket, it is named as the peer: then the file with the
/// process id counts.
async fn listener(socket: &Path) -> Option<i32> {
    let stream = UnixStream::connect(socket).await.ok()?;
    let peer = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let noted = || fs::read_to_string(PID_FILE).ok()?.trim().parse().ok();
    peer.filter(|pid| is_dockerd(*pid)).or_else(noted).filter(|pid| is_dockerd(*pid))
}

fn is_dockerd(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "dockerd")
}

fn config_file(arguments: &[&str]) -> PathBuf {
    let mut all = arguments.iter();
    while let Some(argument) = all.next() {
        match argument.split_once('=') {
            Some(("--config-file", file)) => return file.into(),
            None if *argument == "--config-file" => {
                return all.next().map_or_else(|| DEFAULT_CONFIG.into(), |file| (*file).into());
            }
            _ => {}
        }
    }
    DEFAULT_CONFIG.into()
}

/// A flag is never in the file as well: dockerd refuses that. Pure.
fn read(arguments: &[&str], file: &str, ip6tables: bool) -> Result<EngineSettings, String> {
    let file: Value = match file.trim() {
        "" => Value::Null,
        text => serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?,
    };
    let setting = |name: &str, default: bool| {
        let flag = arguments.iter().rev().find_map(|argument| {
            let rest = argument.strip_prefix("--")?.strip_prefix(name)?;
            match rest {
                "" => Some(true),
                value => value.strip_prefix('=').map(is_true),
            }
        });
        flag.or_else(|| file[name].as_bool()).unwrap_or(default)
    };
    Ok(EngineSettings {
        iptables: setting("iptables", true),
        ip6tables: setting("ip6tables", ip6tables),
        userland_proxy: setting("userland-proxy", true),
    })
}

/// As dockerd reads a flag.
fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: EngineSettings =
        EngineSettings { iptables: true, ip6tables: true, userland_proxy: true };

    #[test]
    fn what_dockerd_was_told_is_read_from_its_arguments_and_its_file() {
        let cases = [
            ("dockerd -H fd://", "", PLAIN),
            ("dockerd --iptables=false", "", EngineSettings { iptables: false, ..PLAIN }),
            (
                "dockerd --iptables --ip6tables=0",
                "{}",
                EngineSettings { ip6tables: false, ..PLAIN },
            ),
            (
                "dockerd",
                r#"{"iptables": false, "userland-proxy": false}"#,
                EngineSettings { iptables: false, userland_proxy: false, ..PLAIN },
            ),
            ("dockerd --userland-proxy-path=/x", "", PLAIN),
            (
                "dockerd --userland-proxy=false",
                " ",
                EngineSettings { userland_proxy: false, ..PLAIN },
            ),
        ];
        for (arguments, file, expected) in cases {
            let arguments: Vec<&str> = arguments.split(' ').collect();
            assert_eq!(read(&arguments, file, true), Ok(expected), "{arguments:?} {file}");
        }
        assert!(read(&["dockerd"], "{", true).is_err_and(|why| why.contains("no JSON")));
    }

    #[test]
    fn the_file_is_the_one_that_dockerd_was_told() {
        assert_eq!(config_file(&["dockerd"]), Path::new(DEFAULT_CONFIG));
        assert_eq!(config_file(&["dockerd", "--config-file=/a"]), Path::new("/a"));
        assert_eq!(config_file(&["dockerd", "--config-file", "/b", "-D"]), Path::new("/b"));
    }

    #[test]
    fn ip6tables_is_the_default_from_27_on() {
        assert!(has_ip6tables("27.0.1") && has_ip6tables("29.1.3-ce"));
        assert!(!has_ip6tables("26.1.5+dfsg1") && !has_ip6tables("dev"));
    }
}
