//! Which hardware threads this process may use, and pinning to one of them.

use std::collections::BTreeSet;

use crate::AllocError;

const WORD_BITS: usize = u64::BITS as usize;
/// More hardware threads than any kernel is built for (`CONFIG_NR_CPUS`).
const PUS_MAX: usize = 1 << 16;

/// The hardware threads in this thread's affinity mask, which a cpuset narrows; those of
/// `available_parallelism` where it can't be read.
pub(super) fn allowed() -> BTreeSet<u32> {
    // The kernel refuses masks shorter than its own, whose length it doesn't tell.
    let mut words = 1024 / WORD_BITS;
    while words * WORD_BITS <= PUS_MAX {
        let mut mask = vec![0_u64; words];
        // SAFETY: the mask is as long as it says; 0 is the calling thread.
        let done = unsafe {
            libc::sched_getaffinity(
                0,
                size_of_val(mask.as_slice()),
                mask.as_mut_ptr().cast::<libc::cpu_set_t>(),
            )
        };
        if done == 0 {
            return (0..(words * WORD_BITS) as u32)
                .filter(|pu| mask[*pu as usize / WORD_BITS] >> (*pu as usize % WORD_BITS) & 1 == 1)
                .collect();
        }
        words *= 2;
    }
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    (0..count as u32).collect()
}

/// Keeps the calling thread on the hardware thread `pu` from now on.
///
/// ```
/// use deltalite_alloc::{Topology, pin_current_thread};
///
/// let topology = Topology::detect();
/// if let Some(pu) = topology.allowed().first() {
///     std::thread::scope(|scope| scope.spawn(|| pin_current_thread(*pu)).join())
///         .map_err(|_| "the thread panicked")??;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pin_current_thread(pu: u32) -> Result<(), AllocError> {
    let refused = |errno| AllocError::Pin { pu, errno };
    if pu as usize >= PUS_MAX {
        return Err(refused(libc::EINVAL));
    }
    let mut mask = vec![0_u64; (pu as usize / WORD_BITS + 1).max(1024 / WORD_BITS)];
    mask[pu as usize / WORD_BITS] = 1 << (pu as usize % WORD_BITS);
    // SAFETY: the mask is as long as it says; 0 is the calling thread.
    let done = unsafe {
        libc::sched_setaffinity(0, size_of_val(mask.as_slice()), mask.as_ptr().cast::<libc::cpu_set_t>())
    };
    if done == 0 { Ok(()) } else { Err(refused(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_place_and_a_missing_one_is_an_error() {
        let all = allowed();
        std::thread::spawn(move || {
            for &pu in &all {
                pin_current_thread(pu).unwrap();
                assert_eq!(allowed(), BTreeSet::from([pu]));
                // Widening again is allowed within the cpuset: each turn starts from one place.
            }
            let absent = 60_000;
            assert!(matches!(pin_current_thread(absent), Err(AllocError::Pin { pu: 60_000, .. })));
            assert!(pin_current_thread(u32::MAX).is_err());
        })
        .join()
        .unwrap();
    }
}
