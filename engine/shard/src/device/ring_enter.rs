//! The one system call of a ring, with the ring's registered descriptor: saves the kernel a file lookup per call.

use std::os::fd::RawFd;
use std::time::Duration;

use super::error::Errno;

const REGISTER_RING_FDS: libc::c_uint = 20;
const UNREGISTER_RING_FDS: libc::c_uint = 21;
const ENTER_GETEVENTS: libc::c_uint = 1;
const ENTER_EXT_ARG: libc::c_uint = 1 << 3;
const ENTER_REGISTERED_RING: libc::c_uint = 1 << 4;

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RingUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_len: u32,
    min_wait_us: u32,
    timespec: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// How this thread enters its ring. Valid on the thread that made it only.
pub(crate) struct RingEntry {
    ring: RawFd,
    registered: Option<u32>,
}

impl RingEntry {
    /// Registers the ring with the calling thread; where the kernel refuses, the plain descriptor serves.
    pub(crate) fn register(ring: RawFd) -> Self {
        let mut update = RingUpdate { offset: u32::MAX, reserved: 0, data: ring as u64 };
        // SAFETY: the kernel reads and writes one `RingUpdate`, which lives through the call.
        let result = unsafe {
            libc::syscall(libc::SYS_io_uring_register, ring, REGISTER_RING_FDS, &raw mut update, 1)
        };
        Self { ring, registered: (result == 1).then_some(update.offset) }
    }

    /// Submits `submit` entries, runs deferred completions and waits for `want` of them, or until `timeout`. After `linger`,
    /// where it is not zero, one completion is enough; kernels before 6.12 answer EINVAL to that.
    pub(crate) fn enter(
        &self,
        submit: u32,
        want: u32,
        linger: Duration,
        timeout: Option<Duration>,
    ) -> Result<u32, Errno> {
        let (fd, mut flags) = match self.registered {
            Some(index) => (index as RawFd, ENTER_GETEVENTS | ENTER_REGISTERED_RING),
            None => (self.ring, ENTER_GETEVENTS),
        };
        let timespec = timeout
            .map(|t| Timespec { seconds: t.as_secs() as i64, nanoseconds: i64::from(t.subsec_nanos()) });
        let argument = timespec.as_ref().map(|timespec| GetEventsArg {
            sigmask: 0,
            sigmask_len: 0,
            min_wait_us: linger.as_micros() as u32,
            timespec: std::ptr::from_ref(timespec) as u64,
        });
        let (pointer, size) = match &argument {
            Some(argument) => {
                flags |= ENTER_EXT_ARG;
                (std::ptr::from_ref(argument), size_of::<GetEventsArg>())
            }
            None => (std::ptr::null(), 0),
        };
        // SAFETY: the argument and the time it points to live through the call; the ring's memory belongs to the
        // ring, which its owner keeps open.
        let result =
            unsafe { libc::syscall(libc::SYS_io_uring_enter, fd, submit, want, flags, pointer, size) };
        if result < 0 { Err(Errno::last()) } else { Ok(result as u32) }
    }
}

impl Drop for RingEntry {
    fn drop(&mut self) {
        if let Some(offset) = self.registered {
            let mut update = RingUpdate { offset, reserved: 0, data: 0 };
            // SAFETY: as in `register`. A failure leaves the slot to the end of the thread.
            unsafe {
                libc::syscall(
                    libc::SYS_io_uring_register,
                    self.ring,
                    UNREGISTER_RING_FDS,
                    &raw mut update,
                    1,
                );
            }
        }
    }
}
