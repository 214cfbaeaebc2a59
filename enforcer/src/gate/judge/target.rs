//! The target of a request to the engine, made of values.

use crate::gate::words::{filters::Filters, query};

/// A path, and pairs that are pushed to it.
#[derive(Clone, Debug)]
pub(super) struct Target(String);

impl Target {
    /// Of a path of ours: fixed text, ids, and names that were checked; all of it is plain.
    pub fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    pub fn pair(mut self, key: &str, value: &(impl ToString + ?Sized)) -> Self {
        query::push(&mut self.0, key, &value.to_string());
        self
    }

    pub fn maybe(self, key: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.pair(key, &value),
            None => self,
        }
    }

    /// `1` if it is so; else nothing, for that is how the engine takes it.
    pub fn flag(self, key: &str, is_so: bool) -> Self {
        if is_so { self.pair(key, "1") } else { self }
    }

    pub fn filters(self, filters: &Filters) -> Self {
        self.maybe("filters", filters.text())
    }

    pub fn text(self) -> String {
        self.0
    }
}
