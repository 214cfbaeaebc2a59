//! Volumes.

use hyper::Method;

use super::{containers::own_labels, misplaced, own, plain, target::Target, with_body};
use crate::gate::{
    body::{self, Context},
    call::Call,
    json::Json,
    verdict::{Answer, Effect, Forward, Kind, Refusal, View},
};

pub(super) fn judge(context: &Context<'_>, call: &Call, body: &Json) -> Result<Forward, Refusal> {
    Ok(match call {
        Call::VolumeList { filters } => {
            let target = Target::new("/volumes").filters(filters);
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
