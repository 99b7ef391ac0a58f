//! Files are left out only if none of their rows is wanted: any types, cuts, partitions, deletions and conditions, against rows in memory.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Schema};
use deltalite_format::predicate::{CmpOp, Literal, Predicate, bind, col};
use deltalite_table::{DeltaLiteTable, TableError};
use proptest::prelude::*;

use crate::arrays::{any_leaf, array_of};
use crate::common::context;

/// Rows of a column: few distinct seeds, so that files of one value happen; sometimes null.
fn any_seeds(rows: usize) -> impl Strategy<Value = Vec<Option<u64>>> {
    let few = prop::collection::vec(any::<u64>(), 1..4);
    let nulls = prop_oneof![3 => Just(0u8), 2 => Just(60), 1 => Just(255)];
    let each = prop::collection::vec((any::<u8>(), any::<u64>(), any::<prop::sample::Index>()), rows);
    (few, nulls, each).prop_map(|(few, nulls, each)| {
        let seed = |(null, any, pick): (u8, u64, prop::sample::Index)| {
            (null >= nulls).then(|| if any % 4 == 0 { any } else { few[pick.index(few.len())] })
        };
        each.into_iter().map(seed).collect()
    })
}

/// A column: a leaf, or a struct of two that may be null itself.
fn any_column(rows: usize) -> impl Strategy<Value = ArrayRef> {
    let leaf = move || (any_leaf(), any_seeds(rows)).prop_map(|(t, seeds)| array_of(&t, &seeds));
    let nested = (leaf(), leaf(), any_seeds(rows)).prop_map(|(a, b, nulls)| -> ArrayRef {
        let field = |name: &str, a: &ArrayRef| Field::new(name, a.data_type().clone(), true);
        let fields = vec![field("x", &a), field("y", &b)].into();
        let nulls = NullBuffer::new(nulls.iter().map(Option::is_some).collect());
        Arc::new(StructArray::new(fields, vec![a, b], Some(nulls).filter(|n| n.null_count() > 0)))
    });
    prop_oneof![5 => leaf().boxed(), 1 => nested.boxed()]
}

/// A table whose first column tells rows apart.
fn any_table() -> impl Strategy<Value = RecordBatch> {
    (1..30usize).prop_flat_map(|rows| prop::collection::vec(any_column(rows), 1..4)).prop_map(|columns| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..columns[0].len() as i64));
        let names = std::iter::once("id".to_owned()).chain((0..).map(|n| format!("c{n}")));
        let columns: Vec<ArrayRef> = std::iter::once(ids).chain(columns).collect();
        let fields = names.zip(&columns).map(|(n, c)| Field::new(n, c.data_type().clone(), true));
        RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns).unwrap()
    })
}

/// A condition in the rough: what it tests is decided by the table it meets.
#[derive(Debug, Clone)]
enum Rough {
    Leaf { column: prop::sample::Index, kind: u8, rows: [prop::sample::Index; 3], negated: bool },
    And(Vec<Rough>),
    Or(Vec<Rough>),
    Not(Box<Rough>),
}

fn any_rough() -> impl Strategy<Value = Rough> {
    let index = any::<prop::sample::Index>;
    let leaf = (index(), any::<u8>(), [index(), index(), index()], any::<bool>())
        .prop_map(|(column, kind, rows, negated)| Rough::Leaf { column, kind, rows, negated });
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Rough::And),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Rough::Or),
            inner.prop_map(|p| Rough::Not(Box::new(p))),
        ]
    })
}

impl Rough {
    /// It on this table, with literals from among its values.
    fn on(&self, table: &RecordBatch) -> Predicate {
        let (column, kind, rows, negated) = match self {
            Self::And(parts) => return Predicate::And(parts.iter().map(|p| p.on(table)).collect()),
            Self::Or(parts) => return Predicate::Or(parts.iter().map(|p| p.on(table)).collect()),
            Self::Not(inner) => return Predicate::Not(Box::new(inner.on(table))),
            Self::Leaf { column, kind, rows, negated } => (column, kind, rows, *negated),
        };
        let at = column.index(table.num_columns());
        let mut name = table.schema().field(at).name().clone();
        let mut values = table.column(at).clone();
        while let DataType::Struct(fields) = values.data_type() {
            let child = rows[2].index(64) % fields.len();
            name = format!("{name}.{}", fields[child].name());
            values = values.as_struct().column(child).clone();
        }
        if kind % 8 == 0 {
            return if negated { col(name).is_not_null() } else { col(name).is_null() };
        }
        let literal = |i: usize| Literal::of(values.as_ref(), rows[i].index(values.len()));
        let ops = [CmpOp::Eq, CmpOp::NotEq, CmpOp::Lt, CmpOp::LtEq, CmpOp::Gt, CmpOp::GtEq];
        match (kind % 8, values.as_string_opt::<i32>()) {
            (1, _) => Predicate::In { column: name, values: (0..3).map(literal).collect(), negated },
            (2, _) => Predicate::Between { column: name, low: literal(0), high: literal(1), negated },
            (3, Some(texts)) => {
                let row = rows[0].index(texts.len());
                let text = if texts.is_null(row) { "" } else { texts.value(row) };
                let half: String = text.chars().take(text.chars().count().div_ceil(2)).collect();
                let half = half.replace(['%', '_', '\\'], "_");
                let pattern = if kind / 8 % 2 == 0 { format!("{half}%") } else { half };
                Predicate::Like {
                    column: name,
                    pattern,
                    escape: Some('\\'),
                    negated,
                    case_insensitive: kind / 64 == 3,
                }
            }
            _ => Predicate::Compare { column: name, op: ops[usize::from(kind / 8 % 6)], value: literal(0) },
        }
    }
}

/// Partitionings that fit a table's columns, and one or two of them.
fn any_partitioning() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)
}

fn partitioning(rough: &[(prop::sample::Index, u8)], table: &RecordBatch) -> Vec<String> {
    let transforms = [
        "{}",
        "year({})",
        "month({})",
        "day({})",
        "hour({})",
        "bucket(3, {})",
        "truncate(2, {})",
        "truncate(1000, {})",
    ];
    rough
        .iter()
        .map(|(column, which)| {
            let name = table.schema().field(column.index(table.num_columns())).name().clone();
            transforms[usize::from(*which) % transforms.len()].replace("{}", &name)
        })
        .collect()
}

fn ids(batch: &RecordBatch) -> Vec<i64> {
    let mut ids: Vec<i64> = batch.column(0).as_primitive::<Int64Type>().values().to_vec();
    ids.sort_unstable();
    ids
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("DELTALITE_PRUNING_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
    ))]

    #[test]
    fn no_row_is_lost_and_none_is_wrong(
        table in any_table(),
        by in any_partitioning(),
        cut in 1..12usize,
        deleted in prop::option::of(any_rough()),
        roughs in prop::collection::vec(any_rough(), 4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let filled = |name: &str, by: &[String]| -> Result<DeltaLiteTable, TableError> {
            let path = folder.path().join(name);
            let made = DeltaLiteTable::create(&path, &table.schema());
            let made = made.context(&context()).partition_by(by.to_vec()).execute()?;
            for at in (0..table.num_rows()).step_by(cut) {
                made.append([table.slice(at, cut.min(table.num_rows() - at))]).execute()?;
            }
            Ok(made)
        };
        // A transform that the column's type does not have is refused, and so is a time that no text shows; without it, then.
        let by = partitioning(&by, &table);
        let made = match filled("t", &by) {
            Err(TableError::Invalid { .. }) if !by.is_empty() => filled("plain", &[]),
            made => made,
        }
        .unwrap();
        let schema = table.schema();
        let of = |predicate: &Predicate| -> Vec<i64> {
            let found = bind(predicate, &schema).unwrap().evaluate_batch(&table).unwrap();
            (0..table.num_rows()).filter(|row| found.get(*row)).map(|row| row as i64).collect()
        };
        let mut left: Vec<i64> = (0..table.num_rows() as i64).collect();
        if let Some(rough) = deleted {
            let predicate = rough.on(&table);
            let gone = of(&predicate);
            let outcome = made.delete().filter(predicate).execute().unwrap();
            prop_assert_eq!(outcome.metric("numDeletedRows"), gone.len() as u64);
            left.retain(|id| !gone.contains(id));
        }
        for rough in roughs {
            let predicate = rough.on(&table);
            let mut wanted = of(&predicate);
            wanted.retain(|id| left.contains(id));
            let found = made.scan().filter(predicate.clone()).execute().unwrap().collect_batch().unwrap();
            prop_assert_eq!(ids(&found), wanted, "{:?} by {:?}", predicate, by);
        }
    }
}
