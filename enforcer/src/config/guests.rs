//! The `[guests]` table: how many guests enforcer starts, how large they may be, and when it ends them.

use std::{fmt, ops::RangeInclusive, time::Duration};

use toml::Spanned;

use super::{abuse::duration, problem::Problems, raw::RawGuests};

/// Guests of one user when the config says nothing.
const PER_USER: u32 = 1;
/// Guests in all when the config says nothing.
const IN_ALL: u32 = 200;
/// Most of either: as many ports as a bridge has.
const MOST: RangeInclusive<i64> = 1..=1023;
/// Memory of a guest when the config says nothing, MiB.
const MEMORY: u64 = 1024;
/// What it may be: an engine takes 6 MiB at least.
const MEMORIES: RangeInclusive<i64> = 6..=1 << 22;
/// Thousandths of a processor when the config says nothing.
const CPU: u64 = 1000;
/// Processes and threads of a guest when the config says nothing: a notebook with a few kernels.
const PIDS: u64 = 512;
/// What it may be: a shell and what it starts.
const PID_RANGE: RangeInclusive<i64> = 8..=1 << 22;
/// Space of a guest's own layer, MiB.
const DISKS: RangeInclusive<i64> = 16..=1 << 30;
/// When guests end.
const AGES: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(24 * 365);

/// `[guests]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestLife {
    /// Most guests of one user of one hub.
    pub max_per_user: u32,
    /// Most guests of everybody.
    pub max_in_all: u32,
    /// Bytes of memory of a guest whose order says nothing, and the most that a hub may ask for.
    pub memory: u64,
    /// The same of processors, thousandths.
    pub cpu_millis: u64,
    /// The same of processes and threads.
    pub pids: u64,
    /// The same of the bytes that a guest writes beside its volumes; `None`: as many as there are.
    pub disk: Option<u64>,
    /// How long nobody has to talk to a guest until it is ended; `None`: for ever.
    pub idle_after: Option<Duration>,
    /// How old a guest may become; `None`: as old as it likes.
    pub max_age: Option<Duration>,
    /// Which guests are ended so.
    pub cull: Culled,
    /// Images that guests may be started from.
    pub images: Vec<ImagePattern>,
}

impl Default for GuestLife {
    fn default() -> Self {
        Self {
            max_per_user: PER_USER,
            max_in_all: IN_ALL,
            memory: MEMORY << 20,
            cpu_millis: CPU,
            pids: PIDS,
            disk: None,
            idle_after: None,
            max_age: None,
            cull: Culled::Managed,
            images: vec![ImagePattern("*".to_owned())],
        }
    }
}

/// Whose idle and old guests are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Culled {
    /// Those that enforcer started.
    Managed,
    /// All guests on guest networks.
    All,
}

/// Images that are allowed: one, or all that begin like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePattern(String);

impl ImagePattern {
    /// Whether an image, as it is asked for, is one of them.
    #[must_use]
    pub fn includes(&self, image: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => image.starts_with(start),
            None => image == self.0,
        }
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks the table.
pub(super) fn guests(raw: &RawGuests, problems: &mut Problems<'_>) -> GuestLife {
    let otherwise = GuestLife::default();
    let count = |key, value: &Option<Spanned<i64>>, default, problems: &mut Problems<'_>| {
        let found = whole(key, value.as_ref(), &MOST, problems);
        found.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
    };
    let (max_per_user, max_in_all) = (
        count("max_per_user", &raw.max_per_user, PER_USER, problems),
        count("max_in_all", &raw.max_in_all, IN_ALL, problems),
    );
    if let Some(value) = &raw.max_per_user
        && max_per_user > max_in_all
    {
        let message =
            format!("{max_per_user} guests of one user are more than max_in_all, {max_in_all}");
        problems.add(value.span(), message);
    }
    let memory = whole("memory_mib", raw.memory_mib.as_ref(), &MEMORIES, problems);
    let disk = whole("disk_mib", raw.disk_mib.as_ref(), &DISKS, problems);
    let after = |key, value: Option<&Spanned<String>>, problems: &mut Problems<'_>| {
        value.map(|value| duration(key, Some(value), (*AGES.end(), AGES), problems))
    };
    GuestLife {
        max_per_user,
        max_in_all,
        memory: memory.map_or(otherwise.memory, |mib| mib << 20),
        cpu_millis: cpus(raw.cpus.as_ref(), problems),
        pids: whole("pids", raw.pids.as_ref(), &PID_RANGE, problems).unwrap_or(PIDS),
        disk: disk.map(|mib| mib << 20),
        idle_after: after("idle_after", raw.idle_after.as_ref(), problems),
        max_age: after("max_age", raw.max_age.as_ref(), problems),
        cull: culled(raw.cull.as_ref(), problems),
        images: raw.images.as_ref().map_or(otherwise.images, |list| images(list, problems)),
    }
}

fn whole(
    key: &str,
    value: Option<&Spanned<i64>>,
    range: &RangeInclusive<i64>,
    problems: &mut Problems<'_>,
) -> Option<u64> {
    let value = value?;
    if !range.contains(value.get_ref()) {
        let (least, most) = (range.start(), range.end());
        problems.add(
            value.span(),
            format!("{key} {} is not between {least} and {most}", value.get_ref()),
        );
    }
    u64::try_from(*value.get_ref()).ok().filter(|_| range.contains(value.get_ref()))
}

fn cpus(value: Option<&Spanned<f64>>, problems: &mut Problems<'_>) -> u64 {
    let Some(value) = value else { return CPU };
    let number = *value.get_ref();
    if !(0.01..=1024.0).contains(&number) {
        problems.add(value.span(), format!("cpus {number} is not between 0.01 and 1024"));
        return CPU;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from ten to a million"
    )]
    let millis = (number * 1000.0).round() as u64;
    millis
}

fn culled(value: Option<&Spanned<String>>, problems: &mut Problems<'_>) -> Culled {
    match value.map(|value| value.get_ref().as_str()) {
        None | Some("managed") => Culled::Managed,
        Some("all") => Culled::All,
        Some(other) => {
            let span = value.map_or(0..0, Spanned::span);
            problems.add(span, format!("cull is \"managed\" or \"all\", not \"{other}\""));
            Culled::Managed
        }
    }
}

fn images(list: &[Spanned<String>], problems: &mut Problems<'_>) -> Vec<ImagePattern> {
    let mut images = Vec::new();
    for one in list {
        let text = one.get_ref();
        let body = text.strip_suffix('*').unwrap_or(text);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@".contains(&byte);
        let pattern = ImagePattern(text.clone());
        if text.is_empty() || !body.bytes().all(is_plain) {
            problems.add(
                one.span(),
                format!(
                    "\"{text}\" names no image: write it as it is asked for, or a beginning and '*'"
                ),
            );
        } else if images.contains(&pattern) {
            problems.add(one.span(), "this image is listed twice; remove one");
        } else {
            images.push(pattern);
        }
    }
    images
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn table(text: &str) -> String {
        format!("[networks.a]\nbridge = \"br-a\"\n[guests]\n{text}\n")
    }

    #[test]
    fn what_the_table_of_guests_says_counts() {
        let none = parse(&table(""), "f").expect("valid").guests;
        assert_eq!(none, GuestLife::default());
        assert!(none.images[0].includes("quay.io/anything:latest"));
        let text = "max_per_user = 2\nmax_in_all = 9\nmemory_mib = 64\ncpus = 0.5\npids = 40\n\
                    disk_mib = 100\nidle_after = \"1h\"\nmax_age = \"2d\"\ncull = \"all\"\n\
                    images = [\"quay.io/jupyter/*\", \"python:3\"]";
        let guests = parse(&table(text), "f").expect("valid").guests;
        assert_eq!((guests.max_per_user, guests.max_in_all, guests.pids), (2, 9, 40));
        assert_eq!(
            (guests.memory, guests.cpu_millis, guests.disk),
            (64 << 20, 500, Some(100 << 20))
        );
        assert_eq!(guests.idle_after, Some(Duration::from_hours(1)));
        assert_eq!((guests.max_age, guests.cull), (Some(Duration::from_hours(48)), Culled::All));
        let allowed = |image: &str| guests.images.iter().any(|one| one.includes(image));
        assert!(allowed("quay.io/jupyter/base:1") && allowed("python:3"));
        assert!(!allowed("python:3.1") && !allowed("evil/quay.io/jupyter/base"));
        assert_eq!(parse(&table("cpus = 2"), "f").expect("valid").guests.cpu_millis, 2000);
        assert!(parse(&table("images = []"), "f").expect("valid").guests.images.is_empty());
    }

    #[test]
    fn o2_a_table_of_guests_that_is_wrong_is_refused_with_its_line() {
        for (text, words) in [
            ("max_per_user = 0", "between 1 and 1023"),
            ("max_in_all = 1024", "between 1 and 1023"),
            ("max_per_user = 3\nmax_in_all = 2", "more than max_in_all"),
            ("memory_mib = 5", "between 6"),
            ("cpus = 0.001", "between 0.01"),
            ("cpus = nan", "between 0.01"),
            ("pids = 7", "between 8"),
            ("disk_mib = 1", "between 16"),
            ("idle_after = \"5s\"", "no time from"),
            ("max_age = \"soon\"", "no time from"),
            ("cull = \"some\"", "\"managed\" or \"all\""),
            ("images = [\"a b\"]", "names no image"),
            ("images = [\"\"]", "names no image"),
            ("images = [\"a*b\"]", "names no image"),
            ("images = [\"a\", \"a\"]", "listed twice"),
            ("max_per_users = 1", "did you mean `max_per_user`"),
        ] {
            let error = parse(&table(text), "f").expect_err(text);
            let [problem] = error.problems.as_slice() else { panic!("{text}\n{error}") };
            assert!(problem.line == 4 && problem.message.contains(words), "{text}\n{error}");
        }
    }
}
