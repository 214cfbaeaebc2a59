//! Words of an instruction: parted at blanks, but for those in quotes; and values for `$NAME`.

use std::collections::BTreeMap;

/// Parts a line. Quotes and backslashes stay in the words; `None`: a quote has no end, or a backslash nothing after it.
pub(super) fn split(line: &str) -> Option<Vec<&str>> {
    let mut words = Vec::new();
    let (mut begun, mut quote) = (None, None);
    let mut letters = line.char_indices();
    while let Some((at, letter)) = letters.next() {
        if quote.is_none() && letter.is_whitespace() {
            words.extend(begun.take().and_then(|start| line.get(start..at)));
            continue;
        }
        begun.get_or_insert(at);
        match (letter, quote) {
            ('\\', None | Some('"')) => drop(letters.next()?),
            ('\'' | '"', None) => quote = Some(letter),
            _ if quote == Some(letter) => quote = None,
            _ => {}
        }
    }
    words.extend(begun.and_then(|start| line.get(start..)));
    quote.is_none().then_some(words)
}

/// A text that may stand in quotes, without them; `None`: there are others in it, or backslashes.
pub(super) fn unquoted(text: &str) -> Option<&str> {
    let within = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    let bare = within('"').or_else(|| within('\'')).unwrap_or(text);
    (!bare.contains(['"', '\'', '\\'])).then_some(bare)
}

/// Puts values in for `$NAME`, `${NAME}` and `${NAME:-other}`; nothing for those that have none. `None`: it says
/// something else with `$`.
pub(super) fn expand(text: &str, values: &BTreeMap<String, Option<String>>) -> Option<String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, other);
        if let Some(braced) = after.strip_prefix('{') {
            let (inner, behind) = braced.split_once('}')?;
            (name, other) = inner.split_once(":-").unwrap_or((inner, ""));
            rest = behind;
        } else {
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let end = after.find(|letter| !is_name(letter)).unwrap_or(after.len());
            (name, rest) = after.split_at(end);
            other = "";
        }
        if !crate::gate::call::build::is_variable(name) || other.contains('$') {
            return None;
        }
        match values.get(name) {
            // It has one that is not understood here.
            Some(None) => return None,
            Some(Some(value)) if !value.is_empty() => expanded.push_str(value),
            _ => expanded.push_str(other),
        }
    }
    expanded.push_str(rest);
    Some(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s22_words_are_parted_as_the_engine_parts_them() {
        for (line, words) in [
            ("a b\tc", vec!["a", "b", "c"]),
            ("a=\"b c\" d", vec!["a=\"b c\"", "d"]),
            ("a='b \\' c", vec!["a='b \\'", "c"]),
            (r#"a="b \" c" d"#, vec![r#"a="b \" c""#, "d"]),
            (r"a\ b c", vec![r"a\ b", "c"]),
            (r#"a=\"b c"#, vec![r#"a=\"b"#, "c"]),
            ("  ", vec![]),
        ] {
            assert_eq!(split(line), Some(words), "{line}");
        }
        for line in ["a=\"b", "a='b", "a\\", "\"a\\\""] {
            assert_eq!(split(line), None, "{line}");
        }
    }

    #[test]
    fn s28_arguments_of_a_base_image_are_put_in() {
        let values = [("A", Some("1")), ("B", None), ("E", Some(""))];
        let values = values.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        let values = values.into_iter().collect();
        for (text, expanded) in [
            ("a:$A", Some("a:1")),
            ("a:${A}-x$A", Some("a:1-x1")),
            ("a:${E:-2}", Some("a:2")),
            ("a:${C:-2}${C}", Some("a:2")),
            ("$Ab", Some("")),
            ("a:$B", None),
            ("a:${A", None),
            ("a:$", None),
            ("a:$(x)", None),
            ("a:${A:+x}", None),
            ("a:${C:-$A}", None),
            ("a:${}", None),
        ] {
            assert_eq!(expand(text, &values).as_deref(), expanded, "{text}");
        }
    }
}
