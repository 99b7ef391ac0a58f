//! The ceiling: a bare io_uring read loop with nothing of ours in it, for benchmarks to compare a scan with.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use io_uring::{IoUring, opcode, types};

use super::error::{DeviceError, Errno, IoOp};
use super::file::ByteRange;

/// What a bare loop reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawLoopReport {
    /// Bytes read.
    pub bytes: u64,
    /// Wall-clock time in seconds.
    pub seconds: f64,
    /// CPU time of the thread in seconds, user and system together.
    pub cpu_seconds: f64,
}

impl RawLoopReport {
    /// Bytes per second.
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }
}

/// Reads `ranges` of a file in requests of `read_bytes`, `depth` at a time, straight from the disk into a registered
/// buffer that is thrown away.
///
/// `read_bytes` is a multiple of 4096; ranges are widened to 4 KiB boundaries. With `huge_pages` the buffer asks for
/// huge pages, which on many machines doubles the rate of large reads, so a fair ceiling has the setting of what it is
/// compared with. Memory is touched and the ring is made before the clock starts.
///
/// # Errors
///
/// What opening the file, setting the ring up or a read answered; `Misaligned` for a `read_bytes` that is not a
/// multiple of 4096.
pub fn raw_loop(
    path: &Path,
    read_bytes: u32,
    depth: u32,
    huge_pages: bool,
    ranges: &[ByteRange],
) -> Result<RawLoopReport, DeviceError> {
    let unavailable = |step, errno| DeviceError::Unavailable { device: "io_uring", step, errno };
    if read_bytes == 0 || !read_bytes.is_multiple_of(4096) {
        return Err(DeviceError::Misaligned {
            path: path.to_owned(),
            offset: 0,
            len: u64::from(read_bytes),
            capacity: u64::from(read_bytes),
            alignment: 4096,
        });
    }
    let depth = depth.max(1);
    let open_error =
        |e: std::io::Error| DeviceError::Name { op: IoOp::Open, path: path.to_owned(), errno: Errno::of(&e) };
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).map_err(open_error)?;
    let file_len = file.metadata().map_err(open_error)?.len();
    let mut ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_clamp()
        .build(depth)
        .map_err(|e| unavailable("io_uring_setup", Errno::of(&e)))?;
    let memory = Mapping::new(read_bytes as usize * depth as usize, huge_pages)
        .map_err(|errno| unavailable("mmap of the buffer", errno))?;
    let whole = [libc::iovec { iov_base: memory.base.cast(), iov_len: memory.len }];
    // SAFETY: the mapping outlives the ring's last use of it: all requests are reaped before this function returns.
    let registered = unsafe { ring.submitter().register_buffers(&whole) }.is_ok();
    ring.submitter()
        .register_files(&[file.as_raw_fd()])
        .map_err(|e| unavailable("register file", Errno::of(&e)))?;

    let mut requests = ranges
        .iter()
        .map(|range| range.aligned(4096))
        .flat_map(move |range| {
            (range.offset..range.end().min(file_len))
                .step_by(read_bytes as usize)
                .map(move |offset| (offset, (range.end() - offset).min(u64::from(read_bytes)) as u32))
        })
        .peekable();
    let mut free: Vec<u32> = (0..depth).collect();
    let (mut bytes, mut failure) = (0, None);
    let (started, cpu_before) = (Instant::now(), thread_cpu_seconds());
    loop {
        if failure.is_none() {
            while let (Some(&slot), Some(&(offset, len))) = (free.last(), requests.peek()) {
                let ptr = memory.base.wrapping_add(slot as usize * read_bytes as usize);
                let entry = if registered {
                    opcode::ReadFixed::new(types::Fixed(0), ptr, len, 0).offset(offset).build()
                } else {
                    opcode::Read::new(types::Fixed(0), ptr, len).offset(offset).build()
                };
                // SAFETY: each slot is a stretch of the mapping of its own, in use by one request at a time.
                if unsafe { ring.submission().push(&entry.user_data(u64::from(slot) << 32 | u64::from(len))) }
                    .is_err()
                {
                    break;
                }
                free.pop();
                requests.next();
            }
        }
        if free.len() == depth as usize {
            break;
        }
        match ring.submit_and_wait(1) {
            Ok(_) => {}
            Err(e) if Errno::of(&e).is_retry() || e.raw_os_error() == Some(libc::EBUSY) => {}
            Err(e) => {
                // Requests may still be with the kernel: their memory is never given back.
                std::mem::forget(memory);
                return Err(unavailable("io_uring_enter", Errno::of(&e)));
            }
        }
        for completion in ring.completion() {
            free.push((completion.user_data() >> 32) as u32);
            match completion.result() {
                n if n >= 0 => bytes += n as u64,
                error => failure = Some(Errno(-error)),
            }
        }
    }
    let report = RawLoopReport {
        bytes,
        seconds: started.elapsed().as_secs_f64(),
        cpu_seconds: thread_cpu_seconds() - cpu_before,
    };
    match failure {
        Some(errno) => {
            Err(DeviceError::Io { op: IoOp::Read, path: path.to_owned(), offset: 0, len: file_len, errno })
        }
        None => Ok(report),
    }
}

/// CPU time that the calling thread has used, in seconds.
fn thread_cpu_seconds() -> f64 {
    // SAFETY: timespec is plain old data and a valid place for the result.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time);
        time
    };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

struct Mapping {
    base: *mut u8,
    len: usize,
}

impl Mapping {
    /// Anonymous, touched memory; a start at a 2 MiB boundary lets every huge page count.
    fn new(len: usize, huge_pages: bool) -> Result<Self, Errno> {
        const HUGE: usize = 2 << 20;
        let len = len.next_multiple_of(HUGE);
        // SAFETY: a fresh anonymous mapping, cut to a 2 MiB boundary; only parts of it are unmapped, advised and
        // written.
        unsafe {
            let raw = libc::mmap(
                std::ptr::null_mut(),
                len + HUGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if raw == libc::MAP_FAILED {
                return Err(Errno::last());
            }
            let lead = raw.align_offset(HUGE).min(HUGE);
            let base = raw.cast::<u8>().add(lead);
            if lead > 0 {
                libc::munmap(raw, lead);
            }
            libc::munmap(base.add(len).cast(), HUGE - lead);
            let advice = if huge_pages { libc::MADV_HUGEPAGE } else { libc::MADV_NOHUGEPAGE };
            libc::madvise(base.cast(), len, advice);
            for page in (0..len).step_by(4096) {
                base.add(page).write_volatile(0);
            }
            Ok(Self { base, len })
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are what remains of the mapping made in `new`.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}
