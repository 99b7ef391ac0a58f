//! A disk in memory that remembers what is durable, so that it can lose power.
//!
//! Two states are kept of everything: what a running process sees, and what survives a crash for sure. A sync moves
//! the first into the second. [`SimDisk::crash`] builds a disk as it might be found afterwards: every write since the
//! last sync may be there, be missing, or be there in part (whole sectors); entries of folders may be missing from
//! some point on, in the order they were made, as with a journalling file system.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::Errno;
use super::file::FileId;
use super::rng::Rng;

/// A disk writes this many bytes or none of them.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

#[derive(Clone, Debug, Default)]
struct Contents {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    modified_ns: i64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link { path: PathBuf, inode: u64 },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Link { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            NameChange::Remove { path } => {
                names.remove(path);
            }
        }
    }

    fn is_in(&self, folder: &Path) -> bool {
        let (NameChange::Link { path, .. }
        | NameChange::Rename { to: path, .. }
        | NameChange::Remove { path }) = self;
        path.parent() == Some(folder)
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    files: BTreeMap<u64, Contents>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    unsynced_names: Vec<NameChange>,
    inodes: u64,
    clock_ns: i64,
    capacity: Option<u64>,
}

/// The disk; clones share it, so that devices on several threads see the same files and a later one finds them again.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// An empty disk without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits the bytes that all files together may have; writes beyond answer ENOSPC.
    pub fn limit(&self, bytes: u64) {
        self.0.lock().capacity = Some(bytes);
    }

    /// Makes a file, or replaces its contents in place, durably: what another process would do under a reader.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.0.lock();
        let inode = state.names.get(path).copied().unwrap_or_else(|| state.link(path));
        let modified_ns = state.tick();
        let contents =
            Contents { seen: bytes.to_vec(), durable: bytes.to_vec(), unsynced: Vec::new(), modified_ns };
        state.files.insert(inode, contents);
        state.durable_names.insert(path.to_owned(), inode);
        state
            .unsynced_names
            .retain(|change| !matches!(change, NameChange::Link { path: p, .. } if p == path));
    }

    /// The contents of a file as a process sees them, if there is one.
    pub fn get(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.lock();
        state.files.get(state.names.get(path)?).map(|c| c.seen.clone())
    }

    /// The paths of all files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// Takes a name away, as another process would.
    pub fn unlink(&self, path: &Path) {
        // A file that is not there is as gone as it gets.
        let _ = self.remove(path);
    }

    /// The disk as it may be found after losing power now. Each seed is another way to lose it.
    pub fn crash(&self, seed: u64) -> SimDisk {
        let state = self.0.lock();
        let mut rng = Rng::new(seed);
        let mut names = state.durable_names.clone();
        let kept = rng.below(state.unsynced_names.len() as u64 + 1) as usize;
        for change in &state.unsynced_names[..kept] {
            change.apply(&mut names);
        }
        let mut files = BTreeMap::new();
        for &inode in names.values() {
            let Some(contents) = state.files.get(&inode) else { continue };
            let mut bytes = contents.durable.clone();
            for change in &contents.unsynced {
                tear(&mut bytes, change, &mut rng);
            }
            let modified_ns = contents.modified_ns;
            files.insert(
                inode,
                Contents { seen: bytes.clone(), durable: bytes, unsynced: Vec::new(), modified_ns },
            );
        }
        SimDisk(Arc::new(Mutex::new(State {
            files,
            durable_names: names.clone(),
            names,
            unsynced_names: Vec::new(),
            inodes: state.inodes,
            clock_ns: state.clock_ns,
            capacity: state.capacity,
        })))
    }

    pub(crate) fn open(&self, path: &Path) -> Result<(u64, FileId), Errno> {
        let state = self.0.lock();
        let &inode = state.names.get(path).ok_or(Errno(libc::ENOENT))?;
        Ok((inode, state.id(inode)?))
    }

    pub(crate) fn create(&self, path: &Path) -> Result<(u64, FileId), Errno> {
        let mut state = self.0.lock();
        if state.names.contains_key(path) {
            return Err(Errno(libc::EEXIST));
        }
        let inode = state.link(path);
        let modified_ns = state.tick();
        state.files.insert(inode, Contents { modified_ns, ..Contents::default() });
        Ok((inode, state.id(inode)?))
    }

    pub(crate) fn identity(&self, inode: u64) -> Result<FileId, Errno> {
        self.0.lock().id(inode)
    }

    /// Copies what the file has at `offset` into `into`; fewer bytes at its end.
    pub(crate) fn read(&self, inode: u64, offset: u64, into: &mut [u8]) -> Result<usize, Errno> {
        let state = self.0.lock();
        let contents = state.files.get(&inode).ok_or(Errno(libc::EBADF))?;
        let available = contents.seen.get(offset as usize..).unwrap_or(&[]);
        let len = available.len().min(into.len());
        into[..len].copy_from_slice(&available[..len]);
        Ok(len)
    }

    pub(crate) fn write(&self, inode: u64, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let mut state = self.0.lock();
        let modified_ns = state.tick();
        let used: u64 = state.files.values().map(|c| c.seen.len() as u64).sum();
        let capacity = state.capacity.unwrap_or(u64::MAX);
        let contents = state.files.get_mut(&inode).ok_or(Errno(libc::EBADF))?;
        let growth = (offset + bytes.len() as u64).saturating_sub(contents.seen.len() as u64);
        if used + growth > capacity {
            return Err(Errno(libc::ENOSPC));
        }
        let change = Change::Write { offset, bytes: bytes.to_vec() };
        apply(&mut contents.seen, &change);
        contents.unsynced.push(change);
        contents.modified_ns = modified_ns;
        Ok(bytes.len())
    }

    pub(crate) fn set_len(&self, inode: u64, len: u64) -> Result<(), Errno> {
        let mut state = self.0.lock();
        let modified_ns = state.tick();
        let contents = state.files.get_mut(&inode).ok_or(Errno(libc::EBADF))?;
        apply(&mut contents.seen, &Change::SetLen(len));
        contents.unsynced.push(Change::SetLen(len));
        contents.modified_ns = modified_ns;
        Ok(())
    }

    pub(crate) fn sync(&self, inode: u64) -> Result<(), Errno> {
        let mut state = self.0.lock();
        let contents = state.files.get_mut(&inode).ok_or(Errno(libc::EBADF))?;
        for change in contents.unsynced.drain(..) {
            apply(&mut contents.durable, &change);
        }
        Ok(())
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        let mut state = self.0.lock();
        if !state.names.contains_key(from) {
            return Err(Errno(libc::ENOENT));
        }
        state.change_names(NameChange::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    pub(crate) fn remove(&self, path: &Path) -> Result<(), Errno> {
        let mut state = self.0.lock();
        if !state.names.contains_key(path) {
            return Err(Errno(libc::ENOENT));
        }
        state.change_names(NameChange::Remove { path: path.to_owned() });
        Ok(())
    }

    pub(crate) fn sync_folder(&self, folder: &Path) {
        let mut state = self.0.lock();
        // A journal commits in order: everything up to the folder's last change goes with it.
        let upto = state.unsynced_names.iter().rposition(|c| c.is_in(folder)).map_or(0, |last| last + 1);
        let committed: Vec<NameChange> = state.unsynced_names.drain(..upto).collect();
        for change in committed {
            change.apply(&mut state.durable_names);
        }
    }
}

impl State {
    fn tick(&mut self) -> i64 {
        self.clock_ns += 1;
        self.clock_ns
    }

    fn link(&mut self, path: &Path) -> u64 {
        self.inodes += 1;
        let inode = self.inodes;
        self.change_names(NameChange::Link { path: path.to_owned(), inode });
        inode
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    fn id(&self, inode: u64) -> Result<FileId, Errno> {
        let contents = self.files.get(&inode).ok_or(Errno(libc::EBADF))?;
        Ok(FileId { device: 0, inode, len: contents.seen.len() as u64, modified_ns: contents.modified_ns })
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes: new } => {
            let start = *offset as usize;
            if bytes.len() < start + new.len() {
                bytes.resize(start + new.len(), 0);
            }
            bytes[start..start + new.len()].copy_from_slice(new);
        }
        Change::SetLen(len) => bytes.resize(*len as usize, 0),
    }
}

/// Applies an unsynced change wholly, partly or not at all.
fn tear(bytes: &mut Vec<u8>, change: &Change, rng: &mut Rng) {
    match (rng.below(3), change) {
        (0, _) => {}
        (1, Change::Write { offset, bytes: new }) => {
            for (index, sector) in new.chunks(SECTOR).enumerate() {
                if rng.below(2) == 0 {
                    let offset = offset + (index * SECTOR) as u64;
                    apply(bytes, &Change::Write { offset, bytes: sector.to_vec() });
                }
            }
        }
        _ => apply(bytes, change),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_survives_and_unsynced_may_not() {
        let disk = SimDisk::new();
        let (path, folder) = (Path::new("/d/a"), Path::new("/d"));
        let (inode, _) = disk.create(path).unwrap();
        disk.write(inode, 0, &[1; 2048]).unwrap();
        disk.sync(inode).unwrap();
        disk.sync_folder(folder);
        disk.write(inode, 0, &[2; 2048]).unwrap();
        let outcomes: Vec<Vec<u8>> = (0..200).map(|seed| disk.crash(seed).get(path).unwrap()).collect();
        assert!(outcomes.contains(&vec![1; 2048]), "lost");
        assert!(outcomes.contains(&vec![2; 2048]), "kept");
        assert!(outcomes.iter().any(|o| o.contains(&1) && o.contains(&2)), "torn");
        assert!(outcomes.iter().all(|o| o.chunks(512).all(|s| s.iter().all(|b| *b == s[0]))), "by sectors");
        disk.sync(inode).unwrap();
        assert!((0..200).all(|seed| disk.crash(seed).get(path).unwrap() == vec![2; 2048]));
    }

    #[test]
    fn names_are_lost_from_some_point_on() {
        let disk = SimDisk::new();
        for name in ["/d/a", "/d/b"] {
            disk.create(Path::new(name)).unwrap();
        }
        let mut seen = [false; 3];
        for seed in 0..100 {
            let after = disk.crash(seed);
            let (a, b) = (after.get(Path::new("/d/a")).is_some(), after.get(Path::new("/d/b")).is_some());
            assert!(a || !b, "the later name cannot survive the earlier one");
            seen[usize::from(a) + usize::from(b)] = true;
        }
        assert_eq!(seen, [true; 3]);
        disk.sync_folder(Path::new("/d"));
        assert!((0..50).all(|seed| disk.crash(seed).paths().len() == 2));
    }
}
