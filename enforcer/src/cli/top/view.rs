//! From what is on the screen to a frame. Pure: it draws into a buffer of any size.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Clear, Paragraph, Row, Table, TableState, Wrap},
};

use super::state::{Act, Mode, Panel, State};
use crate::{
    audit::record::shown,
    model::{flows::FlowStatus, status::HealthState},
    sight::{Guest, Sight, To},
};

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Theme {
    /// `NO_COLOR` is not set.
    pub(super) colours: bool,
}

impl Theme {
    fn of(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn head() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}

/// Least screen that something can be read on.
const LEAST: (u16, u16) = (40, 10);

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, theme: Theme) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        frame.render_widget(Paragraph::new("the terminal is too small"), area);
        return;
    }
    let below = (area.height / 3).max(4);
    let [head, guests, title, panel, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(3),
        Constraint::Length(1),
        Constraint::Length(below),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_head(frame, state, theme, head);
    match &state.sight {
        None => {
            let why = if state.stale.is_empty() { "asking the daemon …" } else { &state.stale };
            let why = Paragraph::new(shown(why)).wrap(Wrap { trim: true });
            frame.render_widget(why, guests);
        }
        Some(sight) => {
            draw_guests(frame, state, theme, guests);
            draw_panel(frame, (state, sight), theme, (title, panel));
        }
    }
    draw_foot(frame, state, foot);
    if let Mode::Read(text) = &state.mode {
        // A blank line around it tells it from what is below.
        let [_, text_area, _] =
            Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)])
                .areas(area);
        frame.render_widget(Clear, text_area);
        let lines: Vec<Line<'_>> = text.lines().map(|line| Line::raw(shown(line))).collect();
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), text_area);
    }
}

fn draw_head(frame: &mut Frame<'_>, state: &State, theme: Theme, area: Rect) {
    let Some(sight) = &state.sight else {
        let lines = vec![Line::styled("enforcer top", Theme::head()), Line::raw(String::new())];
        frame.render_widget(Paragraph::new(lines), area);
        return;
    };
    let health = sight.health.state;
    let colour = match health {
        HealthState::Enforcing => Color::Green,
        HealthState::Degraded => Color::Yellow,
        HealthState::NotEnforcing => Color::Red,
    };
    let guests = sight.guests.iter().filter(|guest| guest.role == "guest").count();
    let denied: f64 = sight.reasons.iter().map(|reason| reason.per_second).sum();
    let bits: u64 = sight.guests.iter().map(|guest| guest.bits_per_second).sum();
    let flows =
        u64::try_from(sight.flows.len()).unwrap_or(u64::MAX).saturating_add(sight.other_flows);
    let rest =
        format!("  {guests} guests  {}bit/s  {flows} flows  {denied:.1} denied/s", short(bits));
    let first = Line::from(vec![
        Span::styled(format!("enforcer {}  ", sight.version), Theme::head()),
        Span::styled(health.name(), theme.of(colour).add_modifier(Modifier::BOLD)),
        Span::raw(rest),
    ]);
    let wrong = [&state.stale, &state.deaf].into_iter().find(|why| !why.is_empty());
    let wrong = wrong.or(sight.health.reasons.first()).or(sight.unseen.first());
    let second = if let Some(why) = wrong {
        Line::styled(format!("! {}", shown(why)), theme.of(Color::Yellow))
    } else {
        let (allowed, refused) = (sight.gate.allowed, sight.gate.denied);
        let gate = format!("Docker sockets: {allowed} requests allowed, {refused} refused");
        Line::raw(shown(&format!("{}; {gate}", sight.docker)))
    };
    frame.render_widget(Paragraph::new(vec![first, second]), area);
}

fn draw_guests(frame: &mut Frame<'_>, state: &State, theme: Theme, area: Rect) {
    let guests = state.guests();
    let rows = guests.iter().map(|guest| {
        let style = if guest.held.is_empty() { Style::new() } else { theme.of(Color::Red) };
        let denied = if guest.denied_per_second > 0.0 { theme.of(Color::Yellow) } else { style };
        Row::new([
            Cell::from(name(guest)),
            Cell::from(shown(&guest.network)),
            Cell::from(format!("{:>7}", short(guest.bits_per_second))),
            Cell::from(format!("{:>6.1}", guest.denied_per_second)).style(denied),
            Cell::from(format!("{:>7}", short(guest.denied))),
            Cell::from(format!("{:>5}", guest.flows_in)),
            Cell::from(format!("{:>5}", guest.flows_out)),
            Cell::from(shown(&what_holds(guest))),
        ])
        .style(style)
    });
    let head = ["GUEST", "NETWORK", "  BIT/S", "DENY/S", " DENIED", "   IN", "  OUT", "LIMITS"];
    let widths = [
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(5),
        Constraint::Length(5),
        Constraint::Fill(2),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(head).style(Theme::head()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        // Told apart without colours and attributes, too.
        .highlight_symbol("> ");
    let chosen = (!guests.is_empty()).then(|| state.line());
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(chosen));
}

fn name(guest: &Guest) -> String {
    let role = if guest.role == "guest" { String::new() } else { format!(" ({})", guest.role) };
    let name = if guest.name.is_empty() { "?" } else { &guest.name };
    shown(&format!("{name}{role}"))
}

/// How it is held, else what limits it.
fn what_holds(guest: &Guest) -> String {
    let audits = if guest.audits { "audit mode " } else { "" };
    match guest.held.as_str() {
        "" => format!("{audits}{}", guest.limits),
        "cut" => "CUT OFF".to_owned(),
        "slow" => "SLOWED".to_owned(),
        _ => "PAUSED".to_owned(),
    }
}

fn draw_panel(
    frame: &mut Frame<'_>,
    (state, sight): (&State, &Sight),
    theme: Theme,
    (title_area, area): (Rect, Rect),
) {
    let room = usize::from(area.height);
    let (title, lines) = match state.panel {
        Panel::Flows => flows(state, sight),
        Panel::Denials => denials(sight),
        Panel::Reasons => reasons(sight),
        Panel::Gate => calls(sight),
    };
    let title = Line::styled(shown(&title), Theme::head().patch(theme.of(Color::Cyan)));
    frame.render_widget(Paragraph::new(title), title_area);
    let lines: Vec<Line<'_>> = lines.take(room).map(|line| Line::raw(shown(&line))).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

type Lines<'a> = (String, Box<dyn Iterator<Item = String> + 'a>);

fn flows<'a>(state: &State, sight: &'a Sight) -> Lines<'a> {
    let guest = state.guest();
    let name = guest.as_ref().map(|guest| guest.name.clone()).unwrap_or_default();
    let key = guest.map(|guest| (guest.network, guest.name));
    let of = move |flow: &&FlowStatus| {
        key.as_ref().is_some_and(|(network, name)| (network, name) == (&flow.network, &flow.guest))
    };
    let lines = sight.flows.iter().filter(of).map(|flow| {
        let arrow = if flow.opener == "guest" { "->" } else { "<-" };
        format!(
            "{} {} {arrow} {}  {}  sent {} got {} bytes  {}",
            protocol(flow.protocol),
            flow.local_port,
            std::net::SocketAddr::from((flow.remote, flow.remote_port)),
            flow.state,
            short(flow.bytes_out),
            short(flow.bytes_in),
            if flow.opener == "guest" { "" } else { &flow.opener }
        )
    });
    (format!("Flows of {name}"), Box::new(lines))
}

fn denials(sight: &Sight) -> Lines<'_> {
    let lines = sight.denials.iter().map(|denial| {
        let rule = denial.rule.map(|rule| format!(", rule {rule}")).unwrap_or_default();
        let time = denial.time.get(11..19).unwrap_or_default();
        format!(
            "{time}  {}  {}{rule}  {} {}",
            denial.guest, denial.reason, denial.what, denial.process
        )
    });
    ("Latest denials".to_owned(), Box::new(lines))
}

fn reasons(sight: &Sight) -> Lines<'_> {
    let lines = sight.reasons.iter().map(|reason| {
        format!(
            "{:>8} {:>7.1}/s  {}: {}",
            short(reason.denied),
            reason.per_second,
            reason.reason,
            reason.means
        )
    });
    ("Denials by reason".to_owned(), Box::new(lines))
}

fn calls(sight: &Sight) -> Lines<'_> {
    let lines = sight.calls.iter().map(|call| {
        let time = call.time.get(11..19).unwrap_or_default();
        format!("{time}  {:<5}  {}  {}  {}", call.verdict, call.whose, call.request, call.why)
    });
    ("Latest requests at the gate".to_owned(), Box::new(lines))
}

fn draw_foot(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let text = match &state.mode {
        Mode::Filter => format!("/{}_   enter: keep it, escape: show all", state.filter),
        Mode::Ask(act) => format!("{} [y/N]", question(act)),
        Mode::Read(_) => "any key goes back".to_owned(),
        Mode::Look if !state.said.is_empty() => state.said.clone(),
        Mode::Look => {
            let filter = if state.filter.is_empty() {
                String::new()
            } else {
                format!("[{}] ", state.filter)
            };
            format!(
                "{filter}{}  s sort  / filter  e explain  a allow  x cut off  p pardon  tab  ?  q",
                state.sort.name()
            )
        }
    };
    let style = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(shown(&text)).style(style), area);
}

fn question(act: &Act) -> String {
    match act {
        Act::Cut(guest) => format!("Cut {guest} off for an hour?"),
        Act::Pardon(guest) => format!("Let {guest} go?"),
        Act::Allow(guest, to) => format!("Open {} to {guest} for an hour?", place(to)),
        Act::Quit | Act::Explain(_) => String::new(),
    }
}

/// As the command line takes it.
pub(super) fn place(to: &To) -> String {
    match protocol(to.protocol).as_str() {
        "tcp" => std::net::SocketAddr::from((to.address, to.port)).to_string(),
        "udp" => format!("{}/udp", std::net::SocketAddr::from((to.address, to.port))),
        _ => format!("{}/icmp", to.address),
    }
}

fn protocol(number: u8) -> String {
    match number {
        1 | 58 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        other => other.to_string(),
    }
}

/// `999`, `1.2k`, `34M`.
fn short(number: u64) -> String {
    let mut unit = 1;
    for letter in ["", "k", "M", "G", "T"] {
        let (whole, tenth) = (number / unit, number % unit * 10 / unit);
        match whole {
            0..10 if unit > 1 => return format!("{whole}.{tenth}{letter}"),
            0..1000 => return format!("{whole}{letter}"),
            _ => unit = unit.saturating_mul(1000),
        }
    }
    format!("{}P", number / 1_000_000_000_000_000)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
