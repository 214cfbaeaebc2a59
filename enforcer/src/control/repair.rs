//! Control path 5: what somebody changed behind our back. Pure.
//!
//! When nothing else is wanted than before, and yet there are steps to do, each step mends something
//! that was in place at the last look.

use super::plan::Action;

/// What a step mends, and the interface that it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// For people and programs: `program from_guest`, `pins`, `endpoint`, …
    pub what: String,
    /// ifindex; 0: none.
    pub ifindex: u32,
    /// It is looked at several times a second, not only when everything is.
    pub is_watched: bool,
}

/// What these steps mend. Programs are watched where they sit by TCX.
pub fn mended(actions: &[Action], tcx: bool) -> Vec<Mended> {
    actions.iter().filter_map(|action| one(action, tcx)).collect()
}

fn one(action: &Action, tcx: bool) -> Option<Mended> {
    let (what, ifindex) = match action {
        Action::Attach(ifindex, hook) => (format!("program {}", hook.name()), *ifindex),
        Action::PutEndpoint(ifindex, _) => ("endpoint".to_owned(), *ifindex),
        Action::PutNetwork(ifindex, _) => ("network".to_owned(), *ifindex),
        Action::SetPort(ifindex, _) => ("port settings".to_owned(), *ifindex),
        Action::SetMac(ifindex, _) => ("FDB entry".to_owned(), *ifindex),
        Action::PutHub(key, _) => ("hub".to_owned(), key.network),
        Action::PutCgroup(_, owner) => ("cgroup".to_owned(), owner.ifindex),
        Action::PutPolicy(..) => ("policy".to_owned(), 0),
        Action::CreateUsage(_) => ("quotas".to_owned(), 0),
        Action::PutPublished(_) => ("published port".to_owned(), 0),
        Action::PutLedger(_) => ("ledger".to_owned(), 0),
        Action::Pin => ("pins".to_owned(), 0),
        Action::Close(_) => ("closure".to_owned(), 0),
        // What is taken away was too much; nothing was open that should be closed by a program.
        Action::Detach(..)
        | Action::DropNetwork(_)
        | Action::DropEndpoint(_)
        | Action::DropUsage(_)
        | Action::DropPublished(_)
        | Action::DropHub(_)
        | Action::DropCgroup(_)
        | Action::DropPolicy(_)
        | Action::DropRules(..)
        | Action::Open => return None,
    };
    let is_watched = match action {
        Action::Attach(..) => tcx,
        Action::Pin => true,
        _ => false,
    };
    Some(Mended { what, ifindex, is_watched })
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::event::Hook;

    use super::*;

    #[test]
    fn steps_that_put_something_back_are_repairs_and_tidying_is_none() {
        let actions =
            [Action::Attach(7, Hook::ToGuest), Action::Pin, Action::DropUsage(3), Action::Pin];
        let found: Vec<_> =
            mended(&actions, true).into_iter().map(|one| (one.what, one.ifindex)).collect();
        let pins = ("pins".to_owned(), 0);
        assert_eq!(found, [("program to_guest".to_owned(), 7), pins.clone(), pins]);
    }
}
