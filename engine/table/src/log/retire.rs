//! Removing what of the log nobody needs any more: old versions, old checkpoints, and the sidecars that only they refer to.
//!
//! A version can be read as long as there is a checkpoint before it, or all versions are. So from a version on that is still to be read, one
//! checkpoint at or before it has to stay, the *base*, and everything after that. What is before the base goes: first the
//! checkpoints, so that nobody begins at one that is about to lose its sidecars; then the versions, the oldest first; then sidecars. A crash
//! leaves some of it, which the next time removes.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::action::{Action, LineReader};
use super::checkpoint;
use super::limits::{CHECKPOINT_VERSIONS, CHECKPOINTS_RECENT, CHECKPOINTS_SPREAD};
use super::name::LogFile;
use super::section::unsealed;
use super::sidecar::{ROW_MAP_TAG, SidecarRef};
use super::snapshot::Snapshot;
use super::store::LogStore;
use crate::error::{Result, TableError};
use crate::version::Version;

/// What of the log is still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// This version and those after it stay readable.
    pub from: Version,
}

/// Removes what is needed neither to read a version from `needed.from` on, nor to open the table quickly. Returns what was removed.
///
/// Before versions are removed, `before` gets the state at the base and the oldest version that is there: what versions between them alone
/// have must be put somewhere else by then. If it fails, no version is removed.
///
/// # Errors
/// When the store fails, a checkpoint that stays is damaged, or `before` fails.
pub fn retire(
    store: &dyn LogStore,
    needed: Needed,
    before: impl FnOnce(&Snapshot, Version) -> Result<()>,
) -> Result<Vec<LogFile>> {
    let _alone = store.maintenance_lock()?;
    let mut checkpoints = store.checkpoints_down_from(Version::MAX)?;
    checkpoints.reverse();
    let versions = store.list(Version(0))?;
    // Where versions are gone already, the first that is left has the checkpoint that all others hang on.
    let from = versions.first().map_or(needed.from, |first| needed.from.max(*first));
    let (base, state) = base_of(store, &checkpoints, &versions, from)?;
    let kept = kept(&checkpoints, base);
    let mut still = BTreeSet::new();
    for (version, id) in &kept {
        still.extend(references(store, *version, *id)?);
    }
    let (mut removed, mut sidecars) = (Vec::new(), Vec::new());
    for (version, id) in checkpoints.iter().filter(|checkpoint| !kept.contains(checkpoint)) {
        sidecars.extend(references(store, *version, *id).unwrap_or_default());
        removed.push(LogFile::Checkpoint(*version, *id));
    }
    removed.iter().try_for_each(|file| store.remove(*file))?;
    if let (Some(base), Some(oldest)) = (&state, versions.first()) {
        before(base, *oldest)?;
        let old: Vec<Version> = versions.into_iter().filter(|version| *version < base.version()).collect();
        for version in &old {
            // What is damaged may refer to anything; it is left to be found by nobody.
            sidecars.extend(references_of_version(store, *version).unwrap_or_default());
        }
        store.remove_versions(&old)?;
        removed.extend(old.into_iter().map(LogFile::Commit));
    }
    let sidecars: BTreeSet<LogFile> = sidecars.into_iter().filter(|file| !still.contains(file)).collect();
    sidecars.iter().try_for_each(|file| store.remove(*file))?;
    removed.extend(sidecars);
    Ok(removed)
}

/// The newest checkpoint at or before a version that makes up for what is before it; with its state, if there are versions that could go.
fn base_of(
    store: &dyn LogStore,
    checkpoints: &[(Version, Uuid)],
    versions: &[Version],
    from: Version,
) -> Result<(Option<Version>, Option<Snapshot>)> {
    // The base itself stays as a version too: its time and what it changed are still asked for.
    for (version, id) in checkpoints.iter().rev().filter(|(v, _)| *v <= from && versions.contains(v)) {
        if versions.first() == Some(version) {
            return Ok((Some(*version), None));
        }
        match checkpoint::load(store, *version, *id).and_then(Snapshot::of) {
            Ok(state) => return Ok((Some(*version), Some(state))),
            Err(error) if error.is_damage() => {
                tracing::warn!(%error, version = version.0, "a damaged checkpoint makes up for no versions");
            }
            Err(error) => return Err(error),
        }
    }
    Ok((None, None))
}

/// Which checkpoints stay: the base, the newest, and some between, so that each of the versions is not far from one, and that a later base
/// can be found among them. Without a base none is spared for being the oldest: all versions are there.
fn kept(checkpoints: &[(Version, Uuid)], base: Option<Version>) -> BTreeSet<(Version, Uuid)> {
    let newest = checkpoints.last().map_or(Version(0), |(version, _)| *version);
    let mut last = base.unwrap_or(Version(0));
    let spread = ((newest.0 - last.0.min(newest.0)) / CHECKPOINTS_SPREAD).max(CHECKPOINT_VERSIONS);
    let after = || checkpoints.iter().filter(|checkpoint| Some(checkpoint.0) >= base);
    let mut kept: BTreeSet<(Version, Uuid)> = after().rev().take(CHECKPOINTS_RECENT).copied().collect();
    for checkpoint in after() {
        if Some(checkpoint.0) == base || checkpoint.0.0 >= last.0 + spread {
            kept.insert(*checkpoint);
            last = checkpoint.0;
        }
    }
    kept
}

/// The sidecars that only a version refers to: of its actions, and its row map.
fn references_of_version(store: &dyn LogStore, version: Version) -> Result<Vec<LogFile>> {
    let Some(section) = store.read(version)? else { return Ok(Vec::new()) };
    let file = LogFile::Commit(version);
    let mut found = Vec::new();
    LineReader::new().read(&file.to_string(), 1, section.lines(), |_, action| {
        match action {
            Action::Sidecar(sidecar) => found.push(SidecarRef::of_action(file, &sidecar)?.file()),
            Action::CommitInfo(info) => {
                let map = info.tags.as_ref().and_then(|tags| tags.value(ROW_MAP_TAG)?.split_once(':'));
                found.extend(map.and_then(|(id, _)| Uuid::try_parse(id).ok()).map(LogFile::Sidecar));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// The sidecars that a checkpoint refers to.
fn references(store: &dyn LogStore, version: Version, id: Uuid) -> Result<Vec<LogFile>> {
    let file = LogFile::Checkpoint(version, id);
    let bytes = store.read_file(file)?.ok_or_else(|| TableError::Missing {
        file: file.to_string(),
        detail: "it was listed a moment ago".to_owned(),
    })?;
    let lines = unsealed(file, version, &bytes)?;
    let mut found = Vec::new();
    LineReader::new().read(&file.to_string(), 1, lines, |_, action| {
        if let Action::Sidecar(sidecar) = action {
            found.push(SidecarRef::of_action(file, &sidecar)?.file());
        }
        Ok(())
    })?;
    Ok(found)
}
