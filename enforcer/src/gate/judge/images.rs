//! Images. They are the engine's own name space, and shared: what one user may call python, all others get when they
//! ask for python. A user's own tags stand under a mark of its own.

use hyper::Method;

use super::{build, misplaced, plain, sees_all_images, target::Target};
use crate::gate::{
    body::Context,
    call::Call,
    image::{self, Reference},
    names,
    verdict::{Answer, Effect, Forward, Kind, Refusal, View},
};

/// Most tags of one principal.
const MAX_TAGS: usize = 100;
/// Least digits of an id that stand for an image.
const LEAST_DIGITS: usize = 4;

pub(super) fn judge(context: &Context<'_>, call: &Call) -> Result<Forward, Refusal> {
    let get = |target, view| plain(Method::GET, target, Answer::Shown(view));
    Ok(match call {
        Call::ImageList { all, digests, shared_size, manifests, filters } => {
            let target = Target::new("/images/json")
                .flag("all", *all)
                .flag("digests", *digests)
                .flag("shared-size", *shared_size)
                .flag("manifests", *manifests)
                .filters(filters);
            get(target, View::Images)
        }
        Call::ImageInspect { image, manifests, platform } => {
            let target = Target::new(format!("/images/{}/json", usable(context, image)?));
            let target = target.flag("manifests", *manifests).maybe("platform", platform.as_ref());
            get(target, View::Image)
        }
        Call::ImageHistory { image, platform } => {
            let target = Target::new(format!("/images/{}/history", usable(context, image)?));
            get(target.maybe("platform", platform.as_ref()), View::History)
        }
        Call::ImageBuild(asked) => build::judge(context, asked)?,
        Call::ImagePull { image, platform } => pull(context, image, platform.as_deref())?,
        Call::ImageTag { image, repository, tag } => {
            tag_as(context, image, repository, tag.as_deref().unwrap_or("latest"))?
        }
        Call::ImageRemove { image, keeps_parents } => {
            let own = removable(context, image)?;
            let target = Target::new(format!("/images/{own}")).flag("noprune", *keeps_parents);
            let forward = plain(Method::DELETE, target, Answer::Whole);
            forward.noting(Effect::Removed(Kind::Image, own))
        }
        _ => return Err(misplaced()),
    })
}

/// What an image that may be looked at is called.
fn usable(context: &Context<'_>, asked: &str) -> Result<String, Refusal> {
    let named = image::usable(asked, context.rules, context.facts, sees_all_images(context));
    named
        .or_else(|| by_digits(context, asked).map(|own| format!("sha256:{own}")))
        .ok_or_else(|| Refusal::missing(Kind::Image, asked))
}

/// The own image whose id alone begins so: its 64 digits.
fn by_digits<'a>(context: &Context<'a>, asked: &str) -> Option<&'a str> {
    let start = asked.strip_prefix("sha256:").unwrap_or(asked);
    let is_start =
        start.len() >= LEAST_DIGITS && start.bytes().all(|byte| byte.is_ascii_hexdigit());
    let ids = context.facts.images.iter().filter_map(|own| own.id.strip_prefix("sha256:"));
    let mut found = ids.filter(|id| is_start && id.starts_with(start));
    found.next().filter(|_| found.next().is_none())
}

/// What images are pulled for: a tag is one for all of this host, and another platform's would take its place.
const PLATFORM: &str = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };

fn pull(context: &Context<'_>, image: &str, platform: Option<&str>) -> Result<Forward, Refusal> {
    if let Some(other) = platform.filter(|platform| *platform != PLATFORM) {
        let message = format!("images are for {PLATFORM} here, not for {other}; leave it out");
        return Err(Refusal::forbidden("image.platform", message));
    }
    let reference = Reference::parse(image).ok_or_else(|| {
        Refusal::unclear("image.reference", format!("{image:?} is no reference of an image"))
    })?;
    let is_listed = reference.is_among(&context.rules.images);
    // A mark is a principal's, whatever a list may let through.
    if reference.familiar().starts_with("enforcer-") || !(is_listed || sees_all_images(context)) {
        let message = format!(
            "{} is not among the images that may be pulled: {:?}",
            reference.full(),
            context.rules.images
        );
        return Err(Refusal::forbidden("image.not-listed", message));
    }
    let full = reference.full();
    // The name has no version: this is the one place where it is parted, and the engine joins it again.
    let (name, version) = match full.split_once('@') {
        Some((named, digest)) => (name_of(named), digest),
        None => full.rsplit_once(':').unwrap_or((&full, "latest")),
    };
    let target = Target::new("/images/create")
        .pair("fromImage", name)
        .pair("tag", version)
        .maybe("platform", platform);
    Ok(plain(Method::POST, target, Answer::Stream))
}

/// A name without its tag.
fn name_of(named: &str) -> &str {
    match named.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => named,
    }
}

fn tag_as(
    context: &Context<'_>,
    image: &str,
    repository: &str,
    tag: &str,
) -> Result<Forward, Refusal> {
    let source = usable(context, image)?;
    let new = own_tag(context, &format!("{repository}:{tag}"))?;
    let (repository, tag) = new.rsplit_once(':').unwrap_or((&new, "latest"));
    let target =
        Target::new(format!("/images/{source}/tag")).pair("repo", repository).pair("tag", tag);
    let forward = plain(Method::POST, target, Answer::Whole);
    let made = Effect::Made(Kind::Image, new.clone());
    Ok(forward.noting(made))
}

/// A name that a principal may give to an image, with its tag.
pub(super) fn own_tag(context: &Context<'_>, asked: &str) -> Result<String, Refusal> {
    let mark = names::mark(context.principal);
    let new = Reference::parse(asked).map(|new| new.familiar());
    // A slash or a digest would make another repository of it.
    let new = new.filter(|new| {
        new.starts_with(&mark) && new.len() > mark.len() && !new.contains(['/', '@'])
    });
    let Some(new) = new else {
        let message = format!("images are shared by all: begin the name of your own with {mark}");
        return Err(Refusal::forbidden("image.tag-name", message));
    };
    let tags = || context.facts.images.iter().flat_map(|own| &own.tags);
    let is_there = tags().any(|tag| *tag == new);
    if !is_there && tags().filter(|tag| tag.starts_with(&mark)).count() >= MAX_TAGS {
        let message = format!("there are {MAX_TAGS} tags; remove one first");
        return Err(Refusal::forbidden("quota.tags", message));
    }
    Ok(new)
}

/// The own tag that is meant: by name, or by the id of an image that has no other own tag. An id itself never goes to
/// the engine, for it would take the tags of others along.
fn removable(context: &Context<'_>, asked: &str) -> Result<String, Refusal> {
    let mark = names::mark(context.principal);
    let is_own = |tag: &&String| tag.starts_with(&mark);
    if let Some(reference) = Reference::parse(asked) {
        let called = reference.familiar();
        let mut tags = context.facts.images.iter().flat_map(|own| &own.tags);
        if tags.any(|tag| *tag == called && tag.starts_with(&mark)) {
            return Ok(called);
        }
        if usable(context, asked).is_ok() && by_digits(context, asked).is_none() {
            let message = "this image is shared; only your own tags can be removed";
            return Err(Refusal::forbidden("image.shared", message));
        }
    }
    let digits = by_digits(context, asked).ok_or_else(|| Refusal::missing(Kind::Image, asked))?;
    let own =
        context.facts.images.iter().find(|own| own.id.strip_prefix("sha256:") == Some(digits));
    let mut tags = own.iter().flat_map(|own| &own.tags).filter(is_own);
    match (tags.next(), tags.next()) {
        (Some(tag), None) => Ok(tag.clone()),
        (None, _) => Err(Refusal::forbidden(
            "image.shared",
            "this image has no tag of your own that could be removed",
        )),
        _ => {
            Err(Refusal::unclear("image.tags", "this image has several tags of your own; name one"))
        }
    }
}
