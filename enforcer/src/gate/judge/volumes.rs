//! Volumes.

use hyper::Method;

use super::{
    containers::own_labels,
    misplaced,
    own::{self, NOBODY},
    plain,
    target::Target,
    with_body,
};
use crate::gate::{
    body::{self, Context},
    call::Call,
    json::Json,
    verdict::{Answer, Effect, Forward, Kind, Refusal, View},
    words::filters::Filters,
};

pub(super) fn judge(context: &Context<'_>, call: &Call, body: &Json) -> Result<Forward, Refusal> {
    Ok(match call {
        Call::VolumeList { filters } => {
            let target = Target::new("/volumes").filters(&list(context, filters));
            plain(Method::GET, target, Answer::Shown(View::Volumes))
        }
        Call::VolumeCreate => {
            let judged = body::volume::judge(body, context)?;
            let forward =
                with_body(Target::new("/volumes/create"), judged, Answer::Shown(View::Volume));
            forward.noting(Effect::Created(Kind::Volume))
        }
        Call::VolumeInspect { volume } => {
            let own = own::volume(context.facts, volume)?;
            let target = Target::new(format!("/volumes/{}", own.engine_name));
            plain(Method::GET, target, Answer::Shown(View::Volume))
        }
        Call::VolumeRemove { volume, force } => {
            let own = own::volume(context.facts, volume)?;
            let target = Target::new(format!("/volumes/{}", own.engine_name)).flag("force", *force);
            let removed = Effect::Removed(Kind::Volume, own.engine_name.clone());
            plain(Method::DELETE, target, Answer::Whole).noting(removed)
        }
        Call::VolumePrune { filters } => {
            let target = Target::new("/volumes/prune").filters(&own_labels(context, filters));
            plain(Method::POST, target, Answer::Shown(View::Pruned))
                .noting(Effect::Pruned(Kind::Volume))
        }
        _ => return Err(misplaced()),
    })
}

/// By the names that the engine has; a part of a name is enough, as for the engine.
fn list(context: &Context<'_>, filters: &Filters) -> Filters {
    let mut filters = filters.clone();
    let asked = filters.take("name");
    let is_asked = |name: &str| {
        asked.as_ref().is_none_or(|asked| asked.iter().any(|part| name.contains(part.as_str())))
    };
    let own = context.facts.volumes.iter().filter(|own| is_asked(&own.name));
    let names: Vec<String> = own.map(|own| own.engine_name.clone()).collect();
    filters.set("name", if names.is_empty() { vec![NOBODY.to_owned()] } else { names });
    filters
}
