//! Erases names from the book, for whoever asks at the control socket, and has the stream say so. In a task of
//! its own: nobody waits for the disk but who asked.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use tokio::sync::mpsc;

use super::blocking;
use crate::{
    api::{
        Progress,
        asked::{Erase, Reply},
    },
    audit::{
        record::{Body, Erased},
        store::Book,
    },
    causes::causes,
    config::Audit,
    model::declined::Declined,
};

/// Pseudonyms that are erased by one writing of the book. Records that need a name wait meanwhile.
const AT_ONCE: usize = 100;

/// Who erases. Its sender of records keeps the stream open.
#[derive(Clone)]
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

    /// Erases these pseudonyms' names, and what goes with them; answers how many names that were.
    pub(super) fn erase(&self, asked: Erase, reply: Reply<u64>) {
        let eraser = self.clone();
        tokio::spawn(async move {
            // Whoever asked may have gone: it is done all the same.
            let _ = reply.send(eraser.all(asked).await);
        });
    }

    async fn all(self, asked: Erase) -> Result<u64, Declined> {
        let Erase { dir, pseudonyms, by, progress } = asked;
        let book = self.book_in(&dir)?;
        let of = u64::try_from(pseudonyms.len()).unwrap_or(u64::MAX);
        let (mut done, mut names) = (0, 0);
        for some in pseudonyms.chunks(AT_ONCE) {
            let (book, batch) = (Arc::clone(&book), some.to_vec());
            let erased = blocking("an erasure", move || {
                let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
                book.erase(&batch, SystemTime::now()).map_err(|error| causes(&error))
            });
            let erased = erased.await.map_err(|error| causes(&error)).and_then(|erased| erased);
            let erased = erased.map_err(|error| failed(&error, (done, of)))?;
            for erasure in erased {
                names += erasure.count;
                // The book has a note of it until this is kept.
                let record = Erased { by: by.clone(), ..erasure.into() };
                let _ = self.journal.send(Body::Erased(record));
            }
            done += u64::try_from(some.len()).unwrap_or(u64::MAX);
            // A word that there is no room for is left out.
            let _ = progress.try_send(Progress { done, of, step: None });
        }
        Ok(names)
    }

    fn book_in(&self, dir: &Path) -> Result<Arc<Mutex<Book>>, Declined> {
        let own = self.dir.as_deref().and_then(|dir| fs::canonicalize(dir).ok());
        if own.is_none_or(|own| own != dir) {
            let message = format!("its records are not in {}", dir.display());
            return Err(Declined::conflict(message));
        }
        let none = "it has no book of names: [audit] pseudonyms was never on";
        self.book.clone().ok_or_else(|| Declined::conflict(none))
    }
}

fn failed(error: &str, (done, of): (u64, u64)) -> Declined {
    match done {
        0 => Declined::failed(error),
        _ => Declined::failed(format!("{done} of {of} pseudonyms are erased, and then: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        audit::store::{Kind, Settings, Store},
        model::caller::Caller,
    };

    #[tokio::test]
    async fn an_erasure_says_how_far_it_is_and_who_wanted_it() {
        let dir = std::env::temp_dir().join(format!("enforcer-eraser-{}", std::process::id()));
        let (store, _) =
            Store::open(Settings::new(&dir), SystemTime::now(), &mut |_| {}).expect("opens");
        let dir = fs::canonicalize(dir).expect("there");
        let mut book = Book::open(&dir).expect("opens");
        let pseudonyms: Vec<String> = (0..250)
            .map(|number| {
                let name = format!("user{number}");
                book.pseudonym((Kind::User, &name), "", None, SystemTime::now()).to_owned()
            })
            .collect();
        book.settle();
        let (journal, mut records) = mpsc::unbounded_channel();
        let book = Some(Arc::new(Mutex::new(book)));
        let eraser = Eraser { dir: Some(dir.clone()), book, journal };
        let by = Caller { uid: Some(1000), ..Caller::default() };
        let ask = |dir: &Path| {
            let (progress, words) = mpsc::channel(8);
            let (reply, answer) = oneshot::channel();
            let (dir, pseudonyms, by) = (dir.to_owned(), pseudonyms.clone(), by.clone());
            eraser.erase(Erase { dir, pseudonyms, by, progress }, reply);
            (words, answer)
        };
        let (mut words, answer) = ask(&dir);
        let mut told = Vec::new();
        while let Some(word) = words.recv().await {
            told.push((word.done, word.of));
        }
        let outcome = answer.await.expect("an answer");
        let (_, elsewhere) = ask(Path::new("/nowhere"));
        let elsewhere = elsewhere.await.expect("an answer");
        drop((store, eraser));
        fs::remove_dir_all(&dir).expect("there");
        assert_eq!(told, [(100, 250), (200, 250), (250, 250)]);
        assert_eq!(outcome, Ok(250));
        let mut count = 0;
        while let Some(Body::Erased(record)) = records.recv().await {
            assert_eq!(record.by, by);
            count += 1;
        }
        assert_eq!(count, 250);
        assert_eq!(elsewhere, Err(Declined::conflict("its records are not in /nowhere")));
    }
}
