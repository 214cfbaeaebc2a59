//! Opens the sinks that the config names.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
};

use super::{SuperviseError, start};
use crate::{
    api::{self, Refusals, roles::Roles},
    audit::{
        account::Accounts,
        conceal::Conceal,
        follow::{self, Feed, Followers},
        record::Body,
        sink::{
            Running, Sink,
            files::{self, Counters, Files},
            journal::{self, Journal},
            otlp::Otlp,
            stdout::Lines,
        },
        store::{Book, BookError},
        stream::Line,
    },
    causes::causes,
    config::Config,
    kernel::takeover::Takeover,
};

/// Where records go.
pub(super) struct Outputs {
    /// The sinks.
    pub(super) sinks: Vec<Running>,
    /// Number of the first record.
    pub(super) first: u64,
    /// What is accounted for, kept by a sink that outlives the daemon.
    pub(super) accounts: Option<Arc<Mutex<Accounts>>>,
    /// Labels of containers that records tell.
    pub(super) labels: Vec<String>,
    /// What there is to say about the sinks themselves.
    pub(super) words: Vec<Body>,
    /// Which names pseudonyms stand for, if there are any.
    pub(super) book: Option<Arc<Mutex<Book>>>,
    /// Who puts pseudonyms into records.
    pub(super) conceal: Conceal,
}

/// Opens them, and gives what serves those who read along. Files that cannot be opened end nothing:
/// guests are policed, and status says it.
pub(super) fn open(
    config: &Config,
    takeover: &Takeover,
    counters: Option<u32>,
    journal: &mpsc::UnboundedSender<Body>,
) -> Result<(Outputs, Following), SuperviseError> {
    let running = |sink| Running::start(sink).map_err(start("a sink of records"));
    let followers = Followers::default();
    let listener = follow::listen(&config.run_dir).map_err(start("the events socket"))?;
    let config = &config.audit;
    let mut outputs = Outputs {
        sinks: vec![running(Box::new(Feed(followers.clone())) as Box<dyn Sink>)?],
        first: 1,
        accounts: None,
        labels: config.labels.clone(),
        words: Vec::new(),
        book: None,
        conceal: Conceal::default(),
    };
    if let Some(settings) = &config.files {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let counters = Counters { boot: boot.trim().to_owned(), map: counters };
        let carried = matches!(takeover, Takeover::Migrated { .. });
        match Files::open(settings.clone(), counters, carried, journal) {
            Ok(opened) => {
                outputs.first = opened.next;
                outputs.accounts = Some(opened.accounts);
                outputs.words = opened.words;
                outputs.book = book(&settings.dir, config.pseudonyms);
                outputs.words.extend(outputs.book.iter().flat_map(|book| untold(book)));
                let files = opened.files.with_book(outputs.book.clone());
                outputs.sinks.push(running(Box::new(files))?);
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "records are not kept");
                outputs.sinks.push(running(Box::new(Unopened(causes(&error))))?);
            }
        }
    }
    if config.pseudonyms {
        let book = if let Some(book) = outputs.book.take() {
            book
        } else {
            // A record with a name in it would be there for good.
            let failed = |error: BookError| io::Error::other(causes(&error));
            let book = Book::unkept().map_err(failed).map_err(start("pseudonyms"))?;
            Arc::new(Mutex::new(book))
        };
        outputs.conceal = Conceal::by(Arc::clone(&book));
        outputs.book = Some(book);
    }
    if config.stdout {
        outputs.sinks.push(running(Box::new(Lines::new("standard output", io::stdout())))?);
    }
    if config.journald {
        let journal = Journal::new(PathBuf::from(journal::SOCKET));
        outputs.sinks.push(running(Box::new(journal))?);
    }
    if let Some(settings) = &config.otlp {
        let otlp = Otlp::new(settings.clone()).map_err(start("the client of a collector"))?;
        outputs.sinks.push(running(Box::new(otlp))?);
    }
    Ok((outputs, Following { followers, listener }))
}

/// The events socket, before anybody is let in.
pub(super) struct Following {
    followers: Followers,
    listener: UnixListener,
}

impl Following {
    /// What they read.
    pub(super) fn followers(&self) -> Followers {
        self.followers.clone()
    }

    /// Serves admins until dropped, by the roles of the moment.
    pub(super) async fn serve(self, roles: watch::Receiver<Roles>, refusals: Refusals) {
        let admits = |stream: &UnixStream| {
            let admitted = api::is_admin(stream, &roles.borrow());
            if !admitted && let Some(count) = refusals.note(Instant::now()) {
                tracing::warn!(refused = count, "events socket: refused: no admin of this host");
            }
            admitted
        };
        self.followers.serve(self.listener, admits).await;
    }
}

/// Erasures whose record may not have been kept.
fn untold(book: &Mutex<Book>) -> Vec<Body> {
    let book = book.lock().unwrap_or_else(PoisonError::into_inner);
    book.erasures().iter().cloned().map(|erasure| Body::Erased(erasure.into())).collect()
}

/// The book of names in a directory that is locked; none if there is none, or it cannot be used. Also
/// where no new names come, those that are there may be erased.
fn book(dir: &Path, wanted: bool) -> Option<Arc<Mutex<Book>>> {
    if !wanted && !Book::is_in(dir) {
        return None;
    }
    match Book::open(dir) {
        Ok(book) => Some(Arc::new(Mutex::new(book))),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "names of pseudonyms are not kept");
            None
        }
    }
}

/// Files that could not be opened. Which number follows the last one in them is not known, so they
/// are opened by the next daemon only.
struct Unopened(String);

impl Sink for Unopened {
    fn name(&self) -> &'static str {
        files::NAME
    }

    fn take(&mut self, _: &[Arc<Line>]) -> io::Result<()> {
        self.settle()
    }

    fn settle(&mut self) -> io::Result<()> {
        Err(io::Error::other(format!("{}; mend that, then restart enforcer", self.0)))
    }
}
