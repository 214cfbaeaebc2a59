//! Guests, for people.

use std::fmt::Write as _;

use super::super::table::table;
use crate::{
    audit::record::shown,
    model::guest::{GuestDetail, GuestList, GuestLogs, GuestStatus},
};

/// A guest that was started.
pub(super) fn started(guest: &GuestStatus) -> String {
    let GuestStatus { user, container, network, socket, .. } = guest;
    let socket = match socket.as_str() {
        "none" => "without a Docker socket".to_owned(),
        kind => format!("with a {kind} Docker socket"),
    };
    format!("{} runs for {}, policed, on {network}, {socket}\n", container, shown(user))
}

/// All guests.
pub(super) fn listing(list: &GuestList) -> String {
    let row = |guest: &GuestStatus| {
        let policed = if guest.policed { "yes" } else { "no" };
        let restart = match guest.restart_needed {
            Some(true) => "needed",
            Some(false) => "",
            None if guest.state == "running" => "?",
            None => "",
        };
        let server = guest.server.clone().unwrap_or_default();
        let GuestStatus { hub, user, container, state, network, socket, .. } = guest.clone();
        let words = [policed, restart].map(str::to_owned);
        let [policed, restart] = words;
        [hub, user, server, container, state, network, policed, socket, restart]
    };
    table(
        "Guests",
        ["hub", "user", "server", "container", "state", "network", "policed", "socket", "restart"],
        list.guests.iter().map(row),
    )
}

/// All about one.
pub(super) fn detail(detail: &GuestDetail) -> String {
    let guest = &detail.guest;
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let restart = guest.restart_needed.map_or_else(|| "-".to_owned(), yes);
    let mut rows = vec![
        ("hub", guest.hub.clone()),
        ("user", guest.user.clone()),
        ("server", guest.server.clone().unwrap_or_default()),
        ("container", guest.container.clone()),
        ("id", guest.container_id.clone()),
        ("image", guest.image.clone()),
        ("state", guest.state.clone()),
        ("made", guest.created.clone()),
        ("network", guest.network.clone()),
        ("address", detail.address.clone().unwrap_or_default()),
        ("policed", yes(guest.policed)),
        ("socket", guest.socket.clone()),
        ("restart needed", restart),
    ];
    if let Some(code) = detail.exit_code {
        rows.push(("exit code", code.to_string()));
    }
    if let Some(order) = &detail.order {
        rows.push(("command", order.command.join(" ")));
        rows.push(("ports", order.ports.join(", ")));
    }
    for (path, volume) in &detail.volumes {
        rows.push(("volume", format!("{volume} at {path}")));
    }
    let mut text = String::new();
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:14}  {}", shown(value));
    }
    text
}

/// What one wrote, line by line: it may not command the terminal.
pub(super) fn logs(logs: &GuestLogs) -> String {
    let cut = if logs.cut { "(there was more than is shown)\n" } else { "" };
    let lines = logs.text.lines().map(|line| shown(line) + "\n");
    lines.collect::<String>() + cut
}

/// What a command wrote: as it is, but where it could command a terminal.
pub(super) fn output(text: &str, is_terminal: bool) -> String {
    if !is_terminal {
        return text.to_owned();
    }
    text.split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n') {
            Some(line) => shown(line) + "\n",
            None => shown(line),
        })
        .collect()
}

/// Volumes that are gone.
pub(super) fn reset(names: &[String]) -> String {
    if names.is_empty() {
        return "there was no volume to remove\n".to_owned();
    }
    format!("removed: {}\n", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_needs_a_restart_is_named_and_nothing_commands_the_terminal() {
        let guest = GuestStatus {
            user: "ann\u{1b}[2J".to_owned(),
            container: "guest-lab-ann".to_owned(),
            state: "running".to_owned(),
            socket: "none".to_owned(),
            restart_needed: Some(true),
            ..GuestStatus::default()
        };
        let list = listing(&GuestList { guests: vec![guest.clone()] });
        assert!(list.contains("needed") && !list.contains('\u{1b}'), "{list}");
        let calm = GuestStatus { restart_needed: Some(false), ..guest.clone() };
        assert!(!listing(&GuestList { guests: vec![calm] }).contains("needed"));
        assert!(
            !started(&guest).contains('\u{1b}') && started(&guest).contains("without a Docker")
        );
        let text = detail(&GuestDetail { guest, exit_code: Some(3), ..GuestDetail::default() });
        assert!(
            text.contains("exit code       3") && text.contains("restart needed  yes"),
            "{text}"
        );
        assert_eq!(output("a\n\u{1b}[2Jb", true), "a\n?[2Jb");
        assert_eq!(output("\u{1b}[2Jb\n", false), "\u{1b}[2Jb\n");
        let written = GuestLogs { text: "a\n\u{1b}]0;x\u{7}b".to_owned(), cut: true };
        let written = logs(&written);
        assert!(written.starts_with("a\n") && !written.contains('\u{1b}'), "{written:?}");
    }
}
