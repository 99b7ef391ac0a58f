//! Random statements against a list of rows in memory.

use deltalite_format::predicate::{Predicate, col};
use deltalite_table::{DeltaLiteTable, Version};
use proptest::prelude::*;

use crate::common::{Row, batch, context, create, open, read, schema};

#[derive(Debug, Clone)]
enum Statement {
    Append(Vec<(i64, i64)>),
    Delete(Condition),
    Update(Condition, i64),
    Merge(Vec<(i64, i64)>),
    Overwrite(Vec<(i64, i64)>),
    ReplaceWhere(Condition),
    Truncate,
    Optimize,
    ZOrder,
    Restore(prop::sample::Index),
    Checkpoint,
}

#[derive(Debug, Clone)]
enum Condition {
    IdBelow(i64),
    IdIs(i64),
    AmountBetween(i64, i64),
    NameIsNull,
}

impl Condition {
    fn predicate(&self) -> Predicate {
        match self {
            Condition::IdBelow(n) => col("id").lt(*n),
            Condition::IdIs(n) => col("id").eq(*n),
            Condition::AmountBetween(a, b) => col("amount").between(*a, *b),
            Condition::NameIsNull => col("name").is_null(),
        }
    }

    fn holds(&self, row: &Row) -> bool {
        match self {
            Condition::IdBelow(n) => row.0 < *n,
            Condition::IdIs(n) => row.0 == *n,
            Condition::AmountBetween(a, b) => (*a..=*b).contains(&row.2),
            Condition::NameIsNull => row.1.is_none(),
        }
    }
}

fn any_rows() -> impl Strategy<Value = Vec<(i64, i64)>> {
    prop::collection::vec((0..40i64, -50..50i64), 1..30)
}

fn any_condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        (0..40i64).prop_map(Condition::IdBelow),
        (0..40i64).prop_map(Condition::IdIs),
        (-50..50i64, 0..40i64).prop_map(|(a, n)| Condition::AmountBetween(a, a + n)),
        Just(Condition::NameIsNull),
    ]
}

fn any_statement() -> impl Strategy<Value = Statement> {
    prop_oneof![
        4 => any_rows().prop_map(Statement::Append),
        3 => any_condition().prop_map(Statement::Delete),
        3 => (any_condition(), -50..50i64).prop_map(|(c, v)| Statement::Update(c, v)),
        2 => any_rows().prop_map(Statement::Merge),
        1 => any_rows().prop_map(Statement::Overwrite),
        1 => any_condition().prop_map(Statement::ReplaceWhere),
        1 => Just(Statement::Truncate),
        2 => Just(Statement::Optimize),
        1 => Just(Statement::ZOrder),
        1 => any::<prop::sample::Index>().prop_map(Statement::Restore),
        1 => Just(Statement::Checkpoint),
    ]
}

/// A row of an id and an amount: every fifth has no name.
fn full((id, amount): (i64, i64)) -> Row {
    (id, (id % 5 != 0).then(|| format!("name {id}")), amount)
}

fn run(table: &DeltaLiteTable, statement: &Statement, model: &mut Vec<Row>, versions: &[Vec<Row>]) {
    match statement {
        Statement::Append(rows) => {
            let rows: Vec<Row> = rows.iter().copied().map(full).collect();
            table.append([batch(&rows)]).execute().unwrap();
            model.extend(rows);
        }
        Statement::Delete(condition) => {
            let outcome = table.delete().filter(condition.predicate()).execute().unwrap();
            let before = model.len();
            model.retain(|row| !condition.holds(row));
            assert_eq!(outcome.metric("numDeletedRows"), (before - model.len()) as u64);
        }
        Statement::Update(condition, amount) => {
            let outcome =
                table.update().filter(condition.predicate()).set("amount", *amount).execute().unwrap();
            let changed = model.iter_mut().filter(|row| condition.holds(row)).map(|row| row.2 = *amount);
            assert_eq!(outcome.metric("numUpdatedRows"), changed.count() as u64);
        }
        Statement::Merge(rows) => {
            let mut source: Vec<Row> = Vec::new();
            for row in rows.iter().copied().map(full) {
                if source.iter().all(|known| known.0 != row.0) {
                    source.push(row);
                }
            }
            table
                .merge([batch(&source)], ["id"])
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .execute()
                .unwrap();
            for row in source {
                let mut met = false;
                for known in model.iter_mut().filter(|known| known.0 == row.0) {
                    known.clone_from(&row);
                    met = true;
                }
                if !met {
                    model.push(row);
                }
            }
        }
        Statement::Overwrite(rows) => {
            let rows: Vec<Row> = rows.iter().copied().map(full).collect();
            table.overwrite([batch(&rows)]).execute().unwrap();
            *model = rows;
        }
        Statement::ReplaceWhere(condition) => {
            let rows: Vec<Row> =
                (0..40).map(|id| full((id, id - 20))).filter(|r| condition.holds(r)).collect();
            table.overwrite([batch(&rows)]).replace_where(condition.predicate()).execute().unwrap();
            model.retain(|row| !condition.holds(row));
            model.extend(rows);
        }
        Statement::Truncate => {
            table.truncate().unwrap();
            model.clear();
        }
        Statement::Optimize => drop(table.optimize().execute().unwrap()),
        Statement::ZOrder => drop(table.optimize().zorder_by(["amount", "id"]).execute().unwrap()),
        Statement::Restore(which) => {
            let version = which.index(versions.len());
            table.restore(Version(version as u64)).unwrap();
            model.clone_from(&versions[version]);
        }
        Statement::Checkpoint => table.checkpoint().unwrap(),
    }
}

fn sorted(model: &[Row]) -> Vec<Row> {
    let mut rows = model.to_vec();
    rows.sort();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// After every statement the table has the rows of the model, and every version keeps those it had.
    #[test]
    fn tables_are_lists_of_rows(statements in prop::collection::vec(any_statement(), 1..14), partitioned: bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        let mut new = DeltaLiteTable::create(&path, &schema()).context(&context());
        if partitioned {
            new = new.partition_by(["bucket(3, id)", "name"]);
        }
        let table = new.execute().unwrap();
        let mut model: Vec<Row> = Vec::new();
        let mut versions = vec![Vec::new()];
        for statement in &statements {
            run(&table, statement, &mut model, &versions);
            prop_assert_eq!(read(&table), sorted(&model), "after {:?}", statement);
            // A statement that changes nothing makes no version.
            versions.resize(table.version().0 as usize + 1, sorted(&model));
        }
        for (version, rows) in versions.iter().enumerate() {
            let then = table.at_version(Version(version as u64)).unwrap();
            prop_assert_eq!(&read(&then), rows, "version {}", version);
        }
        let report = open(&path).verify(true).unwrap();
        prop_assert!(report.is_clean(), "{:?}", report.problems);
    }
}

#[test]
fn an_empty_table_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    assert_eq!(read(&table), []);
    let found = table.scan().columns(["amount"]).execute().unwrap().collect_batch().unwrap();
    assert_eq!(found.schema().field(0).name(), "amount");
}
