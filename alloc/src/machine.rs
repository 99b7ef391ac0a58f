//! What machine this is, and how much memory there is.

/// What a report says of the machine it was made on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The processor, as it calls itself; its architecture where it doesn't.
    pub cpu: String,
    /// The kernel's release, such as `6.18.0`.
    pub kernel: String,
    /// Memory that this process may use in bytes.
    pub memory_bytes: usize,
    /// Whether it is a virtual machine, as far as its processor tells.
    pub is_virtual: bool,
    /// The setting for transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: String,
}

impl Machine {
    /// Asks `/proc` and `/sys`.
    pub fn detect() -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let field = |name: &str| {
            cpuinfo.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim().to_owned())
            })
        };
        let huge_pages = read("/sys/kernel/mm/transparent_hugepage/enabled");
        let chosen = huge_pages.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        Machine {
            cpu: field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_bytes: memory_bytes(),
            is_virtual: field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            huge_pages: chosen.map_or("never", |(mode, _)| mode).to_owned(),
        }
    }
}

impl std::fmt::Display for Machine {
    /// One line for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}{}, {:.1} GiB of memory, Linux {}, huge pages: {}",
            self.cpu,
            if self.is_virtual { " (virtual)" } else { "" },
            self.memory_bytes as f64 / (1_u64 << 30) as f64,
            self.kernel,
            self.huge_pages
        )
    }
}

/// Memory that this process may use in bytes: the machine's, or what the nearest limit of its cgroup leaves
/// of it.
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
    fn this_machine_is_described() {
        let machine = super::Machine::detect();
        assert!(machine.memory_bytes >= 1 << 20 && machine.memory_bytes <= super::physical_bytes());
        assert!(["always", "madvise", "never"].contains(&machine.huge_pages.as_str()), "{machine}");
        assert!(!machine.cpu.is_empty() && !machine.kernel.is_empty(), "{machine}");
    }
}
