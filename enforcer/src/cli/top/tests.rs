//! Frames as a terminal shows them, and what keys do.

use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::{
    cli::top::state::{Key, Sort},
    model::status::Health,
    sight::{Call, Denial, Reason},
};

fn guest(name: &str, bits: u64, denied: u64) -> Guest {
    Guest {
        name: name.to_owned(),
        network: "tutorials".to_owned(),
        role: "guest".to_owned(),
        bits_per_second: bits,
        denied,
        flows_in: 2,
        ..Guest::default()
    }
}

fn denial(reason: &str) -> Denial {
    Denial {
        seq: 7,
        time: "2026-11-23T12:00:00Z".to_owned(),
        guest: "jupyter-ann".to_owned(),
        network: "tutorials".to_owned(),
        reason: reason.to_owned(),
        what: "connect to 192.0.2.9 port 25".to_owned(),
        to: Some(To { address: [192, 0, 2, 9].into(), protocol: 6, port: 25 }),
        ..Denial::default()
    }
}

fn at_first() -> State {
    let mut ann = guest("jupyter-ann", 12_345, 3);
    ann.last = Some(denial("policy"));
    let mut ben = guest("jupyter-ben", 2_000_000, 90);
    ben.held = "cut".to_owned();
    let mut hub = guest("hub", 1, 0);
    hub.role = "hub".to_owned();
    let reason = Reason {
        reason: "policy".to_owned(),
        means: "No rule allows this new flow.".to_owned(),
        denied: 93,
        per_second: 4.5,
    };
    let call = Call {
        time: "2026-11-23T12:00:00Z".to_owned(),
        verdict: "deny".to_owned(),
        whose: "ann of lab".to_owned(),
        request: "POST /containers/create".to_owned(),
        why: "privileged".to_owned(),
        ..Call::default()
    };
    let sight = Sight {
        version: "0.1.0".to_owned(),
        health: Health { state: HealthState::Enforcing, reasons: Vec::new() },
        docker: "28.2".to_owned(),
        guests: vec![ben, ann, hub],
        reasons: vec![reason],
        denials: vec![denial("policy")],
        calls: vec![call],
        ..Sight::default()
    };
    State { sight: Some(sight), ..State::default() }
}

fn lines(state: &State, (width, height): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(frame, state, Theme { colours: false })).expect("drawn");
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_owned()).collect()
}

fn shows(state: &State, words: &[&str]) {
    let text = lines(state, (80, 24)).join("\n");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
}

#[test]
fn all_that_matters_is_on_80_by_24_without_colours() {
    let state = at_first();
    shows(
        &state,
        &[
            "enforcer 0.1.0  enforcing  2 guests",
            "4.5 denied/s",
            "> jupyter-ben",
            "  jupyter-ann",
            "hub (hub)",
            "2.0M",
            "CUT OFF",
            "Flows of jupyter-ben",
            "a allow  x cut off",
        ],
    );
    let text = lines(&state, (80, 24));
    assert!(text.iter().all(|line| line.chars().count() <= 80));
    assert!(lines(&state, (30, 5)).join(" ").contains("too small"));
    // Any size is drawn.
    for size in [(40, 10), (81, 11), (200, 60), (1, 1)] {
        let _ = lines(&state, size);
    }
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    for colours in [false, true] {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a terminal");
        terminal.draw(|frame| draw(frame, &at_first(), Theme { colours })).expect("drawn");
        let cells = terminal.backend().buffer().content().iter();
        let has = cells.filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count();
        assert_eq!(has > 0, colours);
    }
}

#[test]
fn keys_sort_filter_and_choose() {
    let mut state = at_first();
    let names = |state: &State| -> Vec<String> {
        state.guests().iter().map(|guest| guest.name.clone()).collect()
    };
    assert_eq!(names(&state), ["jupyter-ben", "jupyter-ann", "hub"]);
    for expected in [Sort::Denials, Sort::Flows, Sort::Name] {
        assert_eq!(state.press(Key::Char('s')), None);
        assert_eq!(state.sort, expected);
    }
    assert_eq!(names(&state), ["hub", "jupyter-ann", "jupyter-ben"]);
    state.press(Key::Down);
    assert_eq!(state.guest().map(|guest| guest.name).as_deref(), Some("jupyter-ann"));
    // It stays chosen when it moves.
    state.press(Key::Char('s'));
    assert_eq!((state.sort, state.line()), (Sort::Traffic, 1));
    state.press(Key::Char('/'));
    "BEN".chars().for_each(|letter| drop(state.press(Key::Char(letter))));
    shows(&state, &["/BEN_"]);
    state.press(Key::Enter);
    assert_eq!(names(&state), ["jupyter-ben"]);
    // q is a letter while a filter is written, and the end otherwise.
    state.press(Key::Char('/'));
    assert_eq!((state.press(Key::Char('q')), state.filter.as_str()), (None, "BENq"));
    state.press(Key::Escape);
    assert_eq!((names(&state).len(), state.press(Key::Char('q'))), (3, Some(Act::Quit)));
    assert_eq!(state.press(Key::Interrupt), Some(Act::Quit));
}

#[test]
fn what_changes_something_asks_first_and_only_y_does_it() {
    let mut state = at_first();
    state.chosen = Some(("tutorials".to_owned(), "jupyter-ann".to_owned()));
    let to = To { address: [192, 0, 2, 9].into(), protocol: 6, port: 25 };
    for (letter, question, act) in [
        ('x', "Cut jupyter-ann off for an hour? [y/N]", Act::Cut("jupyter-ann".to_owned())),
        (
            'a',
            "Open 192.0.2.9:25 to jupyter-ann for an hour? [y/N]",
            Act::Allow("jupyter-ann".to_owned(), to),
        ),
    ] {
        assert_eq!(state.press(Key::Char(letter)), None);
        shows(&state, &[question]);
        assert_eq!(state.press(Key::Enter), None, "only y is a yes");
        shows(&state, &["nothing has changed"]);
        state.press(Key::Char(letter));
        assert_eq!(state.press(Key::Char('y')), Some(act));
    }
    assert_eq!(state.press(Key::Char('p')), None);
    shows(&state, &["jupyter-ann is neither slowed, cut off nor paused"]);
    assert_eq!(state.press(Key::Char('e')), Some(Act::Explain(denial("policy"))));
    state.chosen = Some(("tutorials".to_owned(), "hub".to_owned()));
    assert_eq!((state.press(Key::Char('x')), state.mode.clone()), (None, Mode::Look));
    shows(&state, &["hub is no guest but a hub"]);
    // What a quota denied no rule opens.
    let mut state = at_first();
    state.sight.as_mut().expect("seen").guests[1].last = Some(denial("quota_half_open"));
    state.chosen = Some(("tutorials".to_owned(), "jupyter-ann".to_owned()));
    state.press(Key::Char('a'));
    assert_eq!(state.mode, Mode::Look);
}

#[test]
fn panels_follow_one_another_and_a_text_covers_them() {
    let mut state = at_first();
    for words in
        ["connect to 192.0.2.9 port 25", "No rule allows", "POST /containers/create", "Flows of"]
    {
        state.press(Key::Tab);
        shows(&state, &[words]);
    }
    let text = crate::cli::top::explanation(&denial("policy"), "Rules\n 1 allow");
    state.mode = Mode::Read(text);
    shows(
        &state,
        &["policy (no rule): No rule allows this new flow.", "What to do:", "any key goes back"],
    );
    state.press(Key::Char('q'));
    assert_eq!(state.mode, Mode::Look, "it ends the text, not the program");
}

#[test]
fn what_guests_are_called_does_nothing_to_the_terminal_and_stale_views_say_so() {
    let mut state = at_first();
    state.sight.as_mut().expect("seen").guests[0].name = "\u{1b}[2J\u{7}\n".to_owned();
    "no enforcer answers at /run/enforcer/control.sock".clone_into(&mut state.stale);
    let text = lines(&state, (80, 24)).concat();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    shows(&state, &["! no enforcer answers"]);
    let nothing = State { stale: "no enforcer answers".to_owned(), ..State::default() };
    shows(&nothing, &["no enforcer answers"]);
}

#[test]
fn numbers_are_short() {
    for (number, expected) in [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (12_345, "12k"),
        (2_000_000, "2.0M"),
        (u64::MAX, "18446P"),
    ] {
        assert_eq!(short(number), expected);
    }
}
