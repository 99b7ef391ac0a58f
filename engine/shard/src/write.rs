//! Writing a file so that a crash leaves the old file or the new one, never a mixture.
//!
//! Bytes go to a temporary name in the same folder, in large direct writes of which several are in flight. Finishing
//! makes the contents durable, renames, and makes the folder durable; whatever fails before the rename removes the
//! temporary file and leaves what was there.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use deltalite_alloc::{BufferPool, PoolBuffer, PoolOptions};

use crate::device::{
    BLOCK_ALIGNMENT, BlockDevice, DeviceError, DeviceFile, DeviceTokens, Errno, IoClass, IoFuture, IoOp,
    OpenMode, RingDevice, RingOptions, ThreadDevice, ThreadOptions, TokenOptions, block_on, ring_available,
};
use crate::error::ShardError;
use crate::executor::{IoMode, io_mode};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Bytes of one write: a multiple of 4096.
    pub write_bytes: usize,
    /// Writes in flight at most. Memory used is `write_bytes` times this plus one.
    pub depth: usize,
    /// Disk space is reserved in steps of this many bytes, so that extents are contiguous and a full disk is noticed
    /// early; 0 reserves nothing. What is not needed is given back at the end.
    pub reserve_bytes: u64,
}

impl Default for WriteOptions {
    /// Writes of 1 MiB, eight in flight, space reserved by 64 MiB.
    fn default() -> Self {
        Self { write_bytes: 1 << 20, depth: 8, reserve_bytes: 64 << 20 }
    }
}

/// A file that appears under its name only once it is whole and durable.
///
/// It is a [`std::io::Write`] for a plain thread (not for a task on a shard: it blocks). Dropped before
/// [`finish`](Self::finish), it leaves nothing behind.
///
/// ```
/// use std::io::Write;
/// use deltalite_shard::write::{AtomicFile, WriteOptions};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("data");
/// let mut file = AtomicFile::create(&path, WriteOptions::default())?;
/// file.write_all(b"hello")?;
/// assert!(!path.exists());
/// assert_eq!(file.finish()?, 5);
/// assert_eq!(std::fs::read(&path)?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AtomicFile {
    // In this order: futures and buffers go before the device that may still have them.
    in_flight: VecDeque<IoFuture<usize>>,
    buffer: Option<PoolBuffer>,
    file: Option<DeviceFile>,
    device: Rc<dyn BlockDevice>,
    pool: BufferPool,
    options: WriteOptions,
    path: PathBuf,
    temporary: PathBuf,
    /// Bytes at the front of `buffer` that are written to, and bytes given to the device before them.
    filled: usize,
    issued: u64,
    reserved: u64,
    failure: Option<DeviceError>,
}

impl AtomicFile {
    /// Begins a file that is to be at `path`, with a device of its own: io_uring, or threads where that is refused or
    /// `DELTALITE_IO=threads` is set.
    pub fn create(path: &Path, options: WriteOptions) -> Result<Self, ShardError> {
        let tokens = DeviceTokens::new(TokenOptions::unlimited());
        let depth = options.depth.max(1);
        let threads = || -> Result<Rc<dyn BlockDevice>, ShardError> {
            let workers = depth.min(4);
            let device = ThreadDevice::new(&ThreadOptions { workers, depth, tokens: tokens.clone() })?;
            Ok(Rc::new(device))
        };
        let ring = || -> Result<Rc<dyn BlockDevice>, ShardError> {
            let ring =
                RingOptions { depth: depth as u32 * 2, fixed_files: 1, ..RingOptions::new(tokens.clone()) };
            Ok(Rc::new(RingDevice::new(&ring)?))
        };
        let device = match io_mode()? {
            IoMode::Ring => ring()?,
            IoMode::Auto if ring_available().is_ok() => ring().or_else(|_| threads())?,
            IoMode::Auto | IoMode::Threads | IoMode::Custom(_) => threads()?,
        };
        Self::create_on(device, path, options)
    }

    /// Begins a file that is to be at `path`, written through `device`.
    pub fn create_on(
        device: Rc<dyn BlockDevice>,
        path: &Path,
        options: WriteOptions,
    ) -> Result<Self, ShardError> {
        let write_bytes =
            options.write_bytes.next_multiple_of(BLOCK_ALIGNMENT as usize).max(BLOCK_ALIGNMENT as usize);
        let options = WriteOptions { write_bytes, depth: options.depth.max(1), ..options };
        let temporary = temporary_name(path)?;
        // Twice the need: a size class may be a quarter larger than what is asked for.
        let pool =
            BufferPool::new(PoolOptions::growing("file writer", 2 * write_bytes * (options.depth + 2)))?;
        let file = device.open(&temporary, OpenMode::Write { create: true })?;
        Ok(Self {
            in_flight: VecDeque::with_capacity(options.depth),
            buffer: None,
            file: Some(file),
            device,
            pool,
            options,
            path: path.to_owned(),
            temporary,
            filled: 0,
            issued: 0,
            reserved: 0,
            failure: None,
        })
    }

    /// Where the file will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.issued + self.filled as u64
    }

    /// Makes the file durable and gives it its name, replacing what was there. Returns its length in bytes.
    ///
    /// # Errors
    ///
    /// What any write, the sync or the rename answered: the old file is untouched then and the temporary one gone. An
    /// error of [`IoOp::SyncFolder`] comes after the rename: the new file is in place, but a crash may still bring the
    /// old one back.
    pub fn finish(mut self) -> Result<u64, ShardError> {
        let len = self.written();
        let file = self.file.clone().ok_or(DeviceError::ShutDown)?;
        self.issue(&file)?;
        while !self.in_flight.is_empty() {
            self.await_one()?;
        }
        // Cuts off the padding of the last direct write and the space reserved beyond it.
        if self.issued != len || self.reserved > len {
            self.device.set_len(&file, len)?;
        }
        block_on(&*self.device, self.device.sync(&file))??;
        drop(file);
        self.device.rename(&self.temporary, &self.path)?;
        // From here on there is nothing to remove.
        self.file = None;
        self.device.sync_folder(folder_of(&self.path))?;
        Ok(len)
    }

    /// Gives the buffer to the device, padded to whole blocks where it is the last one of a direct file.
    fn issue(&mut self, file: &DeviceFile) -> Result<(), DeviceError> {
        let Some(mut buffer) = self.buffer.take_if(|_| self.filled > 0) else { return Ok(()) };
        let len = if file.is_direct() {
            self.filled.next_multiple_of(BLOCK_ALIGNMENT as usize)
        } else {
            self.filled
        };
        buffer.as_mut_slice()[self.filled..len].fill(0);
        buffer.truncate(len);
        let end = self.issued + len as u64;
        if end > self.reserved && self.options.reserve_bytes > 0 {
            let step = self.options.reserve_bytes.max(end - self.reserved);
            self.device.reserve(file, self.reserved, step)?;
            self.reserved += step;
        }
        while self.in_flight.len() >= self.options.depth {
            self.await_one()?;
        }
        self.in_flight.push_back(self.device.write(file, self.issued, buffer.freeze(), IoClass::Scan));
        self.device.poll();
        self.issued = end;
        self.filled = 0;
        Ok(())
    }

    fn await_one(&mut self) -> Result<(), DeviceError> {
        let Some(write) = self.in_flight.pop_front() else { return Ok(()) };
        block_on(&*self.device, write)?.map(drop)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<usize, ShardError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone().into());
        }
        let file = self.file.clone().ok_or(DeviceError::ShutDown)?;
        let mut buffer = match self.buffer.take() {
            Some(buffer) => buffer,
            None => self.pool.take(self.options.write_bytes)?,
        };
        let taken = bytes.len().min(buffer.len() - self.filled);
        buffer.as_mut_slice()[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        let is_full = self.filled == buffer.len();
        self.buffer = Some(buffer);
        if is_full {
            // After a failure the file is lost: every later call repeats it.
            self.issue(&file).inspect_err(|error| self.failure = Some(error.clone()))?;
        }
        Ok(taken)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.append(bytes).map_err(io::Error::from)
    }

    /// Does nothing: bytes reach the disk in whole blocks, and [`AtomicFile::finish`] makes them durable.
    fn flush(&mut self) -> io::Result<()> {
        match &self.failure {
            Some(failure) => Err(ShardError::from(failure.clone()).into()),
            None => Ok(()),
        }
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.take().is_none() {
            return;
        }
        while let Some(write) = self.in_flight.pop_front() {
            // The file goes away: what became of its writes matters to nobody.
            let _ = block_on(&*self.device, write);
        }
        if let Err(error) = self.device.remove(&self.temporary) {
            tracing::warn!(%error, "a temporary file stays behind");
        }
    }
}

impl std::fmt::Debug for AtomicFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, written) = (&self.path, self.written());
        f.debug_struct("AtomicFile").field("path", path).field("written", &written).finish_non_exhaustive()
    }
}

/// Whether a file is one that an [`AtomicFile`] was writing when its process ended: safe to remove once no process
/// writes to its folder.
pub fn is_temporary(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
        name.starts_with('.') && Path::new(name).extension().is_some_and(|ending| ending == "dltmp")
    })
}

/// A name in the same folder that no other writer of this machine uses.
fn temporary_name(path: &Path) -> Result<PathBuf, DeviceError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(DeviceError::Name { op: IoOp::Open, path: path.to_owned(), errno: Errno(libc::EISDIR) });
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{}.dltmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    Ok(path.with_file_name(temporary))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::rng::Rng;
    use crate::device::{SimDevice, SimDisk, SimFaults};

    fn content(len: usize, seed: u64) -> Vec<u8> {
        let mut rng = Rng::new(seed);
        (0..len).map(|_| rng.next() as u8).collect()
    }

    fn small() -> WriteOptions {
        WriteOptions { write_bytes: 8192, depth: 3, reserve_bytes: 65536 }
    }

    #[test]
    fn any_split_into_calls_writes_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let mut rng = Rng::new(1);
        for len in [0, 1, 4095, 4096, 4097, 8192, 100_000, 1 << 20] {
            let content = content(len, len as u64);
            let mut file = AtomicFile::create(&path, small()).unwrap();
            let mut rest = &content[..];
            while !rest.is_empty() {
                let n = (1 + rng.below(20_000) as usize).min(rest.len());
                file.write_all(&rest[..n]).unwrap();
                rest = &rest[n..];
                assert_eq!(file.written() as usize, content.len() - rest.len());
            }
            file.flush().unwrap();
            assert_eq!(file.finish().unwrap() as usize, len);
            assert_eq!(std::fs::read(&path).unwrap(), content);
            let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap()) * 512;
            assert!(blocks <= len as u64 + 65536, "{blocks} bytes of disk for {len}: the reserve was kept");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn an_abandoned_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path, small()).unwrap();
        file.write_all(&content(50_000, 1)).unwrap();
        let names =
            |folder: &Path| std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
        assert_eq!(names(folder.path()).iter().filter(|path| is_temporary(path)).count(), 1);
        drop(file);
        assert_eq!(names(folder.path()), std::slice::from_ref(&path));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");

        let missing = folder.path().join("no/such/folder/data");
        let error = AtomicFile::create(&missing, small()).unwrap_err();
        assert_eq!(error.code(), "DL-0303");
        assert!(!is_temporary(&path) && !is_temporary(Path::new("/a/.hidden")));
    }

    /// Writes `new` over `old` on a simulated disk and looks at it through a crash after every step. Returns what
    /// finishing said and how many crashes left neither file whole.
    fn write_and_crash(faults: SimFaults, limit: Option<u64>) -> (Result<u64, ShardError>, u64) {
        let mut rng = Rng::new(faults.seed ^ 0x5eed);
        let path = Path::new("/sim/data");
        let (old, new) =
            (content(1 + rng.below(30_000) as usize, 1), content(1 + rng.below(60_000) as usize, 2));
        let disk = SimDisk::new();
        disk.put(path, &old);
        if let Some(limit) = limit {
            disk.limit(limit);
        }
        let mut torn = 0;
        let mut crash = |rng: &mut Rng, must_be_new: bool| {
            let found = disk.crash(rng.next()).get(path);
            let whole = found.as_ref() == Some(&new) || (!must_be_new && found.as_ref() == Some(&old));
            torn += u64::from(!whole);
        };
        let device: Rc<dyn BlockDevice> = Rc::new(SimDevice::new(&disk, faults));
        let result = (|| {
            let mut file = AtomicFile::create_on(device, path, small())?;
            for piece in new.chunks(1 + rng.below(20_000) as usize) {
                file.write_all(piece).map_err(|error| match error.downcast::<ShardError>() {
                    Ok(error) => error,
                    Err(error) => panic!("{error}"),
                })?;
                crash(&mut rng, false);
            }
            file.finish()
        })();
        for _ in 0..3 {
            crash(&mut rng, result.is_ok());
        }
        match &result {
            Ok(len) => {
                assert_eq!((*len as usize, disk.get(path).as_ref()), (new.len(), Some(&new)));
            }
            Err(ShardError::Device(DeviceError::Name { op: IoOp::SyncFolder, .. })) => {
                assert_eq!(disk.get(path).as_ref(), Some(&new));
            }
            Err(_) => assert_eq!(disk.get(path).as_ref(), Some(&old), "an error leaves the old file"),
        }
        assert_eq!(disk.paths(), [path], "no temporary file stays");
        (result, torn)
    }

    #[test]
    fn a_crash_leaves_the_old_file_or_the_new_one() {
        let (mut failed, mut codes) = (0, std::collections::BTreeSet::new());
        for seed in 0..3000 {
            let faults = if seed % 2 == 0 { SimFaults::transient(seed) } else { SimFaults::all(seed) };
            let (result, torn) = write_and_crash(faults, None);
            assert_eq!(torn, 0, "seed {seed}");
            if let Err(error) = result {
                failed += 1;
                codes.insert(error.code());
            }
        }
        assert!(failed > 100 && failed < 1500, "{failed}");
        assert!(codes.contains("DL-0301") && codes.contains("DL-0302"), "{codes:?}");
    }

    #[test]
    fn a_disk_that_lies_about_syncs_is_seen_through() {
        let torn: u64 = (0..300)
            .map(|seed| write_and_crash(SimFaults { lost_sync: 1000, ..SimFaults::none(seed) }, None).1)
            .sum();
        assert!(torn > 20, "the crash test can fail: {torn}");
    }

    #[test]
    fn a_full_disk_is_told_and_nothing_stays() {
        let mut full = 0;
        for seed in 0..200 {
            let (result, torn) = write_and_crash(SimFaults::none(seed), Some(40_000));
            assert_eq!(torn, 0);
            if let Err(error) = result {
                assert_eq!(error.code(), "DL-0302");
                assert!(error.to_string().contains("no space left writing /sim/.data"), "{error}");
                assert_eq!(io::Error::from(error).kind(), io::ErrorKind::StorageFull);
                full += 1;
            }
        }
        assert!(full > 20);
    }
}
