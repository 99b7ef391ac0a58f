//! All live files of a version.

use std::sync::Arc;

use super::bucket::Bucket;
use super::columns::Columns;
use super::view::FileView;
use crate::error::{Result, TableError};
use crate::log::action::{Add, Remove};
use crate::log::hash::{StateHash, path_hash};
use crate::log::limits::{BUCKET_BITS_MAX, BUCKET_FILES_MAX};
use crate::log::sidecar::SidecarRef;
use crate::version::Version;

/// The live files of a version.
///
/// A file is in the bucket that the leading bits of its path's hash say. Versions share buckets: a clone costs a pointer a bucket,
/// and a commit copies the changes of those it touches.
#[derive(Debug, Clone)]
pub struct FileSet {
    bits: u8,
    buckets: Vec<Arc<Bucket>>,
}

impl Default for FileSet {
    fn default() -> Self {
        Self { bits: 0, buckets: vec![Arc::new(Bucket::empty())] }
    }
}

impl FileSet {
    /// The set that sidecars hold, each of a bucket of `2^bits`.
    pub(crate) fn of_sidecars(bits: u8, sidecars: Vec<(SidecarRef, Columns)>) -> Result<Self> {
        let mut buckets: Vec<_> = (0..1usize << bits).map(|_| Arc::new(Bucket::empty())).collect();
        for (sidecar, columns) in sidecars {
            let bad = |detail: &str| TableError::corrupt(sidecar.file(), detail.to_owned());
            let bucket =
                sidecar.bucket.ok_or_else(|| bad("a checkpoint refers to it without saying its bucket"))?;
            let place = buckets
                .get_mut(bucket as usize)
                .ok_or_else(|| bad("it is of a bucket that the checkpoint does not have"))?;
            if place.len() > 0 {
                return Err(bad("a bucket has two sidecars"));
            }
            let here = |hash: &u64| bucket_of(bits, *hash) == bucket as usize;
            if !columns.hashes().first().is_none_or(here) || !columns.hashes().last().is_none_or(here) {
                return Err(bad("it holds files of another bucket"));
            }
            let (state, bytes) = (sidecar.state, sidecar.size_of_files);
            *place = Arc::new(Bucket::of(Arc::new(columns), state, bytes, Some(Arc::new(sidecar))));
        }
        Ok(Self { bits, buckets })
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.buckets.iter().map(|b| b.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sum of their sizes in bytes.
    pub fn size_in_bytes(&self) -> u64 {
        self.buckets.iter().fold(0, |sum: u64, b| sum.wrapping_add(b.bytes))
    }

    /// Hash of the set of `(path, deletion vector)`.
    pub fn state(&self) -> StateHash {
        let mut state = StateHash::EMPTY;
        self.buckets.iter().for_each(|b| state.join(&b.state));
        state
    }

    /// The same computed from the files themselves, for verification.
    pub fn recomputed_state(&self) -> StateHash {
        let mut state = StateHash::EMPTY;
        self.buckets.iter().for_each(|b| state.join(&b.recomputed_state()));
        state
    }

    /// All files, in no order.
    pub fn iter(&self) -> impl Iterator<Item = FileView<'_>> {
        self.buckets.iter().flat_map(|b| b.iter())
    }

    /// The file with a path as written in the log.
    pub fn get(&self, path: &str) -> Option<FileView<'_>> {
        let hash = path_hash(path);
        let bucket = &self.buckets[bucket_of(self.bits, hash)];
        bucket.find(hash, path).map(|found| bucket.view(found))
    }

    pub(crate) fn bits(&self) -> u8 {
        self.bits
    }

    pub(crate) fn buckets(&self) -> &[Arc<Bucket>] {
        &self.buckets
    }

    pub(crate) fn replace(&mut self, bucket: usize, with: Bucket) {
        self.buckets[bucket] = Arc::new(with);
    }

    /// Takes out and in what a version does. After an error the set is spoilt.
    pub(crate) fn apply(&mut self, version: Version, removes: &[Remove], adds: Vec<Add>) -> Result<()> {
        let wrong = |detail: String| TableError::Inconsistent { version, detail };
        for remove in removes {
            let hash = path_hash(&remove.path);
            let bucket = &mut self.buckets[bucket_of(self.bits, hash)];
            let found = bucket
                .find(hash, &remove.path)
                .ok_or_else(|| wrong(format!("it removes {}, which is no live file", remove.path)))?;
            let (live, gone) = (bucket.view(found).dv_id(), remove.dv_id());
            if live != gone {
                return Err(wrong(format!(
                    "it removes {} with deletion vector {}, which is live with {}",
                    remove.path,
                    name_dv(gone.as_deref()),
                    name_dv(live.as_deref())
                )));
            }
            Arc::make_mut(bucket).remove(found);
        }
        let mut adds: Vec<(u64, Arc<Add>)> =
            adds.into_iter().map(|a| (path_hash(&a.path), Arc::new(a))).collect();
        adds.sort_unstable_by(|(h, a), (i, b)| (h, &a.path).cmp(&(i, &b.path)));
        if let Some(twice) = adds.windows(2).find(|w| w[0].1.path == w[1].1.path) {
            return Err(wrong(format!("it adds {} twice", twice[0].1.path)));
        }
        let mut touched: Vec<usize> =
            removes.iter().map(|r| bucket_of(self.bits, path_hash(&r.path))).collect();
        let mut adds = adds.into_iter().peekable();
        while let Some((hash, _)) = adds.peek() {
            let at = bucket_of(self.bits, *hash);
            let mut here = Vec::new();
            while let Some(add) = adds.next_if(|(hash, _)| bucket_of(self.bits, *hash) == at) {
                here.push(add);
            }
            self.add_to(at, here, &wrong)?;
            touched.push(at);
        }
        touched.sort_unstable();
        touched.dedup();
        for at in touched {
            Arc::make_mut(&mut self.buckets[at]).settle()?;
        }
        while self.bits < BUCKET_BITS_MAX && self.len() > BUCKET_FILES_MAX << self.bits {
            self.split()?;
        }
        Ok(())
    }

    fn add_to(
        &mut self,
        at: usize,
        adds: Vec<(u64, Arc<Add>)>,
        wrong: &dyn Fn(String) -> TableError,
    ) -> Result<()> {
        let bucket = Arc::make_mut(&mut self.buckets[at]);
        for (hash, add) in &adds {
            let Some(found) = bucket.find(*hash, &add.path) else { continue };
            let (live, new) = (bucket.view(found).dv_id(), add.dv_id());
            if live != new {
                return Err(wrong(format!(
                    "it adds {} with deletion vector {} without removing it with {}",
                    add.path,
                    name_dv(new.as_deref()),
                    name_dv(live.as_deref())
                )));
            }
            // The same file said again, with other statistics or tags.
            bucket.remove(found);
        }
        bucket.add(adds);
        Ok(())
    }

    /// Twice as many buckets.
    fn split(&mut self) -> Result<()> {
        let mut halves = Vec::with_capacity(2 * self.buckets.len());
        for (i, bucket) in self.buckets.iter().enumerate() {
            let middle = (2 * i as u64 + 1) << (63 - self.bits);
            let (low, high) = bucket.split(middle)?;
            halves.extend([Arc::new(low), Arc::new(high)]);
        }
        self.bits += 1;
        self.buckets = halves;
        Ok(())
    }
}

fn bucket_of(bits: u8, hash: u64) -> usize {
    hash.checked_shr(64 - u32::from(bits)).unwrap_or(0) as usize
}

fn name_dv(id: Option<&str>) -> &str {
    id.unwrap_or("none")
}
