//! The `[abuse]` table: what is taken for abuse, and what becomes of it.

use std::{ops::RangeInclusive, time::Duration};

use toml::Spanned;

use super::{
    limits,
    outside::GuestLabel,
    problem::Problems,
    raw::{RawAbuse, RawSignal},
};
use crate::abuse::{Answer, Limit, Limits, Signal};

/// How far back it is looked when the config says nothing.
const WINDOW: Duration = Duration::from_mins(1);
/// What it may be: a shorter one finds nothing, and a longer one remembers too much.
const WINDOWS: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_mins(10);
/// How long a guest is cut off or slowed when the config says nothing.
const CUT_FOR: Duration = Duration::from_mins(10);
/// What it may be.
const CUTS: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(24 * 7);
/// What a guest that is slowed may do where the config says nothing: a page still loads, and a sweep or an upload is
/// of little use.
const SLOW: limits::Limits = limits::Limits {
    new_flows_per_second: Some(2),
    packets_per_second_out: Some(200),
    packets_per_second_in: None,
    bits_per_second_out: Some(1_000_000),
    bits_per_second_in: None,
    burst: None,
};
/// The word for a signal that nobody looks at.
const IGNORE: &str = "ignore";

/// What is taken for abuse, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abuse {
    /// How far back it is looked; whole seconds.
    pub window: Duration,
    /// How long a guest is cut off.
    pub cut_for: Duration,
    /// How long a guest is slowed.
    pub slow_for: Duration,
    /// What a guest that is slowed may send and be sent at most.
    pub slow: limits::Limits,
    /// Guests with one of these labels are not judged.
    pub except_labels: Vec<GuestLabel>,
    /// What raises each signal.
    pub limits: Limits,
}

impl Default for Abuse {
    fn default() -> Self {
        let limits = Signal::ALL.map(|signal| (signal, signal.limit()));
        Self {
            window: WINDOW,
            cut_for: CUT_FOR,
            slow_for: CUT_FOR,
            slow: SLOW,
            except_labels: Vec::new(),
            limits: limits.into(),
        }
    }
}

impl Abuse {
    /// Whether somebody may be slowed.
    #[must_use]
    pub fn slows(&self) -> bool {
        self.limits.values().any(|limit| limit.answers.contains(&Answer::Slow))
    }

    /// How long an answer lasts; `None`: until somebody pardons it, or it is done at once.
    #[must_use]
    pub const fn lasts(&self, answer: Answer) -> Option<Duration> {
        match answer {
            Answer::Slow => Some(self.slow_for),
            Answer::Cut => Some(self.cut_for),
            Answer::Record | Answer::Pause | Answer::Stop => None,
        }
    }
}

/// Checks the table.
pub(super) fn abuse(raw: &RawAbuse, problems: &mut Problems<'_>) -> Abuse {
    let mut except_labels = Vec::new();
    for text in &raw.except_labels {
        let label = GuestLabel::parse(text, problems);
        if except_labels.contains(&label) {
            problems.add(text.span(), "this label is listed twice; remove one");
        }
        except_labels.push(label);
    }
    let raised = Signal::ALL.map(|signal| (signal, limit(signal, of(raw, signal), problems)));
    let slow = raw.slow.as_ref().map(|slow| {
        let slowed = limits::limits(slow.get_ref(), problems).over(SLOW);
        if slowed.is_none() {
            problems.add(slow.span(), "this slows nothing: leave a limit that is not 0");
        }
        slowed
    });
    Abuse {
        slow_for: duration("slow_for", raw.slow_for.as_ref(), (CUT_FOR, CUTS), problems),
        slow: slow.unwrap_or(SLOW),
        window: duration("window", raw.window.as_ref(), (WINDOW, WINDOWS), problems),
        cut_for: duration("cut_for", raw.cut_for.as_ref(), (CUT_FOR, CUTS), problems),
        except_labels,
        limits: raised.into(),
    }
}

const fn of(raw: &RawAbuse, signal: Signal) -> Option<&Spanned<RawSignal>> {
    match signal {
        Signal::Destinations => raw.destinations.as_ref(),
        Signal::FailedConnects => raw.failed_connects.as_ref(),
        Signal::PortSweep => raw.port_sweep.as_ref(),
        Signal::AddressSweep => raw.address_sweep.as_ref(),
        Signal::Smtp => raw.smtp.as_ref(),
        Signal::Stratum => raw.stratum.as_ref(),
        Signal::DeniedRate => raw.denied_rate.as_ref(),
    }
}

fn limit(signal: Signal, raw: Option<&Spanned<RawSignal>>, problems: &mut Problems<'_>) -> Limit {
    let mut limit = signal.limit();
    let Some(raw) = raw.map(Spanned::get_ref) else { return limit };
    let name = signal.name();
    if let Some(value) = &raw.more_than {
        let (most, what) = match signal {
            // More of them are not told apart.
            Signal::Destinations | Signal::PortSweep | Signal::AddressSweep => (1000, ""),
            Signal::FailedConnects => (99, " percent"),
            Signal::Smtp | Signal::Stratum | Signal::DeniedRate => (1_000_000, ""),
        };
        limit.more_than = number("more_than", value, (0..=most, what), problems);
    }
    match &raw.at_least {
        Some(value) if signal == Signal::FailedConnects => {
            limit.at_least = number("at_least", value, (1..=1_000_000, ""), problems);
        }
        Some(value) => {
            let message = format!("{name} has no `at_least`; [abuse.failed_connects] has");
            problems.add(value.span(), message);
        }
        None => {}
    }
    match &raw.ports {
        Some(ports) if matches!(signal, Signal::Smtp | Signal::Stratum) => {
            limit.ports =
                ports.get_ref().iter().filter_map(|port| self::port(port, problems)).collect();
            if ports.get_ref().is_empty() {
                let message = format!("without a port, write answer = \"{IGNORE}\"");
                problems.add(ports.span(), message);
            }
        }
        Some(ports) => {
            let message = format!("{name} has no `ports`; [abuse.smtp] and [abuse.stratum] have");
            problems.add(ports.span(), message);
        }
        None => {}
    }
    match (&raw.answer, &raw.answers) {
        (Some(_), Some(answers)) => {
            problems
                .add(answers.span(), "say `answer`, or `answers` one after the other, not both");
        }
        (Some(one), None) if one.get_ref() == IGNORE => limit.answers.clear(),
        (Some(one), None) => limit.answers = answer(one, problems).into_iter().collect(),
        (None, Some(answers)) => limit.answers = self::answers(answers, problems),
        (None, None) => {}
    }
    limit
}

/// One after the other, each harsher than the one before.
fn answers(raw: &Spanned<Vec<Spanned<String>>>, problems: &mut Problems<'_>) -> Vec<Answer> {
    let mut all = Vec::new();
    for one in raw.get_ref() {
        let Some(answer) = answer(one, problems) else { continue };
        if all.last().is_some_and(|last| *last >= answer) {
            let message = format!(
                "\"{}\" is no harsher than what comes before it; the order is \"record\", \"slow\", \
                 \"cut\", \"pause\", \"stop\"",
                answer.name()
            );
            problems.add(one.span(), message);
        }
        all.push(answer);
    }
    if raw.get_ref().is_empty() {
        problems.add(raw.span(), format!("for no answer at all, write answer = \"{IGNORE}\""));
    }
    all
}

fn answer(raw: &Spanned<String>, problems: &mut Problems<'_>) -> Option<Answer> {
    let answer = Answer::from_name(raw.get_ref());
    if answer.is_none() {
        let message = format!(
            "\"{}\" is no answer; there are \"record\", \"slow\", \"cut\", \"pause\" and \"stop\", and alone also \
             \"{IGNORE}\"",
            raw.get_ref()
        );
        problems.add(raw.span(), message);
    }
    answer
}

fn port(raw: &Spanned<i64>, problems: &mut Problems<'_>) -> Option<u16> {
    let port = u16::try_from(*raw.get_ref()).ok().filter(|port| *port > 0);
    if port.is_none() {
        let message = format!("port {} is not between 1 and 65535", raw.get_ref());
        problems.add(raw.span(), message);
    }
    port
}

fn number(
    key: &str,
    raw: &Spanned<i64>,
    (range, what): (RangeInclusive<u64>, &str),
    problems: &mut Problems<'_>,
) -> u64 {
    let number = u64::try_from(*raw.get_ref()).ok().filter(|number| range.contains(number));
    number.unwrap_or_else(|| {
        let (first, last) = (range.start(), range.end());
        let message = format!("{key} {} is not between {first} and {last}{what}", raw.get_ref());
        problems.add(raw.span(), message);
        0
    })
}

pub(super) fn duration(
    key: &str,
    raw: Option<&Spanned<String>>,
    (otherwise, range): (Duration, RangeInclusive<Duration>),
    problems: &mut Problems<'_>,
) -> Duration {
    let Some(raw) = raw else { return otherwise };
    let text = raw.get_ref().as_str();
    let split = text.find(|c: char| !c.is_ascii_digit()).and_then(|at| text.split_at_checked(at));
    let value = split.and_then(|(number, unit)| {
        let number: u64 = number.parse().ok()?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        Some(Duration::from_secs(number.checked_mul(seconds)?))
    });
    value.filter(|value| range.contains(value)).unwrap_or_else(|| {
        let seconds = |duration: &Duration| duration.as_secs();
        let message = format!(
            "{key} \"{text}\" is no time from \"{}s\" to \"{}m\"; write it as \"90s\", \"10m\", \"2h\" or \"1d\"",
            seconds(range.start()),
            seconds(range.end()) / 60
        );
        problems.add(raw.span(), message);
        otherwise
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const LEAST: &str = "[networks.a]\nbridge = \"br-a\"\n";

    #[test]
    fn without_a_table_signals_are_recorded_and_nothing_else() {
        let abuse = parse(LEAST, "f").expect("valid").abuse;
        assert_eq!(abuse, Abuse::default());
        assert_eq!(abuse.limits.len(), Signal::ALL.len());
        assert!(abuse.limits.values().all(|limit| limit.answers == [Answer::Record]));
    }

    #[test]
    fn what_the_table_says_counts() {
        let text = format!(
            "[abuse]\nwindow = \"90s\"\ncut_for = \"2h\"\nexcept_labels = [\"staff=yes\"]\n\
             [abuse.destinations]\nmore_than = 20\nanswers = [\"record\", \"cut\", \"stop\"]\n\
             [abuse.smtp]\nports = [25]\nanswer = \"pause\"\n[abuse.stratum]\nanswer = \"ignore\"\n{LEAST}"
        );
        let abuse = parse(&text, "f").expect("valid").abuse;
        assert_eq!((abuse.window.as_secs(), abuse.cut_for.as_secs()), (90, 7200));
        assert_eq!(abuse.except_labels[0].to_string(), "staff=yes");
        let (far, mail) = (&abuse.limits[&Signal::Destinations], &abuse.limits[&Signal::Smtp]);
        assert_eq!(far.more_than, 20);
        assert_eq!(far.answers, [Answer::Record, Answer::Cut, Answer::Stop]);
        assert_eq!((mail.ports.as_slice(), mail.more_than), (&[25][..], 20));
        assert_eq!(mail.answers, [Answer::Pause]);
        assert!(abuse.limits[&Signal::Stratum].answers.is_empty());
    }

    #[test]
    fn whoever_is_slowed_has_the_limits_of_the_table_over_safe_ones() {
        let of =
            |table: &str| parse(&format!("[abuse]\n{table}\n{LEAST}"), "f").expect("valid").abuse;
        assert!(!of("").slows());
        let abuse = of("slow_for = \"1h\"\n[abuse.slow]\nbits_per_second_out = \"2 Mbit\"\n\
                        [abuse.smtp]\nanswers = [\"record\", \"slow\", \"cut\"]");
        assert!(abuse.slows());
        assert_eq!(abuse.lasts(Answer::Slow), Some(Duration::from_hours(1)));
        let expected = limits::Limits { bits_per_second_out: Some(2_000_000), ..SLOW };
        assert_eq!(abuse.slow, expected);
    }

    #[test]
    fn o2_a_bad_table_is_refused_with_its_line() {
        for (table, line, words) in [
            ("window = \"1s\"", 2, "from \"10s\" to \"10m\""),
            ("cut_for = \"soon\"", 2, "write it as \"90s\""),
            ("slow_for = \"1s\"", 2, "from \"10s\""),
            ("[abuse.slow]\nbits_per_second_out = 1", 3, "bits a second from 8000"),
            ("[abuse.slow]\nflows = 1", 3, "known here"),
            (
                "[abuse.slow]\nnew_flows_per_second = 0\npackets_per_second_out = 0\nbits_per_second_out = 0",
                2,
                "slows nothing",
            ),
            ("[abuse.smtp]\nanswers = [\"cut\", \"slow\"]", 3, "no harsher"),
            ("cut_for = \"99999999999999999999d\"", 2, "write it as"),
            ("except_labels = [\"\"]", 2, "no key of a label"),
            ("except_labels = [\"a\", \"a\"]", 2, "listed twice"),
            ("[abuse.destination]", 2, "did you mean `destinations`"),
            ("[abuse.destinations]\nmore_than = 1001", 3, "between 0 and 1000"),
            ("[abuse.destinations]\nmore_than = -1", 3, "between 0 and 1000"),
            ("[abuse.destinations]\nat_least = 5", 3, "has no `at_least`"),
            ("[abuse.destinations]\nports = [5]", 3, "has no `ports`"),
            ("[abuse.failed_connects]\nmore_than = 100", 3, "99 percent"),
            ("[abuse.failed_connects]\nat_least = 0", 3, "between 1 and"),
            ("[abuse.smtp]\nports = [0]", 3, "not between 1 and 65535"),
            ("[abuse.smtp]\nports = []", 3, "answer = \"ignore\""),
            ("[abuse.smtp]\nanswer = \"kill\"", 3, "is no answer"),
            ("[abuse.smtp]\nanswers = []", 3, "answer = \"ignore\""),
            ("[abuse.smtp]\nanswers = [\"stop\", \"cut\"]", 3, "no harsher"),
            ("[abuse.smtp]\nanswer = \"cut\"\nanswers = [\"cut\"]", 4, "not both"),
            ("[abuse.smtp]\nanswers = [\"ignore\"]", 3, "is no answer"),
        ] {
            let text = format!("[abuse]\n{table}\n{LEAST}");
            let error = parse(&text, "f").expect_err(table);
            let [problem] = error.problems.as_slice() else { panic!("{table}: {error}") };
            assert!(problem.line == line && problem.message.contains(words), "{table}: {error}");
        }
    }
}
