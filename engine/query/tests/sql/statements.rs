//! What each statement does.

use deltalite_query::{Session, SessionOptions};

use crate::{SHARDS, lines, session, try_lines};

/// Dropping the query is what Ctrl-C does.
#[tokio::test(flavor = "multi_thread")]
async fn maintenance_that_nobody_waits_for_stops() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE t (a BIGINT, b BIGINT)").await;
    for n in 0..8 {
        let insert = format!(
            "INSERT INTO t SELECT value, (value * 7919) % 100003 FROM generate_series({n}00000, {n}99999)"
        );
        lines(&s, &insert).await;
    }
    let files = || {
        let entries = std::fs::read_dir(folder.path().join("t")).unwrap();
        entries.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "dlb")).count()
    };
    let session = s.clone();
    let running =
        tokio::spawn(async move { session.sql("OPTIMIZE t ZORDER BY (a, b)").await?.collect().await });
    while files() == 8 {
        assert!(!running.is_finished(), "it was done before it wrote a file");
        tokio::task::yield_now().await;
    }
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    while files() != 8 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let rows = lines(&s, "DESCRIBE HISTORY t LIMIT 1").await;
    assert!(rows[0].contains("WRITE"), "{rows:?}");
}

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
async fn what_equals_its_own_function_can_be_sorted_by() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE t (k BIGINT, a TIMESTAMP, b VARCHAR)").await;
    lines(&s, "INSERT INTO t VALUES (1, TIMESTAMP '2024-01-01T00:00:00', 'x'), (2, NULL, 'zz'), (3, TIMESTAMP '2024-01-02T00:00:00', NULL)").await;
    for p in ["nullif(b, 'zz') = b", "b = nullif(b, 'zz')", "b = trim(b) AND trim(b) = nullif(b, 'zz')"] {
        let sql = format!(
            "SELECT k AS x, b AS y FROM t WHERE {p} AND a BETWEEN TIMESTAMP '2024-01-01T00:00:00' AND TIMESTAMP '2024-01-01T00:00:00' ORDER BY x, y DESC LIMIT 8"
        );
        assert_eq!(lines(&s, &sql).await, ["1|x"], "{p}");
    }
}

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

/// Each clause of a MERGE gives values to its own columns, and keys are compared over all of them.
#[tokio::test(flavor = "multi_thread")]
async fn merges_fill_what_a_clause_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(
        &s,
        "CREATE TABLE t (id INT PRIMARY KEY, n BIGINT GENERATED ALWAYS AS IDENTITY, v VARCHAR DEFAULT 'none', w INT, \
         twice INT GENERATED ALWAYS AS (w * 2))",
    )
    .await;
    lines(&s, "INSERT INTO t (id, v, w) VALUES (1, 'a', 10), (2, 'b', 20), (3, 'c', 30)").await;
    let merge = "MERGE INTO t USING (VALUES (1, 'new'), (4, 'four'), (5, 'five')) AS s(id, v) ON t.id = s.id \
                 WHEN MATCHED THEN UPDATE SET v = s.v, w = t.w + 1 \
                 WHEN NOT MATCHED AND s.id = 5 THEN INSERT (id, w) VALUES (s.id, 50) \
                 WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, s.v)";
    assert_eq!(lines(&s, merge).await, ["3"]);
    assert_eq!(
        lines(&s, "SELECT id, v, w, twice FROM t ORDER BY id").await,
        ["1|new|11|22", "2|b|20|40", "3|c|30|60", "4|four||", "5|none|50|100"]
    );
    assert_eq!(lines(&s, "SELECT count(DISTINCT n), count(n) FROM t").await, ["5|5"]);
    assert_eq!(lines(&s, "SELECT n FROM t WHERE id <= 3 ORDER BY id").await, ["1", "2", "3"]);
    // Keys of changed rows may change places; one that is there, or comes twice, is refused, and nothing is changed.
    lines(&s, "UPDATE t SET id = 3 - id WHERE id <= 2").await;
    assert_eq!(lines(&s, "SELECT id, v FROM t WHERE id <= 2 ORDER BY id").await, ["1|b", "2|new"]);
    for merge in [
        "MERGE INTO t USING (VALUES (1), (100)) AS s(id) ON t.id = s.id \
         WHEN MATCHED THEN UPDATE SET id = 100 WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
        "MERGE INTO t USING (VALUES (100), (100)) AS s(id) ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
        "MERGE INTO t USING (VALUES (1)) AS s(id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET id = 2",
    ] {
        assert_eq!(try_lines(&s, merge).await.unwrap_err().code(), "DL-0619", "{merge}");
    }
    assert_eq!(lines(&s, "SELECT id FROM t ORDER BY id").await, ["1", "2", "3", "4", "5"]);
    assert!(lines(&s, "VERIFY t ROWS").await[0].starts_with("intact"));
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

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_copied_to_files() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(
        &s,
        "CREATE TABLE t AS SELECT value AS n, concat('it''s ', value) AS v FROM generate_series(1, 100)",
    )
    .await;
    let place = folder.path().join("out");
    std::fs::create_dir(&place).unwrap();
    let place = place.display();
    let sums = ["100|5050|it's 1"];
    let names = [
        "a.dlb",
        "a.parquet",
        "a.csv",
        "a.csv.gz",
        "a.csv.zst",
        "a.csv.bz2",
        "a.csv.xz",
        "a.json",
        "a.ndjson",
        "a.jsonl",
        "a.json.gz",
        "a.json.zst",
        "a.ndjson.xz",
        "a.arrow",
    ];
    for name in names {
        let file = format!("{place}/{name}");
        assert_eq!(lines(&s, &format!("COPY t TO '{file}'")).await, ["100"], "{name}");
        assert_eq!(
            lines(&s, &format!("SELECT count(*), sum(n), min(v) FROM '{file}'")).await,
            sums,
            "{name}"
        );
    }
    let starts =
        |name: &str, magic: &[u8]| std::fs::read(format!("{place}/{name}")).unwrap().starts_with(magic);
    assert!(starts("a.csv.gz", &[0x1f, 0x8b]) && starts("a.json.gz", &[0x1f, 0x8b]));
    assert!(starts("a.json.zst", &[0x28, 0xb5, 0x2f, 0xfd]));
    let other = format!(
        "COPY (SELECT n, v FROM t VERSION AS OF 1 WHERE v <> 'x') TO '{place}/b.csv.gz' OPTIONS ('format.delimiter' '|')"
    );
    assert_eq!(lines(&s, &other).await, ["100"]);
    assert_eq!(
        lines(&s, &format!("COPY (SELECT n % 3 AS k, 'x' AS v FROM t) TO '{place}/b.dlb'")).await,
        ["100"]
    );
    assert_eq!(
        lines(&s, &format!("SELECT k, count(v) FROM '{place}/b.dlb' WHERE k < 2 GROUP BY k ORDER BY k"))
            .await,
        ["0|33", "1|34"]
    );
    // A statement that fails leaves what was there.
    for sql in [
        format!("COPY (SELECT n / 0 AS k FROM t) TO '{place}/b.dlb'"),
        format!("COPY t TO '{place}/b.dlb' OPTIONS ('x' '1')"),
        format!("COPY (SELECT n, n FROM nothing) TO '{place}/b.dlb'"),
        format!("COPY t TO '{place}/no/b.dlb'"),
        format!("COPY t TO '{place}/a.unknown'"),
    ] {
        assert!(try_lines(&s, &sql).await.is_err(), "{sql}");
    }
    assert_eq!(lines(&s, &format!("SELECT count(*) FROM '{place}/b.dlb'")).await, ["100"]);
    assert_eq!(std::fs::read_dir(folder.path().join("out")).unwrap().count(), names.len() + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_folders_are_columns() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(
        &s,
        "CREATE TABLE t AS SELECT value AS n, value % 3 AS a, concat('k ', value % 2) AS b, \
         DATE '2024-01-01' + CAST(value % 2 AS INT) AS d FROM generate_series(1, 60)",
    )
    .await;
    let place = folder.path().display();
    for (format, file) in [("PARQUET", "p"), ("CSV", "c"), ("JSON", "j")] {
        let copy = format!("COPY t TO '{place}/{file}/' STORED AS {format} PARTITIONED BY (a, d, b)");
        assert_eq!(lines(&s, &copy).await, ["60"]);
        let from = format!("FROM '{place}/{file}/'");
        let sums = format!("SELECT count(*), sum(n), sum(a), min(b), max(d) {from}");
        assert_eq!(lines(&s, &sums).await, ["60|1830|60|k 0|2024-01-02"], "{format}");
        let types = format!("SELECT arrow_typeof(a), arrow_typeof(d) {from} LIMIT 1");
        assert_eq!(lines(&s, &types).await, ["Int64|Date32"]);
        let some = format!("SELECT sum(n) {from} WHERE a = 1 AND b = 'k 1' AND d >= DATE '2024-01-02'");
        assert_eq!(lines(&s, &some).await, lines(&s, "SELECT sum(n) FROM t WHERE a = 1 AND b = 'k 1'").await);
        let by_pattern = format!("SELECT count(*) FROM '{place}/{file}/*/*/*/*'");
        let error = try_lines(&s, &by_pattern).await.unwrap_err();
        assert!(error.to_string().contains("names a column"), "{error}");
    }
    // Folders that name no column are not read.
    std::fs::create_dir(folder.path().join("p/other")).unwrap();
    lines(&s, &format!("COPY (SELECT n FROM t) TO '{place}/p/other/x.parquet'")).await;
    assert_eq!(lines(&s, &format!("SELECT count(*) FROM '{place}/p/'")).await, ["60"]);
    // Some of the files are in folders that name another column.
    std::fs::create_dir(folder.path().join("p/other=1")).unwrap();
    lines(&s, &format!("COPY (SELECT n FROM t) TO '{place}/p/other=1/x.parquet'")).await;
    let error = try_lines(&s, &format!("SELECT count(*) FROM '{place}/p/'")).await.unwrap_err();
    assert!(error.to_string().contains("folders"), "{error}");
    // A column that is in the files and in the folders: the folders say.
    lines(&s, &format!("COPY (SELECT n, 7 AS a FROM t) TO '{place}/q/a=8/x.parquet'")).await;
    assert_eq!(lines(&s, &format!("SELECT DISTINCT a FROM '{place}/q/'")).await, ["8"]);
    lines(&s, &format!("COPY (SELECT 7 AS a, n FROM t) TO '{place}/r/a=8/x.csv'")).await;
    assert!(try_lines(&s, &format!("SELECT DISTINCT a FROM '{place}/r/'")).await.is_err());
    std::fs::create_dir(folder.path().join("none")).unwrap();
    assert!(try_lines(&s, &format!("SELECT * FROM '{place}/none/'")).await.is_err());
    assert!(try_lines(&s, &format!("SELECT * FROM '{place}/none.csv.gz'")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_find_files_in_folders() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    let place = folder.path().display();
    for name in ["north", "south[1]"] {
        std::fs::create_dir_all(folder.path().join("in").join(name).join("deep")).unwrap();
    }
    for (ending, n) in [("csv", 1), ("parquet", 2), ("json.gz", 3), ("dlb", 4)] {
        for (number, at) in
            ["in/north/a", "in/north/b", "in/south[1]/a", "in/south[1]/deep/a"].iter().enumerate()
        {
            let write = format!("COPY (SELECT {n} AS n, {number} AS file) TO '{place}/{at}.{ending}'");
            lines(&s, &write).await;
        }
        let files = |pattern: &str| {
            let sql = format!("SELECT n, file FROM '{place}/{pattern}.{ending}' ORDER BY file");
            let s = &s;
            async move { lines(s, &sql).await }
        };
        assert_eq!(files("in/*/a").await, [format!("{n}|0"), format!("{n}|2")]);
        assert_eq!(files("in/south*/*").await, [format!("{n}|2")]);
        assert_eq!(files("in/**/a").await, [0, 2, 3].map(|file| format!("{n}|{file}")));
        assert!(try_lines(&s, &format!("SELECT * FROM '{place}/in/west*/*.{ending}'")).await.is_err());
    }
    // Columns of all files, wherever they are.
    lines(&s, &format!("COPY (SELECT 9 AS other) TO '{place}/in/north/deep/z.parquet'")).await;
    let all = format!("SELECT count(n), count(other) FROM '{place}/in/**/*.parquet'");
    assert_eq!(lines(&s, &all).await, ["4|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE OR REPLACE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR) AS VALUES (1, 'a'), (2, 'b')")
        .await;
    lines(&s, "CREATE OR REPLACE TABLE t AS SELECT id + 0.5 AS x, [id] AS l FROM t").await;
    assert_eq!(lines(&s, "SELECT x, l FROM t ORDER BY x").await, ["1.5|[1]", "2.5|[2]"]);
    assert_eq!(lines(&s, "SELECT id, name FROM t VERSION AS OF 1 ORDER BY id").await, ["1|a", "2|b"]);
    // The key is gone with the columns.
    lines(&s, "INSERT INTO t VALUES (1.5, NULL)").await;
    lines(&s, "BEGIN").await;
    lines(&s, "CREATE OR REPLACE TABLE t (y INT)").await;
    assert_eq!(lines(&s, "SELECT count(y) FROM t").await, ["0"]);
    assert!(try_lines(&s, "CREATE TABLE c CLONE t").await.is_err(), "not undone by ROLLBACK");
    lines(&s, "ROLLBACK").await;
    assert_eq!(lines(&s, "SELECT count(*) FROM t").await, ["3"]);
    assert!(lines(&s, "VERIFY t ROWS").await[0].starts_with("intact"));
    assert!(try_lines(&s, "CREATE OR REPLACE TABLE IF NOT EXISTS t (y INT)").await.is_err());
    lines(&s, "CREATE TABLE IF NOT EXISTS t (z INT)").await;
    lines(&s, "SELECT x INTO u FROM t").await;
    lines(&s, "CREATE TABLE v CLONE u").await;
    lines(&s, "CREATE TABLE w LIKE u").await;
    assert_eq!(lines(&s, "SELECT count(*) FROM v").await, ["3"]);
    assert_eq!(lines(&s, "SELECT count(x) FROM w").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_folders() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE t AS SELECT 1 AS a").await;
    assert!(try_lines(&s, "CREATE TABLE x.t AS SELECT 2 AS a").await.is_err());
    assert!(try_lines(&s, "CREATE SCHEMA t").await.is_err());
    assert!(try_lines(&s, "CREATE SCHEMA \"../y\"").await.is_err());
    lines(&s, "CREATE SCHEMA x").await;
    lines(&s, "CREATE TABLE x.t AS SELECT 2 AS a").await;
    lines(&s, "INSERT INTO x.t VALUES (3)").await;
    lines(&s, "UPDATE x.t SET a = a * 10 WHERE t.a = 3").await;
    lines(&s, "DELETE FROM x.t WHERE a = 2").await;
    assert_eq!(lines(&s, "SELECT m.a, n.a FROM t m, deltalite.x.t n, main.t").await, ["1|30"]);
    assert_eq!(lines(&s, "SELECT a FROM x.t VERSION AS OF 1").await, ["2"]);
    lines(&s, "OPTIMIZE x.t").await;
    assert_eq!(lines(&s, "SUMMARIZE x.t").await, ["a|Int64|1|0|30|30"]);
    assert!(s.table_names().contains(&"x.t".to_owned()));
    assert_eq!(session(folder.path()).table_names(), ["t", "x.t"]);
    assert!(try_lines(&s, "DROP SCHEMA x").await.is_err());
    lines(&s, "DROP SCHEMA x CASCADE").await;
    assert!(!folder.path().join("x").exists());
    assert_eq!(lines(&s, "SELECT a FROM t").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_not_acted_on_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE t (id BIGINT, v VARCHAR) AS VALUES (1, 'a'), (2, 'b')").await;
    for sql in [
        "DELETE FROM t ORDER BY id LIMIT 1",
        "DELETE FROM t WHERE id = 1 RETURNING id",
        "UPDATE t SET v = 'x' LIMIT 1",
        "UPDATE t JOIN t AS u ON t.id = u.id SET v = 'x'",
        "INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING",
        "INSERT INTO t VALUES (1, 'x') RETURNING id",
        "MERGE INTO t USING t AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = 'x' WHERE s.id = 1",
        "MERGE INTO t USING t AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET s.v = 'x'",
        "MERGE INTO t USING t ON t.id = t.id WHEN MATCHED THEN DELETE",
        "MERGE INTO t USING t AS s ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id, ID) VALUES (1, 2)",
        "TRUNCATE TABLE t CASCADE",
        "CREATE TABLE u (id BIGINT) ON COMMIT DROP",
        "CREATE TABLE u (id BIGINT REFERENCES t (id))",
        "CREATE TABLE u (a INT, b INT DEFAULT a + 1)",
    ] {
        assert!(try_lines(&s, sql).await.is_err(), "{sql}");
    }
    assert_eq!(lines(&s, "SELECT * FROM t ORDER BY id").await, ["1|a", "2|b"]);
    assert_eq!(s.table_names(), ["t"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_assigned_as_columns_hold_them() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(
        &s,
        "CREATE TABLE t (id INT UNIQUE, price DECIMAL(8, 2), f REAL, at TIMESTAMP(6) DEFAULT now(), day DATE)",
    )
    .await;
    lines(&s, "INSERT INTO t VALUES (1, 1.239, 0.1, now(), now()), (NULL, 2, 0.5, NULL, NULL)").await;
    lines(&s, "INSERT INTO t (id, price) VALUES (NULL, 10)").await;
    lines(&s, "UPDATE t SET price = price * 1.1").await;
    assert_eq!(
        lines(&s, "SELECT id, price, f FROM t ORDER BY price").await,
        ["1|1.36|0.1", "|2.20|0.5", "|11.00|"]
    );
    assert_eq!(lines(&s, "SELECT count(at), count(day) FROM t WHERE at <= now()").await, ["2|1"]);
    // Nulls are not compared, values are; fractions of whole numbers and what is too large are refused.
    assert!(try_lines(&s, "INSERT INTO t (id) VALUES (1)").await.is_err());
    assert!(try_lines(&s, "INSERT INTO t (id) VALUES (2.5)").await.is_err());
    assert!(try_lines(&s, "INSERT INTO t (price) VALUES (1e9)").await.is_err());
    lines(&s, "CREATE TABLE k (a INT, b INT, PRIMARY KEY (a))").await;
    assert!(try_lines(&s, "INSERT INTO k VALUES (NULL, 1)").await.is_err());
    lines(&s, "INSERT INTO k VALUES (1, 7)").await;
    assert_eq!(lines(&s, "SELECT a, b FROM k GROUP BY a").await, ["1|7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_have_several_keys() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    let create =
        "CREATE TABLE t (id INT PRIMARY KEY, mail VARCHAR UNIQUE, a INT, b INT, UNIQUE (a, b), UNIQUE (id))";
    lines(&s, create).await;
    lines(&s, "INSERT INTO t VALUES (1, 'x', 1, 1), (2, NULL, 1, 2), (3, NULL, NULL, 2)").await;
    for sql in [
        "INSERT INTO t VALUES (1, 'y', 5, 5)",
        "INSERT INTO t VALUES (4, 'x', 5, 5)",
        "INSERT INTO t VALUES (4, 'y', 1, 2)",
        "INSERT INTO t VALUES (4, 'y', 5, 5), (5, 'y', 5, 6)",
        "UPDATE t SET b = 2 WHERE id = 1",
        "ALTER TABLE t ADD CONSTRAINT u UNIQUE (b)",
        "ALTER TABLE t ADD UNIQUE (mail)",
        "ALTER TABLE t DROP CONSTRAINT nothing_key",
        "CREATE TABLE u (a INT PRIMARY KEY, b INT PRIMARY KEY)",
    ] {
        assert!(try_lines(&s, sql).await.is_err(), "{sql}");
    }
    // Values of one key are not those of another.
    lines(&s, "INSERT INTO t VALUES (4, '1', 4, 1)").await;
    lines(&s, "UPDATE t SET a = b, b = a WHERE id <= 2").await;
    assert_eq!(lines(&s, "SELECT a, b FROM t WHERE id <= 2 ORDER BY id").await, ["1|1", "2|1"]);
    lines(&s, "ALTER TABLE t DROP CONSTRAINT a_b_key").await;
    lines(&s, "INSERT INTO t VALUES (5, 'z', 2, 1)").await;
    assert!(try_lines(&s, "ALTER TABLE t ADD UNIQUE (a, b)").await.is_err());
    lines(&s, "ALTER TABLE t DROP PRIMARY KEY").await;
    lines(&s, "INSERT INTO t VALUES (5, 'zz', 2, 1)").await;
    assert!(try_lines(&s, "INSERT INTO t VALUES (6, 'zz', 2, 1)").await.is_err());
    lines(&s, "DELETE FROM t WHERE mail = 'zz'").await;
    lines(&s, "BEGIN").await;
    lines(&s, "ALTER TABLE t ADD PRIMARY KEY (id)").await;
    assert!(try_lines(&s, "INSERT INTO t VALUES (5, 'q', 9, 9)").await.is_err());
    lines(&s, "ALTER TABLE t DROP PRIMARY KEY").await;
    lines(&s, "COMMIT").await;
    lines(&s, "INSERT INTO t VALUES (5, 'q', 9, 9)").await;
    assert_eq!(lines(&s, "SELECT count(*) FROM t").await, ["6"]);
    assert!(lines(&s, "VERIFY t ROWS").await[0].starts_with("intact"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_columns_are_as_literals() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE t AS SELECT [1, 2] AS l, {'a': 1} AS r, MAP {7: [1]} AS m").await;
    assert_eq!(lines(&s, "SELECT l FROM t UNION ALL SELECT [3]").await.len(), 2);
    assert_eq!(lines(&s, "SELECT arrow_typeof(l) FROM t").await, ["List(Int64)"]);
    assert_eq!(lines(&s, "SELECT l = [1, 2], r = {'a': 1}, m[7] FROM t").await, ["true|true|[1]"]);
    lines(&s, "CREATE TABLE u AS SELECT * FROM t").await;
    assert_eq!(lines(&s, "SELECT count(*) FROM t JOIN u ON t.r = u.r").await, ["1"]);
    // Keys that are texts, here and in literals, and what is below them.
    lines(&s, "CREATE TABLE w AS SELECT MAP {'k': {'a': MAP {'x': 5}}, 'l': NULL} AS m UNION ALL SELECT MAP {'l': {'a': MAP {'y': 6}}}").await;
    assert_eq!(lines(&s, "SELECT m['k']['a']['x'], m['l']['a']['y'] FROM w ORDER BY 1").await, ["5|", "|6"]);
    assert_eq!(
        lines(&s, "SELECT count(*) FROM w WHERE m['l']['a']['y'] = 6 AND m['k'] IS NULL").await,
        ["1"]
    );
    assert_eq!(lines(&s, "SELECT MAP {'k': 1}['k'], MAP {'k': 1}['none']").await, ["1|"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE t AS SELECT value AS id, value * 10 AS n FROM generate_series(1, 6)").await;
    lines(&s, "UPDATE t SET n = -1 WHERE id = 2").await;
    lines(
        &s,
        "MERGE INTO t USING (VALUES (3, 30), (4, 0), (9, 90)) AS s (id, n) ON t.id = s.id WHEN MATCHED AND s.n = 0 THEN DELETE \
         WHEN MATCHED THEN UPDATE SET n = s.n + 1 WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, s.n)",
    )
    .await;
    lines(&s, "OPTIMIZE t").await;
    lines(&s, "DELETE FROM t WHERE id = 1").await;
    let told = |from: &str| {
        format!("SELECT _commit_version, _change_type, id, n FROM table_changes({from}) ORDER BY 1, 2, 3")
    };
    let merged = ["3|delete|4|40", "3|insert|9|90", "3|update_postimage|3|31", "3|update_preimage|3|30"];
    assert_eq!(lines(&s, &told("'t', 3, 3")).await, merged);
    let mut all = vec!["2|update_postimage|2|-1", "2|update_preimage|2|20"];
    all.extend(merged);
    all.push("5|delete|1|10");
    assert_eq!(lines(&s, &told("'t', 2")).await, all);
    let place = folder.path().join("t").display().to_string();
    assert_eq!(lines(&s, &told(&format!("'{place}', 5, 5"))).await, ["5|delete|1|10"]);
    let count = "SELECT count(*) FROM table_changes('t', 0) JOIN t USING (id) WHERE _change_type = 'insert' AND _commit_timestamp > 0";
    assert_eq!(lines(&s, count).await, ["5"]);
    for (arguments, says) in [
        ("'t'", "first version"),
        ("'t', 3, 2", "no versions 3 to 2"),
        ("'t', 1, 99", "the newest is 5"),
        ("'t', 'x'", "no version"),
        ("'nothing', 1", "no table \"nothing\""),
        ("1, 1", "in quotes"),
        ("'t', 1, 2, 3", "too many"),
    ] {
        let error = try_lines(&s, &format!("SELECT * FROM table_changes({arguments})")).await.unwrap_err();
        assert!(error.to_string().contains(says), "{arguments}: {error}");
    }
}

/// Sums of decimals of tables are read as whole numbers, and answer what they do over Parquet, where they are not.
#[tokio::test(flavor = "multi_thread")]
async fn decimals_that_are_added_up_are_read_unscaled() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    let alone = SessionOptions::default().shards(SHARDS.clone()).catalog(folder.path()).partitions(1);
    let alone = Session::new(alone).unwrap();
    // Numbers that fit 64 bits, products and sums of them that do not, and numbers that never do.
    lines(
        &s,
        "CREATE TABLE t AS SELECT value AS id, value % 5 AS k, value % 3001 AS many, \
         CAST(CASE WHEN value % 7 = 0 THEN NULL ELSE (value * 7919 % 100003 - 50000) / 100.0 END AS DECIMAL(15, 2)) AS p, \
         CAST(value % 10 / 100.0 AS DECIMAL(4, 2)) AS r, \
         CAST(999999999999999999 - value AS DECIMAL(18, 0)) AS h, CAST(value AS DECIMAL(30, 4)) AS w FROM generate_series(1, 40000)",
    )
    .await;
    lines(&s, "DELETE FROM t WHERE id % 11 = 3").await;
    lines(&s, "UPDATE t SET p = p + 1 WHERE id < 100").await;
    let parquet = folder.path().join("t.parquet").display().to_string();
    lines(&s, &format!("COPY t TO '{parquet}'")).await;
    for (query, unscaled) in [
        ("SELECT sum(p) FROM t", "[p]"),
        ("SELECT sum(p), avg(r), count(*), sum(w) FROM t", "[p, r]"),
        (
            "SELECT k, sum(p * (1 - r)), sum(p), avg(p), sum(p * (1 - r) * (1 + r)) FROM t GROUP BY k ORDER BY k",
            "[p, r]",
        ),
        ("SELECT k, sum(h), sum(h * h), sum(h * p), avg(h) FROM t GROUP BY k ORDER BY k", "[p, h]"),
        ("SELECT many, sum(h), sum(p), sum(h * r) FROM t GROUP BY many ORDER BY many", "[p, r, h]"),
        ("SELECT sum(p * r) FROM t WHERE p > 100 AND r BETWEEN 0.02 AND 0.05", "[p, r]"),
        ("SELECT sum(p) FROM t WHERE id IN (5, 700, 39999, 40001)", "[p]"),
        ("SELECT sum(p), sum(h) FROM t WHERE id < 0", "[p, h]"),
        // Also wanted as they are: by a key, another aggregate, a function.
        ("SELECT r, sum(r), sum(p) FROM t GROUP BY r ORDER BY r", "[p]"),
        ("SELECT sum(p), min(p), sum(r) FROM t", "[r]"),
        ("SELECT k, sum(p), max(p), sum(r) FROM t GROUP BY k ORDER BY k", "[r]"),
        ("SELECT sum(CASE WHEN p > 0 THEN p END), sum(r) FROM t", "[r]"),
        ("SELECT k, sum(p) FILTER (WHERE r > 0.03), sum(r), sum(h) FROM t GROUP BY k ORDER BY k", "[h]"),
    ] {
        let expected = lines(&s, &query.replace("FROM t", &format!("FROM '{parquet}'"))).await;
        assert!(!expected.is_empty());
        for session in [&s, &alone] {
            assert_eq!(lines(session, query).await, expected, "{query}");
            let plan = lines(session, &format!("EXPLAIN FORMAT INDENT {query}")).await.join("\n");
            // Minimum without groups is DataFusion's.
            let few = !query.contains("min(p)");
            assert_eq!(plan.contains(&format!("unscaled={unscaled}")), few, "{query}\n{plan}");
        }
    }
}
