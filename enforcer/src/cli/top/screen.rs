//! The terminal, while it is drawn on: whatever ends the view gives it back as it was.

use std::{io, mem, panic, process};

use ratatui::{
    DefaultTerminal,
    crossterm::{cursor::Show, execute},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// With which a program ends that panicked, as the standard library has it.
const PANICKED: i32 = 101;

/// Takes the terminal: no echo, no lines, another screen.
///
/// # Errors
///
/// It is none, or it is gone; then nothing of it is changed.
pub(super) fn take() -> io::Result<DefaultTerminal> {
    let tell = panic::take_hook();
    let terminal = ratatui::try_init().inspect_err(|_| drop(ratatui::try_restore()))?;
    // In place of ratatui's, which panics in turn where the terminal is gone.
    panic::set_hook(Box::new(move |what| {
        let _gone = ratatui::try_restore().and_then(|()| execute!(io::stdout(), Show));
        tell(what);
        // Whatever part it was: the others would go on drawing, on a terminal that is not theirs any more.
        process::exit(PANICKED);
    }));
    Ok(terminal)
}

/// Gives it back.
///
/// # Errors
///
/// It is gone: nobody is there to be told so, and who writes to it nevertheless may panic.
pub(super) fn give_back(terminal: DefaultTerminal) -> io::Result<()> {
    let outcome = ratatui::try_restore().and_then(|()| execute!(io::stdout(), Show));
    // Its end would show the cursor, and say so where that fails.
    mem::forget(terminal);
    outcome
}

/// Signals that end the view, and no longer the program: it gives the terminal back first. To be had before
/// the terminal is taken.
pub(super) struct Ends {
    terminate: Signal,
    hangup: Signal,
    interrupt: Signal,
}

impl Ends {
    /// From now on.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them.
    pub(super) async fn come(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests;
