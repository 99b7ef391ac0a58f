//! What each statement does.

use crate::{lines, session, try_lines};

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_inserted_changed_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE t (id BIGINT NOT NULL, name VARCHAR, price DECIMAL(10, 2) DEFAULT 1.50)").await;
    assert_eq!(lines(&s, "INSERT INTO t VALUES (1, 'a', 10), (2, 'b', 20), (3, NULL, 30)").await, ["3"]);
    assert_eq!(
        lines(&s, "INSERT INTO t (id, name) SELECT id + 10, upper(name) FROM t WHERE id < 3").await,
        ["2"]
    );
    assert_eq!(
        lines(&s, "SELECT * FROM t ORDER BY id").await,
        ["1|a|10.00", "2|b|20.00", "3||30.00", "11|A|1.50", "12|B|1.50"]
    );
    assert_eq!(
        lines(&s, "UPDATE t SET price = price * 2, name = coalesce(name, 'none') WHERE id >= 3").await,
        ["3"]
    );
    assert_eq!(
        lines(&s, "SELECT id, name, price FROM t WHERE id >= 3 ORDER BY id").await,
        ["3|none|60.00", "11|A|3.00", "12|B|3.00"]
    );
    // Conditions that can't be pushed down delete what they say, not everything.
    assert_eq!(lines(&s, "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE price < 5)").await, ["2"]);
    assert_eq!(lines(&s, "DELETE FROM t WHERE false").await, ["0"]);
    assert_eq!(lines(&s, "DELETE FROM t AS x WHERE x.id = 1 OR x.name LIKE '%zz%'").await, ["1"]);
    assert_eq!(lines(&s, "SELECT id FROM t ORDER BY id").await, ["2", "3"]);
    assert_eq!(lines(&s, "SELECT count(*), min(id), max(id) FROM t VERSION AS OF 1").await, ["3|1|3"]);
    assert_eq!(lines(&s, "DELETE FROM t").await, ["2"]);
    assert_eq!(lines(&s, "RESTORE t TO VERSION AS OF 1").await.len(), 1);
    assert_eq!(lines(&s, "SELECT count(*) FROM t").await, ["3"]);
    let history = lines(&s, "DESCRIBE HISTORY t LIMIT 2").await;
    assert!(history[0].contains("RESTORE") && history.len() == 2, "{history:?}");
    assert!(lines(&s, "VERIFY t ROWS").await[0].starts_with("intact"));
}

/// Columns of one name on both sides of a join: conditions and bounds go to the right one.
#[tokio::test(flavor = "multi_thread")]
async fn names_on_both_sides_of_a_join() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE t AS SELECT * FROM (VALUES (1, CAST(1 AS DECIMAL(12, 2)), 3), (2, -4, 2)) AS v(k, c, d)").await;
    lines(&s, "CREATE TABLE u AS SELECT * FROM (VALUES (3, DATE '2024-01-01', TRUE), (2, NULL, TRUE)) AS v(k, c, d)").await;
    let sql = "SELECT count(*) FROM t RIGHT JOIN u ON t.d = u.k WHERE (t.c >= -1.75 AND u.d) OR u.c IS NULL";
    assert_eq!(lines(&s, sql).await, ["2"]);
    // The greatest of one side's `c` must not bound the other's.
    lines(&s, "CREATE TABLE o AS SELECT value AS id, 1000 - value AS c FROM generate_series(1, 500)").await;
    lines(&s, "CREATE TABLE p AS SELECT value AS id, value AS c FROM generate_series(1, 500)").await;
    let sql =
        "SELECT o.c, p.c FROM o JOIN p ON o.id = p.id JOIN o AS x ON x.id = p.id ORDER BY p.c DESC LIMIT 2";
    assert_eq!(lines(&s, sql).await, ["500|500", "501|499"]);
}

/// A session with little memory merges what another holds in a hash table, and answers the same.
#[tokio::test(flavor = "multi_thread")]
async fn joins_that_would_not_fit_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE a AS SELECT value AS id, value % 1000 AS k, value % 7 AS n FROM generate_series(1, 220000)").await;
    lines(&s, "CREATE TABLE b AS SELECT value AS id, value * 3 % 1000 AS k, value % 11 AS n FROM generate_series(1, 210000)").await;
    let small = deltalite_query::SessionOptions::default()
        .catalog(folder.path())
        .partitions(1)
        .memory_bytes(16 << 20);
    let small = deltalite_query::Session::new(small.shards(s.tables().shards().clone())).unwrap();
    for (join, merges) in [
        ("JOIN b ON a.id = b.id AND a.k = b.k", true),
        ("JOIN b ON a.id = b.id AND a.n < b.n", true),
        ("LEFT JOIN b ON a.id = b.id + 50000", true),
        ("FULL JOIN b ON a.id = b.id + 50000", true),
        ("LEFT JOIN (SELECT * FROM b WHERE id < 50) AS b ON a.id = b.id AND a.n < b.n", false),
    ] {
        let sql =
            format!("SELECT count(*), sum(a.id), sum(b.id), min(a.k - b.k), max(a.n + b.n) FROM a {join}");
        let plan = lines(&small, &format!("EXPLAIN {sql}")).await.join(" ");
        assert_eq!(plan.contains("SortMergeJoin"), merges, "{join}: {plan}");
        assert!(!lines(&s, &format!("EXPLAIN {sql}")).await.join(" ").contains("SortMergeJoin"));
        assert_eq!(lines(&small, &sql).await, lines(&s, &sql).await, "{join}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_do_what_their_clauses_say() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE t (id INT, v VARCHAR, n INT)").await;
    lines(&s, "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3), (4, 'd', 4)").await;
    lines(&s, "CREATE TABLE s AS SELECT * FROM (VALUES (2, 'B'), (3, 'gone'), (5, 'E')) AS x(id, v)").await;
    let merge = "MERGE INTO t USING s ON t.id = s.id \
                 WHEN MATCHED AND s.v = 'gone' THEN DELETE \
                 WHEN MATCHED THEN UPDATE SET v = s.v, n = t.n * 10 \
                 WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, s.v) \
                 WHEN NOT MATCHED BY SOURCE AND t.n = 4 THEN DELETE";
    assert_eq!(lines(&s, merge).await, ["4"]);
    assert_eq!(lines(&s, "SELECT * FROM t ORDER BY id").await, ["1|a|1", "2|B|20", "5|E|"]);
    let twice = "MERGE INTO t USING (SELECT 1 AS id UNION ALL SELECT 1) AS d ON t.id = d.id WHEN MATCHED THEN UPDATE SET n = 0";
    let error = try_lines(&s, twice).await.unwrap_err().to_string();
    assert!(error.contains("several rows of the source"), "{error}");
    assert_eq!(lines(&s, "UPDATE t SET n = o.id FROM s AS o WHERE t.id = o.id").await, ["2"]);
    assert_eq!(lines(&s, "SELECT id, n FROM t ORDER BY id").await, ["1|1", "2|2", "5|5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_made_and_changed() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(
        &s,
        "CREATE TABLE e (id BIGINT PRIMARY KEY, at TIMESTAMP, day DATE GENERATED ALWAYS AS (CAST(at AS DATE)), n INT CHECK (n > 0)) \
         PARTITIONED BY (month(at), bucket(4, id))",
    )
    .await;
    lines(&s, "INSERT INTO e (id, at, n) VALUES (1, TIMESTAMP '2024-02-03 04:05:06', 5), (2, TIMESTAMP '2024-03-03 00:00:00', 6)").await;
    assert_eq!(lines(&s, "SELECT id, day FROM e ORDER BY id").await, ["1|2024-02-03", "2|2024-03-03"]);
    let code = |e: deltalite_query::QueryError| e.code().to_owned();
    assert_eq!(
        code(try_lines(&s, "INSERT INTO e (id, at, n) VALUES (3, NULL, -1)").await.unwrap_err()),
        "DL-0617"
    );
    assert_eq!(
        code(try_lines(&s, "INSERT INTO e (id, at, n) VALUES (2, NULL, 1)").await.unwrap_err()),
        "DL-0619"
    );
    assert_eq!(code(try_lines(&s, "INSERT INTO e (at, n) VALUES (NULL, 1)").await.unwrap_err()), "DL-0615");
    lines(&s, "ALTER TABLE e ADD COLUMN note VARCHAR DEFAULT 'none'").await;
    lines(&s, "ALTER TABLE e ALTER COLUMN n TYPE BIGINT").await.len();
    lines(&s, "ALTER TABLE e RENAME COLUMN note TO remark").await;
    assert_eq!(lines(&s, "SELECT n, remark FROM e ORDER BY id").await, ["5|none", "6|none"]);
    assert!(try_lines(&s, "ALTER TABLE e DROP COLUMN at").await.is_err());
    lines(&s, "OPTIMIZE e WHERE id > 0 ZORDER BY (id, n)").await;
    assert_eq!(lines(&s, "SELECT sum(n) FROM e").await, ["11"]);
    assert_eq!(lines(&s, "SHOW TABLES").await.iter().filter(|l| l.contains("|e|")).count(), 1);
    assert_eq!(lines(&s, "DESCRIBE e").await.len(), 5);
    let summary = lines(&s, "SUMMARIZE e").await;
    assert!(summary[0].starts_with("id|Int64|2|0|1|2"), "{summary:?}");
    lines(&s, "VACUUM e RETAIN 0 HOURS").await;
    lines(&s, "DROP TABLE e").await;
    assert!(try_lines(&s, "SELECT * FROM e").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE orders (id INT, price INT)").await;
    let render = |e: deltalite_query::QueryError, sql: &str| e.render(sql);
    let sql = "SELECT pric FROM orders";
    let shown = render(try_lines(&s, sql).await.unwrap_err(), sql);
    assert_eq!(
        shown,
        "no column \"pric\"; did you mean \"price\"? [DL-0702]\n  | SELECT pric FROM orders\n  |        ^^^^"
    );
    let sql = "SELECT * FROM order1";
    let shown = render(try_lines(&s, sql).await.unwrap_err(), sql);
    assert!(shown.starts_with("no table \"order1\"; did you mean \"orders\"? [DL-0702]"), "{shown}");
    let sql = "SELECT * FROM completely_different";
    assert!(!render(try_lines(&s, sql).await.unwrap_err(), sql).contains("did you mean"));
    let sql = "SELEC 1";
    assert!(render(try_lines(&s, sql).await.unwrap_err(), sql).contains("DL-0701"));
    assert!(try_lines(&s, "SAVEPOINT x").await.is_err());
    let sql = "INSERT INTO orders VALUES (1)";
    assert!(render(try_lines(&s, sql).await.unwrap_err(), sql).contains("id, price"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_folders_are_tables() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE t AS SELECT value AS n FROM generate_series(1, 100)").await;
    let place = folder.path().display();
    lines(&s, &format!("COPY (SELECT * FROM t) TO '{place}/t.parquet'")).await;
    lines(&s, &format!("COPY (SELECT * FROM t) TO '{place}/t.csv'")).await;
    for name in ["t.parquet", "t.csv"] {
        assert_eq!(
            lines(&s, &format!("SELECT count(*), sum(n) FROM '{place}/{name}'")).await,
            ["100|5050"],
            "{name}"
        );
    }
    assert_eq!(lines(&s, &format!("SELECT count(*) FROM '{place}/t' VERSION AS OF 1")).await, ["100"]);
    assert_eq!(lines(&s, &format!("SELECT max(n) FROM '{place}/t/*.dlb'")).await, ["100"]);
    let plan = lines(&s, "EXPLAIN SELECT count(*) FROM t").await.join("\n");
    assert!(plan.contains("PlaceholderRowExec") && !plan.contains("deltalite"), "{plan}");
    let plan = lines(&s, "EXPLAIN SELECT n FROM t WHERE n > 7 AND n % 2 = 0").await.join("\n");
    assert!(plan.contains("predicate=n > 7"), "{plan}");
    let plan = lines(&s, "EXPLAIN ANALYZE SELECT n FROM t WHERE n > 1000").await.join("\n");
    assert!(plan.contains("blocks_pruned"), "{plan}");
}
