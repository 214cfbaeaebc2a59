//! The query: pairs, each key once. The engine takes the first of two equal keys, reads every word it does not know as
//! `true` and forgets pairs that it cannot read; here all of that is refused.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use super::filters::{Filters, Known};
use crate::gate::verdict::Refusal;

/// Most pairs.
const MAX_PAIRS: usize = 32;

/// The pairs that are not yet taken. Each `take_` takes one; what `end` finds left is not known to the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads what stands after the `?`; an empty text is an empty query.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|_| !text.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(Refusal::unclear(
                    "query.form",
                    "the query has a key without \"=\", or an empty pair",
                ));
            };
            let (key, value) = (decode(key)?, decode(value)?);
            if pairs.iter().any(|(other, _)| *other == key) {
                return Err(Refusal::unclear(
                    "query.twice",
                    format!("the query has {key:?} twice; say it once"),
                ));
            }
            if pairs.len() == MAX_PAIRS {
                return Err(Refusal::unclear(
                    "query.long",
                    format!("the query has more than {MAX_PAIRS} keys"),
                ));
            }
            pairs.push((key, value));
        }
        Ok(Self { pairs })
    }

    /// A text; one that is empty is as if it were not there, as the engine has it.
    pub fn take(&mut self, key: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(known, _)| known == key)?;
        Some(self.pairs.remove(at).1).filter(|value| !value.is_empty())
    }

    /// Yes or no, in the words of Docker's command line and libraries; no, if it is not there.
    pub fn take_bool(&mut self, key: &str) -> Result<bool, Refusal> {
        Ok(self.take_choice(key)?.unwrap_or(false))
    }

    /// The same where not being there means something else.
    pub fn take_choice(&mut self, key: &str) -> Result<Option<bool>, Refusal> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("1" | "true" | "True") => Ok(Some(true)),
            Some("0" | "false" | "False") => Ok(Some(false)),
            Some(_) => Err(Refusal::unclear(
                "query.bool",
                format!("{key:?} is neither 1, true, True nor 0, false, False"),
            )),
        }
    }

    /// A whole number, in its shortest spelling.
    pub fn take_number<N: FromStr + PartialOrd + Display>(
        &mut self,
        key: &str,
        range: &RangeInclusive<N>,
    ) -> Result<Option<N>, Refusal> {
        let Some(text) = self.take(key) else { return Ok(None) };
        let number = text.parse().ok().filter(|number: &N| number.to_string() == text);
        number.filter(|number| range.contains(number)).map(Some).ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            Refusal::unclear(
                "query.number",
                format!("{key:?} is no whole number from {first} to {last}"),
            )
        })
    }

    /// A point in time as Docker's clients send it: seconds since 1970, with at most nine digits of a fraction.
    pub fn take_time(&mut self, key: &str) -> Result<Option<String>, Refusal> {
        let Some(text) = self.take(key) else { return Ok(None) };
        let (seconds, fraction) = text.split_once('.').unwrap_or((&text, "0"));
        let digits = |text: &str, most| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if digits(seconds, 11) && digits(fraction, 9) {
            return Ok(Some(text));
        }
        Err(Refusal::unclear(
            "query.time",
            format!("{key:?} is no time in seconds since 1970, as 1700000000.5 is"),
        ))
    }

    /// Filters with the keys that a list knows.
    pub fn take_filters(&mut self, known: &[Known]) -> Result<Filters, Refusal> {
        self.take("filters")
            .map_or_else(|| Ok(Filters::default()), |text| Filters::read(&text, known))
    }

    /// A key whose only value is the one that means nothing was asked.
    pub fn take_only(&mut self, key: &str, values: &[&str]) -> Result<(), Refusal> {
        match self.take(key) {
            Some(value) if !values.contains(&value.as_str()) => Err(Refusal::forbidden(
                "query.value",
                format!("{key:?} of the query is not offered here; leave it out"),
            )),
            _ => Ok(()),
        }
    }

    /// Refuses what nobody took.
    pub fn end(self) -> Result<(), Refusal> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, _)) => Err(Refusal::forbidden(
                "query.unknown",
                format!("{key:?} of the query is not known for this call; leave it out"),
            )),
        }
    }
}

/// Percent-decoding (a plus is a space, as in forms). Letters that URIs do not have stand for nothing.
fn decode(text: &str) -> Result<String, Refusal> {
    let unclear = |why: &str| {
        Refusal::unclear(
            "query.escape",
            format!("the query can be read in more than one way: {why}"),
        )
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'.'
            | b'~'
            | b':'
            | b'/'
            | b','
            | b'@' => byte,
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(unclear("a \"%\" is not followed by two hexadecimal digits"));
                };
                u8::try_from(high * 16 + low).map_err(|_error| unclear("an escape is none"))?
            }
            _ => return Err(unclear("a letter has to be escaped and is not")),
        });
    }
    let text = String::from_utf8(bytes).map_err(|_error| unclear("it is not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(unclear("it has a control character"));
    }
    Ok(text)
}

/// Adds a pair to a target, escaped as Go does it: whatever is not plain.
pub(in crate::gate) fn push(target: &mut String, key: &str, value: &str) {
    use std::fmt::Write as _;

    target.push(if target.contains('?') { '&' } else { '?' });
    let parts = [key.as_bytes(), b"=", value.as_bytes()];
    for (index, part) in parts.into_iter().enumerate() {
        for &byte in part {
            if index == 1 || byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                target.push(char::from(byte));
            } else {
                // Writing to a text does not fail.
                let _ = write!(target, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn s08_queries_of_docker_and_of_python_are_read() {
        let mut query = Query::read("all=1&size=False&limit=-1&name=a%20b+c&t=&since=1700000000.5")
            .expect("read");
        assert_eq!(query.take_bool("all"), Ok(true));
        assert_eq!(query.take_bool("size"), Ok(false));
        assert_eq!(query.take_bool("none"), Ok(false));
        assert_eq!(query.take_number("limit", &(-1..=5)), Ok(Some(-1)));
        assert_eq!(query.take("name").as_deref(), Some("a b c"));
        assert_eq!(query.take("t"), None);
        assert_eq!(query.take_time("since"), Ok(Some("1700000000.5".to_owned())));
        assert_eq!(query.end(), Ok(()));
        assert_eq!(Query::read("").expect("empty").end(), Ok(()));
    }

    #[test]
    fn s08_what_the_engine_reads_otherwise_is_refused() {
        for text in [
            "force",
            "&",
            "force=1&",
            "&force=1",
            "force=1&&v=1",
            "=",
            "force=1&force=0",
            "force=1&f%6frce=0",
            "force=1;v=1",
            "force==1",
            "force=%",
            "force=%4",
            "force=%zz",
            "force=%+1",
            "force=%00",
            "force=%0a",
            "force=%7f",
            "force=%ff",
            "force=%c3",
            "force=%c0%80",
            "force=\u{e9}",
            "force=a b",
            "force=\"1\"",
            "force=<1>",
            "force={}",
            "force=[1]",
            "force=#",
            "force=?1",
            "force='1'",
            "force=a|b",
            "force=a\\b",
            "force=(1)",
            "force=a*",
            "force=$a",
            "force=a!",
            "force=\t1",
            "a=1&%61=2",
        ] {
            let read = Query::read(text);
            // `=` alone is a key without a name, which no call takes.
            assert!(
                read.is_err() || read.is_ok_and(|query| query.end().is_err() && text == "="),
                "{text:?}"
            );
        }
        for text in [
            "force=yes",
            "force=no",
            "force=none",
            "force=TRUE",
            "force=t",
            "force=on",
            "force=2",
            "force=01",
            "force=+1",
            "force=1+",
            "force=false%20",
            "force=%201",
            "force=-1",
            "force=0x1",
            "force=1.0",
        ] {
            assert!(Query::read(text).expect(text).take_bool("force").is_err(), "{text:?}");
        }
        for text in [
            "Force=1",
            "FORCE=1",
            "force%00=1",
            "forc%C3%A9=1",
            "force%5B%5D=1",
            "force.=1",
            "%66orce=1&x=1",
        ] {
            let refused = Query::read(text).and_then(|mut query| {
                let _ = query.take("force");
                query.end()
            });
            assert!(refused.is_err(), "{text:?}");
        }
    }

    #[test]
    fn s08_numbers_and_times_are_bounded_and_have_one_spelling() {
        for text in [
            "t=6",
            "t=-2",
            "t=+1",
            "t=%2B1",
            "t=01",
            "t=1e1",
            "t=0x1",
            "t=%D9%A1",
            "t=99999999999999999999",
            "t=-0",
        ] {
            assert!(Query::read(text).expect(text).take_number("t", &(-1..=5)).is_err(), "{text}");
        }
        for text in [
            "s=-1",
            "s=1.",
            "s=.1",
            "s=1.0000000001",
            "s=2020-01-01",
            "s=1h",
            "s=999999999999",
            "s=1e9",
            "s=1.5.5",
        ] {
            assert!(Query::read(text).expect(text).take_time("s").is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn s08_what_is_written_is_read_again(pairs in proptest::collection::btree_map("[a-z]{1,5}", "[^\\p{C}]{1,10}", 0..5)) {
            let mut target = String::new();
            for (key, value) in &pairs {
                push(&mut target, key, value);
            }
            let mut query = Query::read(target.trim_start_matches('?')).expect("ours");
            for (key, value) in &pairs {
                let read = query.take(key);
                prop_assert_eq!(read.as_ref(), Some(value));
            }
            prop_assert_eq!(query.end(), Ok(()));
        }

        #[test]
        fn s08_no_query_is_read_otherwise_than_by_forms(text in "[a-z=&+%0-9;.A-F ]{0,30}") {
            if let Ok(query) = Query::read(&text) {
                let other: Vec<(String, String)> = serde_urlencoded::from_str(&text).expect("a form");
                prop_assert_eq!(query.pairs, other);
            }
        }
    }
}
