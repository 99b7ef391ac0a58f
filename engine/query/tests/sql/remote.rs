//! Tables of a server in FROM: the same rows as without one, and conditions evaluated there.

use deltalite_net::auth::Gate;
use deltalite_net::drive::tokio::ConnectOptions;
use deltalite_remote::ClientOptions;
use deltalite_server::{Server, ServerOptions};

use super::*;

const MADE: [&str; 4] = [
    "CREATE TABLE trips (id BIGINT, zone INT, fare DECIMAL(10, 2), name VARCHAR)",
    "INSERT INTO trips SELECT value, value % 50, value / 4.0, 'name ' || value FROM generate_series(1, 60000)",
    "DELETE FROM trips WHERE id % 1000 = 0",
    "CREATE TABLE zones AS SELECT value AS zone, 'zone ' || value AS label FROM generate_series(0, 49)",
];

fn serve(folder: &Path) -> ServerOptions {
    ServerOptions::new(folder).listen("127.0.0.1:0".parse().unwrap()).on_shards(SHARDS.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_rows_as_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(folder.path());
    for statement in MADE {
        lines(&session, statement).await;
    }
    let server = Server::start(serve(folder.path())).unwrap();
    let at = |name: &str| format!("'deltalite://{}/{name}'", server.addresses()[0]);
    for query in [
        "SELECT count(*), sum(fare), min(name) FROM trips",
        "SELECT * FROM trips WHERE id BETWEEN 500 AND 520 ORDER BY id",
        "SELECT name, id FROM trips WHERE name LIKE 'name 59%' AND zone IN (1, 2) ORDER BY 1",
        "SELECT zone, count(*), avg(fare) FROM trips WHERE fare > 100.5 GROUP BY zone ORDER BY zone",
        "SELECT id FROM trips ORDER BY fare DESC LIMIT 7",
        "SELECT count(*) FROM (SELECT id FROM trips LIMIT 1234)",
        "SELECT z.label, max(t.id) FROM trips t JOIN zones z ON t.zone = z.zone WHERE z.label < 'zone 3' GROUP BY 1 ORDER BY 1",
        "SELECT count(*) FROM trips WHERE id + zone = 1001 OR sqrt(fare) = 5",
        "SELECT count(*) FROM trips VERSION AS OF 1",
    ] {
        let there = query
            .replace(" trips", &format!(" {}", at("trips")))
            .replace(" zones", &format!(" {}", at("zones")));
        assert_eq!(lines(&session, &there).await, lines(&session, query).await, "{query}");
    }

    let plan = format!("EXPLAIN SELECT id FROM {} WHERE zone = 3 AND id % 7 = 1", at("trips"));
    let plan = lines(&session, &plan).await.join("\n");
    assert!(
        plan.contains("columns=[id], predicate=zone = 3") || plan.contains("predicate=zone = 3"),
        "{plan}"
    );
    assert!(!plan.contains("name"), "only what is needed: {plan}");

    let made = format!("CREATE TABLE copy AS SELECT * FROM {} WHERE id <= 10", at("trips"));
    lines(&session, &made).await;
    assert_eq!(lines(&session, "SELECT count(*) FROM copy").await, ["10"]);
    let refused = format!("DELETE FROM {}", at("trips"));
    let error = try_lines(&session, &refused).await.unwrap_err();
    assert!(error.to_string().contains("only read"), "{error}");
    let error = try_lines(&session, &format!("SELECT * FROM {}", at("tripz"))).await.unwrap_err();
    assert_eq!(error.code(), "DL-0507", "{error}");
    let error = try_lines(&session, &format!("SELECT nme FROM {}", at("trips"))).await.unwrap_err();
    assert_eq!((error.code(), error.suggestion()), ("DL-0702", Some("name")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_shown_what_they_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    let local = session(folder.path());
    lines(&local, "CREATE TABLE t AS SELECT 7 AS n").await;
    let server = Server::start(serve(folder.path()).gate(Gate::open().token("reports", "s3cret"))).unwrap();
    let select = format!("SELECT n FROM 'deltalite://{}/t'", server.addresses()[0]);
    let error = try_lines(&local, &select).await.unwrap_err();
    assert_eq!(error.code(), "DL-0505", "{error}");
    let options = SessionOptions::default().shards(SHARDS.clone()).connecting(Arc::new(|_| {
        let connect = ConnectOptions { token: Some("s3cret".to_owned()), ..ConnectOptions::default() };
        Ok(ClientOptions { connect, ..ClientOptions::default() })
    }));
    assert_eq!(lines(&Session::new(options).unwrap(), &select).await, ["7"]);
}
