//! Files read under a newer schema.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Date32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    StructArray, new_null_array,
};
use arrow_buffer::{BooleanBuffer, Buffer};
use arrow_cast::{CastOptions, cast, cast_with_options};
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use deltalite_format::predicate::{CmpOp, Literal, Predicate, bind, col};
use deltalite_format::schema::{EvolvedSchema, FIELD_ID_KEY};
use deltalite_format::{FileReader, Profile, ScanOptions, WriterOptions};
use proptest::prelude::*;

use crate::tables::{Pattern, any_table, array, as_read, collect, same_values, seeds, small, write};

fn field(name: &str, id: u32, data_type: DataType, nullable: bool) -> Field {
    Field::new(name, data_type, nullable)
        .with_metadata(HashMap::from([(FIELD_ID_KEY.to_owned(), id.to_string())]))
}

fn evolved(fields: Vec<Field>) -> EvolvedSchema {
    EvolvedSchema::new(&Schema::new(fields)).unwrap()
}

fn options(schema: EvolvedSchema) -> ScanOptions {
    ScanOptions { schema: Some(Arc::new(schema)), ..ScanOptions::default() }
}

fn scan(file: &[u8], options: ScanOptions) -> deltalite_format::Result<RecordBatch> {
    collect(FileReader::open_bytes(file.to_vec())?.scan(options)?)
}

/// Every widening there is, over values that stay in range.
fn widenings() -> Vec<(DataType, DataType)> {
    use DataType as D;
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let zone = Some(Arc::from("+02:00"));
    vec![
        (D::Int8, D::Int16),
        (D::Int8, D::Int64),
        (D::Int16, D::Int32),
        (D::Int32, D::Int64),
        (D::UInt8, D::UInt16),
        (D::UInt8, D::Int16),
        (D::UInt16, D::Int64),
        (D::UInt32, D::UInt64),
        (D::UInt32, D::Int64),
        (D::Int8, D::Float32),
        (D::UInt16, D::Float32),
        (D::Int32, D::Float64),
        (D::UInt32, D::Float64),
        (D::Float16, D::Float32),
        (D::Float16, D::Float64),
        (D::Float32, D::Float64),
        (D::Int8, D::Decimal128(3, 0)),
        (D::Int32, D::Decimal128(14, 4)),
        (D::UInt64, D::Decimal128(20, 0)),
        (D::Int64, D::Decimal256(60, 20)),
        (D::Decimal32(9, 2), D::Decimal64(18, 4)),
        (D::Decimal64(18, 4), D::Decimal128(20, 4)),
        (D::Decimal128(5, -2), D::Decimal128(12, 1)),
        (D::Decimal128(5, -2), D::Decimal256(70, 30)),
        (D::Decimal128(38, 10), D::Decimal256(60, 20)),
        (D::Date32, D::Date64),
        (D::Date32, D::Timestamp(Second, None)),
        (D::Date32, D::Timestamp(Microsecond, None)),
        (D::Date64, D::Timestamp(Millisecond, None)),
        (D::Time32(Second), D::Time32(Millisecond)),
        (D::Time32(Millisecond), D::Time64(Nanosecond)),
        (D::Time64(Microsecond), D::Time64(Nanosecond)),
        (D::Utf8, D::LargeUtf8),
        (D::Dictionary(Box::new(D::Int8), Box::new(D::Utf8)), D::Utf8),
        (D::Binary, D::BinaryView),
        (D::Timestamp(Second, zone.clone()), D::Timestamp(Second, zone)),
    ]
}

/// What Arrow's cast makes of the values; it refuses what it can't represent.
fn cast_exactly(array: &ArrayRef, to: &DataType) -> ArrayRef {
    let read = as_read(array);
    let to = deltalite_format::reader::read_type(to);
    cast_with_options(&read, &to, &CastOptions { safe: false, ..CastOptions::default() }).unwrap()
}

fn widened_files() -> Vec<(DataType, DataType, Vec<u8>, ArrayRef)> {
    let mut out = Vec::new();
    for (from, to) in widenings() {
        for pattern in [Pattern::Random, Pattern::Ascending, Pattern::Runs, Pattern::AllNull] {
            let rows = 700;
            let mut values = array(&from, &seeds(pattern, rows, 2, 3));
            if from == DataType::Date32 {
                // A timestamp in microseconds has room for 292,000 years, a date for 5,880,000.
                let days = values.as_primitive::<Date32Type>();
                values = Arc::new(days.unary::<_, Date32Type>(|d| d % 100_000_000));
            }
            let schema = Schema::new(vec![field("old", 7, from.clone(), true)]);
            let table = RecordBatch::try_new(Arc::new(schema), vec![values.clone()]).unwrap();
            let options =
                WriterOptions { bloom_columns: vec!["old".to_owned()], ..small(Profile::Default, 300, 64) };
            out.push((from.clone(), to.clone(), write(&table, options, 0), cast_exactly(&values, &to)));
        }
    }
    out
}

#[test]
fn every_widening_gives_the_same_values() {
    for (from, to, file, expected) in widened_files() {
        let schema = evolved(vec![field("new", 7, to.clone(), true)]);
        let found = scan(&file, options(schema.clone())).unwrap();
        assert!(same_values(found.column(0), &expected), "{from} as {to}");
        let rows = [699, 0, 5, 5, 300];
        let taken = FileReader::open_bytes(file).unwrap().take(&rows, options(schema)).unwrap();
        let indices = arrow_array::UInt64Array::from(rows.to_vec());
        let expected = arrow_select::take::take(&expected, &indices, None).unwrap();
        assert!(same_values(taken.column(0), &expected), "{from} as {to}, taken");
    }
}

#[test]
fn predicates_are_on_the_new_type_and_pruning_stays_right() {
    for (from, to, file, expected) in widened_files() {
        let schema = evolved(vec![field("new", 7, to.clone(), true)]);
        let all = RecordBatch::try_from_iter_with_nullable([("new", expected.clone(), true)]).unwrap();
        for pick in [0usize, 1, 17, 300, 699] {
            let literal = Literal::of(expected.as_ref(), pick);
            let compare = |op| Predicate::Compare { column: "new".to_owned(), op, value: literal.clone() };
            for predicate in [
                compare(CmpOp::Eq),
                compare(CmpOp::Lt),
                compare(CmpOp::GtEq),
                compare(CmpOp::NotEq),
                col("new").is_null(),
                col("new").is_not_null(),
            ] {
                let bits = bind(&predicate, &all.schema()).unwrap().evaluate_batch(&all).unwrap();
                let bits = BooleanBuffer::new(Buffer::from_slice_ref(bits.words()), 0, all.num_rows());
                let expected =
                    arrow_select::filter::filter(&expected, &BooleanArray::new(bits, None)).unwrap();
                for pruning in [true, false] {
                    let options = ScanOptions {
                        predicate: Some(predicate.clone()),
                        pruning,
                        ..options(schema.clone())
                    };
                    let found = scan(&file, options).unwrap();
                    assert!(
                        same_values(found.column(0), &expected),
                        "{from} as {to} WHERE {predicate}: {} rows, expected {}",
                        found.num_rows(),
                        expected.len()
                    );
                }
            }
        }
    }
}

#[test]
fn widening_helps_pruning_too() {
    let days: ArrayRef = Arc::new(arrow_array::Date32Array::from_iter_values(0..1000));
    let schema = Schema::new(vec![field("day", 1, DataType::Date32, false)]);
    let file = write(
        &RecordBatch::try_new(Arc::new(schema), vec![days]).unwrap(),
        small(Profile::Default, 100, 64),
        0,
    );
    let at = field("at", 1, DataType::Timestamp(TimeUnit::Microsecond, None), false);
    let added = field("kind", 2, DataType::Utf8, true);
    let reader = FileReader::open_bytes(file).unwrap();
    let pruned = |predicate| {
        let options =
            ScanOptions { predicate: Some(predicate), ..options(evolved(vec![at.clone(), added.clone()])) };
        let plan = deltalite_format::reader::ScanPlan::new(reader.meta().clone(), options).unwrap();
        plan.units(None).unwrap().1.blocks_pruned
    };
    assert_eq!(pruned(col("at").lt("1970-01-03")), 9);
    // The file has no such column: all its rows are null there.
    assert_eq!(pruned(col("kind").eq("x")), 10);
    assert_eq!(pruned(col("kind").is_null()), 0);
}

#[test]
fn columns_are_renamed_reordered_dropped_and_added() {
    let table = RecordBatch::try_new(
        Arc::new(Schema::new(vec![
            field("a", 1, DataType::Int32, false),
            field("b", 2, DataType::Utf8, true),
            field("c", 3, DataType::Float64, true),
        ])),
        vec![
            array(&DataType::Int32, &seeds(Pattern::Random, 100, 0, 1)),
            array(&DataType::Utf8, &seeds(Pattern::Random, 100, 2, 2)),
            array(&DataType::Float64, &seeds(Pattern::Random, 100, 2, 3)),
        ],
    )
    .unwrap();
    let file = write(&table, small(Profile::Default, 40, 16), 0);
    // `a` is now what `c` was called, and the other way round: names say nothing, ids do.
    let schema = evolved(vec![
        field("added", 9, DataType::Utf8, false),
        field("a", 3, DataType::Float64, true),
        field("c", 1, DataType::Int64, true),
        field("nothing", 10, DataType::List(Arc::new(Field::new("item", DataType::Int8, true))), true),
    ])
    .with_default(9, &arrow_array::StringArray::from(vec!["a default longer than twelve bytes"]))
    .unwrap();
    let found = scan(&file, options(schema.clone())).unwrap();
    let names: Vec<String> = found.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["added", "a", "c", "nothing"]);
    let default: ArrayRef =
        Arc::new(StringViewArray::from_iter_values(vec!["a default longer than twelve bytes"; 100]));
    assert_eq!(found.column(0).to_data(), default.to_data());
    assert!(same_values(found.column(1), table.column(2)));
    assert!(same_values(found.column(2), &cast(table.column(0), &DataType::Int64).unwrap()));
    assert_eq!(found.column(3).null_count(), 100);

    let only = ScanOptions {
        columns: Some(vec!["nothing".to_owned()]),
        predicate: Some(col("added").like("a default%").and(col("c").gt(0))),
        ..options(schema.clone())
    };
    let expected = table.column(0).as_primitive::<arrow_array::types::Int32Type>().values().iter();
    assert_eq!(scan(&file, only).unwrap().num_rows(), expected.filter(|&&v| v > 0).count());

    let taken = FileReader::open_bytes(file.clone()).unwrap().take(&[99, 3], options(schema)).unwrap();
    assert!(same_values(&taken.column(1).slice(1, 1), &table.column(2).slice(3, 1)));
    assert_eq!(taken.column(0).to_data(), default.slice(0, 2).to_data());

    // Nothing of the file is left: its rows still count.
    let other = evolved(vec![field("new", 77, DataType::Int8, true)]);
    assert_eq!(scan(&file, options(other)).unwrap().column(0).null_count(), 100);
}

fn address(fields: Vec<Field>) -> DataType {
    DataType::Struct(Fields::from(fields))
}

#[test]
fn structs_evolve_inside_too() {
    let street = field("street", 11, DataType::Utf8, true);
    let number = field("number", 12, DataType::Int16, true);
    let written = address(vec![street.clone(), number.clone()]);
    let item = |t| Arc::new(field("item", 30, t, true));
    let map = |value: DataType| {
        let entries = address(vec![field("key", 41, DataType::Utf8, false), field("value", 42, value, true)]);
        DataType::Map(Arc::new(field("entries", 40, entries, false)), false)
    };
    let types = [
        written.clone(),
        DataType::List(item(written.clone())),
        DataType::FixedSizeList(item(written.clone()), 2),
        DataType::ListView(item(written.clone())),
        map(written),
    ];
    let now = address(vec![
        field("no", 12, DataType::Int64, true),
        field("city", 13, DataType::Utf8, true),
        field("floor", 14, DataType::Int32, false),
    ]);
    let types_now = [
        now.clone(),
        DataType::List(item(now.clone())),
        DataType::FixedSizeList(item(now.clone()), 2),
        DataType::ListView(item(now.clone())),
        map(now),
    ];
    for (i, (old, new)) in types.iter().zip(&types_now).enumerate() {
        let values = array(old, &seeds(Pattern::Random, 200, 2, i as u64));
        let schema = Schema::new(vec![field("c", 1, old.clone(), true)]);
        let table = RecordBatch::try_new(Arc::new(schema), vec![values]).unwrap();
        let file = write(&table, small(Profile::Default, 90, 32), 0);
        let before = scan(&file, ScanOptions::default()).unwrap();
        let schema = evolved(vec![field("c", 1, new.clone(), true)])
            .with_default(14, &Int32Array::from(vec![3]))
            .unwrap();
        let after = scan(&file, options(schema.clone())).unwrap();
        assert_eq!(after.num_rows(), 200);
        let (before, after) = (structs(before.column(0)), structs(after.column(0)));
        assert_eq!(before.len(), after.len(), "{old}");
        assert_eq!(before.nulls(), after.nulls(), "{old}");
        assert!(same_values(after.column(0), &cast(before.column(1), &DataType::Int64).unwrap()), "{old}");
        assert_eq!(after.column(1).null_count(), after.len(), "{old}");
        assert_eq!(after.column(2).to_data(), Int32Array::from(vec![3; after.len()]).to_data(), "{old}");
        if i == 0 {
            let predicate = Some(col("c.no").gt(0).and(col("c.floor").eq(3)));
            let found = scan(&file, ScanOptions { predicate, ..options(schema) }).unwrap();
            let valid = |i: usize| before.is_valid(i) && before.column(1).is_valid(i);
            let numbers = before.column(1).as_primitive::<arrow_array::types::Int16Type>();
            let expected = (0..before.len()).filter(|&i| valid(i) && numbers.value(i) > 0).count();
            assert_eq!(found.num_rows(), expected);
        }
    }
}

/// The struct array in a column, however it is wrapped.
fn structs(column: &ArrayRef) -> StructArray {
    match column.data_type() {
        DataType::Struct(_) => column.as_struct().clone(),
        DataType::List(_) => structs(column.as_list::<i32>().values()),
        DataType::FixedSizeList(..) => structs(column.as_fixed_size_list().values()),
        DataType::ListView(_) => structs(column.as_list_view::<i32>().values()),
        DataType::Map(..) => structs(column.as_map().entries().column(1)),
        other => panic!("{other}"),
    }
}

#[test]
fn what_can_not_be_says_why() {
    let pair = |a: DataType, b: DataType| {
        let table = RecordBatch::try_new(
            Arc::new(Schema::new(vec![field("c", 1, a.clone(), true)])),
            vec![new_null_array(&a, 3)],
        )
        .unwrap();
        let file = write(&table, WriterOptions::default(), 0);
        scan(&file, options(evolved(vec![field("c", 1, b, true)])))
    };
    use DataType as D;
    for (a, b) in [
        (D::Int64, D::Int32),
        (D::UInt64, D::Int64),
        (D::Int8, D::UInt8),
        (D::Int64, D::Float64),
        (D::Int32, D::Float32),
        (D::Int8, D::Float16),
        (D::Float64, D::Float32),
        (D::Decimal128(10, 2), D::Decimal128(10, 3)),
        (D::Decimal128(10, 2), D::Decimal128(12, 1)),
        (D::Int32, D::Decimal128(9, 0)),
        (D::Timestamp(TimeUnit::Second, None), D::Timestamp(TimeUnit::Second, Some("UTC".into()))),
        (D::Timestamp(TimeUnit::Nanosecond, None), D::Timestamp(TimeUnit::Second, None)),
        (D::Date64, D::Timestamp(TimeUnit::Second, None)),
        (D::Utf8, D::Int32),
        (D::Utf8, D::Binary),
    ] {
        let e = pair(a.clone(), b.clone()).unwrap_err().to_string();
        assert!(e.contains("\"c\"") && e.contains(&a.to_string()) && e.contains(&b.to_string()), "{e}");
    }
    pair(D::Null, D::Int32).unwrap();

    let table = RecordBatch::try_new(
        Arc::new(Schema::new(vec![
            field("a", 1, D::Int32, true),
            field("s", 2, address(vec![field("x", 3, D::Int8, true)]), true),
        ])),
        vec![
            array(&D::Int32, &seeds(Pattern::Random, 3, 0, 0)),
            array(&address(vec![field("x", 3, D::Int8, true)]), &seeds(Pattern::Random, 3, 0, 0)),
        ],
    )
    .unwrap();
    let file = write(&table, WriterOptions::default(), 0);
    let fails = |fields: Vec<Field>| scan(&file, options(evolved(fields))).unwrap_err().to_string();
    let e = fails(vec![field("a", 1, D::Int32, false)]);
    assert!(e.contains("make it nullable"), "{e}");
    let e = fails(vec![field("b", 9, D::Int32, false)]);
    assert!(e.contains("default"), "{e}");
    let e = fails(vec![field("x", 3, D::Int8, true)]);
    assert!(e.contains("can't move between structs"), "{e}");
    let e = fails(vec![field("s", 2, address(vec![field("a", 1, D::Int32, true)]), true)]);
    assert!(e.contains("can't move between structs"), "{e}");
    let e = EvolvedSchema::new(&Schema::new(vec![Field::new("a", D::Int32, true)])).unwrap_err().to_string();
    assert!(e.contains("no id"), "{e}");
    let options = ScanOptions {
        columns: Some(vec!["aa".to_owned()]),
        ..options(evolved(vec![field("a", 1, D::Int32, true)]))
    };
    let e = scan(&file, options).unwrap_err().to_string();
    assert!(e.contains("did you mean \"a\""), "{e}");
    let schema = evolved(vec![field("f", 5, D::Float64, false)]);
    assert!(schema.clone().with_default(6, &Float64Array::from(vec![1.0])).is_err());
    assert!(schema.clone().with_default(5, &Int64Array::from(vec![1])).is_err());
    assert!(schema.clone().with_default(5, &Float64Array::from(vec![None])).is_err());
    assert!(schema.with_default(5, &Float64Array::from(vec![1.0, 2.0])).is_err());
}

#[test]
fn a_value_out_of_the_new_range_is_an_error() {
    let days: ArrayRef = Arc::new(arrow_array::Date32Array::from(vec![0, i32::MAX]));
    let schema = Schema::new(vec![field("day", 1, DataType::Date32, false)]);
    let file =
        write(&RecordBatch::try_new(Arc::new(schema), vec![days]).unwrap(), WriterOptions::default(), 0);
    let nanos = field("at", 1, DataType::Timestamp(TimeUnit::Nanosecond, None), false);
    let e = scan(&file, options(evolved(vec![nanos]))).unwrap_err().to_string();
    assert!(e.contains("2147483647") && e.contains("out of range"), "{e}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The file's own schema with columns renamed, permuted and left out gives the file's own values.
    #[test]
    fn any_table_reads_under_its_renamed_schema(table in any_table(400, 2), picks in prop::collection::vec(any::<prop::sample::Index>(), 1..6)) {
        prop_assume!(table.num_columns() > 0);
        let file = write(&table, small(Profile::Default, 150, 64), 0);
        let reader = FileReader::open_bytes(file.clone()).unwrap();
        let written = reader.meta().schema().unwrap().arrow().clone();
        let mut picks: Vec<usize> = picks.iter().map(|p| p.index(table.num_columns())).collect();
        picks.sort_unstable_by(|a, b| b.cmp(a));
        picks.dedup();
        let fields = picks.iter().map(|&i| written.field(i).clone().with_name(format!("renamed{i}"))).collect();
        let found = scan(&file, options(evolved(fields))).unwrap();
        prop_assert_eq!(found.num_rows(), table.num_rows());
        for (found, &i) in found.columns().iter().zip(&picks) {
            prop_assert!(same_values(found, &as_read(table.column(i))), "column {}", i);
        }
    }
}

/// Decimals as the whole numbers they are stored as: under the file's schema and under another, whatever rows are wanted.
#[test]
fn decimals_are_yielded_unscaled() {
    const ROWS: usize = 5000;
    let digits = 10i128.pow(18);
    let (short, long) = (DataType::Decimal128(18, 3), DataType::Decimal128(20, 3));
    let fields = [
        field("id", 1, DataType::Int64, false),
        field("short", 2, short.clone(), true),
        field("long", 3, long.clone(), true),
        field("scaled", 4, DataType::Decimal128(9, 2), true),
    ];
    let names = ["id", "short", "long", "scaled", "more", "absent"].map(str::to_owned);
    // As it was written; with more digits, which is the same number; with a finer unit, which is not; and one that the file has not.
    let newer = evolved(vec![
        fields[0].clone(),
        fields[1].clone(),
        fields[2].clone(),
        field("more", 4, DataType::Decimal128(11, 2), true),
        field("absent", 9, short.clone(), true),
    ]);
    let finer = evolved(vec![fields[0].clone(), field("scaled", 4, DataType::Decimal128(12, 4), true)]);
    let unscaled = |array: &ArrayRef| -> ArrayRef {
        let decimals = array.as_primitive::<arrow_array::types::Decimal128Type>();
        Arc::new(decimals.unary::<_, arrow_array::types::Int64Type>(|v| i64::try_from(v).unwrap()))
    };
    let deleted = Arc::new((0..ROWS as u64).filter(|n| n % 97 == 5).collect());
    let mut decoded = 0;
    for pattern in [
        Pattern::Random,
        Pattern::Constant,
        Pattern::Ascending,
        Pattern::Runs,
        Pattern::FewDistinct,
        Pattern::AllNull,
    ] {
        for (nulls, profile) in
            [(0, Profile::Default), (5, Profile::Compact), (0, Profile::Plain), (3, Profile::Default)]
        {
            let of = |salt: u64, below: i128| -> Vec<Option<i128>> {
                let seeds = seeds(pattern, ROWS, nulls, salt);
                seeds.into_iter().map(|seed| seed.map(|seed| i128::from(seed as i64) % below)).collect()
            };
            let decimals = |values: Vec<Option<i128>>, data_type: &DataType| -> ArrayRef {
                Arc::new(arrow_array::Decimal128Array::from(values).with_data_type(data_type.clone()))
            };
            let table = RecordBatch::try_new(
                Arc::new(Schema::new(fields.to_vec())),
                vec![
                    Arc::new(Int64Array::from_iter_values(0..ROWS as i64)),
                    decimals(of(1, digits), &short),
                    decimals(of(2, digits), &long),
                    decimals(of(3, 1_000_000_000), &DataType::Decimal128(9, 2)),
                ],
            )
            .unwrap();
            let file = write(&table, small(profile, 3000, 2048), 700);
            let reader = FileReader::open_bytes(file).unwrap();
            let wanted = [
                None,
                Some(col("id").lt(4500)),
                Some(col("id").is_in((0..40).map(|n| n * 101))),
                Some(col("short").lt(0)),
            ];
            for (predicate, deleted) in
                wanted.iter().flat_map(|p| [(p.clone(), None), (p.clone(), Some(&deleted))])
            {
                for schema in [None, Some(newer.clone()), Some(finer.clone())] {
                    if schema.as_ref().is_some_and(|s| s.arrow().field_with_name("short").is_err())
                        && predicate == wanted[3]
                    {
                        continue;
                    }
                    let plain = ScanOptions {
                        predicate: predicate.clone(),
                        deleted: deleted.cloned(),
                        schema: schema.clone().map(Arc::new),
                        batch_rows: Some(1700),
                        ..ScanOptions::default()
                    };
                    let expected = collect(reader.scan(plain.clone()).unwrap()).unwrap();
                    let found = collect(
                        reader.scan(ScanOptions { unscaled: names.to_vec(), ..plain.clone() }).unwrap(),
                    )
                    .unwrap();
                    let rows: Vec<u64> = (0..ROWS as u64).step_by(71).collect();
                    let pairs = if predicate.is_none() && deleted.is_none() {
                        let take = |unscaled: &[String]| {
                            reader
                                .take(&rows, ScanOptions { unscaled: unscaled.to_vec(), ..plain.clone() })
                                .unwrap()
                        };
                        vec![(found, expected), (take(&names), take(&[]))]
                    } else {
                        vec![(found, expected)]
                    };
                    for (found, expected) in pairs {
                        for (at, field) in expected.schema().fields().iter().enumerate() {
                            let is_short = matches!(field.data_type(), DataType::Decimal128(..=18, _));
                            // What has to be converted, or is not there, stays what it is.
                            let written = table.schema_ref().fields().iter();
                            let as_written = written.map(|f| f.data_type()).any(|t| t == field.data_type());
                            let stays = field.name() == "absent" || !as_written;
                            let (found, expected) = (found.column(at), expected.column(at));
                            if is_short && !stays {
                                assert_eq!(
                                    found.as_ref(),
                                    unscaled(expected).as_ref(),
                                    "{pattern:?} {}",
                                    field.name()
                                );
                                decoded += found.len();
                            } else {
                                assert_eq!(found.as_ref(), expected.as_ref(), "{pattern:?} {}", field.name());
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(decoded > 1_000_000, "{decoded} values");
}
