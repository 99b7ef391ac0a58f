//! One bucket of files: columns that stay as they are, and what has changed since.

use std::sync::Arc;

use super::columns::{Columns, ColumnsBuilder};
use super::view::FileView;
use crate::error::Result;
use crate::log::action::Add;
use crate::log::hash::StateHash;
use crate::log::limits::{OVERLAY_FILES_MIN, OVERLAY_SHARE_MAX};
use crate::log::sidecar::SidecarRef;

#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    base: Arc<Columns>,
    /// A bit for each row of `base` that is gone; empty when none is.
    removed: Vec<u64>,
    removed_count: usize,
    /// Files that are not in `base`, by hash, then path.
    added: Vec<(u64, Arc<Add>)>,
    /// Hash of the set of its files, and the sum of their sizes, which wraps: a commit may not exceed 63 bits.
    pub(crate) state: StateHash,
    pub(crate) bytes: u64,
    /// The sidecar that holds exactly its files.
    pub(crate) stored: Option<Arc<SidecarRef>>,
}

/// Where a bucket has a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found {
    Row(usize),
    Added(usize),
}

impl Bucket {
    pub(crate) fn empty() -> Self {
        Self::of(Arc::new(Columns::empty()), StateHash::EMPTY, 0, None)
    }

    pub(crate) fn of(
        base: Arc<Columns>,
        state: StateHash,
        bytes: u64,
        stored: Option<Arc<SidecarRef>>,
    ) -> Self {
        Self { base, removed: Vec::new(), removed_count: 0, added: Vec::new(), state, bytes, stored }
    }

    pub(crate) fn len(&self) -> usize {
        self.base.len() - self.removed_count + self.added.len()
    }

    fn is_removed(&self, row: usize) -> bool {
        self.removed.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    pub(crate) fn find(&self, hash: u64, path: &str) -> Option<Found> {
        if let Ok(at) = self.position(hash, path) {
            return Some(Found::Added(at));
        }
        self.base.find(hash, path).filter(|row| !self.is_removed(*row)).map(Found::Row)
    }

    fn position(&self, hash: u64, path: &str) -> std::result::Result<usize, usize> {
        self.added.binary_search_by(|(h, add)| (*h, &*add.path).cmp(&(hash, path)))
    }

    pub(crate) fn view(&self, found: Found) -> FileView<'_> {
        match found {
            Found::Row(row) => FileView::row(&self.base, row),
            Found::Added(at) => FileView::of(&self.added[at].1),
        }
    }

    /// Takes a file out that was found.
    pub(crate) fn remove(&mut self, found: Found) {
        let file = self.view(found);
        let (path, dv, size) = (file.path().to_owned(), file.dv_id(), file.size());
        self.state.remove(&path, dv.as_deref());
        self.bytes = self.bytes.wrapping_sub(size);
        self.stored = None;
        match found {
            Found::Added(at) => {
                self.added.remove(at);
            }
            Found::Row(row) => {
                if self.removed.is_empty() {
                    self.removed.resize(self.base.len().div_ceil(64), 0);
                }
                self.removed[row / 64] |= 1 << (row % 64);
                self.removed_count += 1;
            }
        }
    }

    /// Takes files in, in the order of hash, then path, none of which is there.
    pub(crate) fn add(&mut self, files: Vec<(u64, Arc<Add>)>) {
        for (_, add) in &files {
            self.state.add(&add.path, add.dv_id().as_deref());
            self.bytes = self.bytes.wrapping_add(add.size);
        }
        self.stored = None;
        if files.len() < 8 {
            for (hash, add) in files {
                let (Ok(at) | Err(at)) = self.position(hash, &add.path);
                self.added.insert(at, (hash, add));
            }
        } else {
            // A stable sort merges two sorted runs in one pass.
            self.added.extend(files);
            self.added.sort_by(|(h, a), (i, b)| (h, &a.path).cmp(&(i, &b.path)));
        }
    }

    /// All files, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = FileView<'_>> {
        let rows = (0..self.base.len()).filter(|row| !self.is_removed(*row));
        rows.map(|row| FileView::row(&self.base, row)).chain(self.added.iter().map(|(_, a)| FileView::of(a)))
    }

    /// All files as columns, whatever has changed.
    pub(crate) fn columns(&self) -> Result<Arc<Columns>> {
        if self.removed_count == 0 && self.added.is_empty() {
            return Ok(self.base.clone());
        }
        let names = self.added.iter().flat_map(|(_, a)| a.partition_values.iter().map(|(key, _)| key));
        let mut builder = ColumnsBuilder::new(self.base.partition_keys().chain(names), false);
        let hashes = self.base.hashes();
        let (mut rows, mut added) =
            ((0..hashes.len()).filter(|row| !self.is_removed(*row)).peekable(), self.added.iter().peekable());
        loop {
            let row_first = match (rows.peek(), added.peek()) {
                (Some(row), Some((hash, add))) => (hashes[*row], self.base.path(*row)) < (*hash, &*add.path),
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            if row_first && let Some(row) = rows.next() {
                builder.push(hashes[row], FileView::row(&self.base, row), false)?;
            } else if let Some((hash, add)) = added.next() {
                builder.push(*hash, FileView::of(add), false)?;
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Puts everything in columns once more than a share has changed.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let changes = self.removed_count + self.added.len();
        if changes > OVERLAY_FILES_MIN.max((self.len() as f64 * OVERLAY_SHARE_MAX) as usize) {
            *self = Self::of(self.columns()?, self.state, self.bytes, self.stored.take());
        }
        Ok(())
    }

    /// The files with hashes below `middle`, and the others.
    pub(crate) fn split(&self, middle: u64) -> Result<(Bucket, Bucket)> {
        let columns = self.columns()?;
        let at = columns.start_of(middle);
        let half = |rows| {
            let part = columns.slice(rows);
            let mut state = StateHash::EMPTY;
            for row in 0..part.len() {
                let file = FileView::row(&part, row);
                state.add(file.path(), file.dv_id().as_deref());
            }
            let bytes = part.total_size();
            Self::of(Arc::new(part), state, bytes, None)
        };
        Ok((half(0..at), half(at..columns.len())))
    }

    /// Hash of the set of its files, computed anew.
    pub(crate) fn recomputed_state(&self) -> StateHash {
        let mut state = StateHash::EMPTY;
        self.iter().for_each(|file| state.add(file.path(), file.dv_id().as_deref()));
        state
    }
}
