//! `POST /volumes/create`: a plain local volume (S03).

use serde_json::{Value, json};

use super::{
    super::{json::Json, verdict::Refusal},
    Context, Judged, Notes, fields, mounts,
    object::Object,
    who,
};

/// Judges the body. One that has no name gets one from the engine.
pub fn judge(json: &Json, context: &Context<'_>) -> Result<Judged, Refusal> {
    let volume = Object::body(json, &fields::VOLUME)?;
    if let Some(at) = volume.field("Driver").filter(|at| !matches!(at.text(), Ok("" | "local"))) {
        return Err(at.refuse("volumes are local"));
    }
    let mut labels = who::labels(&volume.entries("Labels")?, context)?;
    who::mark(&mut labels, context, None);
    let mut body = json!({"Driver": "local", "Labels": Value::Object(labels)});
    let mut is_new = true;
    if let Some(at) = volume.field("Name").filter(|at| at.text() != Ok("")) {
        let (name, is_missing) = mounts::engine_name(&at, at.text()?, context)?;
        is_new = is_missing;
        body["Name"] = Value::String(name);
    }
    mounts::quota(context, usize::from(is_new))?;
    Ok(Judged::new(body, Notes::default()))
}
