//! What the ring and the thread device ask of the operating system directly: names, identities, lengths.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::BLOCK_ALIGNMENT;
use super::error::{DeviceError, Errno, IoOp};
use super::file::{DeviceFile, FileId, OpenMode};

/// An opened descriptor with what was learnt on the way.
pub(crate) struct Opened {
    pub(crate) fd: OwnedFd,
    pub(crate) id: FileId,
    pub(crate) direct: bool,
}

/// Opens `path`, with O_DIRECT where its file system takes it at our alignment.
pub(crate) fn open(path: &Path, mode: OpenMode) -> Result<Opened, DeviceError> {
    let fail = |errno| DeviceError::Name { op: IoOp::Open, path: path.to_owned(), errno };
    let mut options = OpenOptions::new();
    options.read(true).write(mode != OpenMode::Read);
    if mode == (OpenMode::Write { create: true }) {
        options.create_new(true);
    }
    // Opened buffered first: a file system that refuses O_DIRECT would otherwise refuse a file just created by us.
    let buffered = options.custom_flags(libc::O_CLOEXEC).open(path).map_err(|e| fail(Errno::of(&e)))?;
    let metadata = buffered.metadata().map_err(|e| fail(Errno::of(&e)))?;
    if metadata.is_dir() {
        return Err(fail(Errno(libc::EISDIR)));
    }
    let id = id_of(&metadata);
    let direct = metadata.is_file() && takes_direct(buffered.as_raw_fd()) && set_direct(buffered.as_raw_fd());
    Ok(Opened { fd: buffered.into(), id, direct })
}

/// Whether direct I/O at 4 KiB offsets and memory works on this file. Unknown (old kernels) counts as yes: setting
/// the flag fails where it does not.
fn takes_direct(fd: RawFd) -> bool {
    // SAFETY: statx is plain old data, for which all zeroes is a value.
    let mut answer: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the empty path is NUL-terminated and `answer` is a valid place for the result.
    let result =
        unsafe { libc::statx(fd, c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN, &raw mut answer) };
    if result != 0 || answer.stx_mask & libc::STATX_DIOALIGN == 0 {
        return true;
    }
    let fits = |alignment: u32| alignment != 0 && BLOCK_ALIGNMENT.is_multiple_of(u64::from(alignment));
    fits(answer.stx_dio_mem_align) && fits(answer.stx_dio_offset_align)
}

fn set_direct(fd: RawFd) -> bool {
    // SAFETY: F_GETFL and F_SETFL take a descriptor and an integer, and touch no memory of ours.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        flags >= 0 && libc::fcntl(fd, libc::F_SETFL, flags | libc::O_DIRECT) == 0
    }
}

/// The state of a file by what the operating system says of it.
pub(crate) fn id_of(metadata: &std::fs::Metadata) -> FileId {
    FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
        len: metadata.len(),
        modified_ns: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
    }
}

fn raw_fd(file: &DeviceFile) -> Result<RawFd, Errno> {
    file.fd().ok_or(Errno(libc::EBADF))
}

/// One system call: it is asked after every read.
pub(crate) fn identity(file: &DeviceFile) -> Result<FileId, Errno> {
    let fd = raw_fd(file)?;
    // SAFETY: `file` owns the descriptor and outlives this; it is not closed here.
    let borrowed = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    borrowed.metadata().map(|m| id_of(&m)).map_err(|e| Errno::of(&e))
}

pub(crate) fn identity_at(path: &Path) -> Result<FileId, Errno> {
    std::fs::metadata(path).map(|m| id_of(&m)).map_err(|e| Errno::of(&e))
}

pub(crate) fn set_len(file: &DeviceFile, len: u64) -> Result<(), Errno> {
    let fd = raw_fd(file)?;
    // SAFETY: a plain system call on a descriptor that `file` owns.
    check(unsafe { libc::ftruncate(fd, len as libc::off_t) })
}

pub(crate) fn reserve(file: &DeviceFile, offset: u64, len: u64) -> Result<(), Errno> {
    let fd = raw_fd(file)?;
    // SAFETY: a plain system call on a descriptor that `file` owns.
    let result = check(unsafe {
        libc::fallocate(fd, libc::FALLOC_FL_KEEP_SIZE, offset as libc::off_t, len as libc::off_t)
    });
    match result {
        Err(Errno(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINTR)) => Ok(()),
        other => other,
    }
}

pub(crate) fn sync_folder(folder: &Path) -> Result<(), Errno> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let path = CString::new(folder.as_os_str().as_bytes()).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: `path` is NUL-terminated; the descriptor is checked and then owned.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) };
    check(fd)?;
    // SAFETY: the descriptor was just opened and has no other owner.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a plain system call on a descriptor we own.
    check(unsafe { libc::fsync(fd.as_raw_fd()) })
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}
