//! Topologies and placement, on this machine and on machines made up.
#![cfg(feature = "topology")]

use std::collections::{BTreeMap, BTreeSet};

use deltalite_alloc::{
    AllocError, Degraded, NodeId, SHARDS_MAX, ShardCount, Topology, TopologySource, pin_current_thread, place,
};
use proptest::prelude::*;

#[test]
fn this_machine_is_described() {
    let topology = Topology::detect();
    assert!(!topology.cores.is_empty());
    assert!(topology.nodes.iter().any(|node| node.memory_bytes > 0), "{topology:?}");
    let unknown = topology.degraded.iter().any(|d| matches!(d, Degraded::TopologyUnknown { .. }));
    assert_eq!(unknown, topology.source == TopologySource::Assumed);
    for (place, core) in topology.cores.iter().enumerate() {
        assert_eq!(core.id.0 as usize, place);
        assert!(topology.nodes.iter().any(|node| node.id == core.node && node.cores.contains(&core.id)));
        assert_eq!(topology.core_of(core.pus[0]), Some(core));
    }
    assert!(topology.parallelism() <= topology.allowed().len());
    let placement = place(&topology, ShardCount::PerCore).unwrap();
    assert!(!placement.is_oversubscribed());
    for shard in placement.shards {
        std::thread::spawn(move || pin_current_thread(shard.pu)).join().unwrap().unwrap();
    }
}

#[test]
fn a_narrowed_thread_sees_a_narrowed_machine() {
    std::thread::spawn(|| {
        let pu = *Topology::detect().allowed().last().unwrap();
        pin_current_thread(pu).unwrap();
        let topology = Topology::detect();
        assert_eq!(topology.allowed(), &BTreeSet::from([pu]));
        let placement = place(&topology, ShardCount::PerCore).unwrap();
        assert_eq!(placement.shards.iter().map(|s| s.pu).collect::<Vec<_>>(), [pu]);
    })
    .join()
    .unwrap();
}

#[test]
fn two_nodes_with_caches_and_threads_are_described() {
    let topology =
        Topology::synthetic("package:2 [numa(memory=8GiB)] l3:2(size=32MiB) l2:2(size=1MiB) core:1 pu:2")
            .unwrap();
    assert_eq!(topology.source, TopologySource::Described);
    assert_eq!(topology.nodes.len(), 2);
    for node in &topology.nodes {
        assert_eq!((node.memory_bytes, node.cores.len()), (8 << 30, 4));
    }
    assert_eq!(topology.l3_caches.len(), 4);
    assert!(topology.l3_caches.iter().all(|l3| l3.bytes == 32 << 20 && l3.cores.len() == 2));
    assert!(topology.cores.iter().all(|core| core.l2_bytes == 1 << 20 && core.pus.len() == 2));
    assert_eq!(topology.cores[7].package, 1);
    assert_eq!(topology.to_string(), "2 nodes, 8 cores, 16 threads, L2 1024 KiB, L3 4 × 32 MiB");
    // Nodes take turns, then caches.
    let placement = place(&topology, ShardCount::Exactly(8)).unwrap();
    let cores: Vec<u32> = placement.shards.iter().map(|shard| shard.core.0).collect();
    assert_eq!(cores, [0, 4, 2, 6, 1, 5, 3, 7]);
}

#[test]
fn descriptions_that_make_no_sense_are_errors() {
    for description in ["", "nonsense", "numa:0", "numa:2\0"] {
        let error = Topology::synthetic(description).unwrap_err();
        assert_eq!(error.code(), "DL-0120", "{description:?}: {error}");
    }
}

#[test]
fn impossible_placements_are_errors() {
    let topology = Topology::synthetic("numa:2 core:2 pu:1").unwrap();
    for count in [0, SHARDS_MAX + 1] {
        let error = place(&topology, ShardCount::Exactly(count)).unwrap_err();
        assert!(
            matches!(error, AllocError::Placement { .. }) && error.to_string().contains("4096"),
            "{error}"
        );
    }
    let none = topology.restricted_to([99]);
    assert_eq!(place(&none, ShardCount::PerCore).unwrap_err().code(), "DL-0121");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn shards_spread_over_nodes_before_they_share_cores(
        nodes in 1..4_u32,
        caches in 1..3_u32,
        cores in 1..5_u32,
        threads in 1..3_u32,
        count in 1..100_u32,
        withheld in prop::collection::btree_set(0..48_u32, 0..20),
    ) {
        let description = format!("numa:{nodes} l3:{caches} core:{cores} pu:{threads}");
        let topology = Topology::synthetic(&description).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let everything = topology.allowed().clone();
        prop_assert_eq!(everything.len() as u32, nodes * caches * cores * threads);
        let topology = topology.restricted_to(everything.difference(&withheld).copied());
        let Ok(placement) = place(&topology, ShardCount::Exactly(count)) else {
            prop_assert!(topology.allowed().is_empty());
            return Ok(());
        };
        prop_assert_eq!(placement.shards.len(), count as usize);
        let (mut on_node, mut on_core, mut on_pu) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (number, shard) in placement.shards.iter().enumerate() {
            prop_assert_eq!(shard.shard as usize, number);
            prop_assert!(topology.allowed().contains(&shard.pu));
            let core = &topology.cores[shard.core.0 as usize];
            prop_assert!(core.pus.contains(&shard.pu) && core.node == shard.node);
            *on_node.entry(shard.node).or_insert(0_usize) += 1;
            *on_core.entry(shard.core).or_insert(0_usize) += 1;
            *on_pu.entry(shard.pu).or_insert(0_usize) += 1;
        }
        let usable: Vec<_> = topology
            .cores
            .iter()
            .map(|core| (core.id, core.node, core.pus.iter().filter(|pu| topology.allowed().contains(pu)).count()))
            .filter(|(_, _, pus)| *pus > 0)
            .collect();
        let shared_core = on_core.values().any(|shards| *shards > 1);
        prop_assert!(!shared_core || on_core.len() == usable.len(), "a core is shared while another is idle");
        let shared_pu = on_pu.values().any(|shards| *shards > 1);
        prop_assert_eq!(shared_pu, placement.is_oversubscribed());
        prop_assert!(!shared_pu || on_pu.len() == topology.allowed().len(), "a thread is shared while another is idle");
        // A node has fewer shards than another only when its cores are all taken.
        let most = on_node.values().copied().max().unwrap_or(0);
        let node_ids: BTreeSet<NodeId> = usable.iter().map(|u| u.1).collect();
        for node in node_ids {
            let has = on_node.get(&node).copied().unwrap_or(0);
            let cores = usable.iter().filter(|u| u.1 == node).count();
            prop_assert!(has + 1 >= most || has >= cores, "{} has {} shards, another {}", node.0, has, most);
        }
        if !topology.allowed().is_empty() {
            let per_core = place(&topology, ShardCount::PerCore).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(per_core.shards.len(), usable.len());
        }
    }
}
