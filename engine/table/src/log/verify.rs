//! Verification: replaying everything there is, and comparing it with everything that was recorded.

use super::action::LineReader;
use super::checkpoint;
use super::name::LogFile;
use super::snapshot::State;
use super::store::LogStore;
use crate::error::{Result, TableError};
use crate::version::Version;

/// What verification found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Versions whose lines, place in the chain and resulting state were proven, from the first to the last; none if `None`.
    pub versions: Option<(Version, Version)>,
    /// Checkpoints that hold exactly the state of their version.
    pub checkpoints: usize,
    /// Live files at the last version.
    pub files: usize,
    /// What is wrong.
    pub problems: Vec<TableError>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Proves the log: each version's lines against its seal, each version against the one before, each state against its recorded
/// hash and counts, each checkpoint against the state that replay leads to.
///
/// What is damaged is reported, not returned as an error; a chain is followed up to its first break.
///
/// # Errors
/// When the store fails.
pub fn verify(store: &dyn LogStore) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let versions = store.list(Version(0))?;
    let mut checkpoints = store.checkpoints_down_from(Version::MAX)?;
    checkpoints.reverse();
    let Some((first, last)) = versions.first().zip(versions.last()) else {
        report
            .problems
            .push(TableError::NoTable { place: store.place(), detail: "the log has no versions".to_owned() });
        return Ok(report);
    };
    let mut state = State::default();
    let mut loaded = checkpoints.into_iter().map(|(version, id)| {
        checkpoint::load(store, version, id).map(|state| (LogFile::Checkpoint(version, id), state))
    });
    let mut waiting = None;
    // Where the first versions are gone, the oldest checkpoint is what the chain hangs on.
    if *first > Version(0) {
        for next in loaded.by_ref() {
            match next {
                Ok((file, found)) => {
                    check_itself(store, file, &found, &mut report)?;
                    state = found;
                    break;
                }
                Err(error) => report.problems.push(error),
            }
        }
    }
    let mut reader = LineReader::new();
    let begin = state.next;
    loop {
        // Checkpoints of the state that replay has come to.
        loop {
            match waiting.take().or_else(|| loaded.next()) {
                Some(Ok((file, found))) if state.next >= found.next => {
                    check_itself(store, file, &found, &mut report)?;
                    if state.next == found.next {
                        compare(file, &found, &state, &mut report);
                    }
                }
                Some(Err(error)) => report.problems.push(error),
                other => {
                    waiting = other;
                    break;
                }
            }
        }
        if state.next > *last {
            break;
        }
        let step = match store.read(state.next) {
            Ok(Some(section)) => state.replay(store, &section, &mut reader),
            Ok(None) => Err(TableError::Missing {
                file: LogFile::Commit(state.next).to_string(),
                detail: format!("the log goes on to version {last}"),
            }),
            Err(error) => Err(error),
        };
        if let Err(error) = step {
            if !error.is_damage() {
                return Err(error);
            }
            report.problems.push(error);
            break;
        }
    }
    for next in waiting.into_iter().chain(loaded) {
        match next {
            Ok((file, found)) => {
                check_itself(store, file, &found, &mut report)?;
                report.problems.push(TableError::corrupt(
                    file,
                    format!("it is of version {}, which replay does not lead to", found.next.0 - 1),
                ));
            }
            Err(error) => report.problems.push(error),
        }
    }
    if let Some(end) = state.next.previous().filter(|_| state.next > begin) {
        report.versions = Some((begin, end));
    }
    if state.files.recomputed_state() != state.files.state() {
        report.problems.push(TableError::corrupt(
            LogFile::Commit(*last),
            "the hash of its live files, computed anew, is another",
        ));
    }
    report.files = state.files.len();
    Ok(report)
}

/// Checks what loading a checkpoint does not.
fn check_itself(store: &dyn LogStore, file: LogFile, found: &State, report: &mut VerifyReport) -> Result<()> {
    if found.files.recomputed_state() != found.files.state() {
        report.problems.push(TableError::corrupt(file, "its files do not have the hash it records for them"));
        return Ok(());
    }
    match found.tombstones.read(store) {
        Ok(_) => report.checkpoints += 1,
        Err(error) if error.is_damage() => report.problems.push(error),
        Err(error) => return Err(error),
    }
    Ok(())
}

fn compare(file: LogFile, found: &State, replayed: &State, report: &mut VerifyReport) {
    let differences = [
        ("the version's hash", found.hash == replayed.hash),
        ("the timestamp", found.timestamp == replayed.timestamp),
        ("the protocol", found.protocol == replayed.protocol),
        ("metaData", found.metadata == replayed.metadata),
        ("txn", found.txns == replayed.txns),
        ("domainMetadata", found.domains == replayed.domains),
        ("the live files", found.files.state() == replayed.files.state()),
        ("the size of live files", found.files.size_in_bytes() == replayed.files.size_in_bytes()),
    ];
    for (what, _) in differences.iter().filter(|(_, same)| !same) {
        report.problems.push(TableError::corrupt(file, format!("{what} in it is not what replay leads to")));
    }
}
