//! Versions of several tables that stand together, or not at all.
//!
//! Each is *prepared* in its table's log: durable, under a name that is no version's. One of the tables decides: all of them stand
//! from the moment that table's version is put. Then the others are *published*, by their own names. While that goes on, nobody
//! else commits to any of the tables. If the process ends in between, whoever comes next looks at the table that decides, and publishes or forgets.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::Lock;
use super::local::LocalStore;
use crate::error::{Result, TableError};
use crate::log::action::{Action, CommitInfo, LineReader, StringMap};
use crate::log::name::{LOG_FOLDER, LogFile, TEMP_FOLDER};
use crate::log::section::Section;
use crate::version::Version;

/// The tag of `commitInfo` that says which versions a version stands with.
pub const TOGETHER_TAG: &str = "deltalite.together";

/// Which versions a version stands with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Together {
    /// The same in all of them.
    pub id: String,
    /// The folder of the table that decides, seen from the folder of this one; or absolute.
    pub decider: String,
    /// Its version.
    pub version: Version,
    /// The folders of all the tables, in the same way.
    pub tables: Vec<String>,
}

impl Together {
    /// What a version's `commitInfo` says.
    ///
    /// # Errors
    /// When it is not understood.
    pub fn of(info: &CommitInfo) -> Result<Option<Self>> {
        let Some(text) = info.tags.as_ref().and_then(|tags| tags.value(TOGETHER_TAG)) else {
            return Ok(None);
        };
        serde_json::from_str(text).map(Some).map_err(|e| {
            TableError::corrupt(
                LogFile::Commit(info.version),
                format!("its {TOGETHER_TAG} is not understood: {e}"),
            )
        })
    }

    /// Says so in a `commitInfo`.
    pub(crate) fn note(&self, info: &mut CommitInfo) {
        let text = serde_json::to_string(self).unwrap_or_default();
        let known = info.tags.take().unwrap_or_default();
        let mut pairs: Vec<(&str, Option<&str>)> =
            known.iter().filter(|(key, _)| *key != TOGETHER_TAG).collect();
        pairs.push((TOGETHER_TAG, Some(&text)));
        let tags: StringMap = pairs.into_iter().collect();
        info.tags = Some(tags);
    }
}

/// A table's folder seen from another's: a path that stays right when both are moved together, where they are neighbours.
pub(crate) fn seen_from(table: &Path, other: &Path) -> String {
    match (table.parent(), other.parent(), other.file_name().and_then(|n| n.to_str())) {
        _ if table == other => ".".to_owned(),
        (Some(here), Some(there), Some(name)) if here == there => format!("../{name}"),
        _ => other.display().to_string(),
    }
}

/// The inverse of [`seen_from`].
pub(crate) fn seen_at(table: &Path, path: &str) -> PathBuf {
    let mut place = table.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(place.pop()),
            other => place.push(other),
        }
    }
    place
}

/// The first line of a section.
pub(crate) fn info_of(file: LogFile, section: &Section) -> Result<CommitInfo> {
    let mut info = None;
    LineReader::new().read(&file.to_string(), 1, section.first_line(), |_, action| {
        if let Action::CommitInfo(found) = action {
            info = Some(*found);
        }
        Ok(())
    })?;
    info.ok_or_else(|| TableError::corrupt(file, "its first line is no commitInfo"))
}

impl LocalStore {
    pub(super) fn commit_lock_path(&self) -> PathBuf {
        self.log.join(TEMP_FOLDER).join("commit.lock")
    }

    /// Keeps all others from committing until the result is dropped, and finishes what one before has left.
    ///
    /// # Errors
    /// When the file system fails, or the log was opened for reading only.
    pub(crate) fn lock_commits(&self) -> Result<Lock> {
        self.writer()?;
        let path = self.commit_lock_path();
        let lock = self.disk.lock(&path, true).map_err(TableError::io("locking", &path))?;
        let lock =
            lock.ok_or_else(|| TableError::invalid("locking a file", "waiting for it ended without it"))?;
        self.settle_all()?;
        Ok(lock)
    }

    /// Keeps those away who commit to several tables at once.
    pub(super) fn lock_commits_shared(&self) -> Result<Lock> {
        let path = self.commit_lock_path();
        self.disk.lock_shared(&path).map_err(TableError::io("locking", &path))
    }

    /// The section of a version that was prepared, whether it stands or not.
    fn prepared(&self, version: Version) -> Result<Option<Section>> {
        let file = LogFile::Prepared(version);
        let path = file.path(&self.log);
        if self.disk.identity(&path).map_err(TableError::io("looking for", &path))?.is_none() {
            return Ok(None);
        }
        // Its name is taken away once it has its own.
        let Some(bytes) = self.read_path(&path)? else { return Ok(None) };
        match Section::find(file, &bytes, version)? {
            Some(section) => Ok(Some(section)),
            None => Err(TableError::corrupt(file, format!("it does not hold version {version}"))),
        }
    }

    /// What a prepared version stands with, the log of the table that decides of it, and whether it has.
    fn decision(&self, section: &Section) -> Result<(Together, PathBuf, bool)> {
        let version = section.version();
        let info = info_of(LogFile::Prepared(version), section)?;
        let together = Together::of(&info)?.ok_or_else(|| {
            TableError::corrupt(LogFile::Prepared(version), "it does not say which table decides of it")
        })?;
        let log = seen_at(self.table(), &together.decider).join(LOG_FOLDER);
        let file = LogFile::Commit(together.version);
        let decider = match self.read_path(&file.path(&log))? {
            Some(bytes) => Section::find(file, &bytes, together.version)?,
            None => None,
        };
        let decider = decider.map(|section| Together::of(&info_of(file, &section)?)).transpose()?.flatten();
        let stands = decider.is_some_and(|d| d.id == together.id);
        Ok((together, log, stands))
    }

    fn table(&self) -> &Path {
        self.log.parent().unwrap_or(Path::new("."))
    }

    /// Whether another table still has a version of these prepared.
    fn is_waited_for(&self, together: &Together) -> Result<bool> {
        for path in together.tables.iter().filter(|path| **path != together.decider) {
            let log = seen_at(self.table(), path).join(LOG_FOLDER);
            let names = match self.disk.list(&log) {
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                names => names.map_err(TableError::io("listing", &log))?,
            };
            for name in names {
                let Some(file @ LogFile::Prepared(version)) = LogFile::parse(&name) else { continue };
                if let Some(bytes) = self.read_path(&file.path(&log))?
                    && let Some(section) = Section::find(file, &bytes, version)?
                    && Together::of(&info_of(file, &section)?)?.is_some_and(|t| t.id == together.id)
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The section of a version that stands although it does not have its own name yet.
    pub(super) fn read_prepared(&self, version: Version) -> Result<Option<Section>> {
        let Some(section) = self.prepared(version)? else { return Ok(None) };
        Ok(self.decision(&section)?.2.then_some(section))
    }

    /// Finishes what a process that is gone has left of a version. Nobody prepares meanwhile: the caller has the lock.
    pub(super) fn settle(&self, version: Version) -> Result<()> {
        let Some(section) = self.prepared(version)? else { return Ok(()) };
        let (together, decider, stands) = self.decision(&section)?;
        if !stands {
            return self.forget_prepared(version);
        }
        if decider == self.log {
            // It has its name. Its mark stays until nobody has to look at the decision any more.
            return if self.is_waited_for(&together)? { Ok(()) } else { self.forget_prepared(version) };
        }
        // What is published here must not outlive the decision.
        self.disk.sync_folder(&decider).map_err(TableError::io("syncing the folder", &decider))?;
        self.publish(version)
    }

    /// Finishes all that processes which are gone have left. The caller has the lock.
    pub(super) fn settle_all(&self) -> Result<()> {
        let names = self.disk.list(&self.log).map_err(TableError::io("listing", &self.log))?;
        let mut left: Vec<Version> = names
            .iter()
            .filter_map(|name| match LogFile::parse(name) {
                Some(LogFile::Prepared(version)) => Some(version),
                _ => None,
            })
            .collect();
        left.sort_unstable();
        left.into_iter().try_for_each(|version| self.settle(version))
    }

    /// The tables that a version was prepared with and that may not have published theirs yet.
    ///
    /// # Errors
    /// When the log can't be read.
    pub(crate) fn unfinished(&self) -> Result<Vec<PathBuf>> {
        let names = self.disk.list(&self.log).map_err(TableError::io("listing", &self.log))?;
        let mut tables = Vec::new();
        for name in names {
            if let Some(LogFile::Prepared(version)) = LogFile::parse(&name)
                && let Some(section) = self.prepared(version)?
                && let Some(together) = Together::of(&info_of(LogFile::Prepared(version), &section)?)?
            {
                tables.extend(together.tables.iter().map(|path| seen_at(self.table(), path)));
            }
        }
        Ok(tables)
    }

    /// Makes a version durable that does not stand yet. The caller has the lock.
    ///
    /// # Errors
    /// When the file system fails: then it does not stand, and never will.
    pub(crate) fn prepare(&self, section: &Section) -> Result<()> {
        let writer = self.writer()?;
        self.secure_base(writer, section.version())?;
        let (temp, _) = self
            .write_temp(writer, std::iter::once(section.bytes()))
            .map_err(|(what, path, source)| TableError::Io { what, path, source })?;
        let path = LogFile::Prepared(section.version()).path(&self.log);
        let linked = self.disk.link(&temp, &path).map_err(TableError::io("linking", &path));
        self.discard(&temp);
        linked?;
        self.sync_log()
    }

    /// Gives a prepared version its name.
    ///
    /// # Errors
    /// When the file system fails; who commits next tries again.
    pub(crate) fn publish(&self, version: Version) -> Result<()> {
        let from = LogFile::Prepared(version).path(&self.log);
        let to = LogFile::Commit(version).path(&self.log);
        match self.disk.link(&from, &to) {
            Err(e) if !matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
                return Err(TableError::io("linking", &to)(e));
            }
            _ => self.sync_log()?,
        }
        self.forget_prepared(version)
    }

    /// Takes a prepared version's name away, if it is there.
    ///
    /// # Errors
    /// When the file system fails.
    pub(crate) fn forget_prepared(&self, version: Version) -> Result<()> {
        let path = LogFile::Prepared(version).path(&self.log);
        match self.disk.unlink(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(TableError::io("removing", &path)(e)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_seen_without_their_parent() {
        let at = |path: &str| PathBuf::from(path);
        for (table, other, seen) in [
            ("/data/a", "/data/b", "../b"),
            ("/data/a", "/data/a", "."),
            ("/data/a", "/elsewhere/b", "/elsewhere/b"),
            ("/data/a", "/data/a/b", "/data/a/b"),
        ] {
            assert_eq!(seen_from(&at(table), &at(other)), seen);
            assert_eq!(seen_at(&at(table), seen), at(other));
        }
    }
}
