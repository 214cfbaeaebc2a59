//! The reader: one pass over the text, one function for each form of a value.

use std::collections::HashSet;

use super::{Fault, Json, Number, fold};

/// The value, or what is wrong at which byte. `depth`: how many lists and objects may be within one another.
pub(super) fn read(bytes: &[u8], depth: u8) -> Result<Json, (Fault, usize)> {
    let text = std::str::from_utf8(bytes).map_err(|error| (Fault::Utf8, error.valid_up_to()))?;
    if text.starts_with('\u{feff}') {
        return Err((Fault::Mark, 0));
    }
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(depth).and_then(|value| match reader.skip_blanks() {
        None => Ok(value),
        Some(_) => Err(Fault::Trailing),
    });
    value.map_err(|fault| (fault, reader.at))
}

struct Reader<'a> {
    text: &'a str,
    /// Bytes that have been read; always between two characters.
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no white space, which is not yet taken.
    fn skip_blanks(&mut self) -> Option<u8> {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.peek()
    }

    /// Takes a byte if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self, depth: u8) -> Result<Json, Fault> {
        match self.skip_blanks().ok_or(Fault::Short)? {
            b'{' => self.map(depth.checked_sub(1).ok_or(Fault::Depth)?),
            b'[' => self.list(depth.checked_sub(1).ok_or(Fault::Depth)?),
            b'"' => self.string().map(Json::Text),
            b'-' | b'0'..=b'9' => self.number().map(Json::Number),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'n' => self.word("null", Json::Null),
            _ => Err(Fault::Syntax),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(if word.starts_with(rest) { Fault::Short } else { Fault::Syntax });
        }
        self.at += word.len();
        Ok(value)
    }

    fn list(&mut self, depth: u8) -> Result<Json, Fault> {
        self.at += 1;
        let mut items = Vec::new();
        if self.skip_blanks() == Some(b']') {
            self.at += 1;
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth)?);
            if self.ends(b']')? {
                return Ok(Json::List(items));
            }
        }
    }

    fn map(&mut self, depth: u8) -> Result<Json, Fault> {
        self.at += 1;
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        if self.skip_blanks() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Map(entries));
        }
        loop {
            if self.skip_blanks().ok_or(Fault::Short)? != b'"' {
                return Err(Fault::Syntax);
            }
            let key = self.string()?;
            if !seen.insert(fold(&key)) {
                return Err(Fault::Duplicate(key));
            }
            self.skip_blanks().ok_or(Fault::Short)?;
            if !self.take(b':') {
                return Err(Fault::Syntax);
            }
            entries.push((key, self.value(depth)?));
            if self.ends(b'}')? {
                return Ok(Json::Map(entries));
            }
        }
    }

    /// After an item: whether its list or object ends here, or another item follows.
    fn ends(&mut self, end: u8) -> Result<bool, Fault> {
        self.skip_blanks().ok_or(Fault::Short)?;
        if self.take(end) {
            return Ok(true);
        }
        if self.take(b',') { Ok(false) } else { Err(Fault::Syntax) }
    }

    /// A number by the grammar of RFC 8259: no sign but '-', no leading zero, no bare point.
    fn number(&mut self) -> Result<Number, Fault> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return Err(Fault::Number);
        }
        let mut is_whole = true;
        if self.take(b'.') {
            is_whole = false;
            if self.digits() == 0 {
                return Err(Fault::Number);
            }
        }
        if self.take(b'e') || self.take(b'E') {
            is_whole = false;
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.digits() == 0 {
                return Err(Fault::Number);
            }
        }
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            // 01
            return Err(Fault::Number);
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if is_whole && text != "-0" {
            return text.parse().map(Number::Whole).or(Err(Fault::Number));
        }
        let is_finite = text.parse::<f64>().is_ok_and(f64::is_finite);
        if is_finite { Ok(Number::Decimal(text.to_owned())) } else { Err(Fault::Number) }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            // Both ends are beside ASCII, so that no character is cut.
            string.push_str(self.text.get(start..self.at).unwrap_or_default());
            match self.peek().ok_or(Fault::Short)? {
                b'"' => {
                    self.at += 1;
                    return Ok(string);
                }
                b'\\' => string.push(self.escape()?),
                _ => return Err(Fault::Text),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        self.at += 1;
        let escape = self.peek().ok_or(Fault::Short)?;
        self.at += 1;
        match escape {
            b'"' => Ok('"'),
            b'\\' => Ok('\\'),
            b'/' => Ok('/'),
            b'b' => Ok('\u{8}'),
            b'f' => Ok('\u{c}'),
            b'n' => Ok('\n'),
            b'r' => Ok('\r'),
            b't' => Ok('\t'),
            b'u' => self.unicode(),
            _ => {
                // The byte may be the first of a longer character.
                self.at -= 1;
                Err(Fault::Text)
            }
        }
    }

    fn unicode(&mut self) -> Result<char, Fault> {
        let unit = self.hex()?;
        let code = match unit {
            0xd800..=0xdbff => {
                if !(self.take(b'\\') && self.take(b'u')) {
                    return Err(Fault::Surrogate);
                }
                let low = self.hex()?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return Err(Fault::Surrogate);
                }
                0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
            }
            unit => unit,
        };
        char::from_u32(code).ok_or(Fault::Surrogate)
    }

    /// Four hexadecimal digits, and nothing that only `from_str_radix` takes for some.
    fn hex(&mut self) -> Result<u32, Fault> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().ok_or(Fault::Short)?;
            let digit = char::from(digit).to_digit(16).ok_or(Fault::Text)?;
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }
}
