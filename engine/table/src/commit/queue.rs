//! The committer: transactions of this process, put on top of the log's end in groups.
//!
//! Writers wait in a queue. Whoever finds nobody leading takes what waits as one group: checks each transaction against the versions since it
//! read and against those before it in the group, seals versions of those that pass, and commits them with one sync. Meanwhile
//! the next group gathers. If another process has taken a version, the rest of the group is put on top of that, again from
//! what its writers asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::row_maps;
use super::vectors::Vectors;
use super::winners::{Known, Winners, summarise};
use crate::deletion_vector::{VectorFile, inline};
use crate::error::{Result, TableError};
use crate::log::action::{CommitInfo, Protocol};
use crate::log::limits::GROUP_VERSIONS_MAX;
use crate::log::snapshot::READER_FEATURES;
use crate::log::store::Disk;
use crate::log::{Commit, LogStore, SealedCommit, Snapshot};
use crate::txn::actions::actions_of;
use crate::txn::conflict::Remedy;
use crate::txn::{Checked, Conflict, Rule, Transaction, WinnerSummary, check};
use crate::version::Version;

/// Other processes that may take a version before a group gives up: each of them has made progress then.
const RETRIES_MAX: usize = 10_000;

/// A transaction that wants to become a version.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) txn: Transaction,
    pub(crate) info: CommitInfo,
    /// Folders in which files of this transaction have names that are not durable yet.
    pub(crate) unsynced: BTreeSet<PathBuf>,
}

/// A transaction that is in the table.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    /// Its version.
    pub(crate) version: Version,
    /// The table at that version or a later one.
    pub(crate) snapshot: Snapshot,
    /// Nothing was written: an earlier commit did the same (R0, R4).
    pub(crate) already: bool,
}

type Ticket = u64;

#[derive(Debug, Default)]
struct Queue {
    next: Ticket,
    waiting: VecDeque<(Ticket, Pending)>,
    done: BTreeMap<Ticket, Result<Committed>>,
    leading: bool,
}

/// Commits the transactions of all writers of this process to one table.
#[derive(Debug)]
pub(crate) struct Committer {
    store: Arc<dyn LogStore>,
    disk: Arc<dyn Disk>,
    table: PathBuf,
    vectors: Arc<Vectors>,
    winners: Winners,
    tip: Mutex<Snapshot>,
    /// Files that a version is about to refer to.
    in_flight: Arc<Mutex<BTreeSet<PathBuf>>>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// Ends leading whatever happens, and answers those that got no answer.
struct Lead<'a> {
    committer: &'a Committer,
    tickets: Vec<Ticket>,
    done: BTreeMap<Ticket, Result<Committed>>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut queue = self.committer.queue.lock();
        for ticket in &self.tickets {
            let result = self.done.remove(ticket).unwrap_or_else(|| {
                Err(TableError::invalid(
                    "committing",
                    "the thread that committed for the group ended; look for the commit's txnId in the log",
                ))
            });
            queue.done.insert(*ticket, result);
        }
        queue.leading = false;
        self.committer.changed.notify_all();
    }
}

/// A transaction with a version of its own, not yet committed.
pub(super) struct Sealed {
    pub(super) ticket: Ticket,
    pub(super) pending: Pending,
    pub(super) commit: SealedCommit,
    pub(super) summary: Arc<WinnerSummary>,
}

/// What became of a transaction.
pub(super) enum Sealing {
    /// A version on top of those before.
    Sealed(Box<SealedCommit>, Arc<WinnerSummary>),
    /// A version, possibly one of this group, did the same already.
    Already(Version),
}

/// A group on top of the log's end.
struct Group {
    sealed: Vec<Sealed>,
    /// Transactions that wait for how this group ends.
    deferred: Vec<(Ticket, Pending)>,
    /// Deletion vectors that the versions refer to.
    vectors: VectorFile,
}

impl Committer {
    pub(crate) fn new(
        store: Arc<dyn LogStore>,
        disk: Arc<dyn Disk>,
        table: &Path,
        vectors: Arc<Vectors>,
        tip: Snapshot,
        in_flight: Arc<Mutex<BTreeSet<PathBuf>>>,
    ) -> Self {
        Self {
            in_flight,
            store,
            disk,
            table: table.to_owned(),
            vectors,
            winners: Winners::default(),
            tip: Mutex::new(tip),
            queue: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The newest version that is known here.
    pub(crate) fn tip(&self) -> Snapshot {
        self.tip.lock().clone()
    }

    /// The newest version there is.
    ///
    /// # Errors
    /// When the log can't be read.
    pub(crate) fn refresh(&self) -> Result<Snapshot> {
        let fresh = self.tip().refresh(self.store.as_ref())?;
        self.advance(fresh.clone());
        Ok(fresh)
    }

    /// The newest version there is, read anew: it stands on no checkpoint that another process has removed meanwhile.
    ///
    /// # Errors
    /// When the log can't be read.
    pub(crate) fn reopen(&self) -> Result<Snapshot> {
        let fresh = Snapshot::open(self.store.as_ref())?;
        let mut tip = self.tip.lock();
        if fresh.version() >= tip.version() {
            *tip = fresh.clone();
        }
        Ok(fresh)
    }

    /// Takes in a snapshot if it is newer.
    pub(crate) fn advance(&self, snapshot: Snapshot) {
        let mut tip = self.tip.lock();
        if snapshot.version() > tip.version() {
            *tip = snapshot;
        }
    }

    /// Writes a checkpoint of the tip.
    ///
    /// # Errors
    /// When the medium fails.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let written = match self.tip().checkpoint(self.store.as_ref()) {
            // Another process has written later checkpoints, and removed the one that the tip stands on.
            Err(TableError::Missing { .. }) => self.reopen()?.checkpoint(self.store.as_ref())?,
            written => written?,
        };
        let newest = written.refresh(self.store.as_ref())?;
        let mut tip = self.tip.lock();
        if newest.version() >= tip.version() {
            *tip = newest;
        }
        Ok(())
    }

    /// Commits a transaction; returns when it is durable.
    ///
    /// # Errors
    /// [`TableError::Conflict`] when it can't be put on top of what others have committed; else when the medium fails.
    pub(crate) fn commit(&self, pending: Pending) -> Result<Committed> {
        let mut queue = self.queue.lock();
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.push_back((ticket, pending));
        loop {
            if let Some(result) = queue.done.remove(&ticket) {
                return result;
            }
            if queue.leading {
                self.changed.wait(&mut queue);
                continue;
            }
            queue.leading = true;
            let count = queue.waiting.len().min(GROUP_VERSIONS_MAX);
            let group: Vec<_> = queue.waiting.drain(..count).collect();
            drop(queue);
            let mut lead = Lead {
                committer: self,
                tickets: group.iter().map(|(ticket, _)| *ticket).collect(),
                done: BTreeMap::new(),
            };
            self.lead(group, &mut lead.done);
            drop(lead);
            queue = self.queue.lock();
        }
    }

    fn lead(&self, group: Vec<(Ticket, Pending)>, done: &mut BTreeMap<Ticket, Result<Committed>>) {
        let mut rest = group;
        let mut tip = self.tip();
        for _ in 0..RETRIES_MAX {
            let Group { sealed, deferred, vectors } = self.seal(rest, &tip, done);
            if sealed.is_empty() {
                return;
            }
            let commits: Vec<SealedCommit> = sealed.iter().map(|s| s.commit.clone()).collect();
            let mut vectors_at = None;
            let put = self
                .secure(&sealed, vectors, &mut vectors_at)
                .and_then(|()| SealedCommit::commit(self.store.as_ref(), &commits));
            if let Some(path) = vectors_at {
                self.in_flight.lock().remove(&path);
            }
            let put = match put {
                Ok(put) => put,
                Err(error) => {
                    let error = Arc::new(error);
                    let tickets = sealed.iter().map(|m| m.ticket).chain(deferred.iter().map(|(t, _)| *t));
                    done.extend(tickets.map(|t| (t, Err(TableError::Group(error.clone())))));
                    return;
                }
            };
            let mut left = sealed.into_iter();
            for Sealed { ticket, commit, summary, .. } in left.by_ref().take(put.committed) {
                tip = commit.snapshot().clone();
                self.winners.remember(summary);
                let version = commit.info().version;
                done.insert(ticket, Ok(Committed { version, snapshot: tip.clone(), already: false }));
            }
            self.advance(tip.clone());
            rest = left.map(|member| (member.ticket, member.pending)).chain(deferred).collect();
            if rest.is_empty() {
                return;
            }
            match tip.refresh(self.store.as_ref()) {
                Ok(fresh) => tip = fresh,
                Err(error) => {
                    let error = Arc::new(error);
                    done.extend(rest.into_iter().map(|(t, _)| (t, Err(TableError::Group(error.clone())))));
                    return;
                }
            }
            self.advance(tip.clone());
        }
    }

    /// Versions of the transactions that pass, on top of each other; the others are answered.
    fn seal(
        &self,
        group: Vec<(Ticket, Pending)>,
        tip: &Snapshot,
        done: &mut BTreeMap<Ticket, Result<Committed>>,
    ) -> Group {
        let (mut sealed, mut deferred): (Vec<Sealed>, Vec<_>) = (Vec::with_capacity(group.len()), Vec::new());
        let mut vectors = VectorFile::default();
        for (ticket, pending) in group {
            match self.seal_one(&pending, tip, &sealed, &mut vectors) {
                Ok(Sealing::Sealed(commit, summary)) => {
                    sealed.push(Sealed { ticket, pending, commit: *commit, summary });
                }
                // The same was done in this group, which may still fail.
                Ok(Sealing::Already(version)) if version > tip.version() => {
                    deferred.push((ticket, pending));
                }
                Ok(Sealing::Already(version)) => {
                    done.insert(ticket, Ok(Committed { version, snapshot: tip.clone(), already: true }));
                }
                Err(error) => {
                    done.insert(ticket, Err(error));
                }
            }
        }
        Group { sealed, deferred, vectors }
    }

    /// One transaction on top of the tip and of those sealed before.
    pub(super) fn seal_one(
        &self,
        pending: &Pending,
        tip: &Snapshot,
        before: &[Sealed],
        file: &mut VectorFile,
    ) -> Result<Sealing> {
        let mut txn = pending.txn.clone();
        for version in (txn.checked.0 + 1..=tip.version().0).map(Version) {
            let winner = match self.winners.get(self.store.as_ref(), &self.vectors, version) {
                Err(TableError::NoSuchVersion { .. }) => return Err(beyond_horizon(&txn, version).into()),
                winner => winner?,
            };
            if let Checked::AlreadyCommitted(version) = check(&winner, &mut txn, writable)? {
                return Ok(Sealing::Already(version));
            }
        }
        for member in before {
            if let Checked::AlreadyCommitted(version) = check(&member.summary, &mut txn, writable)? {
                return Ok(Sealing::Already(version));
            }
        }
        let base = before.last().map_or(tip, |member| member.commit.snapshot());
        let mut info = pending.info.clone();
        let actions = actions_of(&txn, &mut info, row_id_high_water(base), |_, rows| {
            let vector = match inline(rows)? {
                Some(vector) => vector,
                None => file.push(rows)?,
            };
            self.vectors.remember(&vector, rows.clone());
            Ok(vector)
        })?;
        if let Some(map) = &txn.writes.row_map {
            row_maps::put(self.store.as_ref(), map, &mut info)?;
        }
        let commit = base.seal_with(info, actions.clone(), &txn.writes.small)?;
        let known = Known {
            metadata_before: base.metadata().clone(),
            row_map: txn.writes.row_map,
            keys: Some(txn.writes.keys),
        };
        let made = Commit::of_actions(commit.info().clone(), actions)?;
        let summary = summarise(made, known, &self.vectors)?;
        Ok(Sealing::Sealed(Box::new(commit), Arc::new(summary)))
    }

    /// Takes in a version that was committed on top of the tip.
    pub(super) fn sealed_stands(&self, sealed: Sealed) -> Committed {
        let snapshot = sealed.commit.snapshot().clone();
        self.winners.remember(sealed.summary);
        self.advance(snapshot.clone());
        Committed { version: sealed.commit.info().version, snapshot, already: false }
    }

    /// A file that a version was about to refer to is referred to, or never will be.
    pub(super) fn forget_in_flight(&self, path: &Path) {
        self.in_flight.lock().remove(path);
    }

    /// Makes durable what the group's versions will refer to.
    pub(super) fn secure(
        &self,
        group: &[Sealed],
        vectors: VectorFile,
        at: &mut Option<PathBuf>,
    ) -> Result<()> {
        let mut folders: BTreeSet<&Path> =
            group.iter().flat_map(|m| m.pending.unsynced.iter().map(PathBuf::as_path)).collect();
        if !vectors.is_empty() {
            let (name, bytes) = vectors.finish();
            let path = self.table.join(name);
            self.in_flight.lock().insert(path.clone());
            *at = Some(path.clone());
            let write = || {
                let mut file = self.disk.create(&path)?;
                file.append(&bytes)?;
                file.sync()
            };
            write().map_err(TableError::io("writing deletion vectors to", &path))?;
            folders.insert(&self.table);
        }
        for folder in folders {
            self.disk.sync_folder(folder).map_err(TableError::io("syncing the folder", folder))?;
        }
        Ok(())
    }
}

/// Whether this version of DeltaLite can write tables of a protocol.
pub(crate) fn writable(protocol: &Protocol) -> bool {
    protocol.min_reader_version <= 3
        && protocol.min_writer_version <= 7
        && protocol.reader_features.iter().flatten().all(|f| READER_FEATURES.contains(&f.as_str()))
        && protocol.writer_features.iter().flatten().all(|f| WRITER_FEATURES.contains(&f.as_str()))
}

/// Features that writers of this version know, those of readers included.
pub(crate) const WRITER_FEATURES: [&str; 18] = [
    "allowColumnDefaults",
    "appendOnly",
    "changeDataFeed",
    "checkConstraints",
    "clustering",
    "columnMapping",
    "deletionVectors",
    "deltaliteBlockFormat",
    "domainMetadata",
    "generatedColumns",
    "identityColumns",
    "inCommitTimestamp",
    "invariants",
    "rowTracking",
    "timestampNtz",
    "typeWidening",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

fn beyond_horizon(txn: &Transaction, missing: Version) -> Box<Conflict> {
    Box::new(Conflict {
        rule: Rule::Horizon,
        version: missing,
        operation: "unknown".to_owned(),
        path: None,
        rows: None,
        predicate: None,
        detail: format!(
            "the transaction read version {}, and version {missing} is no longer in the log to be compared with",
            txn.base
        ),
        rebase_tried: false,
        remedy: Remedy::RunAgain,
    })
}

/// The highest row id given so far, where the table tracks rows; −1 when none was.
pub(crate) fn row_id_high_water(snapshot: &Snapshot) -> Option<i64> {
    let tracks = snapshot.metadata().configuration.value("delta.enableRowTracking") == Some("true");
    let domain = snapshot.domains().get("delta.rowTracking");
    if !tracks && domain.is_none() {
        return None;
    }
    let parsed = domain.and_then(|d| serde_json::from_str::<serde_json::Value>(&d.configuration).ok());
    Some(parsed.and_then(|v| v.get("rowIdHighWaterMark")?.as_i64()).unwrap_or(-1))
}
