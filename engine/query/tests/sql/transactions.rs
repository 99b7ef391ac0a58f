//! BEGIN, COMMIT, ROLLBACK: several statements, several tables.

use crate::{lines, session, try_lines};

#[tokio::test(flavor = "multi_thread")]
async fn statements_see_each_other_and_others_see_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    let other = session(folder.path());
    lines(&s, "CREATE TABLE a AS SELECT value AS id, value * 10 AS n FROM generate_series(1, 100)").await;
    lines(&s, "CREATE TABLE b (id BIGINT, what VARCHAR)").await;
    assert!(!s.in_transaction());
    lines(&s, "BEGIN").await;
    assert!(s.in_transaction() && !other.in_transaction());
    assert_eq!(lines(&s, "DELETE FROM a WHERE id <= 10").await, ["10"]);
    assert_eq!(lines(&s, "INSERT INTO b SELECT id, 'kept' FROM a WHERE id < 13").await, ["2"]);
    assert_eq!(lines(&s, "UPDATE a SET n = 0 WHERE id IN (SELECT id FROM b)").await, ["2"]);
    assert_eq!(lines(&s, "UPDATE a SET n = n + 1 WHERE id = 11").await, ["1"]);
    assert_eq!(lines(&s, "DELETE FROM a WHERE id = 12").await, ["1"]);
    assert_eq!(lines(&s, "CREATE TABLE c AS SELECT * FROM a WHERE id < 15").await, ["3"]);
    assert_eq!(lines(&s, "MERGE INTO c USING b ON c.id = b.id WHEN MATCHED THEN UPDATE SET n = 7 WHEN NOT MATCHED THEN INSERT (id, n) VALUES (b.id, 8)").await, ["2"]);
    lines(&s, "ALTER TABLE b ADD COLUMN more INT").await;
    assert_eq!(lines(&s, "INSERT INTO b VALUES (99, 'new', 1)").await, ["1"]);
    assert_eq!(lines(&s, "SELECT * FROM c ORDER BY id").await, ["11|7", "12|8", "13|130", "14|140"]);
    assert_eq!(lines(&s, "SELECT count(*), sum(n) FROM a").await, ["89|49721"]);
    assert_eq!(lines(&s, "SELECT * FROM b ORDER BY id").await, ["11|kept|", "12|kept|", "99|new|1"]);
    // Nobody else sees any of it.
    assert_eq!(lines(&other, "SELECT count(*), sum(n) FROM a").await, ["100|50500"]);
    assert_eq!(lines(&other, "SELECT count(*) FROM b").await, ["0"]);
    assert!(try_lines(&other, "SELECT * FROM c").await.is_err());
    // What fails takes back itself alone.
    assert!(try_lines(&s, "INSERT INTO a SELECT id, CAST(what AS INT) FROM b").await.is_err());
    assert_eq!(lines(&s, "SELECT count(*) FROM a").await, ["89"]);
    lines(&s, "COMMIT").await;
    assert!(!s.in_transaction());
    for s in [&s, &other] {
        assert_eq!(lines(s, "SELECT count(*), sum(n) FROM a").await, ["89|49721"]);
        assert_eq!(lines(s, "SELECT * FROM b ORDER BY id").await, ["11|kept|", "12|kept|", "99|new|1"]);
        assert_eq!(lines(s, "SELECT count(*) FROM c").await, ["4"]);
    }
    for table in ["a", "b", "c"] {
        assert!(lines(&s, &format!("VERIFY {table} ROWS")).await[0].starts_with("intact"));
    }
    // One version of each table.
    assert_eq!(lines(&s, "DESCRIBE HISTORY a").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_was_never_there() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE a AS SELECT 1 AS id").await;
    lines(&s, "CREATE TABLE gone AS SELECT 2 AS id").await;
    lines(&s, "START TRANSACTION ISOLATION LEVEL SERIALIZABLE").await;
    lines(&s, "INSERT INTO a VALUES (2)").await;
    lines(&s, "CREATE TABLE b (id INT)").await;
    lines(&s, "INSERT INTO b VALUES (2)").await;
    lines(&s, "DROP TABLE gone").await;
    assert!(try_lines(&s, "SELECT * FROM gone").await.is_err());
    lines(&s, "ROLLBACK").await;
    assert_eq!(lines(&s, "SELECT * FROM a").await, ["1"]);
    assert_eq!(lines(&s, "SELECT * FROM gone").await, ["2"]);
    assert!(try_lines(&s, "SELECT * FROM b").await.is_err());
    lines(&s, "BEGIN").await;
    lines(&s, "DROP TABLE gone").await;
    lines(&s, "CREATE TABLE b (id INT)").await;
    lines(&s, "COMMIT").await;
    assert_eq!(
        lines(&s, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY 1")
            .await,
        ["a", "b"]
    );
    let mut names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_sees_one_moment_and_conflicts_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let (s, other) = (session(folder.path()), session(folder.path()));
    lines(&s, "CREATE TABLE a AS SELECT 1 AS id, 0 AS n").await;
    lines(&s, "CREATE TABLE b AS SELECT 1 AS id, 0 AS n").await;
    lines(&s, "BEGIN").await;
    lines(&other, "BEGIN").await;
    lines(&other, "UPDATE a SET n = 5").await;
    lines(&other, "UPDATE b SET n = 5").await;
    lines(&other, "COMMIT").await;
    // Neither of the two: the transaction began before.
    assert_eq!(lines(&s, "SELECT n FROM a UNION ALL SELECT n FROM b").await, ["0", "0"]);
    lines(&s, "UPDATE b SET n = n + 1").await;
    let error = try_lines(&s, "COMMIT").await.unwrap_err();
    assert_eq!(error.code(), "DL-0620", "{error}");
    assert!(error.to_string().starts_with("the transaction was rolled back"), "{error}");
    assert!(!s.in_transaction());
    assert_eq!(lines(&s, "SELECT n FROM a UNION ALL SELECT n FROM b").await, ["5", "5"]);
    // Who only read commits nothing, and at any level.
    lines(&s, "BEGIN").await;
    lines(&s, "SELECT * FROM a").await;
    lines(&other, "UPDATE a SET n = 6").await;
    assert_eq!(lines(&s, "SELECT n FROM a").await, ["5"]);
    lines(&s, "COMMIT").await;
    // What was read must still be so when what depends on it is written; not at snapshot isolation.
    for (level, stands) in [("SERIALIZABLE", false), ("SNAPSHOT", true)] {
        lines(&s, &format!("BEGIN ISOLATION LEVEL {level}")).await;
        lines(&s, "INSERT INTO b SELECT 2, count(*) FROM a").await;
        lines(&other, "INSERT INTO a VALUES (9, 9)").await;
        assert_eq!(try_lines(&s, "COMMIT").await.is_ok(), stands, "{level}");
    }
    assert_eq!(lines(&s, "SELECT id, n FROM b ORDER BY id").await, ["1|5", "2|2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cant_be_in_a_transaction_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    lines(&s, "CREATE TABLE a (id INT)").await;
    for none in ["COMMIT", "ROLLBACK"] {
        assert!(try_lines(&s, none).await.unwrap_err().to_string().contains("BEGIN one first"));
    }
    lines(&s, "BEGIN TRANSACTION").await;
    for (sql, says) in [
        ("BEGIN", "open already"),
        ("OPTIMIZE a", "of their own"),
        ("VACUUM a", "of their own"),
        ("SAVEPOINT x", "savepoints"),
        ("CREATE TABLE a (id INT)", "already"),
    ] {
        let error = try_lines(&s, sql).await.unwrap_err().to_string();
        assert!(error.contains(says), "{sql}: {error}");
    }
    lines(&s, "CREATE TABLE IF NOT EXISTS a (id INT)").await;
    lines(&s, "DROP TABLE IF EXISTS nothing").await;
    lines(&s, "INSERT INTO a VALUES (1)").await;
    lines(&s, "COMMIT").await;
    assert_eq!(lines(&s, "SELECT * FROM a").await, ["1"]);
}
