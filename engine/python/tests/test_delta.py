"""Delta Lake tables, made and read back by the package `deltalake`."""

import datetime
import decimal
import random

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import deltalite

SCHEMA = pa.schema([pa.field("id", pa.int64(), False), ("name", pa.string()), ("x", pa.float64()), ("day", pa.date32())])


def rows(start, count, seed=0):
    made = random.Random(seed)
    return pa.table(
        {
            "id": range(start, start + count),
            "name": [made.choice([None, "a", "ä ö", "%/ x", ""]) for _ in range(count)],
            "x": [made.choice([None, made.random(), float("inf")]) for _ in range(count)],
            "day": [made.choice([None, datetime.date(2026, 1, made.randint(1, 3))]) for _ in range(count)],
        },
        schema=SCHEMA,
    )


def sorted_rows(table):
    return sorted((tuple(row.values()) for row in table.to_pylist()), key=str)


def ours(path, version=None):
    at = "" if version is None else f" VERSION AS OF {version}"
    return sorted_rows(deltalite.sql(f"SELECT * FROM '{path}'{at}").to_arrow())


def theirs(path, version=None):
    return sorted_rows(DeltaTable(str(path), version=version).to_pyarrow_table())


@pytest.mark.parametrize("partition_by", [None, ["day"], ["name", "day"]])
def test_every_version_of_a_genuine_table_is_read(tmp_path, partition_by):
    path = tmp_path / "delta"
    made = random.Random(1)
    write_deltalake(path, rows(0, 50), partition_by=partition_by)
    for step in range(1, 14):
        table = DeltaTable(str(path))
        match made.randint(0, 3):
            case 0:
                write_deltalake(path, rows(step * 100, made.randint(1, 60), step), mode="append")
            case 1:
                table.delete(f"id % 7 = {made.randint(0, 6)}")
            case 2:
                table.update(updates={"x": "x + 1"}, predicate=f"id % 5 = {made.randint(0, 4)}")
            case 3:
                table.optimize.compact()
        if step == 8:
            DeltaTable(str(path)).create_checkpoint()
    for version in range(DeltaTable(str(path)).version() + 1):
        assert ours(path, version) == theirs(path, version), version
    assert ours(path) == theirs(path)
    found = deltalite.sql(f"SELECT count(*) AS n, max(id) AS m FROM '{path}' WHERE day = DATE '2026-01-02' AND x > 0").to_pylist()
    wanted = [r for r in DeltaTable(str(path)).to_pyarrow_table().to_pylist() if r["day"] == datetime.date(2026, 1, 2) and (r["x"] or 0) > 0]
    assert found == [{"n": len(wanted), "m": max((r["id"] for r in wanted), default=None)}]


def test_types_of_a_genuine_table(tmp_path):
    data = pa.table(
        {
            "bool": pa.array([True, None]),
            "byte": pa.array([1, None], pa.int8()),
            "decimal": pa.array([decimal.Decimal("1.25"), None], pa.decimal128(20, 2)),
            "ts": pa.array([datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), None], pa.timestamp("us", "UTC")),
            "ntz": pa.array([datetime.datetime(2026, 1, 1), None], pa.timestamp("us")),
            "list": pa.array([[1, None], None], pa.list_(pa.int32())),
            "struct": pa.array([{"a": 1, "b": ["x"]}, None], pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))])),
            "map": pa.array([[("k", 1.5)], None], pa.map_(pa.string(), pa.float64())),
            "binary": pa.array([b"\0\1", None], pa.binary()),
        }
    )
    write_deltalake(tmp_path / "types", data)
    assert ours(tmp_path / "types") == theirs(tmp_path / "types")
    table = deltalite.sql(f"CREATE TABLE '{tmp_path}/mine' AS SELECT * FROM '{tmp_path}/types'")
    table.to_pylist()
    deltalite.sql(f"EXPORT '{tmp_path}/mine' TO '{tmp_path}/back'").to_pylist()
    assert theirs(tmp_path / "back") == theirs(tmp_path / "types")


@pytest.mark.parametrize("seed", range(6))
def test_exports_of_random_histories_are_read_back(tmp_path, seed):
    made = random.Random(seed)
    table = deltalite.create(tmp_path / "mine", SCHEMA, partition_by=made.choice([[], ["day"], ["bucket(3, id)"]]))
    table.append(rows(0, 60, seed))
    for step in range(1, 10):
        match made.randint(0, 5):
            case 0 | 1:
                table.append(rows(step * 100, made.randint(1, 50), step))
            case 2:
                table.delete(f"id % 6 = {made.randint(0, 5)}")
            case 3:
                table.update({"name": "coalesce(name, 'none') || '!'"}, f"id % 4 = {made.randint(0, 3)}")
            case 4:
                table.merge(rows(step * 50, 20, step), on="id").when_matched_update_all().when_not_matched_insert_all().execute()
            case 5:
                table.optimize(zorder_by=["x", "id"])
    for version in (table.version, made.randint(1, table.version), 0):
        to = tmp_path / f"delta-{version}"
        if not to.exists():
            deltalite.sql(f"EXPORT '{table.path}' VERSION AS OF {version} TO '{to}'").to_pylist()
        assert theirs(to) == sorted_rows(table.at(version=version).to_arrow()), version
        assert ours(to) == theirs(to)


def test_deletion_vectors_of_a_genuine_table(tmp_path):
    """A log as Spark writes it. The vector in the descriptor is one that Spark wrote, and reads as rows 1, 3, 5.

    (The example in PROTOCOL.md is in another byte order, which Spark refuses.)
    """
    import json
    import os

    path = tmp_path / "dv"
    write_deltalake(path, pa.table({"n": list(range(40))}))
    log = path / "_delta_log"
    first = (log / f"{0:020}.json").read_text().splitlines()
    add = next(json.loads(line)["add"] for line in first if '"add"' in line)
    vector = {"storageType": "i", "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000625c8Xg0rri41POJ5", "sizeInBytes": 38, "cardinality": 3}
    protocol = {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}}
    remove = {"remove": {"path": add["path"], "deletionTimestamp": 1, "dataChange": True, "extendedFileMetadata": True, "partitionValues": {}, "size": add["size"]}}
    again = {"add": {**add, "deletionVector": vector}}
    (log / f"{1:020}.json").write_text("\n".join(json.dumps(a) for a in (protocol, remove, again)) + "\n")
    assert [r[0] for r in sorted(ours(path), key=lambda r: r[0])] == [n for n in range(40) if n not in (1, 3, 5)]
    assert len(ours(path, 0)) == 40
    assert os.path.exists(path / add["path"])


def test_what_is_not_understood_is_refused(tmp_path):
    import json

    path = tmp_path / "delta"
    write_deltalake(path, rows(0, 3))
    with pytest.raises(deltalite.DeltaLiteError, match="only read"):
        deltalite.sql(f"DELETE FROM '{path}'")
    with pytest.raises(deltalite.DeltaLiteError, match="newest is 0"):
        ours(path, 5)
    log = path / "_delta_log"
    unknown = {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["futureFeature"], "writerFeatures": ["futureFeature"]}}
    (log / f"{1:020}.json").write_text(json.dumps(unknown) + "\n")
    with pytest.raises(deltalite.DeltaLiteError, match="futureFeature"):
        ours(path)
    (log / f"{1:020}.json").write_text("{not json\n")
    with pytest.raises(deltalite.DeltaLiteError, match="00001.json"):
        ours(path)
    with pytest.raises(deltalite.DeltaLiteError, match="not empty"):
        table = deltalite.write(tmp_path / "mine", rows(0, 3))
        deltalite.sql(f"EXPORT '{table.path}' TO '{path}'")


def test_a_genuine_table_is_imported_with_its_history_and_given_back(tmp_path):
    source = tmp_path / "source"
    write_deltalake(source, rows(0, 40))
    DeltaTable(str(source)).delete("id % 7 = 1")
    write_deltalake(source, rows(100, 20, 1), mode="append")
    table = deltalite.import_delta(source, tmp_path / "mine")
    assert sorted_rows(table.to_arrow()) == theirs(source)
    versions = DeltaTable(str(source)).version()
    for version in range(versions + 1):
        assert sorted_rows(table.at(version + 1).to_arrow()) == theirs(source, version)
    table.export_delta(tmp_path / "back")
    assert theirs(tmp_path / "back") == theirs(source)
    table.at(1).export_delta(tmp_path / "oldest")
    assert theirs(tmp_path / "oldest") == theirs(source, 0)
    with pytest.raises(deltalite.DeltaLiteError, match="no_such_folder"):
        deltalite.import_delta(tmp_path / "no_such_folder", tmp_path / "nothing")
