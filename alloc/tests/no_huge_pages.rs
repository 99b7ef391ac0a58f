//! Without huge pages everything works, and says so. A file of its own: the setting is the whole process's.

use deltalite_alloc::{BufferPool, Degraded, HugePages, PoolOptions};

const MIB: usize = 1 << 20;

#[test]
fn a_process_without_huge_pages_is_told() {
    const PR_SET_THP_DISABLE: i32 = 41;
    // SAFETY: this prctl sets a flag of the process and takes no pointers.
    assert_eq!(unsafe { libc::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) }, 0);
    for options in [PoolOptions::growing("plain", 64 * MIB), PoolOptions::arena("plain", 16 * MIB)] {
        let pool = BufferPool::new(options.clone()).unwrap();
        pool.take(8 * MIB).unwrap().as_mut_slice().fill(1);
        let stats = pool.stats();
        assert_eq!(stats.huge_page_bytes, 0);
        let [Degraded::NoHugePages { reason, .. }] = &stats.degraded[..] else { panic!("{stats:?}") };
        assert!(!reason.is_empty());
        // Who doesn't ask for them isn't told.
        let pool = BufferPool::new(PoolOptions { huge_pages: HugePages::Never, ..options }).unwrap();
        pool.take(8 * MIB).unwrap().as_mut_slice().fill(1);
        assert_eq!(pool.stats().degraded, []);
    }
}
