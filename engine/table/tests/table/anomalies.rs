//! What the levels of isolation promise, seen from outside: threads of several processes read and append, and their histories are searched for
//! Adya's anomalies (Generalized Isolation Level Definitions, 2000), from nothing but what was read and written.
//!
//! Each value is written once. So a value that was read tells whose write was seen (`wr`), and one that was not read although its writer
//! committed tells who came later (`rw`). Appends have no order among themselves, so there is no `ww`.
//!
//! The writers are this test program, started again. `DELTALITE_HISTORY` says how many transactions each thread tries.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::process::{Command, Stdio};
use std::thread;

use deltalite_format::predicate::{Literal, col};
use deltalite_table::TableError;
use deltalite_table::txn::Isolation;
use proptest::prelude::*;

use crate::common::{batch, create, open};

const PATH: &str = "DELTALITE_ANOMALIES_PATH";
const PROCESS: &str = "DELTALITE_ANOMALIES_PROCESS";
const LEVEL: &str = "DELTALITE_ANOMALIES_LEVEL";
const PROCESSES: usize = 3;
const THREADS: usize = 3;
const KEYS: i64 = 4;
/// Begins the lines of a history.
const MARK: &str = "history ";

/// What a transaction saw and did.
#[derive(Debug, Clone, Default)]
struct Seen {
    committed: bool,
    /// Values by key.
    reads: BTreeMap<i64, BTreeSet<i64>>,
    writes: Vec<(i64, i64)>,
}

impl Seen {
    fn line(&self) -> String {
        let reads: Vec<String> = self
            .reads
            .iter()
            .map(|(k, v)| format!("{k}={}", v.iter().map(i64::to_string).collect::<Vec<_>>().join(",")))
            .collect();
        let writes: Vec<String> = self.writes.iter().map(|(k, v)| format!("{k}={v}")).collect();
        format!("{MARK}{} r {} w {}", u8::from(self.committed), reads.join(";"), writes.join(";"))
    }

    fn parse(line: &str) -> Option<Self> {
        let (head, writes) = line.strip_prefix(MARK)?.split_once(" w ")?;
        let (committed, reads) = head.split_once(" r ")?;
        let pairs = |text: &str| -> Vec<(i64, String)> {
            let pair = |p: &str| p.split_once('=').map(|(k, v)| (k.parse().unwrap(), v.to_owned()));
            text.split(';').filter_map(pair).collect()
        };
        let values = |v: String| v.split(',').filter(|v| !v.is_empty()).map(|v| v.parse().unwrap()).collect();
        Some(Self {
            committed: committed == "1",
            reads: pairs(reads).into_iter().map(|(k, v)| (k, values(v))).collect(),
            writes: pairs(writes).into_iter().map(|(k, v)| (k, v.parse().unwrap())).collect(),
        })
    }
}

/// What was found in a history.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// A value was read whose writer ended with a conflict, or that nobody wrote.
    aborted_read: usize,
    /// A part of what a transaction wrote was read, and another part that was there to be read was not.
    torn_read: usize,
    /// Transactions that each saw the other's writes, one after the other around a circle.
    circular_information: usize,
    /// Circles with one step from who did not see to whom it did not see (G-single: a snapshot that is none, a lost update).
    single: usize,
    /// Circles with more of those steps (G2: write skew).
    anti_dependency: usize,
}

/// Whom each can be reached from, by breadth.
fn reaches(from: usize, to: usize, edges: &[BTreeSet<usize>]) -> bool {
    let (mut seen, mut next) = (vec![false; edges.len()], VecDeque::from([from]));
    while let Some(at) = next.pop_front() {
        if at == to {
            return true;
        }
        for &after in &edges[at] {
            if !std::mem::replace(&mut seen[after], true) {
                next.push_back(after);
            }
        }
    }
    false
}

/// Searches a history. Where `readers` is false, transactions that write nothing are left out.
fn check(history: &[Seen], readers: bool) -> Found {
    let mut found = Found::default();
    let mut writers: HashMap<i64, usize> = HashMap::new();
    for (at, txn) in history.iter().enumerate() {
        writers.extend(txn.writes.iter().map(|(_, value)| (*value, at)));
    }
    let counts = |txn: &Seen| txn.committed && (readers || !txn.writes.is_empty());
    let mut saw: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); history.len()];
    let mut missed = saw.clone();
    for (at, txn) in history.iter().enumerate().filter(|(_, t)| counts(t)) {
        for (key, values) in &txn.reads {
            for value in values {
                match writers.get(value) {
                    Some(&writer) if history[writer].committed => drop(saw[writer].insert(at)),
                    _ => found.aborted_read += 1,
                }
            }
            for (writer, other) in history.iter().enumerate().filter(|(w, t)| *w != at && counts(t)) {
                let mut of_key =
                    other.writes.iter().filter(|(k, _)| k == key).map(|(_, v)| values.contains(v));
                let Some(first) = of_key.next() else { continue };
                if of_key.any(|seen| seen != first) {
                    found.torn_read += 1;
                }
                if !first {
                    missed[at].insert(writer);
                }
            }
        }
    }
    let all: Vec<BTreeSet<usize>> = saw.iter().zip(&missed).map(|(a, b)| a | b).collect();
    for at in 0..history.len() {
        found.circular_information += saw[at].iter().filter(|to| reaches(**to, at, &saw)).count();
        for &to in &missed[at] {
            if reaches(to, at, &saw) {
                found.single += 1;
            } else if reaches(to, at, &all) {
                found.anti_dependency += 1;
            }
        }
    }
    found
}

fn level(name: &str) -> Isolation {
    match name {
        "serializable" => Isolation::Serializable,
        "write_serializable" => Isolation::WriteSerializable,
        _ => Isolation::Snapshot,
    }
}

/// A process: threads that read some keys, and append to others or to none.
#[test]
fn writer() {
    let (Ok(path), Ok(process), Ok(name)) =
        (std::env::var(PATH), std::env::var(PROCESS), std::env::var(LEVEL))
    else {
        return;
    };
    let process: i64 = process.parse().unwrap();
    let each: i64 = std::env::var("DELTALITE_HISTORY").ok().and_then(|n| n.parse().ok()).unwrap_or(25);
    let path = &path;
    let name = &name;
    thread::scope(|scope| {
        for thread in 0..THREADS as i64 {
            scope.spawn(move || {
                let table = open(path.as_ref());
                let mut random = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul((process * 100 + thread + 1) as u64);
                let mut any = |below: i64| {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    ((random >> 33) as i64) % below
                };
                for n in 0..each {
                    let mut txn = table.begin().unwrap().isolation(level(name));
                    let mut seen = Seen::default();
                    for _ in 0..any(3) {
                        seen.reads.insert(any(KEYS), BTreeSet::new());
                    }
                    for (key, values) in &mut seen.reads {
                        let wanted = col("amount").eq(*key);
                        txn.read_where(&wanted).unwrap();
                        let rows = txn.snapshot().scan().columns(["id"]).filter(wanted).execute().unwrap();
                        let rows = rows.collect_batch().unwrap();
                        for row in 0..rows.num_rows() {
                            values.insert(
                                Literal::of(rows.column(0).as_ref(), row).to_string().parse().unwrap(),
                            );
                        }
                    }
                    let first = (process * 10 + thread) * 100_000 + n * 10;
                    let writes = if seen.reads.is_empty() { 1 + any(2) } else { any(3) };
                    seen.writes = (0..writes).map(|w| (any(KEYS), first + w)).collect();
                    if seen.writes.is_empty() {
                        // Who only reads has seen one version, and commits nothing.
                        seen.committed = true;
                    } else {
                        let rows: Vec<_> =
                            seen.writes.iter().map(|(key, value)| (*value, None, *key)).collect();
                        txn.insert([Ok(batch(&rows))]).unwrap();
                        seen.committed = match txn.commit("WRITE", []) {
                            Ok(_) => true,
                            Err(TableError::Conflict(_) | TableError::GaveUp { .. }) => false,
                            Err(e) => panic!("{e}"),
                        };
                    }
                    // One write a line, so that processes do not mix theirs.
                    eprintln!("{}", seen.line());
                }
            });
        }
    });
}

/// A history of several processes.
fn history(level: &str) -> Vec<Seen> {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path());
    let children: Vec<_> = (0..PROCESSES)
        .map(|process| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "anomalies::writer", "--nocapture"])
                .env(PATH, folder.path())
                .env(PROCESS, process.to_string())
                .env(LEVEL, level)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut all = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        all.extend(said.lines().filter_map(Seen::parse));
    }
    let committed = all.iter().filter(|t| t.committed && !t.writes.is_empty()).count();
    assert!(committed * 4 > all.len(), "only {committed} of {} committed", all.len());
    assert!(open(folder.path()).verify(true).unwrap().is_clean());
    all
}

#[test]
fn serializable_histories_have_no_anomaly() {
    assert_eq!(check(&history("serializable"), true), Found::default());
}

#[test]
fn writers_of_write_serializable_histories_have_no_anomaly() {
    let history = history("write_serializable");
    assert_eq!(check(&history, false), Found::default());
    // Readers see versions, which are whole, in the order of commits.
    let all = check(&history, true);
    assert_eq!((all.aborted_read, all.torn_read, all.circular_information), (0, 0, 0), "{all:?}");
}

/// Write skew is what the level allows, and so the search is seen to find it; nothing worse is there.
#[test]
fn snapshot_histories_have_write_skew_and_nothing_worse() {
    let found = check(&history("snapshot"), true);
    let rest = Found { anti_dependency: 0, ..found };
    assert_eq!(rest, Found::default());
    assert!(found.anti_dependency > 0, "no write skew in a history made for it");
}

/// Histories whose anomaly is known.
#[test]
fn the_search_finds_each_anomaly() {
    let txn = |committed: bool, reads: &[(i64, &[i64])], writes: &[(i64, i64)]| Seen {
        committed,
        reads: reads.iter().map(|(k, v)| (*k, v.iter().copied().collect())).collect(),
        writes: writes.to_vec(),
    };
    let of = |history: &[Seen]| check(history, true);
    assert_eq!(of(&[txn(true, &[], &[(0, 1)]), txn(true, &[(0, &[1])], &[(1, 2)])]), Found::default());
    assert_eq!(of(&[txn(false, &[], &[(0, 1)]), txn(true, &[(0, &[1])], &[])]).aborted_read, 1);
    assert_eq!(of(&[txn(true, &[(0, &[9])], &[])]).aborted_read, 1);
    assert_eq!(of(&[txn(true, &[], &[(0, 1), (0, 2)]), txn(true, &[(0, &[1])], &[])]).torn_read, 1);
    let circle = [txn(true, &[(0, &[2])], &[(1, 1)]), txn(true, &[(1, &[1])], &[(0, 2)])];
    assert_eq!(of(&circle).circular_information, 2);
    // One sees the other's write to one key and not to another.
    let skewed = [txn(true, &[], &[(0, 1), (1, 2)]), txn(true, &[(0, &[1]), (1, &[])], &[])];
    assert_eq!(of(&skewed).single, 1);
    let skew = [txn(true, &[(0, &[])], &[(1, 1)]), txn(true, &[(1, &[])], &[(0, 2)])];
    assert_eq!(of(&skew), Found { anti_dependency: 2, ..Found::default() });
    // A reader between two appends that write-serializable puts the other way round.
    let reader = [
        txn(true, &[(1, &[])], &[(0, 1)]),
        txn(true, &[], &[(1, 2)]),
        txn(true, &[(0, &[]), (1, &[2])], &[]),
    ];
    assert_eq!(check(&reader, false), Found::default());
    assert_ne!(check(&reader, true), Found::default());
}

proptest! {
    /// Histories that were run one after the other have no anomaly, and survive being written down.
    #[test]
    fn serial_histories_have_no_anomaly(steps in prop::collection::vec((prop::collection::btree_set(0..KEYS, 0..3), prop::collection::vec(0..KEYS, 0..3)), 0..30)) {
        let mut now: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
        let mut next = 0;
        let mut history = Vec::new();
        for (reads, writes) in steps {
            let reads = reads.into_iter().map(|k| (k, now.get(&k).cloned().unwrap_or_default())).collect();
            let writes: Vec<(i64, i64)> = writes.into_iter().map(|k| { next += 1; (k, next) }).collect();
            for (key, value) in &writes {
                now.entry(*key).or_default().insert(*value);
            }
            let seen = Seen { committed: true, reads, writes };
            let again = Seen::parse(&seen.line()).unwrap();
            prop_assert_eq!((&again.reads, &again.writes), (&seen.reads, &seen.writes));
            history.push(again);
        }
        prop_assert_eq!(check(&history, true), Found::default());
    }
}
