"""Tables of servers, in SQL."""

import json
import os
import subprocess

import pyarrow as pa
import pytest

import deltalite


@pytest.fixture
def address(tmp_path):
    table = deltalite.create(tmp_path / "t", pa.schema([("id", pa.int64()), ("name", pa.string())]))
    table.append(pa.table({"id": range(100), "name": [f"n{i}" for i in range(100)]}))
    (tmp_path / "tokens").write_text("reports=s3cret\n")
    program = os.environ.get("DELTALITE_PROGRAM", "deltalite")
    arguments = ["serve", "--data", tmp_path, "--listen", "127.0.0.1:0", "--threads", "1", "--log", "json"]
    server = subprocess.Popen([program, *arguments, "--token-file", tmp_path / "tokens"], stderr=subprocess.PIPE)
    try:
        port = json.loads(server.stderr.readline())["ports"]
        yield f"deltalite://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def test_a_servers_table_is_read(address):
    session = deltalite.Session(token="s3cret")
    rows = session.sql(f"SELECT id, name FROM '{address}/t' WHERE id >= 97 ORDER BY id").to_arrow()
    assert rows.to_pylist() == [{"id": i, "name": f"n{i}"} for i in (97, 98, 99)]
    # The connection is kept from one statement to the next.
    assert session.sql(f"SELECT count(*) AS n FROM '{address}/t'").to_arrow()["n"].to_pylist() == [100]


def test_who_shows_no_token_is_told(address):
    with pytest.raises(deltalite.DeltaLiteError, match="token"):
        deltalite.sql(f"SELECT * FROM '{address}/t'")
