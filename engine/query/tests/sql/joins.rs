//! Joins of many tables: whatever their order becomes, they answer what DataFusion answers in the order that is written.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use deltalite_query::Session;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::{lines, session};

const TABLES: usize = 5;
const QUERIES: usize = 120;

/// Tables of very different sizes, with keys, columns that refer to them, and nulls.
async fn tables(folder: &Path) -> (Session, SessionContext) {
    let (s, reference) = (session(folder), SessionContext::new());
    for n in 0..TABLES {
        let rows = [7, 400, 60, 1500, 25][n];
        let sql = format!(
            "CREATE TABLE t{n} AS SELECT value AS k, value * 7 % 61 AS a, nullif(value * 13 % 26, 5) AS b, \
             CAST(value % 9 AS INT) AS c, concat('v', value % 5) AS v FROM generate_series(1, {rows})"
        );
        lines(&s, &sql).await;
        let batches = s.sql(&format!("SELECT * FROM t{n}")).await.unwrap().collect().await.unwrap();
        let rows = MemTable::try_new(batches[0].schema(), vec![batches]).unwrap();
        reference.register_table(format!("t{n}"), Arc::new(rows)).unwrap();
    }
    (s, reference)
}

/// A query over some of the tables, some of them twice.
fn query(r: &mut StdRng) -> String {
    let relations = r.random_range(3..7);
    let tables: Vec<usize> = (0..relations).map(|_| r.random_range(0..TABLES)).collect();
    let column = |r: &mut StdRng, at: usize| {
        let name = ["k", "a", "b", "c", "v"].choose(r).unwrap();
        format!("r{at}.{name}")
    };
    let number = |r: &mut StdRng, at: usize| format!("r{at}.{}", ["k", "a", "b", "c"].choose(r).unwrap());
    let mut conditions = Vec::new();
    for at in 1..relations {
        let other = r.random_range(0..at);
        conditions.push(match r.random_range(0..10) {
            0 => format!("r{at}.v = r{other}.v AND r{at}.b = r{other}.b"),
            1 => format!("{} = {} + 1", number(r, at), number(r, other)),
            2 => {
                let third = r.random_range(0..at);
                format!("{} + {} = {}", number(r, at), number(r, other), number(r, third))
            }
            3 => format!("r{at}.k = r{other}.k AND (r{at}.a < r{other}.b OR r{at}.v = r{other}.v)"),
            // Nothing connects it, so that all of its few rows are wanted.
            4 => format!("r{at}.k <= 2"),
            5 => format!("r{at}.k = r{other}.a AND r{at}.k = r{other}.b"),
            _ => format!("r{at}.k = r{other}.{}", ["k", "a", "b", "c"].choose(r).unwrap()),
        });
    }
    if r.random_ratio(1, 2) {
        let (at, other) = (r.random_range(0..relations), r.random_range(0..relations));
        conditions.push(format!("{} <> {}", number(r, at), number(r, other)));
    }
    if r.random_ratio(2, 3) {
        conditions.push(format!("{} < {}", number(r, 0), r.random_range(1..30)));
    }
    if r.random_ratio(1, 2) {
        let (at, table, not) =
            (r.random_range(0..relations), r.random_range(0..TABLES), ["", "NOT "][r.random_range(0..2)]);
        conditions.push(match r.random_range(0..3) {
            0 => format!("{} {not}IN (SELECT k FROM t{table} WHERE c < 4)", number(r, at)),
            1 => format!("{not}EXISTS (SELECT 1 FROM t{table} AS x WHERE x.k = {})", number(r, at)),
            _ => format!(
                "{not}EXISTS (SELECT 1 FROM t{table} AS x WHERE x.a = r{at}.a AND x.k <> r{at}.k AND x.c = {})",
                number(r, at)
            ),
        });
    }
    let from = tables.iter().enumerate();
    let from = match r.random_range(0..3) {
        // A join that has to stay where it is, among the others.
        0 => {
            let from: Vec<String> = from.map(|(at, t)| format!("t{t} AS r{at}")).collect();
            format!("{} LEFT JOIN t1 AS l ON l.k = r{}.k", from.join(", "), relations - 1)
        }
        1 => {
            let derived = |(at, t)| {
                format!(
                    "(SELECT k, min(a) AS a, max(b) AS b, max(c) AS c, min(v) AS v FROM t{t} GROUP BY k) AS r{at}"
                )
            };
            let mut from = from;
            let first = from.next().map(derived);
            first
                .into_iter()
                .chain(from.map(|(at, t)| format!("t{t} AS r{at}")))
                .collect::<Vec<_>>()
                .join(", ")
        }
        _ => from.map(|(at, t)| format!("t{t} AS r{at}")).collect::<Vec<_>>().join(", "),
    };
    let all: Vec<String> = (0..3)
        .map(|_| {
            let at = r.random_range(0..relations);
            column(r, at)
        })
        .collect();
    let sums: Vec<String> = (0..relations).map(|at| format!("sum(r{at}.k)")).collect();
    format!(
        "SELECT count(*), {}, min({}) AS x, max({}) AS y, min({}) AS z FROM {from} WHERE {}",
        sums.join(", "),
        all[0],
        all[1],
        all[2],
        conditions.join(" AND ")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_in_any_order_answer_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (s, reference) = tables(folder.path()).await;
    let r = &mut StdRng::seed_from_u64(3);
    let (mut some, mut reordered) = (0, 0);
    for _ in 0..QUERIES {
        let sql = query(r);
        let frame = reference.sql(&sql).await.unwrap_or_else(|e| panic!("{e}\n{sql}"));
        let written = frame.clone().into_optimized_plan().unwrap();
        let batches = frame.collect().await.unwrap_or_else(|e| panic!("{e}\n{sql}"));
        let expected = pretty_format_batches(&batches).unwrap().to_string();
        let batches = s.sql(&sql).await.unwrap().collect().await.unwrap_or_else(|e| panic!("{e}\n{sql}"));
        assert_eq!(pretty_format_batches(&batches).unwrap().to_string(), expected, "{sql}");
        some += usize::from(!expected.contains("| 0  "));
        let ours = s.datafusion().sql(&sql).await.unwrap().into_optimized_plan().unwrap();
        let order = |plan: &datafusion::logical_expr::LogicalPlan| {
            let text = plan.display_indent().to_string();
            text.lines()
                .filter_map(|l| l.trim().strip_prefix("SubqueryAlias: ").map(str::to_owned))
                .collect::<Vec<_>>()
        };
        reordered += usize::from(order(&ours) != order(&written));
    }
    assert!(some > QUERIES / 3, "only {some} queries have rows");
    assert!(reordered > QUERIES / 4, "only {reordered} queries were reordered");
}

/// The order that is written multiplies rows; the better one begins with the few.
#[tokio::test(flavor = "multi_thread")]
async fn few_rows_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE sold AS SELECT value AS id, value % 100 AS item, value % 50 AS shop FROM generate_series(1, 20000)").await;
    lines(&s, "CREATE TABLE stock AS SELECT value % 100 AS item, value % 50 AS shop, value AS n FROM generate_series(1, 5000)").await;
    lines(
        &s,
        "CREATE TABLE shops AS SELECT value AS shop, concat('s', value) AS name FROM generate_series(0, 49)",
    )
    .await;
    let sql = "SELECT shops.name, count(*), sum(stock.n) FROM sold, stock, shops WHERE sold.item = stock.item AND \
               stock.shop = shops.shop AND sold.shop = shops.shop AND shops.shop = 7 GROUP BY shops.name";
    let plan = lines(&s, &format!("EXPLAIN {sql}")).await.join("\n");
    let at =
        |name: &str| plan.find(&format!("TableScan: {name}")).unwrap_or_else(|| panic!("{name}: {plan}"));
    assert!(at("shops") < at("sold"), "{plan}");
    assert_eq!(lines(&s, sql).await, ["s7|20000|49640000"]);
}
