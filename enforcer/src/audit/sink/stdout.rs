//! Lines on standard output, or on whatever else takes bytes.

use std::{
    io::{self, Write},
    sync::Arc,
};

use super::Sink;
use crate::audit::stream::Line;

/// See the module.
#[derive(Debug)]
pub struct Lines<W> {
    name: &'static str,
    output: W,
    /// Taken and not yet written: half a line is never left behind as long as the output goes on.
    rest: Vec<u8>,
    written: usize,
}

impl<W: Write + Send + 'static> Lines<W> {
    /// Writes to `output`.
    pub const fn new(name: &'static str, output: W) -> Self {
        Self { name, output, rest: Vec::new(), written: 0 }
    }

    fn write_rest(&mut self) -> io::Result<()> {
        while let Some(rest) = self.rest.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.output.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => self.written += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.rest.clear();
        self.written = 0;
        self.output.flush()
    }
}

impl<W: Write + Send + 'static> Sink for Lines<W> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn take(&mut self, lines: &[Arc<Line>]) -> io::Result<()> {
        self.write_rest()?;
        for line in lines {
            self.rest.extend_from_slice(line.text.as_bytes());
            self.rest.push(b'\n');
        }
        // They are taken; what could not be written is tried again before the next ones.
        let _ = self.write_rest();
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        self.write_rest()
    }
}
