//! Pruning never loses a row: a scan yields what evaluating the predicate on all rows yields.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow_buffer::{BooleanBuffer, Buffer};
use arrow_schema::{DataType, Field, Schema};
use deltalite_format::predicate::{CmpOp, Literal, Predicate, bind, col};
use deltalite_format::reader::read_type;
use deltalite_format::{FileReader, Profile, ScanOptions, WriterOptions};
use proptest::prelude::*;

use crate::arrays::any_leaf;
use crate::tables::{
    Pattern, any_options, any_type, array, as_read, assert_same, batch_of, collect, mix, seeds, small, write,
};

/// A predicate in the rough: what it tests is decided by the table it meets.
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
    leaf.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Rough::And),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Rough::Or),
            inner.prop_map(|p| Rough::Not(Box::new(p))),
        ]
    })
}

/// The column itself, or a leaf below it and its path.
fn reach(name: &str, column: &ArrayRef, pick: usize) -> (String, ArrayRef) {
    if let DataType::Struct(fields) = column.data_type()
        && !fields.is_empty()
        && !pick.is_multiple_of(4)
    {
        let columns = arrow_array::cast::AsArray::as_struct(column).columns();
        let i = pick % fields.len();
        return reach(&format!("{name}.{}", fields[i].name()), &columns[i], pick / 4);
    }
    (name.to_owned(), column.clone())
}

impl Rough {
    fn on(&self, table: &RecordBatch) -> Predicate {
        match self {
            Self::And(parts) => Predicate::And(parts.iter().map(|p| p.on(table)).collect()),
            Self::Or(parts) => Predicate::Or(parts.iter().map(|p| p.on(table)).collect()),
            Self::Not(inner) => Predicate::Not(Box::new(inner.on(table))),
            Self::Leaf { column, kind, rows, negated } => {
                let i = column.index(table.num_columns());
                let (column, values) = reach(&format!("c{i}"), table.column(i), rows[2].index(64));
                let nested = values.data_type().is_nested() || values.data_type() == &DataType::Null;
                if nested || table.num_rows() == 0 || kind % 8 == 0 {
                    return if *negated { col(column).is_not_null() } else { col(column).is_null() };
                }
                let literal = |i: usize| Literal::of(values.as_ref(), rows[i].index(table.num_rows()));
                let op = [CmpOp::Eq, CmpOp::NotEq, CmpOp::Lt, CmpOp::LtEq, CmpOp::Gt, CmpOp::GtEq]
                    [usize::from(kind / 8 % 6)];
                match kind % 8 {
                    1 => Predicate::In { column, values: (0..3).map(literal).collect(), negated: *negated },
                    2 => Predicate::Between { column, low: literal(0), high: literal(1), negated: *negated },
                    3 => match text(&values, rows[0].index(table.num_rows())) {
                        Some(text) => Predicate::Like {
                            column,
                            pattern: pattern(&text, usize::from(kind / 8)),
                            escape: Some('\\'),
                            negated: *negated,
                            case_insensitive: kind / 64 == 3,
                        },
                        None => Predicate::Compare { column, op, value: literal(0) },
                    },
                    _ => Predicate::Compare { column, op, value: literal(0) },
                }
            }
        }
    }
}

fn text(values: &ArrayRef, row: usize) -> Option<String> {
    (read_type(values.data_type()) == DataType::Utf8View).then(|| {
        let read = as_read(values);
        let texts = arrow_array::cast::AsArray::as_string_view(&read);
        if texts.is_null(row) { String::new() } else { texts.value(row).to_owned() }
    })
}

fn pattern(text: &str, kind: usize) -> String {
    let text: String = text.chars().filter(|c| !matches!(c, '%' | '_' | '\\')).collect();
    let half: String = text.chars().take(text.chars().count().div_ceil(2)).collect();
    let rest: String = text.chars().skip(text.chars().count() / 2).collect();
    match kind % 6 {
        0 => text,
        1 => format!("{half}%"),
        2 => format!("%{rest}"),
        3 => format!("%{half}%"),
        4 => format!("_{}%", rest.chars().skip(1).collect::<String>()),
        _ => format!("{half}%{rest}"),
    }
}

/// The table as it is read.
fn read_form(table: &RecordBatch) -> RecordBatch {
    let columns: Vec<ArrayRef> = table.columns().iter().map(as_read).collect();
    let fields: Vec<Field> = table
        .schema()
        .fields()
        .iter()
        .zip(&columns)
        .map(|(f, c)| Field::new(f.name(), c.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Scans with and without pruning, and compares both with the predicate evaluated on all rows that are not deleted.
fn check(file: Vec<u8>, table: &RecordBatch, predicate: &Predicate, batch_rows: usize, deleted: &Deleted) {
    let all = read_form(table);
    let mut bits = bind(predicate, &all.schema()).unwrap().evaluate_batch(&all).unwrap();
    for row in deleted.iter().filter(|row| *row < table.num_rows() as u64) {
        bits.fill(row as usize, row as usize + 1, false);
    }
    let keep = BooleanArray::new(
        BooleanBuffer::new(Buffer::from_slice_ref(bits.words()), 0, table.num_rows()),
        None,
    );
    let filter = |table: &RecordBatch| arrow_select::filter::filter_record_batch(table, &keep).unwrap();
    let expected = filter(table);
    let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..table.num_rows() as u64));
    let numbers = filter(&RecordBatch::try_from_iter([("row", numbers)]).unwrap());
    let reader = FileReader::open_bytes(file).unwrap();
    for (pruning, columns) in [(true, None), (false, None), (true, Some(vec!["c0".to_owned()]))] {
        let options = ScanOptions {
            predicate: Some(predicate.clone()),
            pruning,
            columns: columns.clone(),
            deleted: Some(Arc::new(deleted.clone())),
            row_numbers: Some("row".to_owned()),
            batch_rows: Some(batch_rows),
            ..ScanOptions::default()
        };
        let mut found = collect(reader.scan(options).unwrap()).unwrap();
        let expected = if columns.is_some() { expected.project(&[0]).unwrap() } else { expected.clone() };
        assert_eq!(found.num_rows(), expected.num_rows(), "WHERE {predicate}, pruning {pruning}");
        assert_eq!(&found.remove_column(found.num_columns() - 1), numbers.column(0));
        assert_same(&found, &expected);
    }
}

type Deleted = roaring::RoaringTreemap;

/// No rows, single ones, and stretches.
fn any_deleted() -> impl Strategy<Value = Deleted> {
    let single = prop::collection::btree_set(0..30_000u64, 0..40);
    let stretch = prop::option::of((0..20_000u64, 1..12_000u64));
    (single, stretch).prop_map(|(single, stretch)| {
        let stretch = stretch.map_or(0..0, |(start, len)| start..start + len);
        single.into_iter().map(|row| row % 1500).chain(stretch).collect()
    })
}

fn any_column(rows: usize, flat: bool) -> impl Strategy<Value = ArrayRef> {
    let pattern = prop::sample::select(vec![
        Pattern::Random,
        Pattern::Constant,
        Pattern::Ascending,
        Pattern::Runs,
        Pattern::FewDistinct,
        Pattern::MostlyOne,
        Pattern::AllNull,
    ]);
    let data_type = if flat { any_leaf().boxed() } else { any_type(2) };
    (data_type, pattern, prop_oneof![Just(0u64), Just(4)], any::<u64>())
        .prop_map(move |(t, pattern, nulls, salt)| array(&t, &seeds(pattern, rows, nulls, salt)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn pruning_never_loses_a_row(
        columns in (1..900usize).prop_flat_map(|rows| prop::collection::vec(any_column(rows, false), 1..4)),
        options in any_options(),
        rough in any_rough(),
        bloom: bool,
        batch_rows in 1..1000usize,
        deleted in any_deleted(),
    ) {
        let rows = columns[0].len();
        let table = batch_of(columns, rows);
        let leaves = table.schema().fields().iter().filter(|f| !f.data_type().is_nested() && f.data_type() != &DataType::Null).map(|f| f.name().clone()).collect();
        let options = WriterOptions { bloom_columns: if bloom { leaves } else { Vec::new() }, ..options };
        let file = write(&table, options, 0);
        check(file, &table, &rough.on(&table), batch_rows, &deleted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn pruning_by_zones_never_loses_a_row(
        columns in (8000..30_000usize).prop_flat_map(|rows| prop::collection::vec(any_column(rows, true), 1..3)),
        unit_rows in prop::sample::select(vec![8192usize, 16_384, 65_536]),
        rough in any_rough(),
        deleted in any_deleted(),
    ) {
        let rows = columns[0].len();
        let table = batch_of(columns, rows);
        let file = write(&table, small(Profile::Default, 20_000, unit_rows), 0);
        check(file, &table, &rough.on(&table), 16_384, &deleted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Few rows are missing, here and there: what is left is moved together.
    #[test]
    fn the_rest_of_scattered_deletions(
        columns in (3000..30_000usize).prop_flat_map(|rows| prop::collection::vec(any_column(rows, false), 1..4)),
        deleted in prop::collection::btree_set(0..30_000u64, 0..400),
        batch_rows in prop::sample::select(vec![1000usize, 8192, 16_384]),
    ) {
        let rows = columns[0].len();
        let table = batch_of(columns, rows);
        let file = write(&table, small(Profile::Default, 20_000, 8192), 0);
        check(file, &table, &Predicate::Literal(Some(true)), batch_rows, &deleted.into_iter().collect());
    }
}

#[test]
fn statistics_and_blooms_skip_what_they_can() {
    let rows = 40_000usize;
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
    let names: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..rows as u64).map(|i| format!("{:016x}", mix(i)))));
    let table = batch_of(vec![ids, names], rows);
    let options =
        WriterOptions { bloom_columns: vec!["c1".to_owned()], ..small(Profile::Default, 10_000, 8192) };
    let reader = FileReader::open_bytes(write(&table, options, 0)).unwrap();
    let count = |predicate: Predicate| {
        let options = ScanOptions { predicate: Some(predicate), ..ScanOptions::default() };
        let plan = deltalite_format::reader::ScanPlan::new(reader.meta().clone(), options.clone()).unwrap();
        let (units, counts) = plan.units(None).unwrap();
        let found = collect(reader.scan(options).unwrap()).unwrap().num_rows();
        (found, units.len(), counts)
    };
    let (found, units, counts) = count(col("c0").lt(5));
    assert_eq!((found, units, counts.blocks_pruned), (5, 1, 3));
    let (found, units, counts) = count(col("c0").gt_eq(40_000));
    assert_eq!((found, units, counts.blocks_pruned), (0, 0, 4));
    let (found, units, counts) = count(col("c1").eq(format!("{:016x}", mix(12_345))));
    assert_eq!(found, 1);
    assert!(units <= 4 && counts.blocks_bloomed >= 2, "{units} units, {counts:?}");
}
