"""Tables: rows in and out, changed, and of the past."""

import datetime
import threading

import pyarrow as pa
import pytest

import deltalite


@pytest.fixture
def table(tmp_path):
    made = deltalite.create(tmp_path / "t", pa.schema([pa.field("id", pa.int64(), False), ("name", pa.string()), ("x", pa.float64())]))
    made.append(pa.table({"id": range(10), "name": [f"n{i}" for i in range(10)], "x": [i / 2 for i in range(10)]}))
    return made


def ids(table, **options):
    return sorted(table.to_arrow(columns=["id"], **options)["id"].to_pylist())


def test_rows_come_back(table):
    assert table.version == 1
    assert table.column_names == ["id", "name", "x"]
    assert table.count_rows() == 10
    assert table.count_rows("id >= 7") == 3
    rows = table.to_arrow(filter="id = 3").to_pylist()
    assert rows == [{"id": 3, "name": "n3", "x": 1.5}]
    assert table.scan(columns="x", limit=4).to_arrow().num_rows == 4
    assert pa.table(table).num_rows == 10
    assert table.schema.field("id").nullable is False


def test_a_new_handle_sees_what_another_wrote(table):
    other = deltalite.open(table.path)
    other.append(pa.table({"id": [10], "name": ["n10"], "x": [None]}).cast(pa.schema([pa.field("id", pa.int64(), False), ("name", pa.string()), ("x", pa.float64())])))
    assert (table.version, table.count_rows()) == (1, 10)
    assert table.refresh() == 2
    assert table.count_rows("x IS NULL") == 1


def test_rows_are_deleted_updated_and_overwritten(table):
    assert table.delete("id % 2 = 0") == 5
    assert ids(table) == [1, 3, 5, 7, 9]
    assert table.update({"name": "upper(name)", "x": "x * 10"}, "id > 5") == 2
    assert table.to_arrow(filter="id = 9").to_pylist() == [{"id": 9, "name": "N9", "x": 45.0}]
    rows = pa.table({"id": pa.array([7, 8]), "name": ["a", "b"], "x": [0.0, 0.0]})
    table.overwrite(rows, where="id >= 7")
    assert ids(table) == [1, 3, 5, 7, 8]
    table.overwrite(rows)
    assert ids(table) == [7, 8]
    assert table.truncate() == 2
    assert ids(table) == []


def test_rows_are_merged(table):
    source = pa.table({"id": [8, 9, 10, 11], "name": ["eight", "nine", "ten", "eleven"], "x": [8.0, 9.0, 10.0, 11.0]})
    merge = table.merge(source, on=["id"]).when_matched_delete("s.id = 9").when_matched_update_all()
    assert merge.when_not_matched_insert_all("s.id < 11").execute() == 3
    assert ids(table) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert table.to_arrow(filter="id = 8")["name"].to_pylist() == ["eight"]
    assert table.merge(source, on="t.id = s.id").when_not_matched_by_source_delete("t.id < 3").execute() == 3
    with pytest.raises(ValueError):
        table.merge(source, on="id").execute()


def test_versions_of_the_past(table):
    table.tag("first")
    table.delete("id < 5")
    past = table.at(version=1)
    assert (past.count_rows(), table.count_rows()) == (10, 5)
    assert deltalite.open(table.path, version=1).count_rows() == 10
    assert table.at(tag="first").version == 1
    assert table.at(timestamp=datetime.datetime.now(datetime.timezone.utc)).version == table.version
    with pytest.raises(deltalite.DeltaLiteError, match="open the newest"):
        past.delete("id = 1")
    changed = pa.table(table.changes(table.version))
    assert changed.num_rows == 5
    table.restore(1)
    assert table.count_rows() == 10
    operations = [entry["operation"] for entry in table.history()]
    assert operations[0] == "RESTORE" and operations[-1] == "CREATE TABLE"
    assert len(table.history(limit=2)) == 2
    table.untag("first")
    assert table.tags() == {}


def test_maintenance(table):
    for i in range(5):
        table.append(pa.table({"id": [100 + i], "name": ["m"], "x": [0.0]}))
    before = ids(table)
    table.optimize(zorder_by=["id", "x"])
    table.vacuum(versions=1, dry_run=True)
    table.vacuum(versions=1)
    table.checkpoint()
    assert ids(table) == before
    assert table.verify(rows=True)
    assert table.detail()
    with pytest.raises(deltalite.DeltaLiteError):
        table.at(version=1)


def test_columns_may_be_added_by_writing(table):
    wider = pa.table({"id": [50], "name": ["w"], "x": [1.0], "extra": [True]})
    with pytest.raises(deltalite.DeltaLiteError, match="extra"):
        table.append(wider)
    table.append(wider, merge_schema=True)
    assert table.column_names[-1] == "extra"
    assert table.to_arrow(filter="extra").num_rows == 1


def test_constraints_and_keys_hold(tmp_path):
    schema = pa.schema([pa.field("id", pa.int64(), False), ("n", pa.int64())])
    table = deltalite.create(tmp_path / "k", schema, key="id", constraints={"positive": "n > 0"}, partition_by="bucket(2, id)")
    table.append(pa.table({"id": [1], "n": [1]}))
    with pytest.raises(deltalite.DeltaLiteError) as failed:
        table.append(pa.table({"id": [1], "n": [1]}))
    assert failed.value.code == "DL-0619"
    with pytest.raises(deltalite.DeltaLiteError) as failed:
        table.append(pa.table({"id": [2], "n": [-1]}))
    assert failed.value.code == "DL-0617"
    assert table.count_rows() == 1


def test_an_application_writes_once(table):
    row = pa.table({"id": [77], "name": ["once"], "x": [0.0]})
    assert table.append(row, app_id="job", app_version=1)["committed"]
    assert not table.append(row, app_id="job", app_version=1)["committed"]
    assert table.count_rows("id = 77") == 1


def test_threads_write_side_by_side(table):
    def work(start):
        own = deltalite.open(table.path)
        for i in range(5):
            own.append(pa.table({"id": [start + i], "name": ["t"], "x": [0.0]}))
        source = pa.table({"id": [start], "name": ["merged"], "x": [0.0]})
        own.merge(source, on="id").when_matched_update_all().execute()

    threads = [threading.Thread(target=work, args=(1000 * (n + 1),)) for n in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    table.refresh()
    assert table.count_rows() == 30
    assert table.count_rows("name = 'merged'") == 4


def test_mistakes_are_told(tmp_path, table):
    with pytest.raises(deltalite.DeltaLiteError) as failed:
        deltalite.open(tmp_path / "nothing")
    assert failed.value.code.startswith("DL-06")
    with pytest.raises(deltalite.DeltaLiteError, match="__arrow_c_stream__"):
        table.append([1, 2, 3])
    with pytest.raises(deltalite.DeltaLiteError, match="no column|nam"):
        table.delete("nmae = 'x'")
    with pytest.raises(deltalite.DeltaLiteError):
        table.append(pa.table({"id": ["text"], "name": ["a"], "x": [0.0]}))
    with pytest.raises(deltalite.DeltaLiteError):
        deltalite.create(table.path, table.schema)
    assert deltalite.create(table.path, table.schema, if_not_exists=True).count_rows() == 10


def test_transactions_are_whole_or_nothing(tmp_path):
    session = deltalite.connect(tmp_path)
    session.sql("CREATE TABLE a (id BIGINT); CREATE TABLE b (id BIGINT)")
    with session.transaction():
        session.sql("INSERT INTO a VALUES (1)")
        session.sql("INSERT INTO b SELECT id + 1 FROM a")
        assert deltalite.connect(tmp_path).sql("SELECT * FROM a").to_arrow().num_rows == 0
    with pytest.raises(ZeroDivisionError):
        with session.transaction("serializable"):
            session.sql("DELETE FROM a")
            1 / 0
    rows = session.sql("SELECT a.id, b.id AS other FROM a, b").to_arrow().to_pylist()
    assert rows == [{"id": 1, "other": 2}]
    with pytest.raises(deltalite.DeltaLiteError, match="BEGIN one first"):
        session.sql("COMMIT")
