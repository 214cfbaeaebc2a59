//! File systems in memory: bounded, without devices, without programs that gain privileges.

use serde_json::{Map, Value, json};

use super::{
    super::{rules::Rules, verdict::Refusal},
    fields,
    object::{At, Object},
    paths, plain,
};

/// `HostConfig.Tmpfs`: `"/run": "size=64m,mode=1777"`.
pub(super) fn texts(
    entries: &[(&str, At<'_>)],
    rules: &Rules,
) -> Result<Map<String, Value>, Refusal> {
    let mut all = Map::new();
    for (path, at) in entries {
        let target = paths::of_target(path).map_err(|why| at.refuse(why))?;
        let options = if at.is_null() { String::new() } else { options(at, rules)? };
        let options = if options.contains("size=") {
            options
        } else {
            let comma = if options.is_empty() { "" } else { "," };
            format!("{options}{comma}size={}", rules.memory)
        };
        all.insert(target, Value::String(options));
    }
    Ok(all)
}

/// Options that give nothing away, as they are; others are refused.
fn options(at: &At<'_>, rules: &Rules) -> Result<String, Refusal> {
    let text = at.text()?;
    for option in text.split(',').filter(|_| !text.is_empty()) {
        let is_number = |value: &str, radix: u32| {
            !value.is_empty()
                && value.len() <= 6
                && value.chars().all(|digit| digit.is_digit(radix))
        };
        let is_fine = match option.split_once('=') {
            None => {
                matches!(option, "rw" | "ro" | "exec" | "noexec" | "nosuid" | "nodev" | "noatime")
            }
            Some(("size", size)) => plain::size(size).is_some_and(|size| is_size(size, rules)),
            Some(("mode", mode)) => is_number(mode, 8) && !has_set_id(i64::from_str_radix(mode, 8)),
            Some(("uid" | "gid", id)) => is_number(id, 10),
            Some(_) => false,
        };
        if !is_fine {
            return Err(at.refuse(format_args!(
                "the option {option:?} is none that goes through; the size is at most {}",
                rules.memory
            )));
        }
    }
    if text.split(',').filter(|option| option.starts_with("size=")).count() > 1 {
        return Err(at.refuse("the size is there twice"));
    }
    Ok(text.to_owned())
}

/// `Mounts` of the type tmpfs: its options.
pub(super) fn mount(mount: &Object<'_>, rules: &Rules) -> Result<Value, Refusal> {
    let mut size = i64::try_from(rules.memory).unwrap_or(i64::MAX);
    let mut mode = None;
    if let Some(at) = mount.field("TmpfsOptions") {
        let options = at.object(&fields::TMPFS_OPTIONS)?;
        if let Some(at) = options.field("SizeBytes").filter(|at| at.whole() != Ok(0)) {
            size = at.within(1, size)?;
        }
        if let Some(at) = options.field("Mode") {
            mode = Some(at.within(0, 0o1777)?);
        }
    }
    Ok(match mode {
        Some(mode) => json!({"SizeBytes": size, "Mode": mode}),
        None => json!({"SizeBytes": size}),
    })
}

/// 0 would be without a bound.
const fn is_size(size: u64, rules: &Rules) -> bool {
    size > 0 && size <= rules.memory
}

fn has_set_id(mode: Result<i64, std::num::ParseIntError>) -> bool {
    mode.is_ok_and(|mode| mode > 0o1777)
}
