//! Objects by their table: a field that is not in it is refused, and so is a value that asks for what its class
//! does not give.

use super::{
    super::{
        json::{Json, Number},
        verdict::Refusal,
    },
    fields::{Class, Model},
    forbidden, malformed,
};

/// A value, with the way to it for messages.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    pub json: &'a Json,
    pub path: String,
    pub rule: &'static str,
}

impl<'a> At<'a> {
    /// The principal may not have this value.
    pub fn refuse(&self, why: impl std::fmt::Display) -> Refusal {
        forbidden(self.rule, format!("{}: {why}", self.path))
    }

    fn is_not(&self, what: &str) -> Refusal {
        malformed(self.rule, format!("{} must be {what}", self.path))
    }

    /// Without U+0000, at which other readers end a text.
    pub fn text(&self) -> Result<&'a str, Refusal> {
        match self.json {
            Json::Text(text) if !text.contains('\0') => Ok(text),
            _ => Err(self.is_not("a text without U+0000")),
        }
    }

    pub fn flag(&self) -> Result<bool, Refusal> {
        match self.json {
            Json::Bool(flag) => Ok(*flag),
            _ => Err(self.is_not("true or false")),
        }
    }

    pub fn whole(&self) -> Result<i64, Refusal> {
        match self.json {
            Json::Number(Number::Whole(number)) => Ok(*number),
            _ => Err(self.is_not("a whole number")),
        }
    }

    /// A whole number between two, both included.
    pub fn within(&self, least: i64, most: i64) -> Result<i64, Refusal> {
        let number = self.whole()?;
        if (least..=most).contains(&number) {
            Ok(number)
        } else {
            Err(self.refuse(format_args!("{number} is not within {least} to {most}")))
        }
    }

    pub fn list(&self) -> Result<Vec<Self>, Refusal> {
        let Json::List(items) = self.json else { return Err(self.is_not("a list")) };
        let at =
            |(index, json)| At { json, path: format!("{}[{index}]", self.path), rule: self.rule };
        Ok(items.iter().enumerate().map(at).collect())
    }

    /// Keys of the client's choosing, with their values.
    pub fn entries(&self) -> Result<Vec<(&'a str, Self)>, Refusal> {
        let Json::Map(entries) = self.json else { return Err(self.is_not("an object")) };
        let at = |(key, json): &'a (String, Json)| {
            let path = format!("{}.{}", self.path, key.escape_debug());
            (key.as_str(), At { json, path, rule: self.rule })
        };
        Ok(entries.iter().map(at).collect())
    }

    pub fn object(&self, model: &'static Model) -> Result<Object<'a>, Refusal> {
        let Json::Map(entries) = self.json else { return Err(self.is_not("an object")) };
        Object::new(entries, model, self.path.clone())
    }

    pub const fn is_null(&self) -> bool {
        matches!(self.json, Json::Null)
    }
}

/// An object of which every field is known, and those of which nothing may be asked ask for nothing.
#[derive(Clone, Debug)]
pub(super) struct Object<'a> {
    path: String,
    model: &'static Model,
    entries: &'a [(String, Json)],
}

impl<'a> Object<'a> {
    /// A whole body.
    pub fn body(json: &'a Json, model: &'static Model) -> Result<Self, Refusal> {
        let Json::Map(entries) = json else {
            return Err(malformed(
                "body.object",
                format!("the body must be an object ({})", model.name),
            ));
        };
        Self::new(entries, model, String::new())
    }

    fn new(
        entries: &'a [(String, Json)],
        model: &'static Model,
        path: String,
    ) -> Result<Self, Refusal> {
        let object = Self { path, model, entries };
        for (name, value) in entries {
            object.check(name, value)?;
        }
        Ok(object)
    }

    fn check(&self, name: &str, value: &Json) -> Result<(), Refusal> {
        let Some(field) = self.model.field(name) else {
            let path = self.path(&name.escape_debug().to_string());
            return Err(forbidden(
                "field.unknown",
                format!(
                    "{path}: the gate knows no such field of {}; leave it out",
                    self.model.name
                ),
            ));
        };
        let (is_fine, only) = match field.class {
            Class::Allowed | Class::Forced => return Ok(()),
            Class::OnlyEmpty => (is_empty(value), "only an empty value goes through here"),
            Class::OnlyUnset => {
                let is_unset = *value == Json::Number(Number::Whole(-1));
                (is_unset || is_empty(value), "only 0 or -1 goes through here")
            }
            Class::OnlyNull => {
                (*value == Json::Null, "the engine's own list stays; an empty one too is refused")
            }
        };
        let why = || forbidden(field.rule, format!("{}: {only}; leave it out", self.path(name)));
        if is_fine { Ok(()) } else { Err(why()) }
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A field that says something; `None`: it is absent or `null`.
    pub fn field(&self, name: &str) -> Option<At<'a>> {
        let (_, json) = self.entries.iter().find(|(key, _)| key == name)?;
        let rule = self.model.field(name)?.rule;
        (*json != Json::Null).then(|| At { json, path: self.path(name), rule })
    }

    /// As if the field were there: for what is refused because it is not.
    pub fn absent(&self, name: &'static str, why: &str) -> Refusal {
        let rule = self.model.field(name).map_or("field.unknown", |field| field.rule);
        malformed(rule, format!("{}: {why}", self.path(name)))
    }

    /// A text; absent is as empty.
    pub fn text(&self, name: &str) -> Result<&'a str, Refusal> {
        self.field(name).map_or(Ok(""), |at| at.text())
    }

    /// A flag; absent is as `false`.
    pub fn flag(&self, name: &str) -> Result<bool, Refusal> {
        self.field(name).map_or(Ok(false), |at| at.flag())
    }

    /// Items of a list; absent is as empty.
    pub fn list(&self, name: &str) -> Result<Vec<At<'a>>, Refusal> {
        self.field(name).map_or_else(|| Ok(Vec::new()), |at| at.list())
    }

    /// Entries of a map; absent is as empty.
    pub fn entries(&self, name: &str) -> Result<Vec<(&'a str, At<'a>)>, Refusal> {
        self.field(name).map_or_else(|| Ok(Vec::new()), |at| at.entries())
    }
}

/// Whether a value asks for nothing.
fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(false) | Json::Number(Number::Whole(0)) => true,
        Json::Bool(true) | Json::Number(_) => false,
        Json::Text(text) => text.is_empty(),
        // A list with an empty item has an item.
        Json::List(items) => items.is_empty(),
        Json::Map(entries) => entries.iter().all(|(_, value)| is_empty(value)),
    }
}
