//! Lines that the eBPF programs write for a developer, with the feature `bpf-log` only.

use std::{os::fd::AsFd as _, sync::mpsc, thread, time::Duration};

use aya::Ebpf;
use aya_log::EbpfLogger;

use super::sys;

/// The reader looks at least this often.
const POLL: Duration = Duration::from_millis(50);

/// The lines, not yet read.
pub struct LogRing {
    logger: EbpfLogger<Formatted>,
    lines: mpsc::Receiver<String>,
}

/// What aya-log hands its formatted lines to.
struct Formatted(mpsc::Sender<String>);

impl LogRing {
    /// Its map must live when the programs are loaded: call this before.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, aya_log::Error> {
        let (formatted, lines) = mpsc::channel();
        let logger = EbpfLogger::init_with_logger(ebpf, Formatted(formatted))?;
        Ok(Self { logger, lines })
    }

    /// Reads for as long as the process lives; `sink` gets each line.
    pub fn read(mut self, mut sink: impl FnMut(&str) + Send + 'static) -> std::io::Result<()> {
        let reader = thread::Builder::new().name("bpf-log".to_owned());
        let _detached = reader.spawn(move || {
            loop {
                self.logger.flush();
                for line in self.lines.try_iter() {
                    sink(&line);
                }
                sys::wait_readable(self.logger.as_fd(), POLL);
            }
        })?;
        Ok(())
    }
}

impl log::Log for Formatted {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // Nobody reads any more: nobody misses it.
        let _ = self.0.send(record.args().to_string());
    }

    fn flush(&self) {}
}
