//! The `[audit]` table: where records go, and how long they are kept.

use std::{path::PathBuf, time::Duration};

use toml::Spanned;

use super::{check, otlp, problem::Problems, raw::RawAudit};
use crate::audit::{
    sink,
    store::{Fsync, Settings},
};

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;
/// Seconds of an hour.
const HOUR: u64 = 3600;

/// Labels that are told at most: each is in every record.
const MOST_LABELS: usize = 8;

/// Where records go; followers at the events socket get them whatever is written here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Files that are chained and signed.
    pub files: Option<Settings>,
    /// Labels of containers that records tell, where the container's creator set them.
    pub labels: Vec<String>,
    /// Records have pseudonyms in the place of names that name a person.
    pub pseudonyms: bool,
    /// Lines on standard output.
    pub stdout: bool,
    /// Entries in systemd's journal.
    pub journald: bool,
    /// Log records at a collector.
    pub otlp: Option<sink::otlp::Settings>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            files: None,
            labels: Vec::new(),
            pseudonyms: false,
            stdout: true,
            journald: false,
            otlp: None,
        }
    }
}

/// Checks the table.
pub(super) fn audit(raw: &RawAudit, problems: &mut Problems<'_>) -> Audit {
    let files = files(raw, problems);
    let mut labels: Vec<String> = Vec::new();
    for label in &raw.labels {
        if let Err(message) = check::label_key(label.get_ref()) {
            problems.add(label.span(), message);
        }
        if labels.contains(label.get_ref()) {
            problems.add(label.span(), "this label is listed twice; remove one");
        }
        labels.push(label.get_ref().clone());
    }
    if let Some(label) = raw.labels.get(MOST_LABELS) {
        problems
            .add(label.span(), format!("more than {MOST_LABELS} labels; every record has them"));
    }
    let pseudonyms = raw.pseudonyms.as_ref().filter(|wanted| *wanted.get_ref());
    if let Some(pseudonyms) = pseudonyms.filter(|_| raw.dir.is_none()) {
        problems.add(pseudonyms.span(), "pseudonyms need a file of names; say where with `dir`");
    }
    Audit {
        labels,
        pseudonyms: pseudonyms.is_some(),
        // Whoever has files needs no pipe.
        stdout: raw.stdout.unwrap_or(files.is_none()),
        journald: raw.journald.unwrap_or(false),
        otlp: raw.otlp.as_ref().and_then(|raw| otlp::otlp(raw, problems)),
        files,
    }
}

fn files(raw: &RawAudit, problems: &mut Problems<'_>) -> Option<Settings> {
    let numbers = [
        (&raw.segment_mib, "segment_mib", 1..=4096),
        (&raw.segment_hours, "segment_hours", 1..=8784),
        (&raw.keep_mib, "keep_mib", 2..=1 << 24),
        (&raw.keep_days, "keep_days", 1..=36_600),
    ];
    let [segment_mib, segment_hours, keep_mib, keep_days] = numbers.map(|(value, key, range)| {
        let value = value.as_ref()?;
        let number = u64::try_from(*value.get_ref()).ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            let message = format!("{key} {} is not one of {least} to {most}", value.get_ref());
            problems.add(value.span(), message);
        }
        number
    });
    let fsync = raw.fsync.as_ref().map(|word| (word.get_ref().as_str(), word.span()));
    let fsync = match fsync {
        None | Some(("always", _)) => Fsync::Batch,
        Some(("5s", _)) => Fsync::Interval(Duration::from_secs(5)),
        Some(("never", _)) => Fsync::Never,
        Some((other, span)) => {
            let message = format!("fsync \"{other}\" is none of \"always\", \"5s\" and \"never\"");
            problems.add(span, message);
            Fsync::Batch
        }
    };
    let Some(dir) = &raw.dir else {
        let orphan = [&raw.segment_mib, &raw.segment_hours, &raw.keep_mib, &raw.keep_days];
        let spans = orphan.into_iter().flatten().map(Spanned::span);
        if let Some(span) = spans.chain(raw.fsync.iter().map(Spanned::span)).next() {
            problems.add(span, "this is about files of records; say where with `dir`");
        }
        return None;
    };
    if let Err(message) = check::absolute_path(dir.get_ref()) {
        problems.add(dir.span(), message);
    }
    let mut settings = Settings::new(PathBuf::from(dir.get_ref()));
    settings.fsync = fsync;
    settings.segment_bytes = segment_mib.map_or(settings.segment_bytes, |mib| mib * MIB);
    settings.segment_age =
        segment_hours.map_or(settings.segment_age, |hours| Duration::from_secs(hours * HOUR));
    settings.keep_bytes = keep_mib.map(|mib| mib * MIB);
    settings.keep_for = keep_days.map(|days| Duration::from_secs(days * 24 * HOUR));
    Some(settings)
}
