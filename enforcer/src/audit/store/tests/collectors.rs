//! The snippets for collectors read the files that the store writes, and no others.

use saphyr_parser::{Event, Parser};

use crate::audit::store::{
    DEFAULT_DIR,
    names::{BOOK, TOMBSTONES},
};

const VECTOR: &str = include_str!("../../../../../integrations/vector/enforcer.yaml");
const FLUENT_BIT: &str = include_str!("../../../../../integrations/fluent-bit/enforcer.yaml");

/// Every scalar of a YAML file.
fn scalars(text: &str) -> Vec<String> {
    let events = Parser::new_from_str(text);
    let scalar = |event| match event {
        Event::Scalar(text, ..) => Some(text.to_string()),
        _ => None,
    };
    events.filter_map(|event| scalar(event.expect("YAML").0)).collect()
}

#[test]
fn collectors_read_records_and_neither_names_nor_tombstones() {
    let excluded = [TOMBSTONES, BOOK].map(|name| format!("{DEFAULT_DIR}/{name}"));
    let live = format!("{DEFAULT_DIR}/*.jsonl");
    let vector = scalars(VECTOR);
    for path in excluded.iter().chain([&live]) {
        assert!(vector.contains(path), "{path}: {vector:?}");
    }
    let fluent_bit = scalars(FLUENT_BIT);
    assert!(
        fluent_bit.contains(&live) && fluent_bit.contains(&excluded.join(",")),
        "{fluent_bit:?}"
    );
    // Lines of the files' own have a `kind`, records have not; and each has its time.
    for field in ["kind .+", "@timestamp"] {
        assert!(fluent_bit.contains(&field.to_owned()), "{fluent_bit:?}");
    }
}
