//! Anonymous memory from the kernel: aligned for huge pages, advised, bound to a node, and looked at in
//! smaps.

use std::ptr::NonNull;

use crate::topology::NodeId;

/// Size and alignment of a huge page: that of x86-64, and of aarch64 with 4 KiB pages.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// An anonymous private mapping, unmapped on drop. It starts zeroed, at a multiple of [`HUGE_PAGE`].
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value, whatever thread holds it; all access goes through raw pointers.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes (a multiple of 4 KiB, not 0), or the kernel's error number. No page is touched.
    pub(crate) fn anonymous(len: usize) -> Result<Self, i32> {
        let padded = len.checked_add(HUGE_PAGE).ok_or(libc::ENOMEM)?;
        // SAFETY: a new private anonymous mapping at an address of the kernel's choice touches no memory of
        // ours.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                padded,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(last_errno());
        }
        let mapped = mapped.cast::<u8>();
        let head = mapped.align_offset(HUGE_PAGE);
        // Pages may be larger than 4 KiB (64 KiB on some aarch64 systems): only whole ones can be cut off.
        let kept = len.next_multiple_of(page_bytes()).min(padded - head);
        let tail = padded - head - kept;
        // SAFETY: `head <= HUGE_PAGE`, so that all of `head..head + len` lies within the mapping just made;
        // the ends cut off are whole pages of it that nothing points to.
        unsafe {
            if head > 0 {
                libc::munmap(mapped.cast(), head);
            }
            if tail > 0 {
                libc::munmap(mapped.add(head + kept).cast(), tail);
            }
            Ok(Self { base: NonNull::new_unchecked(mapped.add(head)), len })
        }
    }

    /// The first byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Asks for huge pages (`MADV_HUGEPAGE`).
    pub(crate) fn advise_huge(&self) -> Result<(), i32> {
        self.advise(libc::MADV_HUGEPAGE)
    }

    /// Refuses huge pages (`MADV_NOHUGEPAGE`), where the system would give them unasked.
    pub(crate) fn advise_small(&self) -> Result<(), i32> {
        self.advise(libc::MADV_NOHUGEPAGE)
    }

    fn advise(&self, advice: i32) -> Result<(), i32> {
        // SAFETY: the range is this mapping; none of the advice used here changes its contents.
        let done = unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, advice) };
        if done == 0 { Ok(()) } else { Err(last_errno()) }
    }

    /// Names the mapping in `/proc/self/maps` and smaps, which also keeps the kernel from merging it with its
    /// neighbours (Linux 5.17; elsewhere without effect).
    pub(crate) fn name(&self, name: &str) {
        const PR_SET_VMA: i32 = 0x5356_4d41;
        const PR_SET_VMA_ANON_NAME: libc::c_ulong = 0;
        /// The kernel's limit is 80 bytes with the final zero.
        const NAME_BYTES_MAX: usize = 79;
        // The kernel refuses control and non-ASCII characters, and \ ` $ [ ].
        let mut text: Vec<u8> = format!("deltalite:{name}")
            .bytes()
            .map(|b| if b.is_ascii_graphic() && !b"\\`$[]".contains(&b) { b } else { b'_' })
            .take(NAME_BYTES_MAX)
            .collect();
        text.push(0);
        // SAFETY: the range is this mapping and the name ends in 0. A name is for observing: a refusal
        // changes nothing.
        unsafe {
            libc::prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, self.base.as_ptr(), self.len, text.as_ptr());
        }
    }

    /// Prefers `node` for the pages of this mapping, from which the kernel strays only when the node is full:
    /// binding strictly would have the process killed instead.
    pub(crate) fn prefer_node(&self, node: NodeId) -> Result<(), i32> {
        const MPOL_PREFERRED: libc::c_long = 1;
        let word_bits = libc::c_ulong::BITS;
        let mut mask = vec![0 as libc::c_ulong; (node.0 / word_bits + 1) as usize];
        mask[(node.0 / word_bits) as usize] = 1 << (node.0 % word_bits);
        // The kernel reads one bit less than `maxnode`.
        let maxnode = mask.len() * word_bits as usize + 1;
        // SAFETY: the range is this mapping; the mask holds `maxnode - 1` bits.
        let done = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.base.as_ptr(),
                self.len,
                MPOL_PREFERRED,
                mask.as_ptr(),
                maxnode,
                0_u32,
            )
        };
        if done == 0 { Ok(()) } else { Err(last_errno()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and whoever drops it has made sure that no block of it is
        // live.
        unsafe {
            libc::munmap(self.base.as_ptr().cast(), self.len);
        }
    }
}

/// The kernel's page size in bytes.
fn page_bytes() -> usize {
    // SAFETY: sysconf takes no pointers.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(crate::ALIGNMENT)
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Why transparent huge pages can't be had on this system, if so.
pub(crate) fn huge_pages_forbidden() -> Option<String> {
    const PR_GET_THP_DISABLE: i32 = 42;
    // SAFETY: this prctl reads one flag of the process and takes no pointers.
    let disabled = unsafe { libc::prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) };
    if disabled > 0 {
        return Some("disabled for this process by prctl(PR_SET_THP_DISABLE)".into());
    }
    match std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled") {
        Ok(text) if text.contains("[never]") => Some("the system's setting is 'never'".into()),
        Ok(_) => None,
        Err(_) => Some("the kernel offers no transparent huge pages".into()),
    }
}

/// Bytes of memory present in some address ranges, and how many of them on huge pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Residency {
    pub(crate) resident_bytes: usize,
    pub(crate) huge_bytes: usize,
}

/// What smaps says of the given ranges (start, length), or nothing where it can't be read. It walks the page
/// tables of the whole process: milliseconds, not for hot paths.
pub(crate) fn residency(ranges: &[(usize, usize)]) -> Option<Residency> {
    Some(parse_smaps(&std::fs::read_to_string("/proc/self/smaps").ok()?, ranges))
}

/// Sums the entries that overlap `ranges`; an entry that reaches beyond them counts at most for its overlap.
fn parse_smaps(text: &str, ranges: &[(usize, usize)]) -> Residency {
    let mut total = Residency::default();
    let mut overlap = 0;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some(field) = first.strip_suffix(':') {
            let bytes = words.next().and_then(|kib| kib.parse::<usize>().ok()).unwrap_or(0) << 10;
            match field {
                "Rss" => total.resident_bytes += bytes.min(overlap),
                "AnonHugePages" => total.huge_bytes += bytes.min(overlap),
                _ => {}
            }
        } else if let Some((start, end)) = first.split_once('-') {
            let hex = |text| usize::from_str_radix(text, 16).unwrap_or(0);
            let (start, end) = (hex(start), hex(end));
            overlap =
                ranges.iter().map(|&(from, len)| end.min(from + len).saturating_sub(start.max(from))).sum();
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaps_entries_count_for_their_overlap() {
        let text = "\
7f0000000000-7f0000400000 rw-p 00000000 00:00 0    [anon:deltalite:a]
Size:               4096 kB
Rss:                4096 kB
AnonHugePages:      2048 kB
VmFlags: rd wr mr mw me ac sd hg
7f0000400000-7f0000600000 rw-p 00000000 00:00 0
Rss:                2048 kB
AnonHugePages:      2048 kB
";
        let base = 0x7f00_0000_0000;
        let seen = |ranges: &[(usize, usize)]| {
            let seen = parse_smaps(text, ranges);
            (seen.resident_bytes >> 20, seen.huge_bytes >> 20)
        };
        assert_eq!(seen(&[(base, 4 << 20)]), (4, 2));
        assert_eq!(seen(&[(base, 1 << 20), (base + (2 << 20), 2 << 20)]), (3, 2));
        assert_eq!(seen(&[(base, 6 << 20)]), (6, 4));
        assert_eq!(seen(&[(base + (8 << 20), 4 << 20)]), (0, 0));
        assert_eq!(parse_smaps("nonsense\n\n-\nRss: x", &[(0, usize::MAX)]), Residency::default());
    }

    #[test]
    fn mappings_are_aligned_zeroed_and_named() {
        for len in [4096, HUGE_PAGE, 3 * HUGE_PAGE + 4096] {
            let mapping = Mapping::anonymous(len).unwrap();
            mapping.name("test [1]");
            assert_eq!(mapping.base().as_ptr().align_offset(HUGE_PAGE), 0);
            // SAFETY: `len` bytes are mapped, and only this test uses them.
            let bytes = unsafe { std::slice::from_raw_parts_mut(mapping.base().as_ptr(), len) };
            assert!(bytes.iter().all(|b| *b == 0));
            bytes.fill(7);
            let seen = residency(&[(bytes.as_ptr().addr(), len)]).unwrap();
            assert!(seen.resident_bytes >= len, "{seen:?}");
        }
    }

    #[test]
    fn a_length_beyond_the_address_space_is_an_error() {
        assert_eq!(Mapping::anonymous(1 << 62).err(), Some(libc::ENOMEM));
        assert_eq!(Mapping::anonymous(usize::MAX & !4095).err(), Some(libc::ENOMEM));
    }
}
