//! `deltalite query`, and `deltalite shell` as a script.

use super::*;

/// A catalog with a table of three rows.
fn catalog() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    ok(
        folder.path(),
        &[
            "query",
            "CREATE TABLE trips (id BIGINT, day DATE, note VARCHAR)",
            "INSERT INTO trips VALUES (1, '2026-01-01', 'a|b'), (2, NULL, NULL), (3, '2026-01-03', 'x\ty')",
        ],
    );
    folder
}

const ALL: &str = "SELECT * FROM trips ORDER BY id";

#[test]
fn rows_are_printed_in_every_shape() {
    let folder = catalog();
    let printed = |shape: &str| ok(folder.path(), &["query", ALL, "--output", shape]);
    assert_eq!(printed("csv"), "id,day,note\n1,2026-01-01,a|b\n2,,\n3,2026-01-03,x\ty\n");
    assert_eq!(printed("tsv"), "id\tday\tnote\n1\t2026-01-01\ta|b\n2\t\\N\t\\N\n3\t2026-01-03\tx\\ty\n");
    assert_eq!(printed("ndjson").lines().count(), 3);
    let json: Value = serde_json::from_str(&printed("json")).unwrap();
    assert_eq!(json[0]["note"], "a|b");
    assert_eq!(json[2]["id"], 3);
    assert!(printed("markdown").contains("| 1 | 2026-01-01 | a\\|b |"));
    assert!(printed("html").contains("<td>2026-01-03</td>"));
    assert!(printed("vertical").contains("-- row 2 --"));
    assert!(printed("table").contains("| 2  | NULL       | NULL |"), "{}", printed("table"));
    // Without --output, what is no terminal gets CSV.
    assert_eq!(ok(folder.path(), &["query", ALL]), printed("csv"));
    for (shape, ending) in [("parquet", "parquet"), ("arrow", "arrow")] {
        let bytes = deltalite(folder.path(), &["query", ALL, "--output", shape]).stdout;
        let path = folder.path().join(format!("rows.{ending}"));
        std::fs::write(&path, bytes).unwrap();
        let counted = ok(
            folder.path(),
            &["query", &format!("SELECT count(*) AS n, max(note) AS m FROM './rows.{ending}'")],
        );
        assert_eq!(counted, "n,m\n3,x\ty\n");
    }
}

#[test]
fn a_table_shows_as_many_rows_as_it_is_told() {
    let folder = catalog();
    let output = deltalite(folder.path(), &["query", ALL, "--output", "table", "--max-rows", "1"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 5);
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 of 3 rows are shown"));
}

#[test]
fn mistakes_have_a_place_a_code_and_a_suggestion() {
    let folder = catalog();
    let said = fails(folder.path(), 1, &["query", "SELECT nots FROM trips"]);
    assert!(said.contains("DL-0702") && said.contains("^^^^") && said.contains("note"), "{said}");
    let said = fails(folder.path(), 1, &["query", "SELECT 1; SELEC 2"]);
    assert!(said.contains("DL-0701"), "{said}");
    let said = fails(folder.path(), 1, &["query", "SELECT * FROM trip"]);
    assert!(said.contains("trips"), "{said}");
    fails(folder.path(), 2, &["query"]);
    fails(folder.path(), 1, &["query", "-f", "missing.sql"]);
}

#[test]
fn statements_come_from_files_and_standard_input_and_end_at_the_first_that_fails() {
    let folder = catalog();
    std::fs::write(
        folder.path().join("a.sql"),
        "DELETE FROM trips WHERE id = 1; SELECT nothing; DELETE FROM trips",
    )
    .unwrap();
    fails(folder.path(), 1, &["query", "-f", "a.sql"]);
    assert_eq!(ok(folder.path(), &["query", "SELECT count(*) AS n FROM trips"]), "n\n2\n");
    let sent = with_stdin(
        folder.path(),
        &["query", "-f", "-", "--timer"],
        b"SELECT count(*) AS n FROM trips VERSION AS OF 1",
    );
    assert_eq!(String::from_utf8_lossy(&sent.stdout), "n\n3\n");
    assert!(String::from_utf8_lossy(&sent.stderr).contains("1 row in "), "{sent:?}");
}

#[test]
fn a_shell_runs_what_it_is_sent() {
    let folder = catalog();
    let script = b".tables\n.mode\nSELECT count(*)\n  AS n, ';'\n FROM trips;\n.mode json\nSELECT 1 AS x; SELECT 2 AS x;\n.schema trips\n.mode csv\n.output out.csv\nSELECT id FROM trips ORDER BY id;\n.output\nSELECT 'not ended' AS last";
    let sent = with_stdin(folder.path(), &["shell"], script);
    let printed = String::from_utf8(sent.stdout).unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    assert!(printed.starts_with("trips\ncsv\n"), "{printed}");
    assert!(
        printed.contains("\n3,;\n") && printed.contains("\"x\":2") && printed.contains("day"),
        "{printed}"
    );
    assert!(printed.ends_with("last\nnot ended\n"), "{printed}");
    assert_eq!(std::fs::read_to_string(folder.path().join("out.csv")).unwrap(), "id\n1\n2\n3\n");
}

#[test]
fn a_shell_that_is_sent_a_mistake_ends_there() {
    let folder = catalog();
    for (script, hint) in [
        (".tabels\nDELETE FROM trips;", "did you mean .tables?"),
        (".mode nothing\nDELETE FROM trips;", "vertical"),
        ("SELECT nothing FROM trips;\nDELETE FROM trips;", "nothing"),
        (".read missing.sql\nDELETE FROM trips;", "missing.sql"),
        (".timer maybe\nDELETE FROM trips;", "neither on nor off"),
    ] {
        let sent = with_stdin(folder.path(), &["shell"], script.as_bytes());
        let said = String::from_utf8_lossy(&sent.stderr).into_owned();
        assert!(!sent.status.success() && said.contains(hint), "{script}: {said}");
    }
    assert_eq!(ok(folder.path(), &["query", "SELECT count(*) AS n FROM trips"]), "n\n3\n");
    let sent = with_stdin(folder.path(), &["shell"], b".quit\nDELETE FROM trips;");
    assert!(sent.status.success());
    std::fs::write(folder.path().join("self.sql"), ".read self.sql\n").unwrap();
    let sent = with_stdin(folder.path(), &["shell"], b".read self.sql\n");
    assert!(String::from_utf8_lossy(&sent.stderr).contains("does one read itself?"));
}
