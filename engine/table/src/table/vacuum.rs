//! Removing files that no version which may still be read has.
//!
//! Three things keep a file: a version that is retained (by age, by number, by a tag), a version that some process is reading (its
//! pin), and a transaction that has not committed yet (its writer's session). Before files of versions of the past go, the table's
//! horizon is committed, so that whoever asks for such a version later is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use super::core::Core;
use super::history::tags_of;
use super::interrupt::Interrupt;
use super::retention::{newest_within, oldest_read, retire_log};
use super::run::builder_future;
use super::{DeltaLiteTable, Outcome};
use crate::deletion_vector::file_of;
use crate::error::{Result, TableError};
use crate::log::action::{DeletionVector, DomainMetadata, Remove};
use crate::log::name::TEMP_FOLDER;
use crate::log::store::Disk;
use crate::log::{CheckpointOptions, Commit, LOG_FOLDER, Snapshot};
use crate::txn::actions::ChangedRows;
use crate::version::Version;

/// The domain that says which versions can't be read any more: `{"version": first that can}`.
const HORIZON_DOMAIN: &str = "deltalite.horizon";
/// How long versions are retained unless the caller says.
const RETENTION_DEFAULT: Duration = Duration::from_hours(7 * 24);

/// The first version whose files are all there.
///
/// # Errors
/// When the domain is not understood.
pub(super) fn horizon(domains: &BTreeMap<String, DomainMetadata>) -> Result<Version> {
    let Some(domain) = domains.get(HORIZON_DOMAIN) else { return Ok(Version(0)) };
    let parsed: serde_json::Value = serde_json::from_str(&domain.configuration)
        .map_err(|e| TableError::invalid("reading the horizon", e.to_string()))?;
    Ok(Version(parsed.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0)))
}

/// What is told when it is stopped.
const WHAT: &str = "vacuuming";

/// What vacuum removed, or would.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VacuumReport {
    /// The first version that can still be read.
    pub horizon: Version,
    /// Files, relative to the table's folder.
    pub files: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
}

/// Removing files.
#[derive(Debug, Clone)]
#[must_use]
pub struct VacuumTable {
    table: DeltaLiteTable,
    retain_for: Duration,
    retain_versions: u64,
    dry_run: bool,
    interrupt: Interrupt,
}

impl DeltaLiteTable {
    /// Removes files that no version which may still be read has. Versions of the last seven days are retained unless it is said
    /// otherwise; queries that run and transactions that have not committed are safe with any retention.
    pub fn vacuum(&self) -> VacuumTable {
        let table = self.clone();
        VacuumTable {
            table,
            retain_for: RETENTION_DEFAULT,
            retain_versions: 1,
            dry_run: false,
            interrupt: Interrupt::default(),
        }
    }
}

impl VacuumTable {
    /// Retain versions that were the newest within this time.
    pub fn retain_for(mut self, time: Duration) -> Self {
        self.retain_for = time;
        self
    }

    /// Retain that many of the newest versions, at least one.
    pub fn retain_versions(mut self, versions: u64) -> Self {
        self.retain_versions = versions.max(1);
        self
    }

    /// Only tell what would be removed.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Stops it when asked.
    pub fn interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Removes. Awaited instead, it stops when the future is dropped.
    ///
    /// # Errors
    /// When another vacuum is running, it is stopped, or the system fails; what was removed by then is gone, and nothing else.
    pub fn execute(self) -> Result<VacuumReport> {
        let core = &self.table.core;
        let disk = core.context.disk.as_ref();
        let temp = core.root.join(LOG_FOLDER).join(TEMP_FOLDER);
        let gate = temp.join("vacuum.lock");
        let lock = disk.lock(&gate, false).map_err(TableError::io("locking", &gate))?;
        let Some(_alone) = lock else {
            let detail = format!("another vacuum of {} is running; wait for it", core.root.display());
            return Err(TableError::invalid("vacuuming", detail));
        };
        // First the files, then what is in flight, then the log: whatever is written meanwhile is in one of the latter two.
        let there = data_files(&core.root)?;
        let in_flight: BTreeSet<PathBuf> = core.in_flight.lock().clone();
        let tip = core.committer.reopen()?;
        if !self.dry_run {
            retire_log(core, &tip)?;
        }
        self.interrupt.check(WHAT)?;
        let first_kept = self.first_kept(&tip)?;
        let needed = needed(core, &tip, first_kept, &self.interrupt)?;
        let known = known(core, &tip)?;
        let mut sessions = Sessions { core, disk, temp: &temp, alive: BTreeMap::new(), any: None };
        let mut report = VacuumReport { horizon: first_kept, ..VacuumReport::default() };
        let mut of_the_past = false;
        for (relative, bytes) in there {
            self.interrupt.check(WHAT)?;
            let path = core.root.join(&relative);
            if needed.contains(&path) || in_flight.contains(&path) {
                continue;
            }
            let was_live = known.contains(&path);
            if was_live || sessions.is_orphan(&relative)? {
                of_the_past |= was_live;
                report.bytes += bytes;
                report.files.push(relative);
            }
        }
        if self.dry_run || report.files.is_empty() {
            return Ok(report);
        }
        if of_the_past && first_kept > horizon(tip.domains())? {
            self.commit_horizon(first_kept)?;
        }
        for relative in &report.files {
            self.interrupt.check(WHAT)?;
            let path = core.root.join(relative);
            match disk.unlink(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(TableError::io("removing", &path)(e));
                }
                _ => {}
            }
        }
        let newest = core.committer.reopen()?;
        newest.checkpoint_with(core.log(), CheckpointOptions { forget_before: first_kept })?;
        retire_log(core, &newest)?;
        self.table.refresh()?;
        Ok(report)
    }

    fn commit_horizon(&self, first_kept: Version) -> Result<Outcome> {
        self.table.run(|mut txn| {
            let text = format!(r#"{{"version":{first_kept}}}"#);
            txn.set_domain(HORIZON_DOMAIN, Some(text.clone()));
            txn.commit("VACUUM", [("horizon", text.as_str())])
        })
    }

    /// The first version that must stay readable.
    fn first_kept(&self, tip: &Snapshot) -> Result<Version> {
        let core = &self.table.core;
        let by_age = newest_within(core.log(), self.retain_for)?;
        let by_number = Version(tip.version().0.saturating_sub(self.retain_versions - 1));
        let first = by_age.min(by_number).min(oldest_read(core)?);
        // What is gone from the log needs no files.
        let first = first.max(core.log().list(Version(0))?.first().copied().unwrap_or_default());
        Ok(first.max(horizon(tip.domains())?))
    }
}

builder_future!(VacuumTable => VacuumReport, VacuumTable::execute, until interrupt);

/// Whether the process that has a session is alive: it holds a lock then.
pub(super) fn is_alive(disk: &dyn Disk, temp: &Path, session: &str) -> Result<bool> {
    let path = temp.join(format!("{session}.lock"));
    if disk.identity(&path).map_err(TableError::io("looking for", &path))?.is_none() {
        return Ok(false);
    }
    Ok(disk.lock(&path, false).map_err(TableError::io("locking", &path))?.is_none())
}

/// Who may still be about to commit files.
struct Sessions<'a> {
    core: &'a Core,
    disk: &'a dyn Disk,
    temp: &'a Path,
    alive: BTreeMap<String, bool>,
    any: Option<bool>,
}

impl Sessions<'_> {
    /// Whether a file that no version has can't become part of one any more.
    fn is_orphan(&mut self, relative: &Path) -> Result<bool> {
        let name = relative.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.starts_with("deletion_vector_") {
            return Ok(!self.any_other()?);
        }
        // `<session>-<number>.dlb`: a session is a UUID of 36 characters.
        let Some(session) = name.get(..36).filter(|id| Uuid::parse_str(id).is_ok()) else {
            return Ok(false);
        };
        if session == self.core.session() {
            return Ok(true);
        }
        if let Some(alive) = self.alive.get(session) {
            return Ok(!alive);
        }
        let alive = is_alive(self.disk, self.temp, session)?;
        self.alive.insert(session.to_owned(), alive);
        Ok(!alive)
    }

    fn any_other(&mut self) -> Result<bool> {
        if let Some(any) = self.any {
            return Ok(any);
        }
        let mut any = false;
        for name in self.disk.list(self.temp).map_err(TableError::io("listing", self.temp))? {
            if let Some(id) = name.strip_suffix(".lock").filter(|id| Uuid::parse_str(id).is_ok())
                && id != self.core.session()
            {
                any |= is_alive(self.disk, self.temp, id)?;
            }
        }
        self.any = Some(any);
        Ok(any)
    }
}

/// Files below the table's folder that may be data or deletion vectors, with their sizes.
fn data_files(root: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let place = root.join(&folder);
        let entries = fs::read_dir(&place).map_err(TableError::io("listing", &place))?;
        for entry in entries {
            let entry = entry.map_err(TableError::io("listing", &place))?;
            let name = entry.file_name();
            let Some(text) = name.to_str() else { continue };
            let relative = folder.join(text);
            let kind = entry.file_type().map_err(TableError::io("listing", &place))?;
            if kind.is_dir() {
                if !text.starts_with('_') && !text.starts_with('.') {
                    folders.push(relative);
                }
            } else if relative.extension().is_some_and(|e| e == "dlb") || text.starts_with("deletion_vector_")
            {
                let bytes = entry.metadata().map_or(0, |m| m.len());
                found.push((relative, bytes));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn add_paths(
    core: &Core,
    path: &str,
    vector: Option<&DeletionVector>,
    out: &mut BTreeSet<PathBuf>,
) -> Result<()> {
    out.insert(core.path_of(path)?);
    if let Some(name) = vector.map(file_of).transpose()?.flatten() {
        out.insert(core.root.join(name));
    }
    Ok(())
}

/// The file that says which of the rows that went are changed.
fn add_changed_rows(core: &Core, remove: &Remove, out: &mut BTreeSet<PathBuf>) -> Result<()> {
    if let ChangedRows::These(vector) = ChangedRows::of(remove)? {
        out.extend(file_of(&vector)?.map(|name| core.root.join(name)));
    }
    Ok(())
}

/// Files of versions from one on, and of those that have tags.
fn needed(core: &Core, tip: &Snapshot, first: Version, interrupt: &Interrupt) -> Result<BTreeSet<PathBuf>> {
    let mut out = BTreeSet::new();
    let mut whole = vec![tip.clone()];
    let kept: BTreeSet<Version> = tags_of(tip)?.into_values().chain([first]).collect();
    for version in kept.into_iter().filter(|v| *v < tip.version()) {
        whole.push(Snapshot::open_at(core.log(), version)?);
    }
    for snapshot in &whole {
        for file in snapshot.files().iter() {
            add_paths(core, file.path(), file.deletion_vector().as_ref(), &mut out)?;
        }
    }
    for version in (first.0 + 1..=tip.version().0).map(Version) {
        interrupt.check(WHAT)?;
        let commit = Commit::read(core.log(), version)?;
        for add in commit.adds {
            add_paths(core, &add.path, add.deletion_vector.as_deref(), &mut out)?;
        }
        for remove in &commit.removes {
            add_changed_rows(core, remove, &mut out)?;
        }
    }
    Ok(out)
}

/// Files that were part of some version.
fn known(core: &Core, tip: &Snapshot) -> Result<BTreeSet<PathBuf>> {
    let mut out = BTreeSet::new();
    for tombstone in tip.tombstones().read(core.log())? {
        let remove = &tombstone.remove;
        add_paths(core, &remove.path, remove.deletion_vector.as_deref(), &mut out)?;
        add_changed_rows(core, remove, &mut out)?;
    }
    Ok(out)
}
