//! Erases names from the book, for whoever asks at the control socket, and has the stream say so.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use tokio::sync::mpsc;

use super::blocking;
use crate::{
    audit::{record::Body, store::Book},
    causes::causes,
    config::Audit,
};

/// Who erases. Its sender of records keeps the stream open.
pub(super) struct Eraser {
    dir: Option<PathBuf>,
    book: Option<Arc<Mutex<Book>>>,
    journal: mpsc::UnboundedSender<Body>,
}

impl Eraser {
    pub(super) fn new(
        audit: &Audit,
        book: Option<Arc<Mutex<Book>>>,
        journal: mpsc::UnboundedSender<Body>,
    ) -> Self {
        Self { dir: audit.files.as_ref().map(|files| files.dir.clone()), book, journal }
    }

    /// Erases these pseudonyms' names, and what goes with them; how many names that were.
    pub(super) async fn erase(&self, dir: &Path, pseudonyms: Vec<String>) -> Result<u64, String> {
        let own = self.dir.as_deref().and_then(|dir| fs::canonicalize(dir).ok());
        if own.is_none_or(|own| own != dir) {
            return Err(format!("its records are not in {}", dir.display()));
        }
        let Some(book) = self.book.clone() else {
            return Err("it has no book of names: [audit] pseudonyms was never on".to_owned());
        };
        let erased = blocking("an erasure", move || {
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            book.erase(&pseudonyms, SystemTime::now()).map_err(|error| causes(&error))
        });
        let erased = erased.await.map_err(|error| causes(&error))??;
        let count = erased.iter().map(|erasure| erasure.count).sum();
        for erasure in erased {
            // The book has a note of it until this is kept.
            let _ = self.journal.send(Body::Erased(erasure.into()));
        }
        Ok(count)
    }
}
