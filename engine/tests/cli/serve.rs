//! `deltalite serve`, and `deltalite scan deltalite://…`.

use std::io::{BufRead, BufReader};
use std::process::Child;

use super::*;

/// A server of a folder, its first port, and what it says.
pub(super) struct Served {
    child: Child,
    port: String,
    said: BufReader<std::process::ChildStderr>,
}

pub(super) fn serve(folder: &Path, more: &[&str]) -> Served {
    let mut child = command(folder)
        .args(["serve", "--data", ".", "--listen", "127.0.0.1:0", "--threads", "1", "--log", "json"])
        .args(more)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let first: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(first["message"], "serving", "{line}");
    let port = first["ports"].as_str().unwrap().to_owned();
    Served { child, port, said }
}

impl Served {
    pub(super) fn address(&self, name: &str) -> String {
        format!("deltalite://127.0.0.1:{}/{name}", self.port)
    }

    /// SIGTERM; what it said until it ended.
    pub(super) fn stop(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.said, &mut rest).unwrap();
        rest
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn trips(folder: &Path) {
    std::fs::write(folder.join("t.csv"), "id,name,fare\n1,a,10.5\n2,b,200.25\n3,c,120\n").unwrap();
    ok(folder, &["import", "t.csv", "trips.dlb"]);
}

#[test]
fn what_is_served_is_scanned() {
    let folder = tempfile::tempdir().unwrap();
    trips(folder.path());
    ok(
        folder.path(),
        &["query", "CREATE TABLE t AS SELECT id FROM './trips.dlb'", "DELETE FROM t WHERE id = 2"],
    );
    let server = serve(folder.path(), &[]);
    let scan = |name: &str, more: &[&str]| {
        let address = server.address(name);
        ok(folder.path(), &[&["scan", &address][..], more].concat())
    };
    assert_eq!(scan("trips.dlb", &["-o", "csv"]), "id,name,fare\n1,a,10.5\n2,b,200.25\n3,c,120.0\n");
    let some = ["--where", "fare > 100", "--columns", "name", "-o", "csv"];
    assert_eq!(scan("trips.dlb", &some), "name\nb\nc\n");
    assert_eq!(scan("trips.dlb", &["--limit", "1", "--columns", "id", "-o", "csv"]), "id\n1\n");
    assert_eq!(scan("t", &["--count"]), "2\n");
    assert_eq!(
        scan("t?version=1", &["--count"]),
        ok(folder.path(), &["query", "SELECT count(*) FROM t VERSION AS OF 1", "-o", "csv"])
            .replace("count(*)\n", "")
    );
    assert!(scan("trips.dlb", &[]).contains("| 2  | b    | 200.25 |"), "{}", scan("trips.dlb", &[]));

    let said = fails(folder.path(), 1, &["scan", &server.address("trisp")]);
    assert!(said.contains("error[DL-0507]") && said.contains("trisp"), "{said}");
    let said = fails(folder.path(), 2, &["scan", &server.address("trips.dlb"), "--where", "fares > 1"]);
    assert!(said.contains("did you mean \"fare\"?"), "{said}");
    let said = fails(folder.path(), 2, &["scan", &server.address("t"), "trips.dlb"]);
    assert!(said.contains("give one address"), "{said}");
    let rest = server.stop();
    assert!(rest.contains("stopping"), "{rest}");
}

#[test]
fn who_calls_and_where_is_minded() {
    let folder = tempfile::tempdir().unwrap();
    trips(folder.path());
    std::fs::write(folder.path().join("tokens"), "# who = what\nreports=s3cret\n").unwrap();
    let server = serve(folder.path(), &["--token-file", "tokens"]);
    let address = server.address("trips.dlb");
    let said = fails(folder.path(), 1, &["scan", &address]);
    assert!(said.contains("error[DL-0505]") && said.contains("--token"), "{said}");
    fails(folder.path(), 1, &["scan", &address, "--token", "wrong"]);
    assert_eq!(ok(folder.path(), &["scan", &address, "--token", "s3cret", "--count"]), "3\n");
    let log = server.stop();
    assert!(log.contains("a caller was refused") && !log.contains("s3cret"), "{log}");

    let said = fails(folder.path(), 2, &["serve", "--data", ".", "--listen", "0.0.0.0:0"]);
    assert!(said.contains("reached from other machines"), "{said}");
    let said = fails(folder.path(), 1, &["serve", "--data", "nowhere", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("nowhere"), "{said}");
    let said = fails(folder.path(), 1, &["scan", "deltalite://127.0.0.1:1/t"]);
    assert!(said.contains("error[DL-0503]") && said.contains("127.0.0.1:1"), "{said}");
    let said = fails(folder.path(), 2, &["scan", "deltalite://127.0.0.1/"]);
    assert!(said.contains("error[DL-0508]") && said.contains("deltalite://host:port/table"), "{said}");
}

#[test]
fn what_is_served_is_queried() {
    let folder = tempfile::tempdir().unwrap();
    trips(folder.path());
    std::fs::create_dir(folder.path().join("open")).unwrap();
    std::fs::copy(folder.path().join("trips.dlb"), folder.path().join("open/trips.dlb")).unwrap();
    std::fs::write(folder.path().join("tokens"), "reports=s3cret\n").unwrap();
    let more =
        ["--token-file", "tokens", "--grant", "reports=open", "--caller-rate", "1GiB", "--memory", "64MiB"];
    let server = serve(folder.path(), &more);
    let select =
        |name: &str| format!("SELECT name FROM '{}' WHERE fare > 100 ORDER BY id", server.address(name));
    let open = select("open/trips.dlb");
    assert_eq!(ok(folder.path(), &["query", &open, "-o", "csv", "--token", "s3cret"]), "name\nb\nc\n");
    let said = fails(folder.path(), 1, &["query", &open]);
    assert!(said.contains("DL-0505"), "{said}");
    let said = fails(folder.path(), 1, &["query", &select("trips.dlb"), "--token", "s3cret"]);
    assert!(said.contains("DL-0506") && said.contains("reports may not read trips.dlb"), "{said}");
    let said = fails(folder.path(), 2, &["serve", "--data", ".", "--grant", "reports"]);
    assert!(said.contains("NAME=PATH"), "{said}");
}
