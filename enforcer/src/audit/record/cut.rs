//! Texts from elsewhere: whatever they hold, a record stays short, and says that it was cut.

use super::{AccessChange, Body, Docker, GateCall, Outside, Subject};
use crate::model::caller::Caller;

/// Longest name taken from elsewhere, characters.
const MAX_NAME: usize = 128;
/// Longest sentence or path, characters.
const MAX_WORDS: usize = 4096;
/// Stands at the end of a text that is cut. Such a text has one character more than one that is not
/// can have, so that nobody's name looks as if it were.
pub const CUT: char = '…';

impl Body {
    /// Cuts every text in it that is too long; whether one was. Each record goes through here.
    pub fn cut(&mut self) -> bool {
        match self {
            Self::FlowOpened(traffic) | Self::Denied(traffic) => traffic.subject.cut(),
            Self::FlowClosed(closed) => closed.subject.cut(),
            Self::Exec(exec) => exec.subject.cut() | sentences([&mut exec.executable]) | exec.cut,
            Self::ConnectRefused(refused) => refused.subject.cut(),
            Self::SocketRefused(refused) => refused.subject.cut() | sentences(&mut refused.socket),
            Self::DnsQuery(query) => {
                let texts = [&mut query.name].into_iter().chain(&mut query.why);
                query.subject.cut() | sentences(texts) | sentences(&mut query.rule)
            }
            Self::Unseen(unseen) => {
                let named = [&mut unseen.container].into_iter().chain(&mut unseen.container_id);
                names(named) | sentences([&mut unseen.why])
            }
            Self::Loss(loss) => loss.subject.cut(),
            Self::Guest(guest) => guest.subject.cut(),
            Self::Docker(event) => {
                let Docker { event, network, container, container_id, image, .. } = &mut **event;
                let known = [container_id, image].into_iter().flatten();
                names([event, network, container].into_iter().chain(known))
            }
            Self::Life(life) => {
                let texts = [&mut life.hub, &mut life.container].into_iter();
                let known = [&mut life.user, &mut life.server, &mut life.container_id];
                let known = known.into_iter().chain([&mut life.image, &mut life.group]);
                let words = sentences([&mut life.why, &mut life.error]);
                names(texts.chain(known.flatten())) | words | caller(&mut life.by)
            }
            Self::Policy(change) => names([&mut change.policy]),
            Self::Outside(outside) => {
                let Outside { container_id, container, network, interface, to, error, .. } =
                    outside;
                let named = [container, network, interface, to];
                names(named.into_iter().chain(container_id)) | sentences([error])
            }
            Self::Abuse(abuse) => {
                let words = sentences([&mut abuse.error, &mut abuse.why]);
                abuse.subject.cut() | words | caller(&mut abuse.by)
            }
            Self::Allowance(change) => {
                change.subject.cut() | sentences([&mut change.why]) | caller(&mut change.by)
            }
            Self::Group(change) => change.about.cut(),
            Self::Grant(change) => change.about.cut(),
            Self::Gate(call) => call.cut(),
            Self::Repair(repair) => names([&mut repair.what, &mut repair.interface]),
            Self::Takeover(takeover) => sentences(&mut takeover.why),
            Self::Stored(stored) => sentences([&mut stored.dir].into_iter().chain(&mut stored.why)),
            Self::Config(change) => {
                let known = [&mut change.file].into_iter().chain(&mut change.why);
                sentences(known) | caller(&mut change.by)
            }
            // Numbers, and words of our own.
            Self::Gap(_) | Self::Retention(_) => false,
            Self::Erased(erased) => caller(&mut erased.by),
            Self::Daemon(daemon) => caller(&mut daemon.by),
        }
    }
}

fn caller(by: &mut Caller) -> bool {
    names([&mut by.user, &mut by.comm].into_iter().flatten())
}

impl Subject {
    fn cut(&mut self) -> bool {
        let Self { network, container, interface, container_id, user, group, server, .. } = self;
        let Self { image, labels, hub, groups, client, .. } = self;
        let known = [container_id, user, group, server, image, hub, client].into_iter().flatten();
        // Their keys are the config's own words.
        let lists = groups.iter_mut().chain(labels.values_mut());
        names([network, container, interface].into_iter().chain(known).chain(lists))
    }
}

impl AccessChange {
    fn cut(&mut self) -> bool {
        let Self { hub, group, user, by_name, by_via, why, error, .. } = self;
        let named = [hub, by_name, by_via].into_iter().chain(group).chain(user);
        names(named) | sentences([error].into_iter().chain(why))
    }
}

impl GateCall {
    fn cut(&mut self) -> bool {
        let Self { hub, user, method, path, query, request, why, container_id, by, .. } = self;
        let named = [method, container_id].into_iter().chain([user]).flatten();
        let said = [path, query, request, why].into_iter().flatten();
        names(named.chain([hub])) | sentences(said) | caller(by)
    }
}

fn names<'a>(texts: impl IntoIterator<Item = &'a mut String>) -> bool {
    shorten_all(texts, MAX_NAME)
}

fn sentences<'a>(texts: impl IntoIterator<Item = &'a mut String>) -> bool {
    shorten_all(texts, MAX_WORDS)
}

fn shorten_all<'a>(texts: impl IntoIterator<Item = &'a mut String>, most: usize) -> bool {
    let mut cut = false;
    for text in texts {
        cut |= shorten(text, most);
    }
    cut
}

/// A name from elsewhere, short enough for a record. JSON escapes what else is in it.
#[must_use]
pub fn text(text: &str) -> String {
    first(text, MAX_NAME)
}

/// A sentence or a path from elsewhere, short enough for a record.
#[must_use]
pub fn sentence(text: &str) -> String {
    first(text, MAX_WORDS)
}

/// A text from elsewhere as it may be shown on a terminal: nothing in it is a command to it, or turns
/// around what stands beside it.
#[must_use]
pub fn shown(text: &str) -> String {
    text.chars().map(|character| if is_odd(character) { '?' } else { character }).collect()
}

/// The same of several lines. Those after the first are indented, so that none of them looks like a line of ours.
#[must_use]
pub fn shown_lines(text: &str) -> String {
    text.lines().map(shown).collect::<Vec<_>>().join("\n  ")
}

/// Control characters, line and paragraph separators, and those that change the direction of a line (UAX 9).
fn is_odd(character: char) -> bool {
    let directs = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || directs
}

fn first(text: &str, most: usize) -> String {
    if is_long(text, most) {
        text.chars().take(most).chain([CUT]).collect()
    } else {
        text.to_owned()
    }
}

/// Whether a text is too long, or was.
fn is_long(text: &str, most: usize) -> bool {
    // No character is shorter than a byte.
    text.len() > most && text.chars().nth(most).is_some()
}

/// Cuts a text that is too long; whether it is one, now or before.
fn shorten(text: &mut String, most: usize) -> bool {
    let is_long = is_long(text, most);
    if is_long {
        *text = first(text, most);
    }
    is_long
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Cause, ConfigChange, Exec, Loss, Record, Repair, Stored},
        *,
    };

    /// Bytes as somebody else may have them, as we take them.
    fn taken(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn f16_what_a_terminal_gets_neither_commands_it_nor_turns_a_line_around() {
        for (text, expected) in [
            ("jupyter-ann", "jupyter-ann"),
            ("caf\u{e9} \u{627}\u{628}", "caf\u{e9} \u{627}\u{628}"),
            ("\u{1b}[2J\u{7}\u{9b}1m\n", "?[2J??1m?"),
            ("a\u{202e}gpj.exe\u{2069}\u{200f}\u{2028}b", "a?gpj.exe???b"),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn f16_lines_that_quote_a_guest_are_told_from_ours_and_command_nothing() {
        let said = "the guest ended at once, with code 1: \u{1b}[2Jx\r\nenforcer: all is well\n";
        let expected = "the guest ended at once, with code 1: ?[2Jx\n  enforcer: all is well";
        assert_eq!(shown_lines(said), expected);
        assert_eq!(shown_lines("one line"), "one line");
        assert_eq!(shown_lines(""), "");
    }

    #[test]
    fn f16_whatever_a_text_has_in_it_the_line_is_one_and_says_where_it_was_cut() {
        let long = "x".repeat(1 << 20);
        let (short, most) = ("é".repeat(MAX_NAME - 1), "é".repeat(MAX_NAME));
        // Text -> what is left of it, and whether it was cut.
        let cases = [
            (taken(b"ann"), "ann".to_owned(), false),
            (
                taken(b"a\nb\r\n{\"event.action\":\"stop\"}"),
                taken(b"a\nb\r\n{\"event.action\":\"stop\"}"),
                false,
            ),
            (taken(b"\x1b[2J\x1b]0;title\x07\0"), taken(b"\x1b[2J\x1b]0;title\x07\0"), false),
            (taken(b"a\xff\xfeb"), "a\u{fffd}\u{fffd}b".to_owned(), false),
            ("\u{2028}\u{202e}\u{feff}".to_owned(), "\u{2028}\u{202e}\u{feff}".to_owned(), false),
            (most.clone(), most.clone(), false),
            (format!("{short}…"), format!("{short}…"), false),
            (format!("{most}é"), format!("{most}…"), true),
            (format!("{most}…"), format!("{most}…"), true),
            (long.clone(), format!("{}…", "x".repeat(MAX_NAME)), true),
        ];
        for (text, wanted, cut) in cases {
            let bodies = [
                Body::Loss(Loss {
                    subject: Subject { container: text.clone(), ..Subject::default() },
                    hook: String::new(),
                    reason: "policy".to_owned(),
                    cause: Cause::Ring,
                    count: 1,
                }),
                Body::Outside(Outside { interface: text.clone(), ..Outside::default() }),
                Body::Outside(Outside { to: text.clone(), ..Outside::default() }),
                Body::Repair(Repair {
                    what: "endpoint".to_owned(),
                    interface: text.clone(),
                    gap_ms: 0,
                    mended: true,
                }),
            ];
            for mut body in bodies {
                let truncated = body.cut();
                let (v, ecs, seq, time, mono_ns) = (1, "".into(), 1, String::new(), 0);
                let record = Record { v, ecs, seq, time, mono_ns, truncated, body };
                let line = serde_json::to_string(&record).expect("serialises");
                assert!(!line.chars().any(char::is_control) && line.len() < 2000, "{line}");
                assert_eq!(line.contains("enforcer.truncated"), cut, "{line}");
                assert!(line.contains(&serde_json::to_string(&wanted).expect("JSON")), "{line}");
                assert_eq!(serde_json::from_str::<Record>(&line).expect("reads"), record);
            }
        }
    }

    #[test]
    fn f16_sentences_and_paths_are_cut_too() {
        let long = || "w\n".repeat(1 << 19);
        let config = ConfigChange {
            event: "refused".to_owned(),
            file: long(),
            digest: None,
            why: Some(long()),
            by: Caller { user: Some(long()), ..Caller::default() },
        };
        let stored = Stored { dir: long(), why: Some(long()), ..Stored::default() };
        let outside = Outside { error: long(), ..Outside::default() };
        let exec = Body::Exec(Box::new(Exec { executable: long(), ..Exec::default() }));
        for mut body in [Body::Config(config), Body::Stored(stored), Body::Outside(outside), exec] {
            assert!(body.cut());
            let line = serde_json::to_string(&body).expect("serialises");
            assert!(line.len() < 8 * MAX_WORDS && !line.contains('\n'), "{}", line.len());
            assert!(body.cut(), "once cut, it is known");
        }
    }
}
