//! The exposition format: families of samples, each with its HELP and TYPE.

use std::fmt::{Display, Write as _};

/// What a family's values do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only rise, but for a new start.
    Counter,
    /// Rise and fall.
    Gauge,
}

/// The text so far.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

/// A family; its samples follow one another.
pub(super) struct Family<'text> {
    text: &'text mut String,
    name: &'static str,
}

impl Exposition {
    /// Begins a family.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let text = &mut self.0;
        *text += "# HELP ";
        *text += name;
        text.push(' ');
        escape(text, help, false);
        *text += "\n# TYPE ";
        *text += name;
        text.push(' ');
        *text += kind;
        text.push('\n');
        Family { text, name }
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Writes one sample. No two of a family have the same labels.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        *self.text += self.name;
        for (index, (name, label)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            *self.text += name;
            *self.text += "=\"";
            escape(self.text, label, true);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        // Writing to a string cannot fail.
        let _infallible = writeln!(self.text, " {value}");
    }
}

/// Backslashes and line ends, and in labels quotes, would end what they stand in.
fn escape(text: &mut String, value: &str, quotes: bool) {
    for character in value.chars() {
        match character {
            '\\' => *text += "\\\\",
            '\n' => *text += "\\n",
            '"' if quotes => *text += "\\\"",
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_label_or_a_line_is_escaped() {
        let mut out = Exposition::default();
        let mut family = out.family("a_total", Kind::Counter, "A \"word\" \\ two\nlines.");
        family.sample(&[("x", "q\" b\\ n\n r\r é"), ("y", "")], 7);
        family.sample(&[], 0.25);
        assert_eq!(
            out.finish(),
            "# HELP a_total A \"word\" \\\\ two\\nlines.\n# TYPE a_total counter\n\
             a_total{x=\"q\\\" b\\\\ n\\n r\r é\",y=\"\"} 7\na_total 0.25\n"
        );
    }
}
