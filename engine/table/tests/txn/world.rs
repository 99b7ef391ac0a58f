//! A small world of tables: files are vectors of numbers, statements are executed physically (files, deletion vectors, read and write
//! sets) and logically (a bag of numbers).

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalite_table::Version;
use deltalite_table::log::Commit;
use deltalite_table::log::action::{Add, CommitInfo, DeletionVector, DvStorage, StatValue};
use deltalite_table::txn::{
    Changed, Checked, Columns, Conflict, FilePredicate, Isolation, Removal, RowChange, RowDelete,
    RowMapBuilder, Rows, Transaction, WinnerSummary, check,
};

/// A statement. Numbers are small, so that statements meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statement {
    /// Appends a number without looking.
    Insert(i64),
    /// Deletes all rows of a number.
    Delete(i64),
    /// Turns all of one number into another.
    Update(i64, i64),
    /// Appends the second if there is none of the first.
    InsertUnless(i64, i64),
    /// Appends ten times the number of rows of a number, plus that number.
    InsertCount(i64),
    /// Removes everything.
    Truncate,
    /// Writes all files into one.
    Compact,
}

/// Numbers and how often they are there.
pub(crate) type Bag = BTreeMap<i64, usize>;

impl Statement {
    /// What it does to a bag.
    pub(crate) fn run(self, bag: &mut Bag) {
        let put = |bag: &mut Bag, number: i64, count: usize| {
            if count > 0 {
                *bag.entry(number).or_default() += count;
            }
        };
        match self {
            Statement::Insert(number) => put(bag, number, 1),
            Statement::Delete(number) => drop(bag.remove(&number)),
            Statement::Update(from, to) => {
                let count = bag.remove(&from).unwrap_or(0);
                put(bag, to, count);
            }
            Statement::InsertUnless(looked_for, number) => {
                if !bag.contains_key(&looked_for) {
                    put(bag, number, 1);
                }
            }
            Statement::InsertCount(number) => {
                let count = bag.get(&number).copied().unwrap_or(0);
                put(bag, 10 * count as i64 + number, 1);
            }
            Statement::Truncate => bag.clear(),
            Statement::Compact => {}
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct File {
    add: Add,
    rows: Arc<Vec<i64>>,
    deleted: Rows,
}

pub(crate) type State = BTreeMap<Box<str>, File>;

/// A table with all its versions.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) states: Vec<State>,
    winners: Vec<WinnerSummary>,
    files: u64,
}

#[derive(Debug)]
struct EqualTo(i64);

impl FilePredicate for EqualTo {
    fn may_match(&self, file: &Add) -> bool {
        let stats = file.stats().unwrap().unwrap();
        let column = stats.column(&["n"]).unwrap();
        let (Some(StatValue::Int(min)), Some(StatValue::Int(max))) = (&column.min, &column.max) else {
            return true;
        };
        (*min..=*max).contains(&self.0)
    }
    fn text(&self) -> String {
        format!("n = {}", self.0)
    }
}

/// A transaction, and the rows of the files it adds.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) txn: Transaction,
    rows: BTreeMap<Box<str>, Arc<Vec<i64>>>,
    operation: &'static str,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { states: vec![State::new()], winners: vec![WinnerSummary::default()], files: 0 }
    }

    pub(crate) fn latest(&self) -> Version {
        Version(self.states.len() as u64 - 1)
    }

    pub(crate) fn bag(&self, version: Version) -> Bag {
        let mut bag = Bag::new();
        for file in self.states[version.0 as usize].values() {
            for (row, number) in file.rows.iter().enumerate() {
                if !file.deleted.contains(row as u64) {
                    *bag.entry(*number).or_default() += 1;
                }
            }
        }
        bag
    }

    fn new_file(&mut self, rows: Vec<i64>) -> (Add, Arc<Vec<i64>>) {
        self.files += 1;
        let (min, max) = (rows.iter().min().unwrap(), rows.iter().max().unwrap());
        let stats =
            format!(r#"{{"numRecords":{},"minValues":{{"n":{min}}},"maxValues":{{"n":{max}}}}}"#, rows.len());
        let add = Add {
            path: format!("f{}", self.files).into(),
            size: 8 * rows.len() as u64,
            stats: Some(stats.into()),
            ..Add::default()
        };
        (add, Arc::new(rows))
    }

    /// Executes a statement on a version.
    pub(crate) fn prepare(&mut self, statement: Statement, base: Version, isolation: Isolation) -> Prepared {
        let mut txn = Transaction::new(base, isolation);
        let state = self.states[base.0 as usize].clone();
        let mut new = Vec::new();
        // Finds the rows of a number, and notes that it looked.
        let look = |txn: &mut Transaction, number: i64| {
            let predicate = Arc::new(EqualTo(number));
            txn.reads.columns = Columns::All;
            let mut found: Vec<(Box<str>, Rows)> = Vec::new();
            for (path, file) in state.iter().filter(|(_, file)| predicate.may_match(&file.add)) {
                let rows: Rows = (0..file.rows.len() as u64)
                    .filter(|row| file.rows[*row as usize] == number && !file.deleted.contains(*row))
                    .collect();
                txn.reads.files.insert(path.clone());
                txn.reads.rows.insert(path.clone(), rows.clone());
                found.push((path.clone(), rows));
            }
            txn.reads.predicates.push(predicate);
            found
        };
        let delete = |txn: &mut Transaction, found: Vec<(Box<str>, Rows)>| -> u64 {
            let mut count = 0;
            for (path, rows) in found.into_iter().filter(|(_, rows)| !rows.is_empty()) {
                count += rows.len();
                let file = &state[&path];
                let delete = RowDelete {
                    file: file.add.clone(),
                    before: file.deleted.clone(),
                    rows,
                    changed: Rows::new(),
                };
                txn.writes.deletes.insert(path, delete);
            }
            count
        };
        let count = |found: &[(Box<str>, Rows)]| found.iter().map(|(_, rows)| rows.len()).sum::<u64>();
        let operation = match statement {
            Statement::Insert(number) => {
                new.push(number);
                "WRITE"
            }
            Statement::Delete(number) => {
                let found = look(&mut txn, number);
                delete(&mut txn, found);
                "DELETE"
            }
            Statement::Update(from, to) => {
                let found = look(&mut txn, from);
                let count = delete(&mut txn, found);
                new.extend((0..count).map(|_| to));
                "UPDATE"
            }
            Statement::InsertUnless(looked_for, number) => {
                if count(&look(&mut txn, looked_for)) == 0 {
                    new.push(number);
                }
                "INSERT"
            }
            Statement::InsertCount(number) => {
                new.push(10 * count(&look(&mut txn, number)) as i64 + number);
                "INSERT"
            }
            Statement::Truncate => {
                txn.reads.whole_table = true;
                let removals = state
                    .iter()
                    .map(|(p, f)| (p.clone(), Removal { file: f.add.clone(), changed: Changed::None }));
                txn.writes.removes = removals.collect();
                "TRUNCATE"
            }
            Statement::Compact => {
                txn.writes.data_change = false;
                let mut map = RowMapBuilder::default();
                let path = format!("f{}", self.files + 1);
                for (source, file) in &state {
                    map.source(source);
                    for (row, number) in file.rows.iter().enumerate() {
                        if !file.deleted.contains(row as u64) {
                            map.run(source, row as u64, 1, &path, new.len() as u64);
                            new.push(*number);
                        }
                    }
                }
                txn.writes.row_map = Some(map.build().unwrap());
                let removals = state
                    .iter()
                    .map(|(p, f)| (p.clone(), Removal { file: f.add.clone(), changed: Changed::None }));
                txn.writes.removes = removals.collect();
                "OPTIMIZE"
            }
        };
        let mut rows = BTreeMap::new();
        if !new.is_empty() {
            let (add, numbers) = self.new_file(new);
            rows.insert(add.path.clone(), numbers);
            txn.writes.adds.push(add);
        }
        Prepared { txn, rows, operation }
    }

    /// Checks a transaction against all versions since its base, and commits it on top.
    pub(crate) fn commit(&mut self, mut prepared: Prepared) -> Result<Version, Box<Conflict>> {
        let txn = &mut prepared.txn;
        for winner in &self.winners[txn.base.0 as usize + 1..] {
            if let Checked::AlreadyCommitted(version) = check(winner, txn, |_| true)? {
                return Ok(version);
            }
        }
        let version = self.latest().next();
        let mut state = self.states.last().unwrap().clone();
        let mut info = CommitInfo { version, ..CommitInfo::new(prepared.operation) };
        let mut kept: BTreeMap<String, Rows> = BTreeMap::new();
        let mut vectors = 0;
        let actions = deltalite_table::txn::actions::actions_of(txn, &mut info, None, |path, rows| {
            vectors += 1;
            kept.insert(path.to_owned(), rows.clone());
            Ok(DeletionVector {
                storage_type: DvStorage::Inline,
                path_or_inline_dv: format!("{version}.{vectors}").into(),
                offset: None,
                size_in_bytes: 4,
                cardinality: rows.len(),
            })
        });
        let mut winner = WinnerSummary {
            commit: Commit { info, ..Commit::default() },
            row_map: txn.writes.row_map.clone(),
            ..WinnerSummary::default()
        };
        let mut removed: BTreeMap<Box<str>, File> = BTreeMap::new();
        for action in actions.unwrap() {
            match action {
                deltalite_table::log::Action::Remove(remove) => {
                    let file = state.remove(&remove.path).expect("it removes what is live");
                    assert_eq!(file.add.dv_id(), remove.dv_id(), "{} with the vector it has", remove.path);
                    removed.insert(remove.path.clone(), file);
                    winner.commit.removes.push(remove);
                }
                deltalite_table::log::Action::Add(add) => {
                    let deleted = kept.remove(&*add.path).unwrap_or_default();
                    let rows = match removed.get(&add.path) {
                        Some(before) => {
                            let change = RowChange { before: before.deleted.clone(), after: deleted.clone() };
                            winner.changes.insert(add.path.clone(), change);
                            before.rows.clone()
                        }
                        None => {
                            winner.deleted_in_new.insert(add.path.clone(), deleted.clone());
                            prepared.rows[&add.path].clone()
                        }
                    };
                    let twice = state.insert(add.path.clone(), File { add: add.clone(), rows, deleted });
                    assert!(twice.is_none(), "{} is live already", add.path);
                    winner.commit.adds.push(add);
                }
                other => unreachable!("{other:?}"),
            }
        }
        self.states.push(state);
        self.winners.push(winner);
        Ok(version)
    }
}
