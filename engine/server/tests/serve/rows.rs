//! Rows of files and tables, with and without io_uring.

use std::time::Duration;

use arrow_array::RecordBatch;
use deltalite_format::predicate::{Predicate, col, lit};
use deltalite_remote::protocol::{At, Target};
use deltalite_remote::{ErrorKind, RemoteTable};
use deltalite_shard::executor::IoMode;
use deltalite_shard::scan::{DataFile, Scan};
use deltalite_table::DeltaLiteTable;
use deltalite_table::table::TableContext;

use super::{block_on, client, collect, columns, embedded, open, rows, same, serve, shards, write_file};

const MODES: [IoMode; 2] = [IoMode::Auto, IoMode::Threads];

#[test]
fn a_file_is_scanned_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.dlb");
    write_file(&path, 400_000);
    let local = shards(IoMode::Auto);
    for io in MODES {
        let server = serve(folder.path(), io);
        block_on(async {
            let table = open(&server, "rows.dlb").await.unwrap();
            assert_eq!((table.rows(), table.version()), (Some(400_000), None));
            let scan = || Scan::of(DataFile::open(&path).unwrap());
            same(&collect(table.scan()).await.unwrap(), &embedded(scan(), &local));

            let conditions: Vec<Predicate> = vec![
                col("part").eq(lit(13)),
                col("id").between(399_000, 1_000_000).and(col("name").is_not_null()),
                col("name").like("name 1%").or(col("id").lt(10)),
                col("id").gt(1_000_000),
            ];
            for condition in conditions {
                let there =
                    collect(table.scan().columns(["name", "id"]).filter(condition.clone())).await.unwrap();
                let here = embedded(scan().columns(["name", "id"]).filter(condition.clone()), &local);
                same(&there, &here);
            }
            for limit in [0, 1, 1000, 70_000, 1_000_000] {
                let there = collect(table.scan().columns(["id"]).limit(limit)).await.unwrap();
                same(&there, &embedded(scan().columns(["id"]).limit(limit), &local));
            }
            let unordered = collect(table.scan().columns(["id"]).ordered(false)).await.unwrap();
            assert_eq!(unordered.num_rows(), 400_000);
        });
        assert!(server.drain(Duration::from_secs(10)));
    }
}

#[test]
fn a_table_is_scanned_in_one_version() {
    let folder = tempfile::tempdir().unwrap();
    let context = TableContext::new(shards(IoMode::Auto));
    let path = folder.path().join("sales").join("trips");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let table = DeltaLiteTable::create(&path, &columns()).context(&context).execute().unwrap();
    for from in [0, 30_000, 60_000] {
        table.append([rows(from, from + 30_000)]).execute().unwrap();
    }
    table.delete().filter(col("part").eq(lit(5))).execute().unwrap();
    for io in MODES {
        let server = serve(folder.path(), io);
        block_on(async {
            let remote = open(&server, "sales/trips").await.unwrap();
            let version = table.version().0;
            assert_eq!(remote.version(), Some(version));
            let here = table.scan().execute().unwrap().collect_batch().unwrap();
            same(&collect(remote.scan()).await.unwrap(), &here);
            let condition = col("id").lt(lit(40_000)).and(col("part").not_eq(lit(7)));
            let filtered = table.scan().filter(condition.clone()).execute().unwrap().collect_batch().unwrap();
            same(&collect(remote.scan().filter(condition)).await.unwrap(), &filtered);

            // What is written later is seen by who opens later.
            table.append([rows(90_000, 90_010)]).execute().unwrap();
            same(&collect(remote.scan()).await.unwrap(), &here);
            let newer = open(&server, "sales/trips").await.unwrap();
            assert_eq!(newer.version(), Some(version + 1));
            assert_eq!(collect(newer.scan()).await.unwrap().num_rows(), here.num_rows() + 10);
            let target = Target { path: "sales/trips".into(), at: At::Version(2) };
            let older = RemoteTable::of(client(&server), target).await.unwrap();
            assert_eq!(collect(older.scan()).await.unwrap().num_rows(), 60_000);
        });
    }
}

#[test]
fn what_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("rows.dlb"), 1000);
    write_file(&outside.path().join("secret.dlb"), 10);
    std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
    std::fs::write(folder.path().join("text.dlb"), "no such thing, although it has a name like one").unwrap();
    let server = serve(folder.path(), IoMode::Auto);
    block_on(async {
        for path in
            ["nothing", "../secret.dlb", "/etc/passwd", "link/secret.dlb", "", "./rows.dlb", "a/../rows.dlb"]
        {
            let error = open(&server, path).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{path}: {error}");
        }
        let error = open(&server, "text.dlb").await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::DataLoss, "DL-0203"), "{error}");
        let target = Target { path: "rows.dlb".into(), at: At::Version(3) };
        let error = RemoteTable::of(client(&server), target).await.unwrap_err();
        assert!(error.to_string().contains("has no versions"), "{error}");
        let table = open(&server, "rows.dlb").await.unwrap();
        let error = collect(table.scan().columns(["nmae"])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        let error = collect(table.scan().filter(col("nmae").eq(lit(1)))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");

        // A file that is replaced under a scan is another one.
        write_file(&folder.path().join("rows.dlb"), 2000);
        let error = collect(table.scan()).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "DL-0305"), "{error}");
        let again: RecordBatch = collect(open(&server, "rows.dlb").await.unwrap().scan()).await.unwrap();
        assert_eq!(again.num_rows(), 2000);
    });
}

#[test]
fn damage_is_told_with_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.dlb");
    write_file(&path, 300_000);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    let server = serve(folder.path(), IoMode::Auto);
    block_on(async {
        let table = open(&server, "rows.dlb").await.unwrap();
        let error = collect(table.scan()).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::DataLoss, "DL-0202"), "{error}");
    });
}
