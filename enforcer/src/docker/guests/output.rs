//! What guests write, and commands that are run in them.

use std::time::Duration;

use bollard::{
    container::LogOutput,
    errors::Error as BollardError,
    exec::{StartExecOptions, StartExecResults},
    models::ExecConfig,
    query_parameters::LogsOptionsBuilder,
};
use futures_util::{Stream, StreamExt as _};
use tokio::time::timeout;

use super::{Engine, EngineError, within};

/// Most bytes that are kept of one output.
const MOST: usize = 256 << 10;
/// Longest that output may take to be read.
const READING: Duration = Duration::from_secs(10);
/// Longest that a command may run.
const LONGEST: Duration = Duration::from_mins(10);

/// A text, at most so long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    bytes: Vec<u8>,
    /// Whether there was more.
    pub cut: bool,
}

impl Output {
    fn push(&mut self, bytes: &[u8]) {
        let room = MOST.saturating_sub(self.bytes.len());
        self.bytes.extend(bytes.iter().take(room));
        self.cut |= bytes.len() > room;
    }

    /// As text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
    /// Its exit code; `None`: the engine does not say.
    pub exit_code: Option<i64>,
}

impl Engine {
    /// The last lines of what a container wrote.
    pub async fn logs(&self, id: &str, tail: u32) -> Result<Output, EngineError> {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true);
        let options = options.tail(&tail.to_string()).build();
        let doing = "tell what the guest wrote";
        let mut output = Output::default();
        let read = read(self.docker.logs(id, Some(options)), |_, bytes| output.push(bytes));
        let done =
            timeout(READING, read).await.map_err(|_elapsed| EngineError::TimedOut { doing })?;
        done.map_err(EngineError::request(doing))?;
        Ok(output)
    }

    /// Runs a command in a container, with the container's own rights. One that takes too long is left to itself.
    pub async fn exec(
        &self,
        id: &str,
        command: Vec<String>,
        run_as: Option<String>,
    ) -> Result<Ran, EngineError> {
        let doing = "run the command";
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command),
            user: run_as,
            ..ExecConfig::default()
        };
        let made = within(doing, self.docker.create_exec(id, config)).await?;
        let start = self.docker.start_exec(&made.id, None::<StartExecOptions>);
        let mut ran = Ran::default();
        if let StartExecResults::Attached { output, .. } = within(doing, start).await? {
            let (stdout, stderr) = (&mut ran.stdout, &mut ran.stderr);
            let read = read(output, |is_error, bytes| {
                if is_error { &mut *stderr } else { &mut *stdout }.push(bytes);
            });
            let done =
                timeout(LONGEST, read).await.map_err(|_elapsed| EngineError::TimedOut { doing })?;
            done.map_err(EngineError::request(doing))?;
        }
        ran.exit_code = within(doing, self.docker.inspect_exec(&made.id)).await?.exit_code;
        Ok(ran)
    }
}

async fn read(
    output: impl Stream<Item = Result<LogOutput, BollardError>>,
    mut take: impl FnMut(bool, &[u8]),
) -> Result<(), BollardError> {
    let mut output = std::pin::pin!(output);
    while let Some(part) = output.next().await {
        let part = part?;
        let is_error = matches!(part, LogOutput::StdErr { .. });
        take(is_error, &part.into_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_writes_takes_up_no_more_than_its_room() {
        let mut output = Output::default();
        output.push(&vec![b'a'; MOST - 1]);
        assert!(!output.cut);
        output.push(b"\xff!");
        assert!(output.cut && output.bytes.len() == MOST);
        output.push(b"more");
        assert!(output.bytes.len() == MOST && output.text().ends_with("a\u{fffd}"));
    }
}
