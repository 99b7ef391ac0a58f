//! How much memory there is.

/// Memory that this process may use in bytes: the machine's, or what the nearest limit of its cgroup leaves of it.
pub fn memory_bytes() -> usize {
    let machine = physical_bytes();
    cgroup_limit().map_or(machine, |limit| limit.min(machine))
}

fn physical_bytes() -> usize {
    // SAFETY: sysconf takes no pointers.
    let (pages, page) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    /// What to assume where the system doesn't say.
    const FALLBACK_BYTES: usize = 1 << 30;
    match (usize::try_from(pages), usize::try_from(page)) {
        (Ok(pages), Ok(page)) if pages > 0 => pages.saturating_mul(page),
        _ => FALLBACK_BYTES,
    }
}

/// The lowest limit between this process's cgroup and the root (cgroup v2, then v1).
fn cgroup_limit() -> Option<usize> {
    if cfg!(miri) {
        return None;
    }
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut lowest: Option<usize> = None;
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        for group in std::path::Path::new(path.trim_start_matches('/')).ancestors() {
            let limit = std::fs::read_to_string(std::path::Path::new(root).join(group).join(file))
                .ok()
                .and_then(|text| text.trim().parse::<usize>().ok());
            lowest = lowest.into_iter().chain(limit).min();
        }
    }
    lowest
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_memory() {
        assert!(super::memory_bytes() >= 1 << 20);
    }
}
