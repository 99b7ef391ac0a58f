"""Rows from and to other libraries, and SQL."""

import os
import signal
import threading
import time

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import deltalite

COLUMNS = {
    "i": pa.array([1, None, 3], pa.int32()),
    "s": pa.array(["a", None, "ä" * 40]),
    "d": pa.array([1, 2, None], pa.timestamp("us", tz="UTC")),
    "l": pa.array([[1], None, [2, 3]], pa.list_(pa.int64())),
    "r": pa.array([{"x": 1, "y": "a"}, None, {"x": None, "y": "b"}]),
    "b": pa.array([b"\0", None, b"xyz"]),
}


@pytest.fixture
def rows():
    return pa.table(COLUMNS)


def test_pyarrow_gets_back_what_it_gave(tmp_path, rows):
    table = deltalite.write(tmp_path / "t", rows)
    assert table.to_arrow().cast(rows.schema).to_pylist() == rows.to_pylist()
    table.append(rows.to_batches()[0])
    table.append(rows.to_reader())
    assert table.count_rows() == 9
    assert sum(b.num_rows for b in table.scan().to_reader()) == 9


def test_polars_both_ways(tmp_path):
    frame = pl.DataFrame({"a": [1, 2, None], "s": ["x", None, "z"]})
    table = deltalite.write(tmp_path / "t", frame)
    assert table.to_polars().sort("a").equals(frame.sort("a"))
    assert pl.DataFrame(table.scan(filter="a = 2")).rows() == [(2, None)]


def test_pandas_both_ways(tmp_path):
    frame = pd.DataFrame({"a": [1, 2, 3], "s": ["x", "y", None]})
    table = deltalite.write(tmp_path / "t", frame)
    back = table.to_pandas().sort_values("a")
    assert back["a"].tolist() == [1, 2, 3] and back["s"].tolist()[:2] == ["x", "y"]


def test_duckdb_both_ways(tmp_path):
    relation = duckdb.sql("SELECT range AS n, 'v' || range AS s FROM range(1000)")
    table = deltalite.write(tmp_path / "t", relation)
    reader = table.scan(filter="n < 10").to_reader()
    assert duckdb.sql("SELECT count(*), sum(n), max(s) FROM reader").fetchall() == [(10, 45, "v9")]


def test_types_that_a_consumer_wants_are_given(tmp_path, rows):
    table = deltalite.write(tmp_path / "t", rows)
    wanted = pa.schema([("s", pa.large_string())])
    got = pa.RecordBatchReader.from_stream(table.scan(columns="s"), schema=wanted)
    assert got.schema == wanted
    assert got.read_all()["s"].to_pylist() == COLUMNS["s"].to_pylist()


def test_sql_over_names_files_and_data(tmp_path):
    numbers = pa.table({"n": list(range(100))})
    pq.write_table(numbers, tmp_path / "numbers.parquet")
    session = deltalite.connect(tmp_path, threads=2, memory_bytes=1 << 28)
    session.sql(f"CREATE TABLE evens AS SELECT n FROM '{tmp_path}/numbers.parquet' WHERE n % 2 = 0")
    assert session.tables() == ["evens"]
    result = session.sql("SELECT count(*) AS c, max(evens.n) AS m FROM evens JOIN mine ON evens.n = mine.n", mine=pa.table({"n": [2, 3, 4]}))
    assert result.column_names == ["c", "m"]
    assert result.to_pylist() == [{"c": 2, "m": 4}]
    with pytest.raises(deltalite.DeltaLiteError, match="mine"):
        session.sql("SELECT * FROM mine")
    session.register("kept", numbers)
    assert session.sql("SELECT sum(n) AS s FROM kept").to_pydict() == {"s": [4950]}
    assert session.unregister("kept") and not session.unregister("kept")


def test_files_are_scanned(tmp_path):
    pq.write_table(pa.table({"n": [1, 2, 3]}), tmp_path / "a.parquet")
    assert deltalite.scan_file(tmp_path / "a.parquet", columns=["n"], filter="n > 1").to_pydict() == {"n": [2, 3]}


def test_rows_are_taken_once(tmp_path):
    result = deltalite.sql("SELECT 1 AS one")
    assert result.to_pylist() == [{"one": 1}]
    with pytest.raises(deltalite.DeltaLiteError, match="run the statement again"):
        result.to_pylist()


def test_mistakes_have_a_caret_and_a_code():
    with pytest.raises(deltalite.DeltaLiteError) as failed:
        deltalite.sql("SELECT nothing FROM (SELECT 1 AS something)")
    assert "^" in str(failed.value) and failed.value.code.startswith("DL-07")


def test_a_statement_has_its_time(tmp_path):
    session = deltalite.connect(tmp_path, timeout=0.2)
    query = "SELECT count(*) FROM generate_series(1, 3000000) a JOIN generate_series(1, 3000000) b ON a.value % 7 = b.value % 7"
    with pytest.raises(Exception, match="cancelled after 0.2 s.*DL-0705"):
        session.sql(query).to_arrow()


def test_ctrl_c_ends_a_statement(tmp_path):
    table = deltalite.write(tmp_path / "t", pa.table({"n": list(range(100_000))}))
    statement = f"CREATE TABLE '{tmp_path}/x' AS SELECT a.n FROM \"{table.path}\" a JOIN \"{table.path}\" b ON a.n % 3 = b.n % 3"
    threading.Thread(target=lambda: (time.sleep(0.5), os.kill(os.getpid(), signal.SIGINT))).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        deltalite.sql(statement)
    assert time.monotonic() - started < 30
    assert table.count_rows() == 100_000
