//! `POST /containers/{id}/update`: within the same rules as the create, so that nothing is lifted by it (S30).

use serde_json::Value;

use super::{
    super::{json::Json, verdict::Refusal},
    Context, Judged, Notes, fields,
    object::Object,
    resources::{self, Time},
};

/// Judges the body. What it does not name, or names with 0, stays as it is.
pub fn judge(json: &Json, context: &Context<'_>) -> Result<Judged, Refusal> {
    let update = Object::body(json, &fields::UPDATE)?;
    let mut notes = Notes::default();
    let mut body = resources::judge(&update, context, Time::Update, &mut notes)?;
    if let Some(restart) = resources::restart(&update, &mut notes)? {
        body.insert("RestartPolicy".to_owned(), restart);
    }
    Ok(Judged::new(Value::Object(body), notes))
}
