//! A file system in memory for tests: it records every call, fails on demand, and shows the states a crash could leave.
//!
//! What a crash keeps, as `docs/log.md`, "The medium", has it:
//!
//! * of a file, what was synced; of what was appended since, nothing, everything, or a beginning in which parts may read as zeros;
//! * of a folder, the names as they were when it was last synced, with any subset of the links, renames and removals since,
//!   whatever their order; a rename happens whole or not at all;
//! * folders themselves, as soon as they are made.
//!
//! ```
//! use std::path::Path;
//! use deltalite_table::log::store::Disk;
//! use deltalite_table::log::store::sim::SimDisk;
//!
//! let disk = SimDisk::new();
//! disk.create_folder(Path::new("/t"))?;
//! disk.create(Path::new("/t/a"))?.append(b"xy")?;
//! // The name may be there or not; if it is, the file may be empty, torn or whole.
//! let states = disk.crash_states(disk.position(), 100, 1);
//! assert!(states.iter().any(|s| s.identity(Path::new("/t/a")).unwrap().is_none()));
//! assert!(states.iter().any(|s| s.read(Path::new("/t/a"), 9).is_ok_and(|b| b.as_slice() == b"xy")));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_buffer::Buffer;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::{Disk, DiskFile, FileIdentity, Lock};

/// Unit in which a torn write can lose bytes.
const SECTOR_BYTES: usize = 512;

/// A kind of call, to make one fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Making a file.
    Create,
    /// Adding bytes to a file.
    Append,
    /// Syncing a file.
    Sync,
    /// Linking.
    Link,
    /// Renaming.
    Rename,
    /// Removing a name.
    Unlink,
    /// Syncing a folder.
    SyncFolder,
    /// Asking which file has a name.
    Identity,
}

/// A call that is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which kind of call.
    pub call: Call,
    /// How many calls of the kind go well before.
    pub after: usize,
    /// Whether the call does what it should nevertheless.
    pub applied: bool,
}

type Inode = usize;

/// A change of names in one folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum NameOp {
    Bind { path: PathBuf, inode: Inode },
    Move { from: PathBuf, to: PathBuf, inode: Inode },
    Drop { path: PathBuf },
}

#[derive(Debug, Clone)]
enum Op {
    Append { inode: Inode, len: usize },
    Sync { inode: Inode },
    Name(NameOp),
    SyncFolder { path: PathBuf },
    Folder { path: PathBuf },
}

#[derive(Debug, Clone, Default)]
struct Names(BTreeMap<PathBuf, Inode>);

impl Names {
    fn apply(&mut self, op: &NameOp) {
        match op {
            NameOp::Bind { path, inode } => {
                self.0.insert(path.clone(), *inode);
            }
            NameOp::Move { from, to, inode } => {
                self.0.remove(from);
                self.0.insert(to.clone(), *inode);
            }
            NameOp::Drop { path } => {
                self.0.remove(path);
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// What was there at the beginning, all of it durable.
    first_names: Names,
    first_lens: Vec<usize>,
    first_folders: BTreeSet<PathBuf>,
    /// What is there now.
    names: Names,
    contents: Vec<Vec<u8>>,
    folders: BTreeSet<PathBuf>,
    ops: Vec<Op>,
    faults: Vec<Fault>,
}

/// What had not been synced at some position.
struct Pending {
    durable: Names,
    names: Vec<NameOp>,
    /// By file: bytes synced, and bytes written.
    lens: Vec<(usize, usize)>,
    folders: BTreeSet<PathBuf>,
}

/// A simulated file system. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of changing calls recorded so far: a position to crash at.
    pub fn position(&self) -> usize {
        self.state.lock().ops.len()
    }

    /// How often files and folders were synced.
    pub fn syncs(&self) -> usize {
        let state = self.state.lock();
        state.ops.iter().filter(|op| matches!(op, Op::Sync { .. } | Op::SyncFolder { .. })).count()
    }

    /// Makes calls fail. Faults are met independently of each other, each once.
    pub fn fail(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// File systems as a crash after `position` calls could leave them: all there are if they are at most `max`, else `max` drawn by
    /// `seed`, among them the one that keeps nothing and the one that keeps everything. No two are equal.
    pub fn crash_states(&self, position: usize, max: usize, seed: u64) -> Vec<SimDisk> {
        let state = self.state.lock();
        let pending = state.pending(position);
        // Files whose contents are in doubt and that some name may lead to.
        let reachable: HashSet<Inode> = pending
            .durable
            .0
            .values()
            .copied()
            .chain(pending.names.iter().filter_map(|op| match op {
                NameOp::Bind { inode, .. } | NameOp::Move { inode, .. } => Some(*inode),
                NameOp::Drop { .. } => None,
            }))
            .collect();
        let torn: Vec<Inode> = (0..pending.lens.len())
            .filter(|i| reachable.contains(i) && pending.lens[*i].0 < pending.lens[*i].1)
            .collect();
        let choices = |i: usize| if i < pending.names.len() { 2u64 } else { 3 };
        let dimensions = pending.names.len() + torn.len();
        let count = (0..dimensions).try_fold(1u64, |n, i| n.checked_mul(choices(i)));
        let mut rng = StdRng::seed_from_u64(seed ^ position as u64);
        let exhaustive = count.is_some_and(|n| n <= max as u64);
        let draws = if exhaustive { count.unwrap_or(1) } else { 4 * max as u64 };
        let (mut seen, mut out) = (HashSet::new(), Vec::new());
        for draw in 0..draws {
            let mut rest = draw;
            let mut choose = |i: usize| match (exhaustive, draw) {
                (true, _) => {
                    let n = choices(i);
                    let chosen = rest % n;
                    rest /= n;
                    chosen
                }
                (false, 0) => 0,
                (false, 1) => 1,
                _ => rng.random_range(0..choices(i)),
            };
            let mut names = pending.durable.clone();
            for (i, op) in pending.names.iter().enumerate() {
                if choose(i) == 1 {
                    names.apply(op);
                }
            }
            let kept: Vec<u64> = (0..torn.len()).map(|i| choose(pending.names.len() + i)).collect();
            let mut contents: Vec<Vec<u8>> =
                pending.lens.iter().zip(&state.contents).map(|(len, all)| all[..len.1].to_vec()).collect();
            for (inode, kept) in torn.iter().zip(kept) {
                let (synced, written) = pending.lens[*inode];
                match kept {
                    0 => contents[*inode].truncate(synced),
                    1 => {}
                    _ => tear(&mut contents[*inode], synced, written, &mut rng),
                }
            }
            let disk = SimDisk::settled(&names, &contents, &pending.folders);
            if seen.insert(disk.digest()) {
                out.push(disk);
            }
            if out.len() == max {
                break;
            }
        }
        out
    }

    /// A file system in which all this is durable.
    fn settled(names: &Names, contents: &[Vec<u8>], folders: &BTreeSet<PathBuf>) -> SimDisk {
        let mut renumbered: BTreeMap<Inode, Inode> = BTreeMap::new();
        let mut kept: Vec<Vec<u8>> = Vec::new();
        let mut settled = Names::default();
        for (path, inode) in &names.0 {
            let next = kept.len();
            let inode = *renumbered.entry(*inode).or_insert_with(|| {
                kept.push(contents[*inode].clone());
                next
            });
            settled.0.insert(path.clone(), inode);
        }
        let state = State {
            first_names: settled.clone(),
            first_lens: kept.iter().map(Vec::len).collect(),
            first_folders: folders.clone(),
            names: settled,
            contents: kept,
            folders: folders.clone(),
            ops: Vec::new(),
            faults: Vec::new(),
        };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Equal for equal file systems.
    fn digest(&self) -> u64 {
        let state = self.state.lock();
        let mut hasher = DefaultHasher::new();
        state.names.0.hash(&mut hasher);
        state.contents.hash(&mut hasher);
        state.folders.hash(&mut hasher);
        hasher.finish()
    }

    /// Replaces a file's contents behind everybody's back, as a failing disk does. Other links see it too.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.inode(path)?;
        bytes.clone_into(&mut state.contents[inode]);
        Ok(())
    }

    /// Every file's path, in order.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state.lock().names.0.keys().cloned().collect()
    }

    /// A copy with no memory of the past: everything in it is durable.
    pub fn snapshot(&self) -> SimDisk {
        let state = self.state.lock();
        Self::settled(&state.names, &state.contents, &state.folders)
    }
}

/// Keeps a beginning of what was not synced; sectors in it may be zeros.
fn tear(bytes: &mut Vec<u8>, synced: usize, written: usize, rng: &mut StdRng) {
    let end = rng.random_range(synced..=written);
    bytes.truncate(end);
    for sector in bytes[synced..].chunks_mut(SECTOR_BYTES) {
        if rng.random_bool(0.3) {
            sector.fill(0);
        }
    }
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

impl State {
    fn inode(&self, path: &Path) -> io::Result<Inode> {
        self.names.0.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn need_folder(&self, path: &Path) -> io::Result<()> {
        if self.folders.contains(path) { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
    }

    /// Does a call, or makes it fail.
    fn call(&mut self, call: Call, effect: impl FnOnce(&mut Self)) -> io::Result<()> {
        let fault = self.faults.iter().position(|f| f.call == call && f.after == 0);
        for f in self.faults.iter_mut().filter(|f| f.call == call && f.after > 0) {
            f.after -= 1;
        }
        let fault = fault.map(|at| self.faults.remove(at));
        if fault.is_none_or(|f| f.applied) {
            effect(self);
        }
        fault.map_or(Ok(()), |f| Err(io::Error::other(format!("injected fault: {:?}", f.call))))
    }

    fn name(&mut self, op: NameOp) {
        self.names.apply(&op);
        self.ops.push(Op::Name(op));
    }

    fn pending(&self, position: usize) -> Pending {
        let mut durable = self.first_names.clone();
        let mut names: Vec<NameOp> = Vec::new();
        let mut lens: Vec<(usize, usize)> = self.first_lens.iter().map(|l| (*l, *l)).collect();
        lens.resize(self.contents.len(), (0, 0));
        let mut folders = self.first_folders.clone();
        for op in &self.ops[..position.min(self.ops.len())] {
            match op {
                Op::Append { inode, len } => lens[*inode].1 += len,
                Op::Sync { inode } => lens[*inode].0 = lens[*inode].1,
                Op::Name(op) => names.push(op.clone()),
                Op::SyncFolder { path } => {
                    let here = |p: &Path| folder_of(p) == *path;
                    names.retain(|op| {
                        let synced = match op {
                            NameOp::Bind { path, .. } | NameOp::Drop { path } => here(path),
                            NameOp::Move { from, to, .. } => here(from) || here(to),
                        };
                        if synced {
                            durable.apply(op);
                        }
                        !synced
                    });
                }
                Op::Folder { path } => {
                    folders.insert(path.clone());
                }
            }
        }
        Pending { durable, names, lens, folders }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: Inode,
    failed: bool,
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let inode = self.inode;
        self.disk.state.lock().call(Call::Append, |s| {
            s.contents[inode].extend_from_slice(bytes);
            s.ops.push(Op::Append { inode, len: bytes.len() });
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        assert!(!self.failed, "a file was synced again after a failed sync");
        let inode = self.inode;
        let done = self.disk.state.lock().call(Call::Sync, |s| s.ops.push(Op::Sync { inode }));
        self.failed = done.is_err();
        done
    }
}

impl Disk for SimDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        for folder in path.ancestors() {
            if state.folders.insert(folder.to_owned()) {
                state.ops.push(Op::Folder { path: folder.to_owned() });
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.need_folder(&folder_of(path))?;
        if state.names.0.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let inode = state.contents.len();
        state.call(Call::Create, |s| {
            s.contents.push(Vec::new());
            s.name(NameOp::Bind { path: path.to_owned(), inode });
        })?;
        Ok(Box::new(SimFile { disk: self.clone(), inode, failed: false }))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.need_folder(&folder_of(to))?;
        let inode = state.inode(from)?;
        if state.names.0.contains_key(to) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.call(Call::Link, |s| s.name(NameOp::Bind { path: to.to_owned(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.need_folder(&folder_of(to))?;
        let inode = state.inode(from)?;
        state.call(Call::Rename, |s| {
            s.name(NameOp::Move { from: from.to_owned(), to: to.to_owned(), inode });
        })
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.inode(path)?;
        state.call(Call::Unlink, |s| s.name(NameOp::Drop { path: path.to_owned() }))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.need_folder(path)?;
        state.call(Call::SyncFolder, |s| s.ops.push(Op::SyncFolder { path: path.to_owned() }))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.inode(path)?;
        state.call(Call::Sync, |s| s.ops.push(Op::Sync { inode }))
    }

    fn read(&self, path: &Path, max_bytes: u64) -> io::Result<Buffer> {
        let state = self.state.lock();
        let bytes = &state.contents[state.inode(path)?];
        if bytes.len() as u64 > max_bytes {
            return Err(ErrorKind::FileTooLarge.into());
        }
        Ok(Buffer::from(bytes.as_slice()))
    }

    fn identity(&self, path: &Path) -> io::Result<Option<FileIdentity>> {
        let mut state = self.state.lock();
        state.call(Call::Identity, |_| ())?;
        let Some(inode) = state.names.0.get(path).copied() else {
            let folder = FileIdentity { device: 1, inode: 0, len: 0 };
            return Ok(state.folders.contains(path).then_some(folder));
        };
        Ok(Some(FileIdentity { device: 0, inode: inode as u64, len: state.contents[inode].len() as u64 }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.need_folder(path)?;
        let names = state.names.0.keys().filter(|p| folder_of(p) == *path);
        Ok(names.filter_map(|p| p.file_name()?.to_str().map(str::to_owned)).collect())
    }

    /// Everybody who held a lock was gone with the crash; within one simulated machine nobody waits.
    fn lock(&self, path: &Path, _wait: bool) -> io::Result<Option<Lock>> {
        self.state.lock().need_folder(&folder_of(path))?;
        Ok(Some(Lock::new(())))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Lock> {
        self.state.lock().need_folder(&folder_of(path))?;
        Ok(Lock::new(()))
    }

    fn is_locked(&self, _path: &Path) -> io::Result<bool> {
        Ok(false)
    }
}
