//! What the kernel says, where libhwloc is missing: `Documentation/ABI/stable/sysfs-devices-system-cpu`.

use std::collections::BTreeMap;
use std::path::Path;

use super::{NodeId, RawCore, RawTopology};

/// Reads the tree under `root`, which is `/sys/devices/system` outside of tests.
pub(super) fn read(root: &Path) -> Result<RawTopology, String> {
    let cpus = root.join("cpu");
    let online = list(&cpus.join("online"))
        .ok_or_else(|| format!("{} can't be read", cpus.join("online").display()))?;
    let mut memory_bytes = BTreeMap::new();
    let mut node_of: BTreeMap<u32, NodeId> = BTreeMap::new();
    for number in list(&root.join("node/online")).unwrap_or_default() {
        let node = root.join(format!("node/node{number}"));
        memory_bytes.insert(NodeId(number), node_memory_bytes(&node));
        for pu in list(&node.join("cpulist")).unwrap_or_default() {
            node_of.insert(pu, NodeId(number));
        }
    }
    let mut cores = Vec::new();
    for &pu in &online {
        let cpu = cpus.join(format!("cpu{pu}"));
        let siblings = list(&cpu.join("topology/core_cpus_list"))
            .or_else(|| list(&cpu.join("topology/thread_siblings_list")))
            .unwrap_or_else(|| vec![pu]);
        let mut pus: Vec<u32> = siblings.into_iter().filter(|pu| online.contains(pu)).collect();
        if pus.is_empty() {
            pus.push(pu);
        }
        // A core is described once, by its first hardware thread.
        if pus.iter().min() != Some(&pu) {
            continue;
        }
        let (l2_bytes, l3) = caches(&cpu);
        cores.push(RawCore {
            node: node_of.get(&pu).copied().unwrap_or(NodeId(0)),
            package: text(&cpu.join("topology/physical_package_id"))
                .and_then(|t| t.parse().ok())
                .unwrap_or(0),
            pus,
            l2_bytes,
            l3,
        });
    }
    if cores.is_empty() {
        return Err(format!("{} lists no CPUs", cpus.join("online").display()));
    }
    Ok(RawTopology { cores, memory_bytes })
}

/// Size of the level-2 cache, and lowest hardware thread and size of the level-3 cache.
fn caches(cpu: &Path) -> (u64, Option<(u32, u64)>) {
    let (mut l2_bytes, mut l3) = (0, None);
    for index in 0.. {
        let cache = cpu.join(format!("cache/index{index}"));
        let Some(level) = text(&cache.join("level")) else { break };
        if text(&cache.join("type")).as_deref() == Some("Instruction") {
            continue;
        }
        let bytes = text(&cache.join("size")).and_then(|size| size_bytes(&size)).unwrap_or(0);
        match level.as_str() {
            "2" => l2_bytes = bytes,
            "3" => {
                let lowest = list(&cache.join("shared_cpu_list")).and_then(|pus| pus.into_iter().min());
                l3 = lowest.map(|pu| (pu, bytes));
            }
            _ => {}
        }
    }
    (l2_bytes, l3)
}

/// `MemTotal` of a node's meminfo: `Node 0 MemTotal:  16384 kB`.
fn node_memory_bytes(node: &Path) -> u64 {
    let Some(info) = text(&node.join("meminfo")) else { return 0 };
    let kib = info
        .lines()
        .find_map(|line| line.split_once("MemTotal:"))
        .and_then(|(_, rest)| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// A size such as `1024K` or `32M`.
fn size_bytes(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_shl(shift)
}

/// The numbers of a list such as `0-3,8`.
fn list(path: &Path) -> Option<Vec<u32>> {
    parse_list(&text(path)?)
}

fn parse_list(text: &str) -> Option<Vec<u32>> {
    /// More than any kernel is built for: a longer range is not one.
    const NUMBERS_MAX: u32 = 1 << 16;
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= NUMBERS_MAX {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Topology, TopologySource};
    use super::*;

    #[test]
    fn lists_and_sizes_parse() {
        assert_eq!(parse_list("0-2,8,10-11"), Some(vec![0, 1, 2, 8, 10, 11]));
        assert_eq!(parse_list(""), Some(vec![]));
        for wrong in ["x", "3-1", "0-", "0-4294967295"] {
            assert_eq!(parse_list(wrong), None, "{wrong}");
        }
        assert_eq!(size_bytes("1024K"), Some(1 << 20));
        assert_eq!(size_bytes("32M"), Some(32 << 20));
        assert_eq!(size_bytes("77"), Some(77));
        assert_eq!(size_bytes("K"), None);
    }

    /// Two nodes of two cores of two threads, numbered as Linux does: threads 0 to 3 are the first of each
    /// core.
    #[test]
    fn a_two_node_machine_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: String, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{text}\n")).unwrap();
        };
        write("cpu/online".into(), "0-3,4-6");
        write("node/online".into(), "0-1");
        for node in 0..2 {
            write(format!("node/node{node}/cpulist"), ["0-1,4-5", "2-3,6-7"][node]);
            write(
                format!("node/node{node}/meminfo"),
                &format!("Node {node} MemTotal:     {} kB", 1024 + node),
            );
        }
        for pu in 0..8 {
            let cpu = format!("cpu/cpu{pu}");
            write(format!("{cpu}/topology/core_cpus_list"), &format!("{},{}", pu % 4, pu % 4 + 4));
            write(format!("{cpu}/topology/physical_package_id"), if pu % 4 < 2 { "0" } else { "1" });
            for (index, (level, kind, size)) in [
                (1, "Data", "32K"),
                (1, "Instruction", "32K"),
                (2, "Unified", "1024K"),
                (3, "Unified", "16M"),
            ]
            .into_iter()
            .enumerate()
            {
                let cache = format!("{cpu}/cache/index{index}");
                write(format!("{cache}/level"), &level.to_string());
                write(format!("{cache}/type"), kind);
                write(format!("{cache}/size"), size);
                write(format!("{cache}/shared_cpu_list"), if pu % 4 < 2 { "0-1,4-5" } else { "2-3,6-7" });
            }
        }
        let topology = Topology::assemble(TopologySource::Sysfs, read(dir.path()).unwrap());
        let cores: Vec<_> = topology
            .cores
            .iter()
            .map(|core| (core.node.0, core.package, core.pus.clone(), core.l2_bytes, core.l3))
            .collect();
        assert_eq!(
            cores,
            [
                (0, 0, vec![0, 4], 1 << 20, Some(0)),
                (0, 0, vec![1, 5], 1 << 20, Some(0)),
                (1, 1, vec![2, 6], 1 << 20, Some(1)),
                (1, 1, vec![3], 1 << 20, Some(1)), // 7 is offline
            ]
        );
        let memory: Vec<u64> = topology.nodes.iter().map(|node| node.memory_bytes).collect();
        assert_eq!(memory, [1024 << 10, 1025 << 10]);
        assert_eq!(topology.l3_caches.iter().map(|l3| l3.bytes).collect::<Vec<_>>(), [16 << 20; 2]);
        assert_eq!(topology.to_string(), "2 nodes, 4 cores, 7 threads, L2 1024 KiB, L3 2 × 16 MiB");
    }

    #[test]
    fn a_missing_tree_is_an_error() {
        let reason = read(Path::new("/nonexistent")).err().unwrap();
        assert!(reason.contains("/nonexistent/cpu/online"), "{reason}");
    }
}
