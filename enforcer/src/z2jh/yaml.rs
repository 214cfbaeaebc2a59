//! YAML as a tree in which everything knows its line. Strict: a key that stands twice is refused, and so is a file
//! whose anchors make it grow.

use std::collections::{BTreeSet, HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::Problem;

/// Deepest nesting.
const DEEPEST: usize = 64;
/// Most nodes, those that aliases repeat counted each time.
const MOST: usize = 200_000;

/// Something in a file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Line, from 1.
    pub(super) line: usize,
    /// What it is.
    pub(super) value: Value,
    /// It says of what type it is: nobody here understands that.
    pub(super) is_tagged: bool,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A text, and whether it stands there without quotes: then it may be a number, a truth or nothing.
    Scalar(String, bool),
    /// A list.
    List(Vec<Node>),
    /// Names and what they stand for, in order.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Whether there is nothing.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(text, true) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The entries of a map; none if it is no map.
    pub(super) fn entries(&self) -> &[(String, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// What a name stands for.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.entries().iter().find(|(key, _)| key == name).map(|(_, node)| node)
    }
}

/// Reads a file of one document.
pub(super) fn read(text: &str) -> Result<Node, Problem> {
    let mut tree = Tree::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            Problem::new(error.marker().line(), format!("not YAML: {}", error.info()))
        })?;
        tree.take(event, span.start.line().max(1))?;
    }
    tree.root.ok_or_else(|| Problem::new(1, "the file is empty"))
}

/// A list or a map that has begun.
struct Open {
    node: Node,
    anchor: usize,
    /// The name that stands before the value that comes next.
    name: Option<String>,
    names: BTreeSet<String>,
}

#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    root: Option<Node>,
    /// What anchors stand for, and how many nodes that is.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Problem::new(line, "a second document begins here; keep one in the file"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let value = Value::Scalar(text.into_owned(), plain);
                self.put(Node { line, value, is_tagged: tag.is_some() }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(line, Value::List(Vec::new()), anchor, tag.as_deref())
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(line, Value::Map(Vec::new()), anchor, tag.as_deref())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { node, anchor, .. }) => self.put(node, anchor),
                None => Err(Problem::new(line, "not YAML: something ends that has not begun")),
            },
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(Problem::new(line, "this alias stands within what it stands for"));
                };
                self.count(size - 1, line)?;
                self.put(Node { line, ..node }, 0)
            }
            _ => Ok(()),
        }
    }

    fn begin(
        &mut self,
        line: usize,
        value: Value,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Result<(), Problem> {
        if self.open.len() >= DEEPEST {
            return Err(Problem::new(line, format!("nested more than {DEEPEST} deep")));
        }
        let node = Node { line, value, is_tagged: tag.is_some() };
        self.open.push(Open { node, anchor, name: None, names: BTreeSet::new() });
        Ok(())
    }

    /// Puts a whole node where it belongs.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        let line = node.line;
        self.count(1, line)?;
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size(&node)));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match (open.name.take(), node.value) {
                (Some(name), value) => {
                    entries.push((name, Node { line, value, is_tagged: node.is_tagged }));
                }
                (None, Value::Scalar(name, _)) => {
                    if !open.names.insert(name.clone()) {
                        return Err(Problem::new(line, format!("`{name}` stands here twice")));
                    }
                    open.name = Some(name);
                }
                (None, _) => return Err(Problem::new(line, "a name has to be a text")),
            },
            Value::Scalar(..) => {}
        }
        Ok(())
    }

    fn count(&mut self, more: usize, line: usize) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > MOST {
            return Err(Problem::new(line, "the file is too large, or its aliases make it so"));
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(..) => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|(_, node)| 1 + size(node)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let problem = read(text).expect_err(text);
        format!("{}: {}", problem.line, problem.message)
    }

    #[test]
    fn o2_what_is_no_plain_tree_is_refused_with_its_line() {
        for (text, expected) in [
            ("", "1: the file is empty"),
            ("a: 1\nb: 2\na: 3\n", "3: `a` stands here twice"),
            ("a: 1\n---\nb: 2\n", "2: a second document"),
            ("a: [1\n", "not YAML"),
            ("? [a]\n: 1\n", "1: a name has to be a text"),
            ("a: &x [*x]\n", "1: this alias stands within"),
        ] {
            assert!(refused(text).contains(expected), "{text:?}: {}", refused(text));
        }
        let deep = "[".repeat(DEEPEST + 1) + &"]".repeat(DEEPEST + 1);
        assert!(refused(&deep).contains("nested more than"), "{}", refused(&deep));
        let row = |n: u32| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(","));
        let rows = (1..9).map(row);
        let laughs = "a0: &a0 [x]\n".to_owned() + &rows.collect::<Vec<_>>().concat();
        assert!(refused(&laughs).contains("its aliases make it so"), "{}", refused(&laughs));
    }

    #[test]
    fn aliases_stand_for_what_they_name_and_everything_knows_its_line() {
        let root = read("a: &x\n  b: 'null'\nc: *x\nd:\n").expect("is good");
        let c = root.get("c").expect("is there");
        assert_eq!((c.line, c.get("b").map(|b| b.line)), (3, Some(2)));
        assert!(
            c.get("b").is_some_and(|b| !b.is_null()) && root.get("d").is_some_and(Node::is_null)
        );
    }
}
