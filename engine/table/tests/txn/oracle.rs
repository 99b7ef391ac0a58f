//! Random small histories, compared with every order in which their transactions could have run one after the other.

use deltalite_table::Version;
use deltalite_table::txn::Isolation;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::world::{Bag, Statement, World};

/// How many histories of each kind: `DELTALITE_HISTORIES`, or some.
fn histories() -> u64 {
    std::env::var("DELTALITE_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

/// Statements that committed, by version, and the bag after each.
struct History {
    committed: Vec<Statement>,
    bases: Vec<Version>,
    bags: Vec<Bag>,
    aborted: usize,
}

impl History {
    /// What committed, the version it had read, and the bag after it.
    fn told(&self) -> Vec<(Statement, Version, &Bag)> {
        let each = self.committed.iter().zip(&self.bases).zip(&self.bags);
        each.map(|((statement, base), bag)| (*statement, *base, bag)).collect()
    }
}

fn statement(rng: &mut StdRng) -> Statement {
    let mut number = || rng.random_range(0..3);
    let (a, b) = (number(), number());
    match rng.random_range(0..10) {
        0..=2 => Statement::Insert(a),
        3 => Statement::Delete(a),
        4 | 5 => Statement::Update(a, b),
        6 => Statement::InsertUnless(a, b),
        7 => Statement::InsertCount(a),
        8 => Statement::Compact,
        _ if rng.random_bool(0.3) => Statement::Truncate,
        _ => Statement::Compact,
    }
}

/// Up to `statements` transactions, each of which read some version before the newest.
fn run(seed: u64, isolation: Isolation, statements: usize) -> History {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new();
    let mut history = History { committed: Vec::new(), bases: Vec::new(), bags: Vec::new(), aborted: 0 };
    for _ in 0..statements {
        let latest = world.latest().0;
        let base = Version(latest - rng.random_range(0..=latest.min(3)));
        let statement = statement(&mut rng);
        let prepared = world.prepare(statement, base, isolation);
        match world.commit(prepared) {
            Ok(version) => {
                assert_eq!(version, world.latest());
                history.committed.push(statement);
                history.bases.push(base);
                history.bags.push(world.bag(version));
            }
            Err(conflict) => {
                assert!(conflict.to_string().contains(conflict.rule.name()), "{conflict}");
                history.aborted += 1;
            }
        }
    }
    history
}

/// Whether the bags are what the statements do one after the other in the order of their versions.
fn is_serial_by_version(history: &History) -> bool {
    let mut bag = Bag::new();
    history.committed.iter().zip(&history.bags).all(|(statement, expected)| {
        statement.run(&mut bag);
        bag == *expected
    })
}

/// Whether some order of the statements ends in the last bag.
fn is_serial_in_some_order(history: &History) -> bool {
    fn search(left: &mut Vec<Statement>, bag: &Bag, end: &Bag) -> bool {
        if left.is_empty() {
            return bag == end;
        }
        (0..left.len()).any(|i| {
            let statement = left.remove(i);
            let mut next = bag.clone();
            statement.run(&mut next);
            let found = search(left, &next, end);
            left.insert(i, statement);
            found
        })
    }
    let end = history.bags.last().cloned().unwrap_or_default();
    let mut statements: Vec<Statement> =
        history.committed.iter().copied().filter(|s| *s != Statement::Compact).collect();
    search(&mut statements, &Bag::new(), &end)
}

#[test]
fn serializable_histories_are_serial_by_version() {
    let mut committed = 0;
    for seed in 0..histories() {
        let history = run(seed, Isolation::Serializable, 8);
        committed += history.committed.len();
        assert!(is_serial_by_version(&history), "seed {seed}: {:?}", history.told());
    }
    assert!(
        committed as u64 > histories() * 4,
        "rules that let nothing pass prove nothing: {committed} committed"
    );
}

#[test]
fn write_serializable_histories_are_serial_in_some_order() {
    let mut reordered = 0;
    for seed in 0..histories() {
        let history = run(seed, Isolation::WriteSerializable, 7);
        reordered += usize::from(!is_serial_by_version(&history));
        assert!(is_serial_in_some_order(&history), "seed {seed}: {:?}", history.told());
    }
    assert!(reordered > 100, "the level allows orders that others don't: {reordered}");
}

/// Delta Lake's rules let this pass, and no order of these statements ends like that: the count saw the second 2, so it comes after
/// its insertion; the deletion did not, so it comes before; and the count saw the first 2, so it comes before the deletion.
#[test]
fn what_has_to_come_before_an_append_comes_before_those_who_saw_it() {
    let mut world = World::new();
    let level = Isolation::WriteSerializable;
    for _ in 0..2 {
        let insert = world.prepare(Statement::Insert(2), world.latest(), level);
        world.commit(insert).unwrap();
    }
    let delete = world.prepare(Statement::Delete(2), Version(1), level);
    let again = world.prepare(Statement::Delete(2), Version(1), level);
    let count = world.prepare(Statement::InsertCount(2), world.latest(), level);
    world.commit(count).unwrap();
    let conflict = world.commit(delete).unwrap_err();
    assert_eq!(conflict.rule, deltalite_table::txn::Rule::PhantomAdd, "{conflict}");
    let mut other = World::new();
    for _ in 0..2 {
        let insert = other.prepare(Statement::Insert(2), other.latest(), level);
        other.commit(insert).unwrap();
    }
    other.commit(again).unwrap();
    assert_eq!(other.bag(other.latest()), Bag::from([(2, 1)]), "without the count there is such an order");
}

#[test]
fn the_oracle_finds_what_snapshot_isolation_allows() {
    let skewed =
        (0..3_000).filter(|seed| !is_serial_in_some_order(&run(*seed, Isolation::Snapshot, 7))).count();
    assert!(skewed > 10, "write skew in {skewed} histories");
}

#[test]
fn deletes_of_other_rows_and_compaction_never_abort() {
    for seed in 0..2_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        for number in 0..8 {
            let prepared = world.prepare(Statement::Insert(number), world.latest(), Isolation::Serializable);
            world.commit(prepared).unwrap();
        }
        let prepared = world.prepare(Statement::Compact, world.latest(), Isolation::Serializable);
        world.commit(prepared).unwrap();
        let base = world.latest();
        // All of these read the same version: each number is deleted by one, and there are two compactions, one after the other.
        let mut statements: Vec<Statement> = (0..8).map(Statement::Delete).collect();
        statements.insert(rng.random_range(0..=8), Statement::Compact);
        let prepared: Vec<_> =
            statements.iter().map(|s| world.prepare(*s, base, Isolation::Serializable)).collect();
        for one in prepared {
            let committed = world.commit(one);
            assert!(committed.is_ok(), "seed {seed}: {}", committed.unwrap_err());
        }
        assert_eq!(world.bag(world.latest()), Bag::new());
    }
}
