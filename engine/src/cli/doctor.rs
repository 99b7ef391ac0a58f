//! `deltalite doctor`

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use deltalite::alloc::{Degraded, Machine, Topology, TopologySource};
use deltalite::shard::device::ring_available;
use deltalite::{EngineError, Result, ShardSet, tuning};
use serde::Serialize;

use super::report::Outcome;
use super::ui;

/// Look for what makes DeltaLite slower than this machine could, and say how to fix it.
///
/// Looks at io_uring, the locked-memory limit, huge pages, topology, and the file system of a folder; then starts shards as a scan
/// would, and says what they miss.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deltalite doctor
  deltalite doctor /data --json")]
pub(super) struct Arguments {
    /// A folder that data lies in.
    #[arg(default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Slow,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    status: Status,
    detail: String,
    fix: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, detail: impl Into<String>) -> Self {
        Self { what, status: Status::Ok, detail: detail.into(), fix: None }
    }

    /// From a sentence that ends in `Fix: …` or `; …`.
    fn slow(what: &'static str, text: &str) -> Self {
        let (detail, fix) = text
            .split_once(". Fix: ")
            .or_else(|| text.split_once(" Fix: "))
            .or_else(|| text.rsplit_once("; "))
            .map_or((text, None), |(detail, fix)| (detail, Some(fix.to_owned())));
        Self { what, status: Status::Slow, detail: detail.to_owned(), fix }
    }
}

impl Arguments {
    pub(super) fn run(self) -> Result<Outcome> {
        if !self.folder.is_dir() {
            return Err(EngineError::usage(
                self.folder.display().to_string(),
                "it is no folder; name one that data lies in",
            ));
        }
        let mut findings = vec![Finding::ok("machine", Machine::detect().to_string())];
        findings.push(cpu());
        findings.extend(topology());
        findings.push(match ring_available() {
            Ok(()) => Finding::ok("io_uring", "available"),
            Err(e) => Finding::slow("io_uring", &format!("not available, plain threads read instead: {e}")),
        });
        findings.push(memlock()?);
        findings.push(huge_pages());
        findings.push(open_files());
        findings.push(file_system(&self.folder));
        findings.push(match tuning::load()? {
            Some(p) => Finding::ok(
                "iotune",
                format!("{} reaches {}/s", p.measured_in, ui::bytes(p.sequential_bytes_per_second as u64)),
            ),
            None => Finding::slow(
                "iotune",
                "the disk was never measured, shards use defaults; run `deltalite iotune FOLDER`",
            ),
        });
        findings.extend(shards()?);
        if self.json {
            ui::print_json(&findings)?;
            return Ok(Outcome::Done);
        }
        let style = ui::Style::of_stdout();
        for f in &findings {
            let mark = if f.status == Status::Ok { style.green("ok  ") } else { style.yellow("slow") };
            ui::print(&format!("{mark}  {:<12} {}\n", f.what, f.detail))?;
            if let Some(fix) = &f.fix {
                ui::print(&format!("{:18} {} {fix}\n", "", style.bold("fix:")))?;
            }
        }
        let slow = findings.iter().filter(|f| f.status == Status::Slow).count();
        ui::print(&match slow {
            0 => "\nNothing stands in the way.\n".to_owned(),
            1 => "\n1 thing makes DeltaLite slower than it could be; all of it works.\n".to_owned(),
            n => format!("\n{n} things make DeltaLite slower than it could be; all of it works.\n"),
        })?;
        Ok(Outcome::Done)
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu() -> Finding {
    let has = [
        (
            "AVX-512",
            std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512vbmi"),
        ),
        ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
    ];
    match has.iter().find(|(_, there)| *there) {
        Some((name, _)) => Finding::ok("vectors", format!("{name} kernels can be used")),
        None => Finding::slow(
            "vectors",
            "neither AVX2 nor AVX-512: portable kernels decode; let the virtual machine show the host's CPU",
        ),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu() -> Finding {
    Finding::ok("vectors", format!("portable kernels, as always on {}", std::env::consts::ARCH))
}

fn topology() -> Vec<Finding> {
    let topology = Topology::detect();
    let source = match topology.source {
        TopologySource::Hwloc => "hwloc",
        TopologySource::Described => "a description",
        TopologySource::Sysfs => "/sys",
        TopologySource::Assumed => "nothing: it is assumed",
    };
    let detail = format!(
        "{} on {}, {} may run, from {source}",
        ui::plural(topology.cores.len() as u64, "core"),
        ui::plural(topology.nodes.len() as u64, "NUMA node"),
        ui::plural(topology.parallelism() as u64, "thread")
    );
    let slow = topology.degraded.iter().map(|d| Finding::slow("topology", &d.to_string()));
    std::iter::once(Finding::ok("topology", detail)).chain(slow).collect()
}

fn memlock() -> Result<Finding> {
    let options = tuning::shard_options(0)?;
    let needed = options.arena_bytes * options.placement.shards.len();
    Ok(match Degraded::of_memlock(needed) {
        None => Finding::ok("memlock", format!("{} of arenas can be locked", ui::bytes(needed as u64))),
        Some(d) => Finding::slow("memlock", &d.to_string()),
    })
}

fn huge_pages() -> Finding {
    let mode = Machine::detect().huge_pages;
    if mode == "never" {
        Finding::slow(
            "huge pages",
            "transparent huge pages are off: each large read walks 4 KiB pages. Fix: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        )
    } else {
        Finding::ok("huge pages", format!("transparent huge pages: {mode}"))
    }
}

fn open_files() -> Finding {
    const ENOUGH: u64 = 4096;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes one `rlimit`.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if done == 0 && limit.rlim_cur < ENOUGH {
        Finding::slow(
            "open files",
            &format!(
                "at most {} may be open: tables of many files fail. Fix: ulimit -n 65536",
                limit.rlim_cur
            ),
        )
    } else {
        Finding::ok("open files", format!("up to {}", limit.rlim_cur))
    }
}

/// Name of a file system by the magic number that statfs gives.
fn file_system_name(magic: i64) -> String {
    const NAMES: [(i64, &str); 12] = [
        (0xef53, "ext4"),
        (0x5846_5342, "XFS"),
        (0x9123_683e, "Btrfs"),
        (0x0102_1994, "tmpfs"),
        (0x794c_7630, "overlayfs"),
        (0x2fc1_2fc1, "ZFS"),
        (0x6969, "NFS"),
        (0xf2f5_2010, "F2FS"),
        (0x0102_1997, "9p"),
        (0x6a65_6a63, "virtiofs"),
        (0x6573_5546, "FUSE"),
        (0xff53_4d42, "SMB"),
    ];
    NAMES
        .iter()
        .find(|(m, _)| *m == magic)
        .map_or_else(|| format!("file system {magic:#x}"), |(_, name)| (*name).to_owned())
}

fn file_system(folder: &Path) -> Finding {
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    let Ok(path) = CString::new(folder.as_os_str().as_bytes()) else {
        return Finding::slow("file system", "the folder's name has a zero byte");
    };
    // SAFETY: the path ends in a zero byte, and statfs writes one `statfs`, which is plain data and zeroed before.
    let stat = unsafe {
        if libc::statfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return Finding::slow(
                "file system",
                &format!("{}: {}", folder.display(), std::io::Error::last_os_error()),
            );
        }
        stat.assume_init()
    };
    #[allow(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
    let (name, free) = (file_system_name(stat.f_type as i64), stat.f_bavail as u64 * stat.f_bsize as u64);
    let detail = format!("{} is on {name}, {} free", folder.display(), ui::bytes(free));
    let probe = folder.join(format!(".deltalite-doctor-{}.tmp", std::process::id()));
    let opened =
        std::fs::File::options().write(true).create_new(true).custom_flags(libc::O_DIRECT).open(&probe);
    // The file may be there even where O_DIRECT was refused.
    let _ = std::fs::remove_file(&probe);
    match opened {
        Ok(_) => Finding::ok("file system", format!("{detail}; reads bypass the page cache (O_DIRECT)")),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidInput => Finding::slow(
            "file system",
            &format!(
                "{detail}; it refuses O_DIRECT, so reads go through the page cache. Fix: keep data on ext4 or XFS on a local disk"
            ),
        ),
        Err(e) => Finding::ok("file system", format!("{detail}; whether it has O_DIRECT is unknown ({e})")),
    }
}

fn shards() -> Result<Vec<Finding>> {
    let shards = ShardSet::start(tuning::shard_options(0)?)?;
    let mut findings = vec![Finding::ok(
        "shards",
        format!("{} started, reading through {}", shards.len(), shards.device_kind()),
    )];
    findings.extend(shards.degraded().iter().map(|d| Finding::slow("shards", &d.to_string())));
    Ok(findings)
}
