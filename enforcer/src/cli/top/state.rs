//! What is on the screen, and what keys make of it. Pure: a key in, perhaps something to do out.

use std::time::Duration;

use crate::sight::{Denial, Guest, Sight, To};

/// A key, as far as it means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A character.
    Char(char),
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Backspace.
    Back,
    /// A line up.
    Up,
    /// A line down.
    Down,
    /// To the first line.
    First,
    /// To the last line.
    Last,
    /// The next panel.
    Tab,
    /// Ctrl-C.
    Interrupt,
}

/// What guests are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// Bits a second.
    #[default]
    Traffic,
    /// Denials a second, then in all.
    Denials,
    /// Flows.
    Flows,
    /// Name.
    Name,
}

impl Sort {
    /// The word in the header.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Traffic => "traffic",
            Self::Denials => "denials",
            Self::Flows => "flows",
            Self::Name => "name",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Traffic => Self::Denials,
            Self::Denials => Self::Flows,
            Self::Flows => Self::Name,
            Self::Name => Self::Traffic,
        }
    }
}

/// What is below the guests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Panel {
    /// Flows of the guest that is chosen.
    #[default]
    Flows,
    /// The latest denials of all.
    Denials,
    /// Denials by reason.
    Reasons,
    /// The latest requests at the gate.
    Gate,
}

impl Panel {
    const fn next(self) -> Self {
        match self {
            Self::Flows => Self::Denials,
            Self::Denials => Self::Reasons,
            Self::Reasons => Self::Gate,
            Self::Gate => Self::Flows,
        }
    }
}

/// What keys are for at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// To move about.
    #[default]
    Look,
    /// To write a filter.
    Filter,
    /// To answer a question: y does it.
    Ask(Act),
    /// To read a text, until one is pressed.
    Read(String),
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// End.
    Quit,
    /// Ask why the guest's last denial was one.
    Explain(Denial),
    /// Cut a guest off.
    Cut(String),
    /// Let it go.
    Pardon(String),
    /// Open a destination to a guest for a while.
    Allow(String, To),
}

/// How long `a` opens something, and `x` cuts off.
pub(super) const A_WHILE: Duration = Duration::from_hours(1);

/// All that is on the screen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    /// What is to be seen; `None`: nothing came yet.
    pub(super) sight: Option<Sight>,
    /// Why it is not what is now; empty: it is.
    pub(super) stale: String,
    /// Why records are not heard; empty: they are.
    pub(super) deaf: String,
    /// What came of the last thing done.
    pub(super) said: String,
    /// By what guests are sorted.
    pub(super) sort: Sort,
    /// What is below them.
    pub(super) panel: Panel,
    /// Words that a guest's line must have.
    pub(super) filter: String,
    /// Keys.
    pub(super) mode: Mode,
    /// The guest that is chosen, by network and name; it stays chosen wherever it moves.
    pub(super) chosen: Option<(String, String)>,
}

impl State {
    /// Guests that are shown, in their order.
    pub(super) fn guests(&self) -> Vec<&Guest> {
        let Some(sight) = &self.sight else { return Vec::new() };
        let filter = self.filter.to_lowercase();
        let words = |guest: &Guest| {
            let all = [&guest.name, &guest.network, &guest.role, &guest.policy, &guest.held];
            let all = all.into_iter().chain(&guest.addresses);
            all.map(|word| word.to_lowercase()).collect::<Vec<_>>().join(" ")
        };
        let mut guests: Vec<&Guest> =
            sight.guests.iter().filter(|guest| words(guest).contains(&filter)).collect();
        // Stable: what is equal keeps the order of the sight.
        match self.sort {
            Sort::Traffic => guests.sort_by_key(|guest| std::cmp::Reverse(guest.bits_per_second)),
            Sort::Denials => guests.sort_by(|one, other| {
                let rates = other.denied_per_second.total_cmp(&one.denied_per_second);
                rates.then(other.denied.cmp(&one.denied))
            }),
            Sort::Flows => {
                guests.sort_by_key(|guest| std::cmp::Reverse(guest.flows_in + guest.flows_out));
            }
            Sort::Name => guests.sort_by(|one, other| one.name.cmp(&other.name)),
        }
        guests
    }

    /// The line of the guest that is chosen; the first where none is.
    pub(super) fn line(&self) -> usize {
        let guests = self.guests();
        let is_it = |guest: &&Guest| {
            self.chosen
                .as_ref()
                .is_some_and(|(network, name)| (network, name) == (&guest.network, &guest.name))
        };
        guests.iter().position(is_it).unwrap_or_default()
    }

    /// The guest that is chosen.
    pub(super) fn guest(&self) -> Option<Guest> {
        self.guests().get(self.line()).map(|guest| (*guest).clone())
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: Key) -> Option<Act> {
        if key == Key::Interrupt {
            return Some(Act::Quit);
        }
        match std::mem::take(&mut self.mode) {
            Mode::Look => return self.look(key),
            Mode::Read(_) => {}
            Mode::Ask(act) => {
                if matches!(key, Key::Char('y' | 'Y')) {
                    return Some(act);
                }
                "nothing has changed".clone_into(&mut self.said);
            }
            Mode::Filter => match key {
                Key::Char(letter) => {
                    self.filter.push(letter);
                    self.mode = Mode::Filter;
                }
                Key::Back => {
                    self.filter.pop();
                    self.mode = Mode::Filter;
                }
                Key::Escape => self.filter.clear(),
                _ => {}
            },
        }
        None
    }

    fn look(&mut self, key: Key) -> Option<Act> {
        self.said.clear();
        match key {
            Key::Char('q') => return Some(Act::Quit),
            Key::Char('/') => self.mode = Mode::Filter,
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('?' | 'h') => self.mode = Mode::Read(HELP.to_owned()),
            Key::Tab => self.panel = self.panel.next(),
            Key::Up | Key::Char('k') => self.go(|line, _| line.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.go(|line, last| (line + 1).min(last)),
            Key::First | Key::Char('g') => self.go(|_, _| 0),
            Key::Last | Key::Char('G') => self.go(|_, last| last),
            Key::Char('e') | Key::Enter => match self.guest().map(|guest| (guest.last, guest.name))
            {
                Some((Some(denial), _)) => return Some(Act::Explain(denial)),
                Some((None, name)) => self.said = format!("no denial of {name} was heard"),
                None => {}
            },
            Key::Char('x') => self.ask(|guest| match guest.role.as_str() {
                "guest" => Ok(Act::Cut(guest.name.clone())),
                role => Err(format!("{} is no guest but a {role}", guest.name)),
            }),
            Key::Char('p') => self.ask(|guest| {
                let free = || format!("{} is neither slowed, cut off nor paused", guest.name);
                if guest.held.is_empty() {
                    Err(free())
                } else {
                    Ok(Act::Pardon(guest.name.clone()))
                }
            }),
            Key::Char('a') => self.ask(|guest| {
                let to = guest.last.as_ref().filter(|last| last.reason == "policy");
                let to = to.and_then(|last| last.to.clone());
                let none = || format!("policy denied {} no conversation that it began", guest.name);
                to.map(|to| Act::Allow(guest.name.clone(), to)).ok_or_else(none)
            }),
            Key::Escape => self.filter.clear(),
            _ => {}
        }
        None
    }

    fn go(&mut self, to: impl Fn(usize, usize) -> usize) {
        let guests = self.guests();
        let line = to(self.line(), guests.len().saturating_sub(1));
        let chosen = guests.get(line).map(|guest| (guest.network.clone(), guest.name.clone()));
        self.chosen = chosen;
    }

    /// Asks whether to do something to the guest that is chosen, or says why it cannot be done.
    fn ask(&mut self, act: impl Fn(&Guest) -> Result<Act, String>) {
        let Some(guest) = self.guest().filter(|guest| !guest.name.is_empty()) else { return };
        match act(&guest) {
            Ok(act) => self.mode = Mode::Ask(act),
            Err(why) => self.said = why,
        }
    }
}

/// What `?` shows.
const HELP: &str = "\
up, down, j, k   choose a guest            tab   flows, denials, reasons, gate
s   sort by traffic, denials, flows, name  /     show only what has these words; escape ends it
e   explain the guest's last denial        x     cut the guest off for an hour (asks first)
a   allow what was denied it last, for     p     let it go (asks first)
    an hour, for this guest (asks first)   q     end
Traffic: Ethernet headers included; flows beyond the 10,000 largest are left out until they end.
Denied: frames and calls that the kernel counted, also those without a record.";
