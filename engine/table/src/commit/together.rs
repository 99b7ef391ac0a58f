//! Transactions of several tables as one: all of them become versions, or none does.
//!
//! How their versions come to stand at once is [`store::together`](crate::log::store::together)'s. Here every table is kept from others' commits,
//! every transaction is checked against what won, and the versions are sealed before the first of them is written.

use std::path::Path;

use super::queue::{Committed, Committer, Pending, Sealed, Sealing};
use crate::deletion_vector::VectorFile;
use crate::error::{Result, TableError};
use crate::log::store::together::{Together, seen_from};
use crate::log::{LocalStore, SealedCommit};
use crate::version::Version;

/// How often other writers may get in between, which only those can that do not know of the lock.
const ATTEMPTS_MAX: usize = 10;

/// A transaction, and where it commits. One that writes nothing is only checked.
pub(crate) struct Member<'a> {
    pub(crate) table: &'a Path,
    pub(crate) committer: &'a Committer,
    pub(crate) store: &'a LocalStore,
    pub(crate) pending: &'a Pending,
    pub(crate) writes: bool,
}

/// Commits transactions of different tables; returns when all of them are durable. In the order of `members`; none for one that writes nothing.
///
/// # Errors
/// [`TableError::Conflict`] when one can't be put on top of what others have committed, else when the medium fails: then none is committed,
/// unless the error is [`TableError::OutcomeUnknown`].
pub(crate) fn commit_together(members: &[Member<'_>]) -> Result<Vec<Option<Committed>>> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    // In one order for everybody: nobody waits for somebody who waits for them.
    order.sort_by_key(|at| members[*at].table);
    if let Some(twice) = order.windows(2).find(|pair| members[pair[0]].table == members[pair[1]].table) {
        let place = members[twice[0]].table.display();
        return Err(TableError::invalid(
            "committing together",
            format!("two transactions are of the table in {place}"),
        ));
    }
    for _ in 0..ATTEMPTS_MAX {
        let locks = order.iter().map(|at| members[*at].store.lock_commits()).collect::<Result<Vec<_>>>()?;
        if let Some(done) = attempt(members, &order)? {
            drop(locks);
            return Ok(done);
        }
    }
    Err(TableError::invalid(
        "committing together",
        "another writer commits without the lock that this version of DeltaLite takes; end it, and try again",
    ))
}

/// One attempt; `None` if somebody took a version nevertheless.
fn attempt(members: &[Member<'_>], order: &[usize]) -> Result<Option<Vec<Option<Committed>>>> {
    let mut done: Vec<Option<Committed>> = members.iter().map(|_| None).collect();
    let mut writing = Vec::new();
    for &at in order {
        let member = &members[at];
        let tip = member.committer.refresh()?;
        // What is sealed here is not used: it tells who has to write, and so who decides.
        match member.committer.seal_one(member.pending, &tip, &[], &mut VectorFile::default())? {
            Sealing::Already(version) => {
                done[at] = Some(Committed { version, snapshot: tip, already: true });
            }
            Sealing::Sealed(..) if member.writes => writing.push((at, tip)),
            Sealing::Sealed(..) => {}
        }
    }
    let together = match writing.as_slice() {
        [] => return Ok(Some(done)),
        [_] => None,
        [(decider, tip), ..] => {
            Some((members[*decider].table, tip.version().next(), uuid::Uuid::new_v4().to_string()))
        }
    };
    let mut sealed: Vec<(usize, Sealed)> = Vec::with_capacity(writing.len());
    let mut written = Secured { members, vectors: Vec::new() };
    for (at, tip) in writing {
        let member = &members[at];
        let mut pending = member.pending.clone();
        if let Some((decider, version, id)) = &together {
            let tables = order.iter().filter(|at| members[**at].writes);
            let note = Together {
                id: id.clone(),
                decider: seen_from(member.table, decider),
                version: *version,
                tables: tables.map(|at| seen_from(member.table, members[*at].table)).collect(),
            };
            note.note(&mut pending.info);
        }
        let mut vectors = VectorFile::default();
        let Sealing::Sealed(commit, summary) =
            member.committer.seal_one(&pending, &tip, &[], &mut vectors)?
        else {
            return Ok(None);
        };
        let one = Sealed { ticket: 0, pending, commit: *commit, summary };
        let mut vectors_at = None;
        let secured = member.committer.secure(std::slice::from_ref(&one), vectors, &mut vectors_at);
        written.vectors.extend(vectors_at.map(|path| (at, path)));
        secured?;
        SealedCommit::put_sidecars(member.store, std::slice::from_ref(&one.commit))?;
        sealed.push((at, one));
    }
    if !put(members, &sealed)? {
        return Ok(None);
    }
    for (at, one) in sealed {
        let committed = members[at].committer.sealed_stands(one);
        done[at] = Some(committed);
    }
    drop(written);
    Ok(Some(done))
}

/// Files of deletion vectors that versions are about to refer to.
struct Secured<'a, 'b> {
    members: &'a [Member<'b>],
    vectors: Vec<(usize, std::path::PathBuf)>,
}

impl Drop for Secured<'_, '_> {
    fn drop(&mut self) {
        for (at, path) in &self.vectors {
            self.members[*at].committer.forget_in_flight(path);
        }
    }
}

/// Puts the versions; the first decides. `false` if its version was taken.
fn put(members: &[Member<'_>], sealed: &[(usize, Sealed)]) -> Result<bool> {
    let Some(((first, decider), others)) = sealed.split_first() else { return Ok(true) };
    let store = members[*first].store;
    let version = |one: &Sealed| one.commit.info().version;
    if others.is_empty() {
        return Ok(store.put_locked(std::slice::from_ref(decider.commit.section()))?.taken.is_none());
    }
    // The one that decides is prepared as well: as long as its mark is there, somebody may still have to look at the decision.
    let mut prepared: Vec<(usize, Version)> = Vec::new();
    let forget = |prepared: &[(usize, Version)]| {
        for (at, version) in prepared {
            if let Err(error) = members[*at].store.forget_prepared(*version) {
                // Whoever comes next finds it undecided, and does it.
                tracing::warn!(%error, table = %members[*at].table.display(), "could not remove a prepared version");
            }
        }
    };
    for (at, one) in sealed {
        prepared.push((*at, version(one)));
        if let Err(error) = members[*at].store.prepare(one.commit.section()) {
            forget(&prepared);
            return Err(error);
        }
    }
    match store.put_locked(std::slice::from_ref(decider.commit.section())) {
        Ok(put) if put.taken.is_none() => {}
        Err(error @ TableError::OutcomeUnknown { .. }) => return Err(error),
        Ok(_) => {
            forget(&prepared);
            return Ok(false);
        }
        Err(error) => {
            forget(&prepared);
            return Err(error);
        }
    }
    // All of them stand now, whatever becomes of the rest: readers look at the decision, and the next writer publishes.
    let mut all = true;
    for (at, one) in others {
        if let Err(error) = members[*at].store.publish(version(one)) {
            all = false;
            tracing::warn!(%error, table = %members[*at].table.display(), "could not publish a version; the next writer will");
        }
    }
    if all {
        forget(&prepared[..1]);
    }
    Ok(true)
}
