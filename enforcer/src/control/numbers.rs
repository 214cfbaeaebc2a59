//! Which number of map `POLICIES` stands for which policy of which network, and which of them a guest has.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_common::abi::{endpoint::Role, policy::POLICY_SLOTS};

use crate::{
    config::{Config, GuestNetwork, OWNED_SLOTS, PolicyOverride},
    model::{
        desired::{Desired, DesiredPolicy},
        observed::Observed,
        provenance::Provenance,
    },
    policy::{compile::compile, rule::Rule},
};

/// Numbers of one network's policies. 0 is none, under which everything is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// That of its guests.
    pub guest: u32,
    /// That of its hubs.
    pub hub: u32,
    /// That of its services; 0 where it has none.
    pub service: u32,
    /// Those that its overrides name, by name.
    pub others: BTreeMap<String, u32>,
    /// Those of what is left of policies for guests that are cut off: by the name of the policy, or `None` for
    /// hubs alone.
    pub cut: BTreeMap<Option<String>, u32>,
    /// Those of the same for guests that are slowed, by the number that such a guest has otherwise; empty where nobody
    /// is.
    pub slow: BTreeMap<u32, u32>,
}

/// Numbers by network. Each network's own come first, so that they stay what they are whatever overrides
/// there are. A policy for which the map has no slot, which the config refuses, has number 0.
#[must_use]
pub fn numbers(config: &Config) -> BTreeMap<String, Numbers> {
    let mut next = (1..POLICY_SLOTS - OWNED_SLOTS).fuse();
    let mut number = || next.next().unwrap_or(0);
    let of_file = || config.networks.iter().filter(|(_, network)| network.owned.is_none());
    let mut all: BTreeMap<String, Numbers> = of_file()
        .map(|(name, _)| {
            let (guest, hub) = (number(), number());
            (name.clone(), Numbers { guest, hub, ..Numbers::default() })
        })
        .collect();
    for (name, network) in of_file() {
        let Some(numbers) = all.get_mut(name) else { continue };
        for policy in network.other_policies() {
            numbers.others.insert(policy.to_owned(), number());
        }
    }
    for (name, network) in of_file() {
        let Some(numbers) = all.get_mut(name) else { continue };
        for left in network.left_when_cut(&config.policies) {
            numbers.cut.insert(left.map(str::to_owned), number());
        }
    }
    for (name, _) in of_file().filter(|(_, one)| !one.services.is_empty()) {
        if let Some(numbers) = all.get_mut(name) {
            numbers.service = number();
        }
    }
    if config.abuse.slows() {
        for numbers in all.values_mut() {
            let own = numbers.of_guests().collect::<Vec<_>>().into_iter();
            numbers.slow = own.map(|own| (own, number())).collect();
        }
    }
    // Own networks come and go, and no number of another one changes with them.
    let owned = config.networks.iter().filter_map(|(name, one)| Some((name, one.owned.as_ref()?)));
    for (name, owned) in owned.filter(|(_, owned)| owned.slot < OWNED_SLOTS) {
        let number = POLICY_SLOTS - 1 - owned.slot;
        let numbers = Numbers { guest: number, hub: number, ..Numbers::default() };
        all.insert(name.clone(), numbers);
    }
    all
}

impl Numbers {
    /// That of a guest. 0 while nobody has told who started it, or can tell it from what its image says,
    /// where that makes a difference.
    #[must_use]
    pub fn of_guest(&self, network: &GuestNetwork, provenance: Option<&Provenance>) -> u32 {
        if network.overrides.is_empty() {
            return self.guest;
        }
        let Some(provenance) = provenance.filter(|provenance| provenance.is_told) else { return 0 };
        let doubt = provenance.in_doubt.as_deref();
        let includes = |one: &&PolicyOverride| {
            one.guests.include(provenance) || doubt.is_some_and(|all| one.guests.include(all))
        };
        let first = network.overrides.iter().find(includes);
        // An image that says what the creator says could take its guest out of a strict policy, or into a loose one.
        let is_sure = |one: &PolicyOverride| {
            doubt.is_none_or(|all| one.guests.include(provenance) == one.guests.include(all))
        };
        match first {
            Some(one) if !is_sure(one) => 0,
            Some(one) if network.policy.as_ref() != Some(&one.policy) => {
                self.others.get(&one.policy).copied().unwrap_or(0)
            }
            _ => self.guest,
        }
    }

    /// Those that a guest may have that is not slowed.
    fn of_guests(&self) -> impl Iterator<Item = u32> {
        let others = self.others.values().copied();
        [self.guest].into_iter().chain(others).chain(self.cut.values().copied())
    }

    /// That which a guest has while it is slowed, whatever it has otherwise; of one that nobody knows 0.
    #[must_use]
    pub fn of_slow(&self, number: u32) -> u32 {
        let is_slow = self.slow.values().any(|slow| *slow == number);
        if is_slow { number } else { self.slow.get(&number).copied().unwrap_or(0) }
    }

    /// That which a guest has when it is slowed no more.
    #[must_use]
    pub fn at_full_speed(&self, number: u32) -> u32 {
        let own = self.slow.iter().find(|(_, slow)| **slow == number);
        own.map_or(number, |(own, _)| *own)
    }

    /// That which a guest has while it is cut off, whatever it has otherwise. One that opens nothing stays as it is;
    /// one that nobody knows becomes 0.
    #[must_use]
    pub fn of_cut(&self, number: u32, network: &GuestNetwork, config: &Config) -> u32 {
        if self.cut.values().any(|cut| *cut == number) {
            return number;
        }
        let other = || self.others.iter().find(|(_, other)| **other == number);
        let policy = match number {
            0 => return 0,
            _ if number == self.guest => network.policy.as_ref(),
            _ => match other() {
                Some((name, _)) => Some(name),
                None => return 0,
            },
        };
        match policy.and_then(|name| Some((name, config.policies.get(name)?))) {
            Some((name, policy)) if policy.opens_something() => {
                let left = policy.does_more_than_open().then(|| name.clone());
                self.cut.get(&left).copied().unwrap_or(0)
            }
            _ => number,
        }
    }

    /// That of a guest that the kernel holds under a number: the same one if it stands for the same rules, else
    /// the only one that does, for an earlier config may have given out others; else 0. `allowed`: rules that it may
    /// have had beyond its own.
    #[must_use]
    pub fn of_held(
        &self,
        number: u32,
        desired: &Desired,
        observed: &Observed,
        allowed: &[Vec<Rule>],
    ) -> u32 {
        // Whether it is to be slowed is told elsewhere.
        let Some(epoch) = observed.policies.get(&number).map(|policy| policy.epoch) else {
            return 0;
        };
        let held = observed.tables.get(&epoch).cloned().unwrap_or_default();
        let with = |base: &DesiredPolicy, more: &Vec<Rule>| {
            compile(&[&base.rules[..], more].concat()).is_ok_and(|tables| tables == *held)
        };
        let is_same = |number: &u32| {
            desired.policies.get(number).is_some_and(|policy| {
                policy.tables == held || allowed.iter().any(|more| with(policy, more))
            })
        };
        // The same rules, quotas and limits under another name.
        let unnamed = |number: &u32| {
            let policy = desired.policies.get(number).cloned();
            policy.map(|policy| DesiredPolicy { name: String::new(), ..policy })
        };
        let same: Vec<u32> = self.of_guests().filter(is_same).collect();
        let number = self.at_full_speed(number);
        match same[..] {
            [only] => only,
            _ if same.contains(&number) => number,
            [first, ref others @ ..]
                if others.iter().all(|other| unnamed(other) == unnamed(&first)) =>
            {
                first
            }
            _ => 0,
        }
    }
}

/// Guests that have no policy, for people.
#[must_use]
pub fn undecided(desired: &Desired) -> Vec<String> {
    let guests = desired.endpoints.values().filter(|e| e.role == Role::Guest && e.policy == 0);
    guests
        .map(|guest| {
            format!(
                "{} reaches nothing and nobody reaches it: the network has overrides, and nobody can tell whether its \
                 labels or variables are its creator's or its image's; start it from an image that is there and \
                 does not set them",
                guest.name
            )
        })
        .collect()
}

/// Rules that lead nowhere, because no service that they name is there, for people.
#[must_use]
pub fn unserved(desired: &Desired) -> Vec<String> {
    let rules = desired.policies.values().flat_map(|policy| {
        let network = policy.name.split('/').next().unwrap_or_default();
        policy.rules.iter().map(move |rule| (network, rule))
    });
    let missing = rules.filter(|(_, rule)| !rule.services.is_empty() && rule.to.is_empty());
    let told: BTreeSet<String> = missing
        .map(|(network, rule)| {
            let (name, services) = (&rule.name, rule.services.join(", "));
            format!("{name} is about nobody on {network}: no service there is {services}")
        })
        .collect();
    told.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use enforcer_common::abi::policy::Policy;

    use super::*;
    use crate::control::rules::{Here, policy_rules};
    use crate::{config::parse, model::desired::DesiredPolicy, policy::compile::compile};

    const CONFIG: &str = r#"
        [policies.open]
        presets = ["public-internet"]
        [policies.exam]
        [networks.a]
        bridge = "br-a"
        policy = "open"
        [[networks.a.override]]
        user = "ada"
        policy = "open"
        [[networks.a.override]]
        group = "exam"
        policy = "exam"
        [[networks.a.override]]
        label = "course=7"
        policy = "exam"
        [networks.b]
        bridge = "br-b"
    "#;

    fn config() -> Config {
        parse(CONFIG, "x").expect("is good")
    }

    fn told(user: &str, group: &str, course: &str) -> Provenance {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let labels = some(course).map(|course| ("course".to_owned(), course)).into_iter().collect();
        Provenance {
            is_told: true,
            user: some(user),
            group: some(group),
            labels,
            ..Provenance::default()
        }
    }

    #[test]
    fn overrides_take_no_number_from_a_network() {
        let all = numbers(&config());
        assert_eq!((all["a"].guest, all["a"].hub, all["b"].guest, all["b"].hub), (1, 2, 3, 4));
        assert_eq!(all["a"].others, [("exam".to_owned(), 5)].into());
        assert_eq!(all["a"].cut, [(None, 6)].into());
        assert!(all["b"].others.is_empty() && all["b"].cut.is_empty());
    }

    #[test]
    fn n1_what_is_left_of_a_policy_never_opens_and_denies_what_it_denied() {
        let config = parse(
            "[policies.open]\npresets = [\"public-internet\"]\n[policies.strict]\n\
             presets = [\"public-internet\"]\n[[policies.strict.deny]]\nhub = true\nport = 9\n\
             [policies.shut]\n[networks.a]\nbridge = \"br-a\"\npolicy = \"open\"\n\
             [[networks.a.override]]\nuser = \"u\"\npolicy = \"strict\"\n\
             [[networks.a.override]]\nuser = \"v\"\npolicy = \"shut\"\n",
            "x",
        )
        .expect("is good");
        let (network, numbers) = (&config.networks["a"], &numbers(&config)["a"]);
        let cut = |number| numbers.of_cut(number, network, &config);
        let (strict, shut) = (numbers.others["strict"], numbers.others["shut"]);
        let (plain, left) = (numbers.cut[&None], numbers.cut[&Some("strict".to_owned())]);
        assert_eq!((cut(numbers.guest), cut(strict), cut(shut)), (plain, left, shut));
        assert_eq!((cut(plain), cut(left)), (plain, left), "cut twice is cut");
        assert_eq!((cut(0), cut(400), cut(numbers.hub)), (0, 0, 0), "who has none gets none");
    }

    #[test]
    fn n1_the_first_override_that_includes_a_guest_counts() {
        let config = config();
        let (network, numbers) = (&config.networks["a"], &numbers(&config)["a"]);
        for (provenance, expected) in [
            (told("", "", ""), 1),
            (told("ben", "exam", ""), 5),
            (told("ada", "exam", ""), 1),
            (told("ben", "", "7"), 5),
            (told("ben", "", "8"), 1),
        ] {
            assert_eq!(numbers.of_guest(network, Some(&provenance)), expected, "{provenance:?}");
        }
        // The image says what its creator may have said, too: it might be in an exam.
        let doubtful =
            |own: Provenance, all: Provenance| Provenance { in_doubt: Some(Box::new(all)), ..own };
        for (own, all, expected) in [
            (told("ben", "", ""), told("ben", "exam", ""), 0),
            (told("ben", "", ""), told("ben", "", "7"), 0),
            (told("", "exam", ""), told("ada", "exam", ""), 0),
            (told("ada", "", ""), told("ada", "exam", ""), 1),
            (told("ben", "exam", ""), told("ben", "exam", "7"), 5),
            (told("ben", "", ""), told("ben", "other", ""), 1),
        ] {
            let provenance = doubtful(own, all);
            assert_eq!(numbers.of_guest(network, Some(&provenance)), expected, "{provenance:?}");
        }
        // Not told apart from its image at all.
        assert_eq!(numbers.of_guest(network, Some(&Provenance::default())), 0);
        assert_eq!(numbers.of_guest(network, None), 0);
        let (network, numbers) = (&config.networks["b"], &super::numbers(&config)["b"]);
        assert_eq!(numbers.of_guest(network, None), 3, "there it makes no difference");
    }

    #[test]
    fn n7_a_held_guest_keeps_its_rules_whatever_their_number_and_gets_no_others() {
        let config = config();
        let numbers = &numbers(&config)["a"];
        let tables = |name: &str| {
            let rules = policy_rules(&config.policies[name], &Here::default());
            Arc::new(compile(&rules).expect("is small"))
        };
        let wanted =
            |name: &str| DesiredPolicy { tables: tables(name), ..DesiredPolicy::default() };
        let policies = [(1, wanted("open")), (2, wanted("open")), (5, wanted("exam"))].into();
        let desired = Desired { policies, ..Desired::default() };
        let held = |epoch| Policy { epoch, ..Policy::default() };
        let observed = Observed {
            policies: [(7, held(70)), (8, held(80)), (9, held(90))].into(),
            tables: [(70, tables("open")), (80, tables("exam"))].into(),
            ..Observed::default()
        };
        assert_eq!(numbers.of_held(7, &desired, &observed, &[]), 1);
        assert_eq!(numbers.of_held(8, &desired, &observed, &[]), 5);
        assert_eq!(numbers.of_held(9, &desired, &observed, &[]), 5, "nothing is open by either");
        assert_eq!(numbers.of_held(6, &desired, &observed, &[]), 0, "no such policy");
        let mut other = desired;
        other.policies.remove(&1);
        assert_eq!(
            numbers.of_held(7, &other, &observed, &[]),
            0,
            "no guest may have these any more"
        );
    }
}
