//! Measurements, to be run by hand: `cargo test --release -p deltalite-table --test measure -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::time::Instant;

use deltalite_table::log::action::{Action, Add, CommitInfo, LineReader, Metadata, Protocol};
use deltalite_table::log::{LocalStore, SealedCommit, Snapshot};

// The one of the `deltalite` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An add as a writer of a table with twenty columns makes them: some 900 bytes as a line.
fn realistic(i: usize) -> Add {
    let mut stats = r#"{"numRecords":1048576,"minValues":{"#.to_owned();
    let column = |c: usize, v: usize| format!("\"l_column{c}\":{},", v * 1_000_003 % 99_991_133);
    (0..8).for_each(|c| stats += &column(c, i + c));
    stats += r#""l_shipdate":"1992-01-02","l_comment":" about the foxes"},"maxValues":{"#;
    (0..8).for_each(|c| stats += &column(c, i + c + 7));
    stats += r#""l_shipdate":"1998-12-01","l_comment":"zzle? slyly bold"},"nullCount":{"#;
    (0..8).for_each(|c| stats += &format!("\"l_column{c}\":0,"));
    stats += r#""l_shipdate":0,"l_comment":0}}"#;
    let id = format!("{:08x}-{:04x}-4000-8000-{:012x}", i as u32, i % 65_521, i * 7919);
    Add {
        path: format!("l_shipyear=1995/l_region=EUROPE/part-{:05}-{id}.c000.dlb", i % 100_000).into(),
        partition_values: [("l_shipyear", Some("1995")), ("l_region", Some("EUROPE"))].into_iter().collect(),
        size: 64 << 20,
        modification_time: 1_700_000_000_000 + i as i64,
        data_change: true,
        stats: Some(stats.into()),
        ..Add::default()
    }
}

fn best_of<T>(runs: usize, mut run: impl FnMut() -> T) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..runs {
        let start = Instant::now();
        std::hint::black_box(run());
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

#[test]
#[ignore = "a measurement"]
fn parse() {
    let mut bytes = Vec::new();
    for i in 0..50_000 {
        serde_json::to_writer(&mut bytes, &Action::Add(realistic(i))).unwrap();
        bytes.push(b'\n');
    }
    let mut actions: Vec<Action> = Vec::with_capacity(50_000);
    let mut work = bytes.clone();
    let mut ours = f64::MAX;
    for _ in 0..9 {
        work.clear();
        work.extend_from_slice(&bytes);
        actions.clear();
        let start = Instant::now();
        let mut reader = LineReader::new();
        reader
            .read("m", 1, &mut work, |_, a| {
                actions.push(a);
                Ok(())
            })
            .unwrap();
        ours = ours.min(start.elapsed().as_secs_f64());
    }
    assert_eq!(actions.len(), 50_000);
    // One action at a time, as replay of small commits does: what is parsed is dropped again at once.
    let mut single = f64::MAX;
    for _ in 0..9 {
        work.clear();
        work.extend_from_slice(&bytes);
        let start = Instant::now();
        LineReader::new()
            .read("m", 1, &mut work, |_, a| {
                drop(std::hint::black_box(a));
                Ok(())
            })
            .unwrap();
        single = single.min(start.elapsed().as_secs_f64());
    }
    let serde = best_of(5, || {
        actions.clear();
        actions.extend(
            bytes
                .split(|b| *b == b'\n')
                .filter(|l| !l.is_empty())
                .map(|l| serde_json::from_slice::<Action>(l).unwrap()),
        );
    });
    let gb = bytes.len() as f64 / 1e9;
    println!(
        "{} bytes a line: {:.2} GB/s kept, {:.2} GB/s dropped, serde_json {:.2} GB/s kept: {:.1} times",
        bytes.len() / 50_000,
        gb / ours,
        gb / single,
        gb / serde,
        serde / ours
    );
}

#[test]
#[ignore = "a measurement"]
fn open_and_refresh() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::create(folder.path()).unwrap();
    let files: usize = std::env::var("FILES").ok().and_then(|f| f.parse().ok()).unwrap_or(1_000_000);
    let protocol = Protocol { min_reader_version: 3, min_writer_version: 7, ..Protocol::default() };
    let mut actions = vec![Action::Protocol(protocol), Action::Metadata(Box::<Metadata>::default())];
    actions.extend((0..files).map(|i| Action::Add(realistic(i))));
    let start = Instant::now();
    let first = SealedCommit::first(CommitInfo::new("WRITE"), actions).unwrap();
    println!("sealing {files} adds: {:.2} s", start.elapsed().as_secs_f64());
    let _ = SealedCommit::commit(&store, std::slice::from_ref(&first)).unwrap();
    let start = Instant::now();
    let mut now = first.snapshot().checkpoint(&store).unwrap();
    println!("checkpoint of all: {:.2} s", start.elapsed().as_secs_f64());
    drop(first);
    for _ in 0..3 {
        let start = Instant::now();
        let opened = Snapshot::open(&store).unwrap();
        println!("open {} files: {:.3} s", opened.files().len(), start.elapsed().as_secs_f64());
    }
    let before = Snapshot::open(&store).unwrap();
    for version in 0..100 {
        let mut actions: Vec<Action> =
            (0..10).map(|i| Action::Add(realistic(files + version * 10 + i))).collect();
        for i in 0..5 {
            let gone = realistic((version * 5 + i) * 1999 % files).to_remove(1, true);
            actions.push(Action::Remove(gone));
        }
        let sealed = now.seal(CommitInfo::new("WRITE"), actions).unwrap();
        let _ = SealedCommit::commit(&store, std::slice::from_ref(&sealed)).unwrap();
        now = sealed.snapshot().clone();
    }
    let refresh = best_of(5, || before.refresh(&store).unwrap());
    println!("refresh by 100 versions of 15 actions: {:.2} ms", refresh * 1e3);
    let start = Instant::now();
    now.checkpoint(&store).unwrap();
    println!("next checkpoint: {:.2} s", start.elapsed().as_secs_f64());
    let all = best_of(3, || now.files().iter().map(|f| f.size()).sum::<u64>());
    println!("iterate {} files: {:.1} ms", now.files().len(), all * 1e3);
    let opened = Snapshot::open(&store).unwrap();
    let start = Instant::now();
    let stats = opened.files().iter().filter(|f| f.stats_text().unwrap().is_some()).count();
    println!("first look at all statistics ({stats}): {:.2} s", start.elapsed().as_secs_f64());
}
