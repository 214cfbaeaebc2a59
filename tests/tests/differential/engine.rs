//! The engine's reader: a Go program, built from `engine-json/main.go` with what Debian has of the engine's source.

use std::{
    fs,
    io::{BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The shape of anything: texts come with `=` before them, numbers as texts with `#`.
pub const ANY: u8 = 0;
/// Asks for strictness.
const STRICT: u8 = 0x80;
/// Where Debian's packages of Go's sources are.
const SOURCES: &str = "/usr/share/gocode";

/// See the module. It ends when it is dropped.
pub struct Engine {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Engine {
    /// Builds and starts it.
    pub fn start() -> Result<Self> {
        let mut child = Command::new(build()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start engine-json")?;
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, to, from })
    }

    /// What it finds in a body, or why it finds nothing.
    pub fn decode(
        &mut self,
        shape: u8,
        strict: bool,
        body: &[u8],
    ) -> Result<Result<Value, String>> {
        let mut frame = vec![shape | if strict { STRICT } else { 0 }];
        frame.extend(u32::try_from(body.len())?.to_be_bytes());
        frame.extend(body);
        self.to.as_mut().context("it has ended")?.write_all(&frame)?;
        let (mut is_json, mut length) = ([0], [0; 4]);
        self.from.read_exact(&mut is_json)?;
        self.from.read_exact(&mut length)?;
        let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length))?];
        self.from.read_exact(&mut answer)?;
        let text = String::from_utf8(answer)?;
        Ok(if is_json == [1] { Ok(serde_json::from_str(&text)?) } else { Err(text) })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.to.take());
        let _ = self.child.wait();
    }
}

/// The program, built where it is not newer than its source.
fn build() -> Result<PathBuf> {
    // The tests of this file are threads of one process, and would build to one name.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine-json/main.go");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let binary = dir.join(format!("engine-json-{}", std::process::id()));
    let types = Path::new(SOURCES).join("src/github.com/docker/docker/api/types");
    ensure!(
        types.is_dir(),
        "{} is missing: apt-get install golang-go golang-github-docker-docker-dev",
        types.display()
    );
    let last = dir.join("engine-json");
    let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
    if changed(&last) > changed(&source) {
        return Ok(last);
    }
    let mut go = Command::new("go");
    go.arg("build").arg("-o").arg(&binary).arg(&source);
    go.env("GO111MODULE", "off").env("GOPATH", SOURCES).env("GOCACHE", dir.join("go"));
    let status = go.env("GOFLAGS", "").env("CGO_ENABLED", "0").status();
    let status = status.context("go build: apt-get install golang-go")?;
    ensure!(status.success(), "go build {}: {status}", source.display());
    // In one step: another test run may be about to start it.
    fs::rename(&binary, &last)?;
    Ok(last)
}
