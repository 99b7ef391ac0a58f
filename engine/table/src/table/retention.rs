//! How long versions can be read, and removing them from the log when that is over.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use super::core::Core;
use super::history::tags_of;
use super::vacuum::{horizon, is_alive};
use crate::error::{Result, TableError};
use crate::log::action::table::now_ms;
use crate::log::action::{Add, Metadata};
use crate::log::inline::Inlined;
use crate::log::name::TEMP_FOLDER;
use crate::log::{Commit, FileView, LOG_FOLDER, LogStore, Needed, Snapshot, retire};
use crate::version::Version;

/// Property: how long the log keeps versions that were the newest, as `interval 30 days`.
pub const LOG_RETENTION_PROPERTY: &str = "delta.logRetentionDuration";
/// How long it does unless the property says otherwise.
const LOG_RETENTION_DEFAULT: Duration = Duration::from_hours(30 * 24);
/// Threads that make files durable whose bytes are about to go from the log.
const SYNCING_THREADS: usize = 8;

/// A duration as Delta's properties write it: `interval 30 days`.
///
/// # Errors
/// When it is not understood.
fn parse_interval(key: &str, text: &str) -> Result<Duration> {
    let wrong = || {
        let detail = format!(
            "{key} is {text:?}; write it as \"interval 30 days\", with seconds, minutes, hours, days or weeks"
        );
        TableError::invalid("reading a property", detail)
    };
    let lower = text.trim().to_ascii_lowercase();
    let words: Vec<&str> = lower.strip_prefix("interval").unwrap_or(&lower).split_whitespace().collect();
    if words.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0u64;
    for pair in words.chunks(2) {
        let [count, unit] = pair else { return Err(wrong()) };
        let unit = match unit.strip_suffix('s').unwrap_or(unit) {
            "second" => 1,
            "minute" => 60,
            "hour" => 3600,
            "day" => 86_400,
            "week" => 7 * 86_400,
            _ => return Err(wrong()),
        };
        let count: u64 = count.parse().map_err(|_| wrong())?;
        seconds = count.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
    }
    Ok(Duration::from_secs(seconds))
}

fn log_retention(metadata: &Metadata) -> Result<Duration> {
    let text = metadata.configuration.value(LOG_RETENTION_PROPERTY);
    text.map_or(Ok(LOG_RETENTION_DEFAULT), |text| parse_interval(LOG_RETENTION_PROPERTY, text))
}

/// The first version that was the newest within some time.
///
/// # Errors
/// When the log can't be read.
pub(super) fn newest_within(log: &dyn LogStore, time: Duration) -> Result<Version> {
    let age = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    match Snapshot::version_at(log, now_ms().saturating_sub(age)) {
        Ok(version) => Ok(version),
        Err(TableError::NoSuchTime { oldest, .. }) => Ok(oldest),
        Err(e) => Err(e),
    }
}

/// The oldest version that some process reads. The caller has read the log before.
///
/// # Errors
/// When the file system fails.
pub(super) fn oldest_read(core: &Core) -> Result<Version> {
    let temp = core.root.join(LOG_FOLDER).join(TEMP_FOLDER);
    let mut first = core.pins.oldest().unwrap_or(Version::MAX);
    let disk = core.context.disk.as_ref();
    for name in disk.list(&temp).map_err(TableError::io("listing", &temp))? {
        let Some(id) = name.strip_suffix(".pin").filter(|id| *id != core.session()) else { continue };
        if !is_alive(disk, &temp, id)? {
            continue;
        }
        let path = temp.join(&name);
        match disk.read(&path, 64) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                first = first.min(Version(text.trim().parse().unwrap_or(0)));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(TableError::io("reading which versions are read from", &path)(e)),
        }
    }
    Ok(first)
}

/// Removes versions from the log that are older than the table's property says, unless they have tags, are being read, or follow one that has or
/// is; and checkpoints that are not needed any more.
///
/// # Errors
/// When the property is not understood, or the system fails.
pub(super) fn retire_log(core: &Core, tip: &Snapshot) -> Result<()> {
    let by_age = newest_within(core.log(), log_retention(tip.metadata())?)?;
    let read = oldest_read(core)?;
    // Versions before the horizon can't be read in any case.
    let first = by_age.min(read).max(horizon(tip.domains())?);
    let first = tags_of(tip)?.into_values().fold(first, Version::min).min(tip.version());
    retire(core.log(), Needed { from: first }, |base, oldest| secure_small_files(core, tip, base, oldest))
        .map(drop)
}

/// Makes files durable whose bytes only versions from `oldest` to before `base` have, and that a version from `base` on needs.
fn secure_small_files(core: &Core, tip: &Snapshot, base: &Snapshot, oldest: Version) -> Result<()> {
    let concerns = |add: &Add| -> Result<bool> {
        Ok(Inlined::of(add)?.is_some_and(|small| small.version >= oldest && small.version < base.version()))
    };
    let (mut seen, mut files) = (BTreeSet::new(), Vec::new());
    let mut take = |add: Add| -> Result<()> {
        if concerns(&add)? && seen.insert(add.path.clone()) {
            files.push(add);
        }
        Ok(())
    };
    for file in base.files().iter().filter(FileView::may_have_tags) {
        take(file.to_add()?)?;
    }
    // A version may have brought back a file that the base does not have.
    for version in (base.version().0 + 1..=tip.version().0).map(Version) {
        Commit::read(core.log(), version)?.adds.into_iter().try_for_each(&mut take)?;
    }
    let share = files.len().div_ceil(SYNCING_THREADS).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = files
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().try_for_each(|add| core.make_durable(add))))
            .collect();
        parts.into_iter().try_for_each(|part| {
            part.join().unwrap_or_else(|_| {
                Err(TableError::invalid("syncing files", "a thread ended without an answer"))
            })
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_understood() {
        for (text, seconds) in [
            ("interval 30 days", 30 * 86_400),
            ("INTERVAL 1 week", 7 * 86_400),
            ("interval 2 hours 30 minutes", 9000),
            ("0 seconds", 0),
        ] {
            assert_eq!(parse_interval("k", text).unwrap().as_secs(), seconds, "{text}");
        }
        for text in [
            "",
            "interval",
            "30",
            "interval 30 months",
            "interval -1 days",
            "days 30",
            "interval 99999999999999999999 days",
            "interval 9999999999999999999 weeks",
        ] {
            assert_eq!(parse_interval("k", text).unwrap_err().code(), "DL-0615", "{text}");
        }
    }
}
