//! What DataFusion's own aggregate yields, this yields.

#![allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    TimestampMicrosecondArray,
};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::FewGroups;
use crate::decimals::SmallDecimals;

/// Queries, and whether they are for this operator.
const QUERIES: [(&str, bool); 15] = [
    ("SELECT s, sum(p), avg(p), count(*), count(p), count(s), sum(n) FROM t GROUP BY s", true),
    (
        "SELECT s, b, sum(p * (1 - r)), sum(p * (1 - r) * (1 + r)), avg(r), min(p), max(s), sum(p) FROM t GROUP BY s, b",
        true,
    ),
    ("SELECT l, i, sum(w), avg(p + r), sum(n), avg(f), sum(f), count(n), max(w) FROM t GROUP BY l, i", true),
    ("SELECT sum(p), sum(w), sum(n), count(*), avg(p), count(w), sum(p * r), sum(p * p - r) FROM t", true),
    ("SELECT sum(p), count(p), avg(r) FROM t WHERE i < 0", true),
    ("SELECT s, sum(p), count(p), avg(r) FROM t WHERE i < 0 GROUP BY s", true),
    (
        "SELECT d, sum(p) FILTER (WHERE b), count(*) FILTER (WHERE n > 0), sum(r), avg(p) FILTER (WHERE b) FROM t GROUP BY d",
        true,
    ),
    ("SELECT m, u, bool_and(b), bool_or(b), min(n), max(l), min(f) FROM t GROUP BY m, u", true),
    ("SELECT DISTINCT l, b FROM t", true),
    ("SELECT b, sum(w * p), sum(w + r), sum(w) FROM t GROUP BY b", true),
    (
        "SELECT i % 3 AS k, s || 'x' AS x, sum(p + 1), count(nullif(n, 3)) FROM t WHERE p > 0 GROUP BY k, x HAVING count(*) > 1",
        true,
    ),
    ("SELECT l, i, sum(p) FROM (SELECT l, i, CASE WHEN b THEN p ELSE r END AS p FROM t) GROUP BY l, i", true),
    ("SELECT s, count(DISTINCT n), sum(p) FROM t GROUP BY s", true),
    ("SELECT s, median(n), sum(p) FROM t GROUP BY s", false),
    ("SELECT f, sum(p) FROM t GROUP BY f", false),
];

/// What rows are like.
#[derive(Debug, Clone)]
struct Shape {
    seed: u64,
    batches: usize,
    batch_rows: usize,
    /// Values of keys.
    keys: usize,
    /// Whether rows of one key stand together, so that many groups are only seen late.
    clustered: bool,
    nulls: bool,
    /// Whether numbers are as large as their types allow.
    large: bool,
    partitions: usize,
}

fn any_shape() -> impl Strategy<Value = Shape> {
    let keys = prop_oneof![1..12usize, 250..260usize, Just(1000)];
    let large = prop::bool::weighted(0.2);
    (any::<u64>(), 1..5usize, 1..6000usize, keys, any::<bool>(), any::<bool>(), large, 1..4usize).prop_map(
        |(seed, batches, batch_rows, keys, clustered, nulls, large, partitions)| Shape {
            seed,
            batches,
            batch_rows,
            keys,
            clustered,
            nulls,
            large,
            partitions,
        },
    )
}

fn batch(shape: &Shape, random: &mut StdRng, first: usize) -> RecordBatch {
    let rows = shape.batch_rows;
    let total = shape.batches * rows;
    let keys: Vec<usize> = (first..first + rows)
        .map(
            |row| if shape.clustered { row * shape.keys / total } else { random.random_range(0..shape.keys) },
        )
        .collect();
    let dictionary = random.random_bool(0.5);
    let mut holes = |share: f64| -> Vec<bool> {
        let share = if shape.nulls { share } else { 0.0 };
        (0..rows).map(|_| random.random_bool(share)).collect()
    };
    let (no_key, no_number, no_flag) = (holes(0.05), holes(0.3), holes(0.1));
    let strings = |of: &dyn Fn(usize) -> String| -> ArrayRef {
        let mut builder = StringViewBuilder::new();
        if dictionary {
            builder = builder.with_deduplicate_strings();
        }
        for (key, null) in keys.iter().zip(&no_key) {
            builder.append_option((!null).then(|| of(*key)));
        }
        Arc::new(builder.finish())
    };
    let s = strings(&|key| format!("k{key}"));
    let l = strings(&|key| if key % 5 == 0 { String::new() } else { format!("a long key, number {key}") });
    let mut small = |most: i128| -> Vec<Option<i128>> {
        let most = if shape.large { 999_999_999_999_999 } else { most };
        no_number.iter().map(|null| (!null).then(|| random.random_range(-most..=most))).collect()
    };
    let decimal = |values: Vec<Option<i128>>, precision: u8| -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, 2).unwrap())
    };
    let (p, r) = (decimal(small(10_000_000), 15), decimal(small(10), 15));
    let wide_most = if shape.large { i128::MAX / 2 } else { 1 << 70 };
    let wide =
        |random: &mut StdRng| (0..rows).map(|_| Some(random.random_range(-wide_most..=wide_most))).collect();
    let w = decimal(wide(random), 38);
    let of_key = |of: &dyn Fn(usize) -> i64| keys.iter().map(|key| of(*key)).collect::<Vec<i64>>();
    let n: Vec<Option<i64>> = no_number
        .iter()
        .map(|null| (!null).then(|| if shape.large { random.random() } else { random.random_range(-9..9) }))
        .collect();
    let flags: Vec<Option<bool>> =
        no_flag.iter().map(|null| (!null).then(|| random.random_bool(0.5))).collect();
    let f: Vec<f64> = (0..rows).map(|_| f64::from(random.random_range(-1000..1000))).collect();
    let columns: [(&str, ArrayRef); 11] = [
        ("s", s),
        ("l", l),
        ("i", Arc::new(Int32Array::from_iter_values(keys.iter().map(|key| *key as i32 - 3)))),
        ("b", Arc::new(BooleanArray::from(flags))),
        ("d", Arc::new(Date32Array::from_iter_values(keys.iter().map(|key| *key as i32 * 31)))),
        ("u", Arc::new(TimestampMicrosecondArray::from(of_key(&|key| key as i64 / 2 * 1_000_000)))),
        ("m", decimal(keys.iter().map(|key| Some(*key as i128 * (1 << 80) - 5)).collect(), 38)),
        ("p", p),
        ("r", r),
        ("w", w),
        ("n", Arc::new(Int64Array::from(n))),
    ];
    let mut columns: Vec<(&str, ArrayRef)> = columns.into();
    columns.push(("f", Arc::new(Float64Array::from(f))));
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

fn context(partitions: usize, few: bool) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(4096);
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_optimizer_rule(Arc::new(SmallDecimals));
    if few {
        state = state.with_physical_optimizer_rule(Arc::new(FewGroups));
    }
    SessionContext::new_with_state(state.build())
}

fn table(shape: &Shape) -> MemTable {
    let mut random = StdRng::seed_from_u64(shape.seed);
    let batches: Vec<RecordBatch> =
        (0..shape.batches).map(|i| batch(shape, &mut random, i * shape.batch_rows)).collect();
    MemTable::try_new(batches[0].schema(), vec![batches]).unwrap()
}

/// The rows as text, in an order of their own; the plan.
async fn answer(
    context: &SessionContext,
    sql: &str,
) -> datafusion::error::Result<(Vec<String>, Arc<dyn ExecutionPlan>)> {
    let plan = context.sql(sql).await?.create_physical_plan().await?;
    let batches = collect(Arc::clone(&plan), context.task_ctx()).await?;
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in &batches {
        assert_eq!(batch.schema(), plan.schema());
        let columns: Vec<_> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
        rows.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join(" | ")),
        );
    }
    rows.sort();
    Ok((rows, plan))
}

fn agree(shape: &Shape) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let [ours, theirs] = [true, false].map(|few| {
            let context = context(shape.partitions, few);
            context.register_table("t", Arc::new(table(shape))).unwrap();
            context
        });
        for (sql, few) in QUERIES {
            match (answer(&ours, sql).await, answer(&theirs, sql).await) {
                (Ok((mine, plan)), Ok((yours, _))) => {
                    prop_assert_eq!(mine, yours, "{}", sql);
                    let shown = displayable(plan.as_ref()).indent(false).to_string();
                    prop_assert_eq!(shown.contains("FewGroupsExec"), few, "{}\n{}", sql, shown);
                }
                (Err(_), Err(_)) => {}
                (mine, yours) => prop_assert!(false, "{}: {:?}, {:?} expected", sql, mine, yours),
            }
        }
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn answers_are_those_of_datafusion(shape in any_shape()) {
        agree(&shape)?;
    }
}

/// The limit itself, seen early and late.
#[test]
fn groups_around_the_limit() {
    for keys in [254, 255, 256] {
        for clustered in [false, true] {
            let shape = Shape {
                seed: keys as u64,
                batches: 3,
                batch_rows: 3000,
                keys,
                clustered,
                nulls: false,
                large: false,
                partitions: 1,
            };
            agree(&shape).unwrap();
        }
    }
}
