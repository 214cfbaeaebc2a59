//! `enforcer top`: what guests do now, on a terminal, and what an operator does about it.
//!
//! `control API -> News -> sight -> State -> frame`, and keys the other way: state and view are pure.

mod screen;
mod state;
mod view;

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Args;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use self::{
    screen::Ends,
    state::{A_WHILE, Act, Key, Mode, State},
    view::Theme,
};
use super::{DaemonAt, Exit, events, explain};
use crate::{
    api::{ControlError, client},
    dashboard::Heard,
    model::{
        allowance::AllowOrder,
        flows::{FlowOrder, FlowsQuestion, FlowsReport, MOST},
        restraint::CutOrder,
        status::{ExplainQuestion, StatusReport},
    },
    sight::{Denial, Memory, To, advice},
    supervise::alone,
};

/// The daemon is asked this often.
const PERIOD: Duration = Duration::from_secs(1);
/// Longest wait of the thread that reads keys for whether they are still wanted.
const KEYS: Duration = Duration::from_millis(200);
/// Records that wait to be taken in.
const RECORDS: usize = 1024;
/// What its orders give as the reason.
const REASON: &str = "from enforcer top";

/// Arguments of `top`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo enforcer top
  NO_COLOR=1 enforcer top --config /etc/enforcer/enforcer.toml

Keys: up and down choose a guest; s sorts, / filters; tab: flows, denials, reasons, gate. e explains the guest's last
denial: which rule, and what to do. x cuts a guest off for an hour, a opens to it for an hour what it was
denied last, p lets it go: each asks first. ? shows all keys, q ends.

The daemon is asked once a second; without one, it shows what the kernel holds, as `enforcer status` does. Records are told
to root only. Exit codes: 0 ended; 1 failed; 2 no terminal, or not permitted.")]
pub(super) struct TopArgs {
    #[command(flatten)]
    at: DaemonAt,
}

/// What comes from elsewhere.
enum News {
    /// A look at the daemon, or at the kernel without one: why.
    Look(Box<StatusReport>, FlowsReport, Option<String>),
    /// The daemon says no.
    Failed(String),
    /// What came of something that was done.
    Said(String),
    /// A text to read.
    Text(String),
}

/// Shows it until somebody ends it.
pub(super) async fn top(args: TopArgs) -> Result<Exit> {
    let (run_dir, pin_dir) = match args.at.directories() {
        Ok(directories) => directories,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        eprintln!(
            "`enforcer top` draws on a terminal; `enforcer status` and `enforcer flows` write text"
        );
        return Ok(Exit::Usage);
    }
    // What can be said plainly is said before anything is drawn; the view tells the rest, and goes on asking.
    if let Err(
        error @ (ControlError::Forbidden(_)
        | ControlError::NotAdmitted(_)
        | ControlError::OtherVersion { .. }),
    ) = client::status(&run_dir).await
    {
        eprintln!("{error}");
        return Ok(Exit::Usage);
    }
    let (news, heard) = mpsc::channel(RECORDS);
    let asking = tokio::spawn(look(run_dir.clone(), pin_dir, news.clone()));
    let records = args.at.records();
    let (to, told) = mpsc::channel(RECORDS);
    let hearing = tokio::spawn(events::hear(run_dir.clone(), records, to));
    let keys = keys()?;
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let ends = Ends::listen().context("cannot listen for signals")?;
    let mut terminal = screen::take().context("cannot draw on this terminal")?;
    let outcome =
        show((&mut terminal, Theme { colours }), (keys, ends), (heard, told), (&run_dir, news))
            .await;
    asking.abort();
    hearing.abort();
    if let Err(_gone) = screen::give_back(terminal) {
        return Ok(Exit::Error);
    }
    outcome.map(|()| Exit::Ok)
}

/// Draws whatever comes, until the end is asked for by a key or by a signal.
async fn show(
    (terminal, theme): (&mut DefaultTerminal, Theme),
    (mut keys, mut ends): (mpsc::Receiver<Option<Key>>, Ends),
    (mut news, mut told): (mpsc::Receiver<News>, mpsc::Receiver<Heard>),
    (run_dir, says): (&Path, mpsc::Sender<News>),
) -> Result<()> {
    let mut state = State::default();
    let mut memory = Memory::default();
    let begun = Instant::now();
    loop {
        terminal.draw(|frame| view::draw(frame, &state, theme))?;
        tokio::select! {
            () = ends.come() => return Ok(()),
            key = keys.recv() => match key {
                // The terminal is gone.
                None => return Ok(()),
                // Another size.
                Some(None) => {}
                Some(Some(key)) => match state.press(key) {
                    None => {}
                    Some(Act::Quit) => return Ok(()),
                    Some(act) => {
                        "asking the daemon …".clone_into(&mut state.said);
                        tokio::spawn(act_on(act, run_dir.to_owned(), says.clone()));
                    }
                },
            },
            Some(one) = news.recv() => take(one, &mut state, &mut memory, begun),
            Some(one) = told.recv() => {
                hear(one, &mut state, &mut memory);
                // A frame for a crowd of records, not one for each.
                while let Ok(one) = told.try_recv() {
                    hear(one, &mut state, &mut memory);
                }
            }
        }
    }
}

/// Takes in what came.
fn take(news: News, state: &mut State, memory: &mut Memory, begun: Instant) {
    match news {
        News::Look(report, flows, without) => {
            let now = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            state.sight = Some(memory.look(&report, &flows, now));
            state.stale = without.unwrap_or_default();
        }
        News::Failed(why) => state.stale = why,
        News::Said(what) => state.said = what,
        News::Text(text) => {
            state.said.clear();
            state.mode = Mode::Read(text);
        }
    }
}

/// Takes in what the stream tells.
fn hear(heard: Heard, state: &mut State, memory: &mut Memory) {
    match heard {
        Heard::Record(record) => memory.hear(&record),
        Heard::Deaf(why) => state.deaf = why,
    }
}

/// Asks the daemon once a second; where there is none, the kernel.
async fn look(run_dir: PathBuf, pin_dir: PathBuf, news: mpsc::Sender<News>) {
    let question = FlowsQuestion { guest: None, limit: MOST, order: FlowOrder::Bytes };
    loop {
        let told = match client::status(&run_dir).await {
            Ok(report) => match client::flows(&run_dir, &question).await {
                Ok(flows) => News::Look(Box::new(report), flows, None),
                Err(error) => {
                    let why = format!("flows are not known: {error}");
                    News::Look(Box::new(report), FlowsReport::default(), Some(why))
                }
            },
            Err(error @ (ControlError::NotRunning(_) | ControlError::TimedOut(_))) => {
                let report = alone::report(&pin_dir, &error.to_string()).await;
                News::Look(Box::new(report), FlowsReport::default(), Some(error.to_string()))
            }
            Err(error) => News::Failed(error.to_string()),
        };
        if news.send(told).await.is_err() {
            return;
        }
        sleep(PERIOD).await;
    }
}

/// Does what was asked for, and says what came of it.
async fn act_on(act: Act, run_dir: PathBuf, news: mpsc::Sender<News>) {
    let limit = Duration::from_secs(20);
    let told = match timeout(limit, done(act, &run_dir)).await {
        Ok(Ok(told)) => told,
        Ok(Err(error)) => News::Said(error.to_string()),
        Err(_late) => News::Said("the daemon does not answer".to_owned()),
    };
    // Nobody looks any more.
    let _ = news.send(told).await;
}

async fn done(act: Act, run_dir: &Path) -> Result<News, ControlError> {
    Ok(match act {
        Act::Quit => News::Said(String::new()),
        Act::Explain(denial) => {
            let told = match &denial.to {
                Some(To { address, protocol, port }) => {
                    let question = ExplainQuestion {
                        from: denial.guest.clone(),
                        to: *address,
                        protocol: *protocol,
                        port: *port,
                    };
                    let explained = client::explain(run_dir, &question).await;
                    explained.map_or_else(|error| error.to_string(), |told| explain::text(&told))
                }
                None => String::new(),
            };
            News::Text(explanation(&denial, &told))
        }
        Act::Cut(guest) => {
            let order = CutOrder {
                guest,
                for_s: A_WHILE.as_secs(),
                reason: REASON.to_owned(),
                dry_run: false,
            };
            let cut = client::cut(run_dir, &order).await?;
            News::Said(format!("{} is cut off until {}", cut.container, cut.until))
        }
        Act::Pardon(guest) => News::Said(client::pardon(run_dir, guest).await?.join("; ")),
        Act::Allow(guest, to) => {
            let To { address, protocol, port } = to;
            let order = AllowOrder {
                guest,
                to: address,
                protocol,
                port,
                for_s: A_WHILE.as_secs(),
                reason: REASON.to_owned(),
                dry_run: false,
            };
            let allowed = client::allow(run_dir, &order).await?;
            News::Said(format!(
                "{} may reach {} until {}",
                allowed.container,
                allowed.to_text(),
                allowed.until
            ))
        }
    })
}

/// A denial: what it was, what that means, what to do, and what each rule says of it.
fn explanation(denial: &Denial, told: &str) -> String {
    let Denial { time, guest, what, reason, process, .. } = denial;
    let rule = match denial.rule {
        Some(rule) => format!("rule {rule}"),
        None => "no rule".to_owned(),
    };
    let process = if process.is_empty() { String::new() } else { format!(" by {process}") };
    format!(
        "{guest}, {time}: {what}{process}\n\n{reason} ({rule}): {}\nWhat to do: {}\n\n{told}",
        advice::means(reason),
        advice::what_to_do(reason)
    )
}

/// Reads keys on a thread of its own, for there is no other way to wait for them. `None`: the size has changed.
fn keys() -> Result<mpsc::Receiver<Option<Key>>> {
    let (sender, keys) = mpsc::channel(64);
    let read = move || {
        while !sender.is_closed() {
            match event::poll(KEYS) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(_gone) => return,
            }
            let told = match event::read() {
                Ok(Event::Key(pressed)) if pressed.kind != KeyEventKind::Release => {
                    let Some(key) = key(pressed.code, pressed.modifiers) else { continue };
                    Some(key)
                }
                Ok(Event::Resize(..)) => None,
                Ok(_) => continue,
                Err(_gone) => return,
            };
            if sender.blocking_send(told).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("keys".to_owned()).spawn(read).context("cannot read keys")?;
    Ok(keys)
}

fn key(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
    if modifiers.contains(KeyModifiers::CONTROL) {
        return (code == KeyCode::Char('c')).then_some(Key::Interrupt);
    }
    Some(match code {
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Back,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Home => Key::First,
        KeyCode::End => Key::Last,
        KeyCode::Tab => Key::Tab,
        _ => return None,
    })
}
