//! Random queries: over DeltaLite tables they answer what DataFusion answers over the same rows in Parquet; and they agree with themselves
//! when they are rewritten (TLP: Rigger & Su 2020, "Finding Bugs in Database Systems via Query Partitioning"; NoREC: Rigger & Su 2020, "Detecting Optimization Bugs in
//! Database Engines via Non-Optimizing Reference Engine Construction").
//!
//! `DELTALITE_RANDOM_SECONDS` says for how long, `DELTALITE_RANDOM_SEED` with which tables to begin: what a failure prints.

use std::path::Path;
use std::time::{Duration, Instant};

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use deltalite_query::Session;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::{lines, session, try_lines};

/// Queries over the same tables.
const QUERIES: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Type {
    Big,
    Small,
    Real,
    Text,
    Flag,
    Day,
    Money,
    Time,
}

use Type::{Big, Day, Flag, Money, Real, Small, Text, Time};

const TYPES: [Type; 8] = [Big, Small, Real, Text, Flag, Day, Money, Time];

impl Type {
    fn sql(self) -> &'static str {
        match self {
            Big => "BIGINT",
            Small => "INT",
            Real => "DOUBLE",
            Text => "VARCHAR",
            Flag => "BOOLEAN",
            Day => "DATE",
            Money => "DECIMAL(12, 2)",
            Time => "TIMESTAMP",
        }
    }

    /// One of few values, so that they meet.
    fn literal(self, r: &mut StdRng) -> String {
        let n: i64 = r.random_range(-4..12);
        match self {
            Big if r.random_ratio(1, 8) => (n * 1_000_000_007).to_string(),
            Big | Small => n.to_string(),
            // Halves add up to the same in any order.
            Real => format!("{:?}", n as f64 / 2.0),
            Text => {
                let texts = [
                    "''",
                    "'a'",
                    "'ab'",
                    "'abc'",
                    "'b%'",
                    "'Ä_x'",
                    "'zz'",
                    "'a long text that is not inlined in a view'",
                ];
                (*texts.choose(r).unwrap_or(&"''")).to_owned()
            }
            Flag => (n % 2 == 0).to_string().to_uppercase(),
            Day => format!("DATE '2024-0{}-1{}'", 1 + n.rem_euclid(4), n.rem_euclid(7)),
            Money => format!("{n}.{}", 25 * n.rem_euclid(4)),
            Time => format!("TIMESTAMP '2024-0{}-11T1{}:00:00'", 1 + n.rem_euclid(3), n.rem_euclid(9)),
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Big | Small | Real | Money)
    }
}

#[derive(Debug)]
struct Table {
    name: &'static str,
    columns: Vec<(String, Type)>,
}

/// What expressions may name.
struct Scope<'a> {
    r: StdRng,
    tables: Vec<&'a Table>,
}

impl Scope<'_> {
    fn one_in(&mut self, n: u32) -> bool {
        self.r.random_ratio(1, n)
    }

    fn column(&mut self, of: Option<Type>) -> Option<(String, Type)> {
        let fits = |t: Type| of.is_none_or(|of| of == t);
        let all: Vec<(String, Type)> = self
            .tables
            .iter()
            .flat_map(|t| t.columns.iter().map(move |(c, kind)| (format!("{}.{c}", t.name), *kind)))
            .filter(|(_, kind)| fits(*kind))
            .collect();
        all.choose(&mut self.r).cloned()
    }

    fn value(&mut self, kind: Type, depth: u32) -> String {
        let literal = kind.literal(&mut self.r);
        if depth == 0 || self.one_in(3) {
            return self.column(Some(kind)).filter(|_| true).map_or(literal, |(c, _)| c);
        }
        let inner = depth - 1;
        match self.r.random_range(0..6) {
            0 => literal,
            1 if kind.is_number() && kind != Money => {
                let op = ["+", "-"][self.r.random_range(0..2)];
                // Wide enough that nothing overflows.
                let (a, b) = (self.value(kind, inner), self.value(kind, inner));
                let wide = if kind == Real { "DOUBLE" } else { "BIGINT" };
                format!("(CAST({a} AS {wide}) {op} CAST({b} AS {wide}))")
            }
            1 if kind == Text => format!("substr({}, 1, 2)", self.value(Text, inner)),
            2 => format!("coalesce({}, {literal})", self.value(kind, inner)),
            3 => format!(
                "CASE WHEN {} THEN {} ELSE {} END",
                self.condition(inner),
                self.value(kind, inner),
                self.value(kind, inner)
            ),
            4 => format!("nullif({}, {literal})", self.value(kind, inner)),
            _ => self.column(Some(kind)).map_or(literal, |(c, _)| c),
        }
    }

    fn condition(&mut self, depth: u32) -> String {
        if depth > 0 && !self.one_in(3) {
            let inner = depth - 1;
            return match self.r.random_range(0..4) {
                0 => format!("NOT ({})", self.condition(inner)),
                1 => format!("({} OR {})", self.condition(inner), self.condition(inner)),
                _ => format!("({} AND {})", self.condition(inner), self.condition(inner)),
            };
        }
        let kind = *TYPES.choose(&mut self.r).unwrap_or(&Big);
        let value = self.value(kind, depth.min(1));
        let other = if self.one_in(3) { self.value(kind, 0) } else { kind.literal(&mut self.r) };
        let not = if self.one_in(4) { "NOT " } else { "" };
        let leaf = match self.r.random_range(0..8) {
            0 => format!("{value} IS {not}NULL"),
            1 => {
                let list: Vec<String> =
                    (0..self.r.random_range(1..5)).map(|_| kind.literal(&mut self.r)).collect();
                let null = if self.one_in(6) { ", NULL" } else { "" };
                format!("{value} {not}IN ({}{null})", list.join(", "))
            }
            2 => format!("{value} {not}BETWEEN {other} AND {}", kind.literal(&mut self.r)),
            3 if kind == Text => {
                let pattern = ["'a%'", "'%b%'", "'_b_'", "'%\\%'", "''", "'%'"][self.r.random_range(0..6)];
                format!("{value} {not}LIKE {pattern}")
            }
            4 if kind == Flag => value,
            5 => format!("{value} IS {not}DISTINCT FROM {other}"),
            _ => {
                let op = ["=", "<>", "<", "<=", ">", ">="][self.r.random_range(0..6)];
                format!("{value} {op} {other}")
            }
        };
        format!("({leaf})")
    }

    /// Where rows come from: a table, or two joined.
    fn from(&mut self) -> String {
        let first = self.tables[0].name;
        let Some(second) = self.tables.get(1).map(|t| t.name) else { return first.to_owned() };
        let kind = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"][self.r.random_range(0..4)];
        let mut on = Vec::new();
        for _ in 0..self.r.random_range(1..3) {
            let of = |t: &Table, kind: Type, r: &mut StdRng| {
                let fit: Vec<&(String, Type)> = t.columns.iter().filter(|(_, k)| *k == kind).collect();
                fit.choose(r).map(|(c, _)| format!("{}.{c}", t.name))
            };
            let kind = *TYPES.choose(&mut self.r).unwrap_or(&Big);
            let (a, b) = (of(self.tables[0], kind, &mut self.r), of(self.tables[1], kind, &mut self.r));
            if let (Some(a), Some(b)) = (a, b) {
                on.push(format!("{a} = {b}"));
            }
        }
        if on.is_empty() {
            return format!("{first} CROSS JOIN {second}");
        }
        format!("{first} {kind} {second} ON {}", on.join(" AND "))
    }

    fn subquery(&mut self, other: &Table) -> String {
        let not = if self.one_in(3) { "NOT " } else { "" };
        let (column, kind) = other.columns[self.r.random_range(0..other.columns.len())].clone();
        let mut inner = Scope { r: StdRng::from_rng(&mut self.r), tables: vec![other] };
        let condition = inner.condition(1);
        let name = other.name;
        match self.column(Some(kind)) {
            Some((ours, _)) if self.one_in(2) => {
                format!("{ours} {not}IN (SELECT {name}.{column} FROM {name} WHERE {condition})")
            }
            Some((ours, _)) => {
                format!("{not}EXISTS (SELECT 1 FROM {name} WHERE {name}.{column} = {ours} AND {condition})")
            }
            None => format!("(SELECT count(*) FROM {name} WHERE {condition}) > 3"),
        }
    }
}

/// Rows as sorted lines; an error as its kind.
fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

/// What DataFusion answers; `None` if it can't plan such a query.
async fn reference(context: &SessionContext, sql: &str) -> Option<Vec<String>> {
    let batches = match context.sql(sql).await {
        Ok(frame) => frame.collect().await,
        Err(e) => Err(e),
    };
    let batches = match batches {
        Ok(batches) => batches,
        Err(e) if e.to_string().contains("not support") || e.to_string().contains("not implemented") => {
            return None;
        }
        Err(e) => panic!("the reference fails: {e}\n{sql}"),
    };
    let table = pretty_format_batches(&batches).unwrap().to_string();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(1);
    Some(
        rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|"))
            .collect(),
    )
}

/// Makes a table by statements, and the Parquet file of its rows.
async fn make(s: &Session, folder: &Path, table: &Table, r: &mut StdRng) {
    let columns: Vec<String> = table.columns.iter().map(|(c, t)| format!("{c} {}", t.sql())).collect();
    let by = match r.random_range(0..4) {
        0 => format!(
            "PARTITIONED BY (bucket(3, {}))",
            table.columns.iter().find(|(_, t)| *t != Real).map_or("k", |(c, _)| c)
        ),
        _ => String::new(),
    };
    lines(s, &format!("CREATE TABLE {} ({}) {by}", table.name, columns.join(", "))).await;
    for _ in 0..r.random_range(0..4) {
        let row = |r: &mut StdRng| {
            let values: Vec<String> = table
                .columns
                .iter()
                .map(|(_, t)| if r.random_ratio(1, 6) { "NULL".to_owned() } else { t.literal(r) })
                .collect();
            format!("({})", values.join(", "))
        };
        let rows: Vec<String> = (0..r.random_range(1..60)).map(|_| row(r)).collect();
        lines(s, &format!("INSERT INTO {} VALUES {}", table.name, rows.join(", "))).await;
    }
    let mut scope = Scope { r: StdRng::from_rng(r), tables: vec![table] };
    for _ in 0..scope.r.random_range(0..3) {
        let condition = scope.condition(1);
        let (column, kind) = table.columns[scope.r.random_range(0..table.columns.len())].clone();
        let sql = match scope.r.random_range(0..4) {
            0 => format!(
                "UPDATE {} SET {column} = {} WHERE {condition}",
                table.name,
                kind.literal(&mut scope.r)
            ),
            1 => format!("OPTIMIZE {}", table.name),
            _ => format!("DELETE FROM {} WHERE {condition} AND {}", table.name, scope.condition(0)),
        };
        lines(s, &sql).await;
    }
    let file = folder.join(format!("{}.parquet", table.name));
    lines(s, &format!("COPY (SELECT * FROM {}) TO '{}'", table.name, file.display())).await;
}

async fn compare(s: &Session, context: &SessionContext, seed: u64, sql: &str) {
    let Some(theirs) = reference(context, sql).await else {
        assert!(try_lines(s, sql).await.is_err(), "seed {seed}: {sql}");
        return;
    };
    let ours = lines(s, sql).await;
    let (ours, theirs) =
        if sql.contains("ORDER BY") { (ours, theirs) } else { (sorted(ours), sorted(theirs)) };
    assert_eq!(ours, theirs, "seed {seed}: {sql}");
}

async fn round(seed: u64) -> usize {
    println!("seed {seed}");
    let r = &mut StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let s = session(&folder.path().join("tables"));
    std::fs::create_dir_all(folder.path().join("tables")).unwrap();
    let tables: Vec<Table> = ["t", "u"]
        .into_iter()
        .map(|name| {
            let mut columns = vec![("k".to_owned(), Big)];
            columns.extend(
                (0..r.random_range(2..6)).map(|n| (format!("c{n}"), TYPES[r.random_range(0..TYPES.len())])),
            );
            Table { name, columns }
        })
        .collect();
    // As plain as it can be: conditions stay where they are written.
    let rules =
        PhysicalOptimizer::new().rules.into_iter().filter(|rule| !rule.name().starts_with("FilterPushdown"));
    let state = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(1 + seed as usize % 3))
        .with_default_features()
        .with_physical_optimizer_rules(rules.collect())
        .build();
    let context = SessionContext::new_with_state(state);
    for table in &tables {
        make(&s, folder.path(), table, r).await;
        let file = folder.path().join(format!("{}.parquet", table.name));
        let options = ParquetReadOptions::default();
        if file.exists() {
            context.register_parquet(table.name, file.to_str().unwrap(), options).await.unwrap();
        } else {
            // Nothing was written where there are no rows.
            let columns: Vec<String> =
                table.columns.iter().map(|(c, t)| format!("{c} {}", t.sql())).collect();
            context.sql(&format!("CREATE TABLE {} ({})", table.name, columns.join(", "))).await.unwrap();
        }
    }
    for n in 0..QUERIES {
        let of: Vec<&Table> = if n % 3 == 0 { tables.iter().collect() } else { vec![&tables[n % 2]] };
        let mut scope = Scope { r: StdRng::from_rng(r), tables: of };
        let from = scope.from();
        let mut p = scope.condition(2);
        if scope.tables.len() == 1 && n % 5 < 3 && scope.one_in(3) {
            let other = &tables[(n + 1) % 2];
            p = format!("{p} {} {}", if scope.one_in(2) { "AND" } else { "OR" }, scope.subquery(other));
        }
        let picked: Vec<(String, Type)> =
            (0..scope.r.random_range(1..4)).filter_map(|_| scope.column(None)).collect();
        let columns = picked
            .iter()
            .enumerate()
            .map(|(at, (c, _))| format!("{c} AS x{at}"))
            .collect::<Vec<_>>()
            .join(", ");
        let names = (0..picked.len()).map(|at| format!("x{at}")).collect::<Vec<_>>().join(", ");
        match n % 5 {
            0 => compare(&s, &context, seed, &format!("SELECT {columns} FROM {from} WHERE {p}")).await,
            1 => {
                let limit = scope.r.random_range(0..20);
                let order = (0..picked.len())
                    .map(|at| format!("x{at} {}", ["ASC", "DESC NULLS LAST", "DESC"][at % 3]));
                let order = order.collect::<Vec<_>>().join(", ");
                let sql = format!("SELECT {columns} FROM {from} WHERE {p} ORDER BY {order} LIMIT {limit}");
                compare(&s, &context, seed, &sql).await;
            }
            2 => {
                let (number, _) = scope.column(Some(Real)).or_else(|| scope.column(Some(Big))).unwrap();
                let (any, _) = scope.column(None).unwrap();
                let aggregates = format!(
                    "count(*), count({any}), sum({number}), min({any}), max({any}), count(DISTINCT {any})"
                );
                let group: Vec<&str> = picked.iter().map(|(c, _)| c.as_str()).collect();
                let sql = if scope.one_in(3) {
                    format!("SELECT {aggregates} FROM {from} WHERE {p}")
                } else {
                    format!(
                        "SELECT {columns}, {aggregates} FROM {from} WHERE {p} GROUP BY {}",
                        group.join(", ")
                    )
                };
                compare(&s, &context, seed, &sql).await;
            }
            3 => {
                // The rows for which a condition is true, false and unknown are all rows.
                let all = sorted(lines(&s, &format!("SELECT {columns} FROM {from}")).await);
                let distinct = if scope.one_in(2) { "" } else { "DISTINCT " };
                let parts = ["", "NOT ", ""].iter().zip(["", "", " IS NULL"]);
                let parts: Vec<String> = parts
                    .map(|(not, null)| format!("SELECT {columns} FROM {from} WHERE {not}({p}){null}"))
                    .collect();
                let together = sorted(lines(&s, &parts.join(" UNION ALL ")).await);
                assert_eq!(all, together, "seed {seed}: {p} of {from}");
                let once = sorted(
                    lines(&s, &format!("SELECT {distinct}{names} FROM ({})", parts.join(" UNION ALL ")))
                        .await,
                );
                let expected = sorted(lines(&s, &format!("SELECT {distinct}{columns} FROM {from}")).await);
                assert_eq!(once, expected, "seed {seed}: {distinct}{p} of {from}");
            }
            _ => {
                // A condition that may be pushed down counts what it counts where it can't be.
                let pushed = lines(&s, &format!("SELECT count(*) FROM {from} WHERE {p}")).await;
                let counted = lines(
                    &s,
                    &format!("SELECT coalesce(sum(CASE WHEN {p} THEN 1 ELSE 0 END), 0) FROM {from}"),
                )
                .await;
                assert_eq!(pushed, counted, "seed {seed}: {p} of {from}");
            }
        }
    }
    QUERIES
}

#[tokio::test(flavor = "multi_thread")]
async fn random_queries_agree() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let limit = Duration::from_secs(number("DELTALITE_RANDOM_SECONDS").unwrap_or(60));
    let first = number("DELTALITE_RANDOM_SEED").unwrap_or(1);
    let begun = Instant::now();
    let mut queries = 0;
    for seed in first.. {
        queries += round(seed).await;
        if begun.elapsed() > limit {
            println!("{queries} queries, seeds {first} to {seed}");
            break;
        }
    }
}
