//! Cases: a body of a client, changed a little, and written in one of the ways in which JSON can be. A case is made of its
//! number and the seed alone.

use enforcer::gate::body::fields::MODELS;
use serde_json::Value;

use super::bodies::{ROUTES, Route, bodies};

/// Deepest that a value is nested into itself.
const DEEP: usize = 80;

/// Tokens that take the place of a value: what readers of JSON disagree about.
const VALUES: &[&[u8]] = &[
    b"null",
    b"true",
    b"false",
    b"0",
    b"-0",
    b"1",
    b"-1",
    b"1.0",
    b"0.5",
    b"1e2",
    b"1E+2",
    b"0e0",
    b"-0.0",
    b"1e400",
    b"01",
    b"+1",
    b"1.",
    b".5",
    b"0x10",
    b"NaN",
    b"Infinity",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"18446744073709551616",
    b"9007199254740993",
    b"1e-400",
    b"[]",
    b"{}",
    b"[null]",
    b"[[]]",
    b"{\"\":null}",
    b"\"\"",
    b"\"0\"",
    b"\"true\"",
    b"\"null\"",
    b"\"host\"",
    b"\"\\u0000\"",
    b"\"a\\u0000b\"",
    b"\"\\ud800\"",
    b"\"\\udc00\\ud800\"",
    b"\"\\ud83d\\ude00\"",
    b"\"\xf0\x9f\x98\x80\"",
    b"\"\xff\"",
    b"\"\xc0\x80\"",
    b"\"\xed\xa0\x80\"",
    b"\"\xef\xbf\xbd\"",
    b"\"\\x41\"",
    b"\"\\'\"",
    b"\"a\nb\"",
    b"\"\t\"",
    b"\"\\u00e9\"",
    b"\"e\xcc\x81\"",
    b"\"\\/\"",
    b"\"\\u2028\"",
    b"\"<>&\"",
    b"'a'",
    b"/*x*/1",
    b"1,",
    b"\"\\ud83d\"",
    b"\"\\uD83D\\uDE00\"",
    b"\"\\u+123\"",
];
/// What a text can have more.
const MORE: &[&[u8]] = &[b"a", b"\\u0041", b"\xc3\xa9", b"\\n", b"\xff", b" ", b"/"];
/// What can stand before or after a body.
const AROUND: &[&[u8]] = &[
    b"\xef\xbb\xbf",
    b" ",
    b"\n",
    b"\r\n\t ",
    b"\0",
    b"x",
    b"{}",
    b"null",
    b",",
    b"]",
    b"}",
    b"//",
    b"\xa0",
    b"\xc2\xa0",
    b"\x0c",
    b"\xe2\x80\xa8",
];

/// A value as it is to be written; leaves and keys are tokens.
#[derive(Clone, Debug)]
enum Node {
    Leaf(Vec<u8>),
    List(Vec<Node>),
    Map(Vec<(Vec<u8>, Node)>),
}

/// See the module.
pub struct Cases {
    seed: u64,
    bodies: Vec<(usize, Node)>,
    keys: Vec<&'static str>,
}

/// Numbers that look like chance (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `most`.
    fn below(&mut self, most: usize) -> usize {
        let most = u64::try_from(most.max(1)).unwrap_or(1);
        usize::try_from(self.roll() % most).unwrap_or_default()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// True in one of so many.
    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

impl Cases {
    /// Made from this.
    pub fn new(seed: u64) -> Self {
        let bodies = bodies().into_iter().map(|(route, body)| (route, node(&body))).collect();
        let keys = MODELS.iter().flat_map(|model| model.fields).map(|field| field.name).collect();
        Self { seed, bodies, keys }
    }

    /// One of them: what is asked, and the body.
    pub fn make(&self, number: u64) -> (&'static Route, Vec<u8>) {
        let mut dice = Dice(self.seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let (route, body) = dice.of(&self.bodies);
        let mut body = body.clone();
        // Half of them say what clients say, only otherwise.
        for _ in 0..[0, 0, 1, 1, 1, 2, 3][dice.below(7)] {
            self.change(&mut body, &mut dice);
        }
        let mut text = Vec::new();
        write(&body, &mut dice, &mut text);
        if dice.one_in(20) {
            let more = *dice.of(AROUND);
            if dice.one_in(2) {
                text.extend(more);
            } else {
                text.splice(0..0, more.iter().copied());
            }
        }
        if dice.one_in(60) {
            text.truncate(dice.below(text.len()));
        }
        if dice.one_in(60) {
            let at = dice.below(text.len());
            text.insert(at, dice.roll().to_le_bytes()[0]);
        }
        (&ROUTES[*route], text)
    }

    /// Changes something somewhere.
    fn change(&self, body: &mut Node, dice: &mut Dice) {
        match body {
            Node::Map(entries) if !entries.is_empty() && !dice.one_in(3) => {
                let at = dice.below(entries.len());
                self.change(&mut entries[at].1, dice);
            }
            Node::Map(entries) => self.change_map(entries, dice),
            Node::List(items) if !items.is_empty() && dice.one_in(2) => {
                let at = dice.below(items.len());
                self.change(&mut items[at], dice);
            }
            Node::List(items) => match dice.below(3) {
                0 => items.push(Node::Leaf(dice.of(VALUES).to_vec())),
                1 => items.clear(),
                _ => items.extend(items.first().cloned()),
            },
            Node::Leaf(token) => match dice.below(8) {
                0 => *body = deep(token, dice),
                1 => *token = b"null".to_vec(),
                2 | 3 if token.first() == Some(&b'"') => {
                    let at = token.len() - 1;
                    let more = *dice.of(MORE);
                    token.splice(at..at, more.iter().copied());
                }
                _ => *token = dice.of(VALUES).to_vec(),
            },
        }
    }

    fn change_map(&self, entries: &mut Vec<(Vec<u8>, Node)>, dice: &mut Dice) {
        let at = dice.below(entries.len());
        let there = entries.get(at).cloned();
        match (dice.below(7), there) {
            // Twice, in one spelling or in two.
            (0, Some((key, value))) => {
                let other =
                    if dice.one_in(2) { Node::Leaf(dice.of(VALUES).to_vec()) } else { value };
                let key = if dice.one_in(2) { key } else { respelled(&key, dice) };
                entries.insert(dice.below(entries.len() + 1), (key, other));
            }
            (1, Some((key, _))) => entries[at].0 = respelled(&key, dice),
            (2, Some(_)) => drop(entries.remove(at)),
            (3, Some(_)) => entries.swap(at, 0),
            (4, Some((key, _))) => entries[at].0 = [&key[..key.len() - 1], b"\\u0000\""].concat(),
            _ => {
                let key = format!("\"{}\"", dice.of(&self.keys)).into_bytes();
                let key = if dice.one_in(4) { respelled(&key, dice) } else { key };
                let empty: &[&[u8]] = &[b"null", b"0", b"false", b"\"\"", b"[]", b"{}"];
                let value = if dice.one_in(2) { dice.of(empty) } else { dice.of(VALUES) };
                entries.push((key, Node::Leaf(value.to_vec())));
            }
        }
    }
}

/// Within itself, often more often than anybody reads.
fn deep(token: &[u8], dice: &mut Dice) -> Node {
    let mut node = Node::Leaf(token.to_vec());
    for _ in 0..dice.below(DEEP) {
        node = if dice.one_in(2) {
            Node::List(vec![node])
        } else {
            Node::Map(vec![(b"\"a\"".to_vec(), node)])
        };
    }
    node
}

/// A key that some readers take for the same: in another case, with what Unicode folds to its letters, or with escapes.
fn respelled(key: &[u8], dice: &mut Dice) -> Vec<u8> {
    let text = String::from_utf8_lossy(key).into_owned();
    let way = dice.below(5);
    let letter = |letter: char| match (way, letter) {
        (0, letter) => letter.to_ascii_lowercase().to_string(),
        (1, letter) => letter.to_ascii_uppercase().to_string(),
        (2, 'k' | 'K') => "\u{212a}".to_owned(),
        (2, 's' | 'S') => "\u{17f}".to_owned(),
        (2, 'i' | 'I') => "\u{131}".to_owned(),
        (3, 's' | 'S') => "\\u017f".to_owned(),
        (3, 'k' | 'K') => "\\u212A".to_owned(),
        (3 | 4, letter) if letter.is_ascii_alphabetic() => format!("\\u{:04x}", u32::from(letter)),
        (_, letter) => letter.to_string(),
    };
    text.chars().map(letter).collect::<String>().into_bytes()
}

fn node(value: &Value) -> Node {
    match value {
        Value::Array(items) => Node::List(items.iter().map(node).collect()),
        Value::Object(entries) => Node::Map(
            entries
                .iter()
                .map(|(key, value)| {
                    (Value::from(key.as_str()).to_string().into_bytes(), node(value))
                })
                .collect(),
        ),
        leaf => Node::Leaf(leaf.to_string().into_bytes()),
    }
}

/// Writes with white space, escapes and an order that say nothing.
fn write(node: &Node, dice: &mut Dice, out: &mut Vec<u8>) {
    let blank = |dice: &mut Dice, out: &mut Vec<u8>| {
        if dice.one_in(12) {
            out.extend(*dice.of(&[&b" "[..], b"\n", b"\t", b"\r\n", b"   "]));
        }
    };
    blank(dice, out);
    match node {
        Node::Leaf(token) => out.extend(escaped(token, dice)),
        Node::List(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, dice, out);
            }
            out.push(b']');
        }
        Node::Map(entries) => {
            out.push(b'{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                blank(dice, out);
                out.extend(escaped(key, dice));
                blank(dice, out);
                out.push(b':');
                write(value, dice, out);
            }
            out.push(b'}');
        }
    }
    blank(dice, out);
}

/// The same text, now and then with a letter written as an escape.
fn escaped(token: &[u8], dice: &mut Dice) -> Vec<u8> {
    let is_plain =
        token.len() > 2 && token.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'"');
    if !(is_plain && token.starts_with(b"\"") && dice.one_in(8)) {
        return token.to_vec();
    }
    let at = 1 + dice.below(token.len() - 2);
    let escape = format!("\\u{:04X}", token[at]);
    [&token[..at], escape.as_bytes(), &token[at + 1..]].concat()
}
