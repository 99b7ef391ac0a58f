//! Predicates against Arrow's kernels and against exact arithmetic.

use std::sync::Arc;

use arrow_arith::boolean::{and_kleene, is_not_null, is_null, not, or_kleene};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, Scalar, StructArray};
use arrow_buffer::{NullBuffer, i256};
use arrow_cast::display::array_value_to_string;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;

use super::*;
use crate::bloom::{BloomBuilder, BloomView};
use crate::mask::BitMask;
use crate::stats::{ZoneStats, zone_stats};
use crate::test_arrays::{any_leaf, array_of, seeds};

/// Columns `a`, `b` and `s`, a struct with a field `c`; null structs over fields that are not null included.
fn batch_of(types: &[DataType; 3], rows: &[Option<u64>]) -> RecordBatch {
    let spread = |by: u32| rows.iter().map(|r| r.map(|s| s.rotate_left(by))).collect::<Vec<_>>();
    let (a, b, c) =
        (array_of(&types[0], rows), array_of(&types[1], &spread(9)), array_of(&types[2], &spread(23)));
    let nulls = (0..rows.len()).map(|i| i % 5 != 3).collect::<NullBuffer>();
    let field = Arc::new(Field::new("c", types[2].clone(), true));
    let s = StructArray::new(vec![field].into(), vec![c], Some(nulls));
    let fields = vec![
        Field::new("a", types[0].clone(), true),
        Field::new("b", types[1].clone(), true),
        Field::new("s", s.data_type().clone(), true),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![a, b, Arc::new(s)]).unwrap()
}

/// A column with what a null struct hides as null.
fn column(batch: &RecordBatch, name: &str) -> ArrayRef {
    if name != "s.c" {
        return batch[name].clone();
    }
    let s = batch["s"].as_struct();
    let c = s.column(0);
    let keep: Vec<Option<u32>> = (0..c.len()).map(|i| s.is_valid(i).then_some(i as u32)).collect();
    arrow_select::take::take(c, &arrow_array::UInt32Array::from(keep), None).unwrap()
}

fn value_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => value,
        other => other,
    }
}

/// Three-valued logic by Arrow's kernels, straight down the tree as it was written.
fn oracle(predicate: &Predicate, batch: &RecordBatch) -> BooleanArray {
    let rows = batch.num_rows();
    let all = |value: Option<bool>| BooleanArray::from(vec![value; rows]);
    let compare = |name: &str, op: CmpOp, value: &Literal| {
        let Literal::Typed(value) = value else { return all(None) };
        let (left, right) = (column(batch, name), Scalar::new(value.clone()));
        let f = match op {
            CmpOp::Eq => arrow_ord::cmp::eq,
            CmpOp::NotEq => arrow_ord::cmp::neq,
            CmpOp::Lt => arrow_ord::cmp::lt,
            CmpOp::LtEq => arrow_ord::cmp::lt_eq,
            CmpOp::Gt => arrow_ord::cmp::gt,
            CmpOp::GtEq => arrow_ord::cmp::gt_eq,
        };
        f(&left, &right).unwrap()
    };
    let maybe_not = |v: BooleanArray, negated: bool| if negated { not(&v).unwrap() } else { v };
    match predicate {
        Predicate::And(parts) => {
            parts.iter().fold(all(Some(true)), |acc, p| and_kleene(&acc, &oracle(p, batch)).unwrap())
        }
        Predicate::Or(parts) => {
            parts.iter().fold(all(Some(false)), |acc, p| or_kleene(&acc, &oracle(p, batch)).unwrap())
        }
        Predicate::Not(inner) => not(&oracle(inner, batch)).unwrap(),
        Predicate::Literal(value) => all(*value),
        Predicate::IsNull { column: name } => is_null(&column(batch, name)).unwrap(),
        Predicate::IsNotNull { column: name } => is_not_null(&column(batch, name)).unwrap(),
        Predicate::Compare { column, op, value } => compare(column, *op, value),
        Predicate::Between { column, low, high, negated } => {
            let both =
                and_kleene(&compare(column, CmpOp::GtEq, low), &compare(column, CmpOp::LtEq, high)).unwrap();
            maybe_not(both, *negated)
        }
        Predicate::In { column, values, negated } => {
            let any = values
                .iter()
                .fold(all(Some(false)), |acc, v| or_kleene(&acc, &compare(column, CmpOp::Eq, v)).unwrap());
            maybe_not(any, *negated)
        }
        Predicate::Like { column: name, pattern, negated, case_insensitive, .. } => {
            let array = column(batch, name);
            let array = arrow_cast::cast(&array, &DataType::Utf8).unwrap();
            let pattern = Scalar::new(arrow_array::StringArray::from(vec![pattern.as_str()]));
            let like = if *case_insensitive { arrow_string::like::ilike } else { arrow_string::like::like };
            maybe_not(like(&array, &pattern).unwrap(), *negated)
        }
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(value_type(data_type), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// A leaf on one of the columns, with literals of its type; NULL among them.
fn any_test(types: [DataType; 3]) -> impl Strategy<Value = Predicate> {
    let ops = [CmpOp::Eq, CmpOp::NotEq, CmpOp::Lt, CmpOp::LtEq, CmpOp::Gt, CmpOp::GtEq];
    let seed = || prop::option::weighted(0.95, any::<u64>());
    (
        0usize..3,
        0u8..9,
        prop::sample::select(ops.to_vec()),
        prop::collection::vec(seed(), 0..5),
        seed(),
        seed(),
        any::<bool>(),
        "[aäbz0-9%_]{0,4}",
    )
        .prop_map(move |(i, kind, op, many, x, y, negated, pattern)| {
            let column = ["a", "b", "s.c"][i].to_owned();
            let data_type = value_type(&types[i]);
            let literal = |seed: Option<u64>| match seed {
                None => Literal::Null,
                seed => Literal::of(array_of(data_type, &[seed]).as_ref(), 0),
            };
            match kind {
                0..=2 => Predicate::Compare { column, op, value: literal(x) },
                3 => Predicate::Between { column, low: literal(x), high: literal(y), negated },
                4 => Predicate::In { column, values: many.into_iter().map(literal).collect(), negated },
                5 => Predicate::IsNull { column },
                6 => Predicate::IsNotNull { column },
                7 => Predicate::Literal([None, Some(true), Some(false)][many.len() % 3]),
                _ if is_text(data_type) => {
                    let case_insensitive = x.is_some_and(|x| x % 2 == 0);
                    Predicate::Like { column, pattern, escape: Some('\\'), negated, case_insensitive }
                }
                _ => Predicate::Compare { column, op, value: literal(y) },
            }
        })
}

fn any_predicate(types: [DataType; 3]) -> impl Strategy<Value = Predicate> {
    any_test(types).prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Predicate::And),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Predicate::Or),
            inner.prop_map(|p| !p),
        ]
    })
}

fn any_case() -> impl Strategy<Value = (RecordBatch, Predicate)> {
    ([any_leaf(), any_leaf(), any_leaf()], seeds(90)).prop_flat_map(|(types, rows)| {
        let batch = batch_of(&types, &rows);
        any_predicate(types).prop_map(move |p| (batch.clone(), p))
    })
}

fn true_rows(v: &BooleanArray) -> Vec<usize> {
    (0..v.len()).filter(|&i| v.is_valid(i) && v.value(i)).collect()
}

fn rows_of(mask: &BitMask) -> Vec<usize> {
    (0..mask.len()).filter(|&i| mask.get(i)).collect()
}

fn stats_of(array: &dyn Array) -> ZoneStats {
    ZoneStats::merged(&zone_stats(array, 8192))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn evaluation_is_that_of_arrows_kernels((batch, predicate) in any_case()) {
        let bound = bind(&predicate, &batch.schema()).unwrap();
        let expected = true_rows(&oracle(&predicate, &batch));
        prop_assert_eq!(&rows_of(&bound.evaluate_batch(&batch).unwrap()), &expected, "{} as {}", predicate, bound);

        // Leaves are only believed on the rows they were asked for, and candidates limit the result.
        let rows = batch.num_rows();
        let mut candidates = BitMask::zeros(rows);
        (0..rows).filter(|i| i % 3 != 1).for_each(|i| candidates.set(i));
        let some = bound.evaluate(rows, &candidates, &mut |leaf, asked| {
            let mut mask = leaf.evaluate_array(batch.column(leaf.column))?;
            (0..rows).filter(|&i| !asked.get(i) && i % 2 == 0).for_each(|i| mask.fill(i, i + 1, true));
            Ok(mask)
        }).unwrap();
        let expected: Vec<usize> = expected.into_iter().filter(|i| i % 3 != 1).collect();
        prop_assert_eq!(rows_of(&some), expected);
    }

    #[test]
    fn pruning_never_loses_a_row((batch, predicate) in any_case(), cut in 1usize..90) {
        let bound = bind(&predicate, &batch.schema()).unwrap();
        for start in (0..batch.num_rows()).step_by(cut) {
            let zone = batch.slice(start, cut.min(batch.num_rows() - start));
            let found = bound.evaluate_batch(&zone).unwrap();
            let blooms: Vec<Vec<u8>> = zone.columns().iter().map(|c| {
                let mut b = BloomBuilder::default();
                b.insert_array(c.as_ref());
                b.finish(0.01)
            }).collect();
            // A struct's field counts what null structs hide, as the file's own statistics do.
            let field = zone["s"].as_struct().column(0).clone();
            let of = |leaf: &Leaf| if leaf.path.is_empty() { zone.column(leaf.column).clone() } else { field.clone() };
            let flat = |c: usize| (c < 2).then(|| BloomView::new(&blooms[c]).unwrap());
            let verdicts = [
                bound.prune(|c| Some(stats_of(zone.column(c).as_ref())), |_| None),
                bound.prune(|c| Some(stats_of(zone.column(c).as_ref())), flat),
                bound.prune(|_| None, flat),
                bound.prune_leaves(|leaf| Some(stats_of(of(leaf).as_ref())), |_| None),
            ];
            for verdict in verdicts {
                match verdict {
                    Pruned::None => prop_assert!(found.none(), "{}: {:?}", bound, rows_of(&found)),
                    Pruned::All => prop_assert!(found.all(), "{}: {:?}", bound, rows_of(&found)),
                    Pruned::Some => {}
                }
            }
        }
    }

    #[test]
    fn numbers_compare_exactly(
        values in prop::collection::vec(prop_oneof![-30i64..30, any::<i64>(), Just(i64::MIN), Just(i64::MAX)], 1..20),
        digits in prop_oneof![-300i64..300, any::<i64>()],
        decimals in 0u32..12,
        scale in -2i8..8,
        op in prop::sample::select(vec![CmpOp::Eq, CmpOp::NotEq, CmpOp::Lt, CmpOp::LtEq, CmpOp::Gt, CmpOp::GtEq]),
        typed: bool,
    ) {
        let ten = |n: i64| i256::from_i128(10i128.pow(n as u32));
        let literal = if typed {
            Literal::Typed(Arc::new(arrow_array::Decimal128Array::from(vec![i128::from(digits)])
                .with_precision_and_scale(38, decimals as i8).unwrap()))
        } else {
            Literal::Number(format!("{digits}e-{decimals}"))
        };
        let ints: ArrayRef = Arc::new(arrow_array::Int64Array::from(values.clone()));
        let decimal = |p, s| -> ArrayRef {
            Arc::new(arrow_array::Decimal128Array::from_iter_values(values.iter().map(|&v| v.into()))
                .with_precision_and_scale(p, s).unwrap())
        };
        let wide: ArrayRef = Arc::new(arrow_array::Decimal256Array::from_iter_values(values.iter().map(|&v| i256::from_i128(v.into())))
            .with_precision_and_scale(60, scale).unwrap());
        for (array, scale) in [(ints, 0), (decimal(38, scale), scale), (wide, scale)] {
            let batch = RecordBatch::try_from_iter([("a", array)]).unwrap();
            let predicate = Predicate::Compare { column: "a".into(), op, value: literal.clone() };
            let found = bind(&predicate, &batch.schema()).unwrap().evaluate_batch(&batch).unwrap();
            for (i, &v) in values.iter().enumerate() {
                // v / 10^scale against digits / 10^decimals, both times 10^(decimals + 2) and 10^(scale + 2).
                let left = i256::from_i128(v.into()).wrapping_mul(ten(i64::from(decimals) + 2));
                let right = i256::from_i128(digits.into()).wrapping_mul(ten(i64::from(scale) + 2));
                let expected = match op {
                    CmpOp::Eq => left == right,
                    CmpOp::NotEq => left != right,
                    CmpOp::Lt => left < right,
                    CmpOp::LtEq => left <= right,
                    CmpOp::Gt => left > right,
                    CmpOp::GtEq => left >= right,
                };
                prop_assert_eq!(found.get(i), expected, "{} with scale {}: {}", v, scale, predicate);
            }
        }
    }

    #[test]
    fn instants_compare_exactly_in_any_unit(
        values in prop::collection::vec(prop_oneof![-3i64..3, -4_000_000_000i64..4_000_000_000, any::<i64>()], 1..12),
        nanos in prop_oneof![-3_000_000_000i64..3_000_000_000, -2_000_000_000_000_000_000i64..4_000_000_000_000_000_000],
        unit in prop::sample::select(vec![TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond]),
        offset in prop::option::of(-3i64..4),
        text: bool,
    ) {
        let zone: Option<Arc<str>> = offset.map(|h| format!("{}{:02}:00", if h < 0 { '-' } else { '+' }, h.abs()).into());
        let one: ArrayRef = Arc::new(arrow_array::TimestampNanosecondArray::from(vec![nanos]));
        // A wall-clock literal is read in the column's zone.
        let utc = i128::from(nanos) - i128::from(offset.unwrap_or(0)) * 3_600_000_000_000;
        let literal = if text { Literal::Text(array_value_to_string(&one, 0).unwrap()) } else { Literal::Typed(one) };
        let millis = arrow_array::Int64Array::from(values.clone());
        let array = arrow_cast::cast(&millis, &DataType::Timestamp(unit, zone)).unwrap();
        let batch = RecordBatch::try_from_iter([("t", array)]).unwrap();
        let per = super::temporal::nanos_per(unit);
        for (op, test) in [(CmpOp::Lt, i128::lt as fn(&i128, &i128) -> bool), (CmpOp::LtEq, i128::le), (CmpOp::Eq, i128::eq)] {
            let predicate = Predicate::Compare { column: "t".into(), op, value: literal.clone() };
            let found = bind(&predicate, &batch.schema()).unwrap().evaluate_batch(&batch).unwrap();
            for (i, &v) in values.iter().enumerate() {
                prop_assert_eq!(found.get(i), test(&(i128::from(v) * per), &utc), "{} {}", v, predicate);
            }
        }
    }
}

fn bound(predicate: &Predicate) -> Result<String, String> {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let inner = DataType::Struct(
        vec![Field::new("city", DataType::Utf8, true), Field::new("x.y", DataType::Int8, true)].into(),
    );
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("small", DataType::Int8, true),
        Field::new("price", DataType::Decimal128(10, 2), true),
        Field::new("ratio", DataType::Float64, true),
        Field::new("single", DataType::Float32, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("kind", dictionary, true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("day", DataType::Date32, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("zoned", DataType::Timestamp(TimeUnit::Second, Some("Europe/Berlin".into())), true),
        Field::new("took", DataType::Duration(TimeUnit::Second), true),
        Field::new("hash", DataType::FixedSizeBinary(2), true),
        Field::new("address", inner, true),
        Field::new("a.b", DataType::Int8, true),
        Field::new("tags", DataType::new_list(DataType::Utf8, true), true),
    ]);
    bind(predicate, &schema).map(|b| b.to_string()).map_err(|e| e.to_string())
}

#[test]
fn literals_become_the_columns_values() {
    let cases = [
        (col("small").lt(1000), "small IS NOT NULL"),
        (col("small").gt(1000), "FALSE"),
        (col("small").not_eq(0.5), "small IS NOT NULL"),
        (col("id").is_in([5, 3, 4]), "id BETWEEN 3 AND 5"),
        (col("id").gt(5.5).and(col("id").lt_eq(10)), "id BETWEEN 6 AND 10"),
        (col("id").eq(1).or(col("id").eq(7)), "id IN (1, 7)"),
        (col("price").gt_eq(0.015), "price >= 2"),
        (col("price").eq("12.5"), "price = 1250"),
        (col("ratio").eq(0.1), "ratio = 0.1"),
        (col("single").eq(0.1), "single = 0.1"),
        (col("ratio").lt(lit("1e999")), "ratio <= 1.7976931348623157e308"),
        (col("flag").eq(true), "flag"),
        (!col("flag").eq(true), "NOT flag"),
        (col("flag").lt(false), "FALSE"),
        (col("day").lt("1970-01-03"), "day <= 1"),
        (col("day").lt("1970-01-03T12:00:00"), "day <= 2"),
        (col("at").gt_eq("1970-01-01 00:00:01.5005"), "at >= 1501"),
        (col("zoned").eq("1970-01-01T01:00:00+01:00"), "zoned = 0"),
        (col("took").gt("1 day"), "took >= 86401"),
        (col("hash").eq(vec![1, 2, 3]), "FALSE"),
        (col("name").like("a%").and(col("name").not_eq("it's")), "name STARTS WITH 'a' AND name <> 'it''s'"),
        (!col("name").is_in([Some("x"), None]), "FALSE"),
        (col("kind").is_in(["y", "x"]), "kind IN ('x', 'y')"),
        (col("address.city").eq("Bonn"), "address.city = 'Bonn'"),
        (col("address.x.y").eq(1), "address.x.y = 1"),
        (col("a.b").is_null(), "a.b IS NULL"),
        (col("tags").is_null().or(col("id").lt(0)), "tags IS NULL OR id <= -1"),
        (col("name").ilike("%\\%_1%"), "name LIKE '%\\%_1%'"),
        (col("id").eq(1).and(col("name").eq(Literal::Null)), "FALSE"),
    ];
    for (predicate, expected) in cases {
        assert_eq!(bound(&predicate).unwrap(), expected, "{predicate}");
    }
}

#[test]
fn errors_say_what_to_write() {
    let cases = [
        (col("nmae").eq("x"), "no column named \"nmae\"; did you mean \"name\"?"),
        (col("address.ctiy").eq("x"), "no column named \"address.ctiy\"; did you mean \"address.city\"?"),
        (col("name").eq(5), "name = 5: the column is Utf8; write a text in single quotes"),
        (col("id").eq("five"), "id = 'five': 'five' is not a number"),
        (col("day").eq(5), "write a date as DATE '2024-12-31'"),
        (col("at").eq("2024-13-01"), "is not a date or time"),
        (col("at").eq("2024-12-01T00:00:00Z"), "has a time zone, but the column has none"),
        (col("zoned").eq("2024-12-01T00:00:00"), "write its offset"),
        (col("took").eq("1 month"), "months have no fixed length"),
        (col("id").like("5%"), "LIKE needs text or binary"),
        (col("tags").eq("x"), "has no order"),
        (col("name.first").eq("x"), "only structs have fields"),
        (col("name").eq(vec![0xffu8]), "not UTF-8"),
    ];
    for (predicate, expected) in cases {
        let error = bound(&predicate).unwrap_err();
        assert!(error.contains(expected), "{predicate}: {error}");
    }
    let deep = (0..500).fold(col("id").eq(1), |p, _| !p);
    assert!(bound(&deep).unwrap_err().contains("nested deeper"));
}

#[test]
fn cheap_and_selective_leaves_come_first() {
    let p = col("name").like("%x%").and(col("id").eq(5)).and(col("flag").is_not_null());
    assert_eq!(bound(&p).unwrap(), "flag IS NOT NULL AND id = 5 AND name CONTAINS 'x'");
    let p = col("name").like("%x%").or(col("id").not_eq(5));
    assert_eq!(bound(&p).unwrap(), "id <> 5 OR name CONTAINS 'x'");
}

#[test]
fn leaves_are_not_asked_about_no_rows() {
    let schema =
        Schema::new(vec![Field::new("a", DataType::Int8, true), Field::new("b", DataType::Int8, true)]);
    let asked = |predicate: &Predicate, answer: bool| {
        let mut names = Vec::new();
        let bound = bind(predicate, &schema).unwrap();
        bound
            .evaluate(3, &BitMask::ones(3), &mut |leaf, _| {
                names.push(leaf.name.clone());
                Ok(if answer { BitMask::ones(3) } else { BitMask::zeros(3) })
            })
            .unwrap();
        names
    };
    assert_eq!(asked(&col("a").eq(1).and(col("b").lt(1)), false), ["a"]);
    assert_eq!(asked(&col("a").eq(1).or(col("b").lt(1)), true), ["b"]);
    assert!(
        bind(&col("a").eq(1), &schema)
            .unwrap()
            .evaluate(3, &BitMask::ones(2), &mut |_, c| Ok(c.clone()))
            .is_err()
    );
}

#[test]
fn thousands_of_terms_become_one_set() {
    let schema = Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Utf8, true),
        Field::new("c", DataType::Float64, true),
    ]);
    let terms = (0..20_000).flat_map(|i| [col("a").eq(i % 15_000), col("b").eq(format!("{}", i % 100))]);
    let any = Predicate::Or(terms.collect());
    let shown = bind(&any, &schema).unwrap().to_string();
    assert!(shown.contains("14990 more") && shown.contains("90 more"), "{shown}");
    assert_eq!(shown.matches(" IN (").count(), 2, "{shown}");
    // What does not merge is not compared with all the rest either.
    let apart = (0..20_000).map(|i| col("a").gt(i).and(col("c").lt(f64::from(i))));
    assert!(bind(&Predicate::Or(apart.collect()), &schema).is_ok());
    let list = Predicate::In { column: "a".to_owned(), values: vec![lit("x"); 20_000], negated: false };
    assert!(bind(&list, &schema).unwrap_err().to_string().len() < 1000);
}
