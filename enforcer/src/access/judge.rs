//! The decision: may this user have a Docker socket, and which. Pure; the clock is an argument. Whatever is
//! not known is refused.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    grant::{Grant, Note, Seconds, Socket},
    name::GroupName,
};

/// A group that somebody is in; `note` is what this host knows of it, and nothing where a hub said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub group: GroupName,
    /// Since when, until when, by whom.
    pub note: Option<Note>,
}

/// Who is in which groups, or why nobody knows.
pub type Memberships = Result<Vec<Membership>, String>;
/// What groups may have, or why nobody knows.
pub type Grants = Result<BTreeMap<GroupName, Grant>, String>;

/// What is asked of the judge.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Whether anybody may have a socket, by the config.
    pub enabled: bool,
    /// Groups of the user, in the user's hub.
    pub memberships: &'a Memberships,
    /// Grants of that hub's groups.
    pub grants: &'a Grants,
    /// Now.
    pub now: Seconds,
}

/// The answer; there is no third.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The user may have it.
    Granted(Granted),
    /// The user gets none.
    Refused(Why),
}

/// A socket that a user may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Which one.
    pub socket: Socket,
    /// Through which group.
    pub group: GroupName,
    /// The first moment at which it is over; `None`: not before somebody changes something.
    pub until: Option<Seconds>,
    /// What is known of the grant.
    pub note: Note,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// `[access] docker_socket = false`.
    #[error("the config gives nobody a Docker socket")]
    Disabled,
    /// No table of the config has that name.
    #[error("no hub of that name is in the config")]
    NoHub,
    /// Nobody knows the user's groups.
    #[error("the groups of the user are not known: {0}")]
    NoMemberships(String),
    /// Nobody knows the grants.
    #[error("the grants are not known: {0}")]
    NoGrants(String),
    /// No group gives a socket.
    #[error("the user is in no group with a grant")]
    NotMember,
    /// One did, and no longer does.
    #[error("the grant of group {0}, or the membership in it, has expired")]
    Expired(GroupName),
}

/// Decides. The strongest grant counts; of two that are equally strong the one that lasts longer, and then the
/// one of the group whose name comes first.
#[must_use]
pub fn socket_for(question: &Question<'_>) -> Answer {
    if !question.enabled {
        return Answer::Refused(Why::Disabled);
    }
    let memberships = match question.memberships {
        Ok(memberships) => memberships,
        Err(why) => return Answer::Refused(Why::NoMemberships(why.clone())),
    };
    let grants = match question.grants {
        Ok(grants) => grants,
        Err(why) => return Answer::Refused(Why::NoGrants(why.clone())),
    };
    let candidates = memberships.iter().filter_map(|membership| {
        let grant = grants.get(&membership.group)?;
        Some((membership, grant, grant.kind.socket()?))
    });
    let (mut best, mut expired) = (None, None);
    for (membership, grant, socket) in candidates {
        let member = membership.note.as_ref();
        if !grant.note.holds(question.now) || !member.is_none_or(|note| note.holds(question.now)) {
            expired = expired.min(Some(&membership.group)).or(Some(&membership.group));
            continue;
        }
        let ends = [grant.note.until, member.and_then(|note| note.until)];
        let granted = Granted {
            socket,
            group: membership.group.clone(),
            until: ends.into_iter().flatten().min(),
            note: grant.note.clone(),
        };
        if best.as_ref().is_none_or(|best| rank(&granted) > rank(best)) {
            best = Some(granted);
        }
    }
    match (best, expired) {
        (Some(granted), _) => Answer::Granted(granted),
        (None, Some(group)) => Answer::Refused(Why::Expired(group.clone())),
        (None, None) => Answer::Refused(Why::NotMember),
    }
}

/// What is more is better.
fn rank(granted: &Granted) -> (Socket, Seconds, Reverse<&GroupName>) {
    (granted.socket, granted.until.unwrap_or(Seconds(u64::MAX)), Reverse(&granted.group))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::access::grant::{By, Kind, Reason};

    const NOW: Seconds = Seconds(100);

    fn group(name: &str) -> GroupName {
        name.parse().expect("a name")
    }

    fn note(until: Option<u64>) -> Note {
        let until = until.map(Seconds);
        Note { since: Seconds(0), until, by: By::config(), reason: Reason::default() }
    }

    type Given<'a> = &'a [(&'a str, Kind, Option<u64>)];

    /// Judges somebody who is in these groups, which have these grants.
    fn judge(enabled: bool, member: &[(&str, Option<u64>)], granted: Given<'_>) -> Answer {
        let memberships = member
            .iter()
            .map(|(name, until)| Membership { group: group(name), note: Some(note(*until)) });
        let memberships = Ok(memberships.collect());
        let grants = granted
            .iter()
            .map(|(name, kind, until)| (group(name), Grant { kind: *kind, note: note(*until) }));
        let grants = Ok(grants.collect());
        socket_for(&Question { enabled, memberships: &memberships, grants: &grants, now: NOW })
    }

    fn refused(why: Why) -> Answer {
        Answer::Refused(why)
    }

    #[test]
    fn s1_only_a_member_of_a_granting_group_gets_a_socket() {
        let grants: Given<'_> = &[("a", Kind::Filtered, None), ("b", Kind::Raw, None)];
        assert_eq!(judge(true, &[], grants), refused(Why::NotMember));
        assert_eq!(judge(true, &[("c", None)], grants), refused(Why::NotMember));
        assert_eq!(
            judge(true, &[("a", None)], &[("a", Kind::None, None)]),
            refused(Why::NotMember)
        );
        assert_eq!(judge(false, &[("a", None)], grants), refused(Why::Disabled));
        let Answer::Granted(granted) = judge(true, &[("a", None), ("b", None)], grants) else {
            panic!("refused")
        };
        assert_eq!((granted.socket, granted.group), (Socket::Raw, group("b")));
    }

    #[test]
    fn s1_what_has_expired_counts_as_removed() {
        let grants: Given<'_> = &[("a", Kind::Filtered, Some(101)), ("b", Kind::Raw, Some(100))];
        let Answer::Granted(granted) = judge(true, &[("a", None), ("b", None)], grants) else {
            panic!("refused")
        };
        assert_eq!((granted.socket, granted.until), (Socket::Filtered, Some(Seconds(101))));
        assert_eq!(judge(true, &[("b", None)], grants), refused(Why::Expired(group("b"))));
        let both = &[("b", None), ("a", Some(100))];
        assert_eq!(judge(true, both, grants), refused(Why::Expired(group("a"))));
        let forever: Given<'_> = &[("a", Kind::Filtered, None)];
        let Answer::Granted(granted) = judge(true, &[("a", Some(150))], forever) else {
            panic!("refused")
        };
        assert_eq!(granted.until, Some(Seconds(150)), "the membership ends first");
    }

    #[test]
    fn s1_what_is_not_known_is_refused_with_the_reason() {
        let (good, bad): (Memberships, Memberships) = (Ok(Vec::new()), Err("no answer".to_owned()));
        let (grants, broken): (Grants, Grants) = (Ok(BTreeMap::new()), Err("damaged".to_owned()));
        let ask = |memberships, grants| {
            socket_for(&Question { enabled: true, memberships, grants, now: NOW })
        };
        assert_eq!(ask(&bad, &grants), refused(Why::NoMemberships("no answer".to_owned())));
        assert_eq!(ask(&good, &broken), refused(Why::NoGrants("damaged".to_owned())));
    }

    fn ends() -> impl Strategy<Value = Option<u64>> {
        option::of(90..110_u64)
    }

    fn kinds() -> impl Strategy<Value = Kind> {
        (0..Kind::ALL.len()).prop_map(|at| Kind::ALL[at])
    }

    proptest! {
        /// Against the promise, said another way: the strongest of the pairs that hold.
        #[test]
        fn s1_a_socket_is_never_more_than_the_best_that_holds(
            enabled in any::<bool>(),
            mut member in vec(("[abcd]", ends()), 0..5),
            granted in vec(("[abcd]", kinds(), ends()), 0..5),
        ) {
            let holds = |until: Option<u64>| until.is_none_or(|until| NOW.0 < until);
            let grants: BTreeMap<_, _> = granted.iter().map(|(name, kind, until)| (name, (*kind, *until))).collect();
            let best = member.iter().filter(|(_, until)| holds(*until))
                .filter_map(|(name, _)| grants.get(name))
                .filter(|(_, until)| holds(*until))
                .filter_map(|(kind, _)| kind.socket())
                .max()
                .filter(|_| enabled);
            let of = |member: &[(String, Option<u64>)]| {
                let member: Vec<_> = member.iter().map(|(name, until)| (name.as_str(), *until)).collect();
                let granted: Vec<_> = granted.iter().map(|(name, kind, until)| (name.as_str(), *kind, *until)).collect();
                judge(enabled, &member, &granted)
            };
            let answer = of(&member);
            match &answer {
                Answer::Granted(granted) => {
                    prop_assert_eq!(Some(granted.socket), best);
                    prop_assert!(granted.until.is_none_or(|until| until > NOW));
                    prop_assert!(member.iter().any(|(name, until)| *name == granted.group.as_str() && holds(*until)));
                }
                Answer::Refused(_) => prop_assert_eq!(None, best),
            }
            member.reverse();
            prop_assert_eq!(answer, of(&member), "order says nothing");
        }
    }
}
