//! From the cgroups of a process to its container: what `/proc/PID/cgroup` says. Pure.
//!
//! Docker puts a container below a cgroup that has its id: `/docker/ID` or, with systemd,
//! `/system.slice/docker-ID.scope`. What is below that is the container's own to name.

/// Digits of an id.
const ID: usize = 64;

/// The container of a process. `is_known`: whether the engine has a container of this id. The outermost known one
/// counts: within a container anybody may make cgroups of any name. `None`: it is in none, or the hierarchies do not
/// agree.
#[must_use]
pub fn container(cgroups: &str, is_known: impl Fn(&str) -> bool) -> Option<String> {
    let paths = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut found = None;
    for path in paths {
        let Some(id) = path.split('/').filter_map(id).find(|id| is_known(id)) else { continue };
        match found {
            None => found = Some(id),
            Some(other) if other == id => {}
            Some(_) => return None,
        }
    }
    found.map(str::to_owned)
}

/// Whether it is in something that has an id: a container, of which the engine may not have told yet.
#[must_use]
pub fn has_id(cgroups: &str) -> bool {
    cgroups.split([':', '/', '\n']).any(|name| id(name).is_some())
}

/// The id in one name of a path.
fn id(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let name = name.rsplit_once('-').map_or(name, |(_, last)| last);
    let is_hex = name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (name.len() == ID && is_hex).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s17_a_process_is_in_the_container_of_its_cgroup_whatever_it_makes_below() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let known = |id: &str| id == "a".repeat(64) || id == "b".repeat(64);
        for (text, expected) in [
            (format!("0::/system.slice/docker-{a}.scope\n"), Some(&a)),
            (format!("0::/docker/{a}\n"), Some(&a)),
            (format!("0::/kubepods/x/{a}/init\n"), Some(&a)),
            (format!("12:pids:/docker/{a}\n1:name=systemd:/docker/{a}\n0::/\n"), Some(&a)),
            // Within a container: another's name, at any depth.
            (format!("0::/docker/{a}/docker/{b}\n"), Some(&a)),
            (format!("0::/docker/{a}/docker-{b}.scope/x\n"), Some(&a)),
            // An engine within a container of a stranger's.
            (format!("0::/docker/{}/docker/{a}\n", "c".repeat(64)), Some(&a)),
            // Hierarchies that do not agree.
            (format!("2:pids:/docker/{a}\n1:cpu:/docker/{b}\n"), None),
            ("0::/user.slice/user-0.slice/session-1.scope\n".to_owned(), None),
            (format!("0::/docker/{}\n", "c".repeat(64)), None),
            (format!("0::/docker/{}\n", "A".repeat(64)), None),
            (format!("0::/docker/{}\n", "a".repeat(63)), None),
            (format!("no colons {a}"), None),
            (String::new(), None),
        ] {
            assert_eq!(container(&text, known).as_ref(), expected, "{text}");
        }
        assert!(has_id(&format!("0::/docker/{}\n", "c".repeat(64))));
        assert!(!has_id("0::/user.slice\n"));
    }
}
