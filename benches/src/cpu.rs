//! Which cores a measurement runs on, and how much processor time it took.

use std::mem::MaybeUninit;
use std::time::Duration;

use crate::error::{BenchError, Result};

/// Numbers of the logical cores this process may run on, ascending.
pub fn allowed() -> Vec<usize> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the pointer is to a cpu_set_t of the size given; a zeroed one is valid.
    let status = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) };
    if status != 0 {
        return (0..std::thread::available_parallelism().map_or(1, usize::from)).collect();
    }
    // SAFETY: all bits of a cpu_set_t are valid, and the call above filled it.
    let set = unsafe { set.assume_init() };
    // SAFETY: CPU_ISSET reads within the set for numbers below CPU_SETSIZE.
    (0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// Runs `work` on a fresh thread that may only run on these cores. Threads it starts inherit the restriction.
pub fn on_cores<T: Send>(cores: &[usize], work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            pin(cores)?;
            work()
        });
        match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn pin(cores: &[usize]) -> Result<()> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    for core in cores {
        // SAFETY: a zeroed cpu_set_t is an empty set; CPU_SET stays within it for numbers from `allowed`.
        unsafe { libc::CPU_SET(*core, set.assume_init_mut()) };
    }
    // SAFETY: the pointer is to an initialised cpu_set_t of the size given; 0 means this thread.
    let status = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set.as_ptr()) };
    if status == 0 {
        return Ok(());
    }
    Err(BenchError::System { doing: "pinning the measuring thread", source: std::io::Error::last_os_error() })
}

/// Processor time of the whole process so far, user and system.
pub fn process_time() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a writable rusage; a zeroed one is valid should the call fail.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let duration = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_pinned_work_stay_where_they_were_put() {
        let all = allowed();
        let one = all[all.len() - 1..].to_vec();
        let seen = on_cores(&one, || {
            let inner = std::thread::spawn(allowed).join();
            Ok((allowed(), inner.unwrap()))
        });
        assert_eq!(seen.unwrap(), (one.clone(), one));
        assert_eq!(allowed(), all);
    }
}
