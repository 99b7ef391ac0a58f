//! What the figures were measured on: hardware, kernel, file system, versions.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// Description of the machine, as it goes into `details.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Model name of the processor.
    pub cpu: String,
    /// Logical cores this process may use.
    pub cores: usize,
    /// Vector extensions the processor reports, among those that matter here.
    pub vector_extensions: Vec<String>,
    /// Size of the last-level cache, as the kernel prints it.
    pub last_level_cache: String,
    /// Installed memory in bytes.
    pub memory_bytes: u64,
    /// Kernel name and release.
    pub kernel: String,
    /// Setting of transparent huge pages.
    pub huge_pages: String,
    /// Device and file system that hold the data folder.
    pub disk: String,
    /// The compiler that built the harness.
    pub compiler: String,
    /// Load average over the last minute when the run began: above 1, somebody else was measuring too.
    pub load_at_start: f64,
}

impl Machine {
    /// Describes the machine this runs on; `data` is the folder of the benchmark's files.
    pub fn detect(data: &Path) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            cpuinfo
                .lines()
                .find(|line| line.starts_with(name))
                .and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
        };
        let flags = field("flags").or_else(|| field("Features")).unwrap_or_default();
        let wanted = ["avx2", "avx512f", "avx512bw", "avx512vbmi", "bmi2", "asimd", "sve", "sve2"];
        let flags: Vec<&str> = flags.split_whitespace().collect();
        Self {
            cpu: field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: crate::cpu::allowed().len(),
            vector_extensions: wanted
                .iter()
                .filter(|flag| flags.contains(flag))
                .map(ToString::to_string)
                .collect(),
            last_level_cache: last_level_cache(),
            memory_bytes: memory_bytes(),
            kernel: format!("Linux {}", first_line("/proc/sys/kernel/osrelease")),
            huge_pages: first_line("/sys/kernel/mm/transparent_hugepage/enabled"),
            disk: disk_of(data),
            compiler: env!("DELTALITE_RUSTC").to_owned(),
            load_at_start: first_line("/proc/loadavg")
                .split_whitespace()
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
        }
    }
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

fn last_level_cache() -> String {
    (0..8)
        .rev()
        .map(|index| first_line(&format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size")))
        .find(|size| !size.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Installed memory in bytes; 0 when the kernel doesn't say.
pub fn memory_bytes() -> u64 {
    let total = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    total
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|line| line.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// The mount with the longest path that holds `path`, as "device (file system)".
fn disk_of(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (device, mount, kind) = (fields.next()?, fields.next()?, fields.next()?);
            path.starts_with(mount).then_some((mount.len(), format!("{device} ({kind})")))
        })
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "unknown".to_owned(), |(_, text)| text)
}

/// Version of a dependency, from the lock file this was built with.
pub fn locked_version(package: &str) -> &'static str {
    const LOCK: &str = include_str!("../../Cargo.lock");
    let mut lines = LOCK.lines();
    while let Some(line) = lines.next() {
        if line.strip_prefix("name = ").is_some_and(|name| name.trim_matches('"') == package)
            && let Some(version) = lines.next().and_then(|line| line.strip_prefix("version = "))
        {
            return version.trim_matches('"');
        }
    }
    "unknown"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(locked_version("parquet").starts_with("59."));
        assert_eq!(locked_version("no-such-package"), "unknown");
    }

    #[test]
    fn this_machine_can_be_described() {
        let machine = Machine::detect(Path::new("/"));
        assert!(machine.cores >= 1);
        assert!(machine.memory_bytes > 0);
        assert_ne!(machine.disk, "unknown");
    }
}
