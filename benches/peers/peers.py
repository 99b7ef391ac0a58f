"""Runs peers that are Python packages: a JSON request a line on standard input, an answer a line on standard output."""

import json
import os
import shutil
import sys
import threading
import time

_duck = {}


def _duckdb(path, threads, memory=None):
    import duckdb

    key = (path, threads, memory)
    if key not in _duck:
        for connection in _duck.values():
            connection.close()
        _duck.clear()
        connection = duckdb.connect(path)
        connection.execute(f"SET threads = {threads}")
        if memory:
            connection.execute(f"SET memory_limit = '{memory}'")
        _duck[key] = connection
    return _duck[key]


def _timed(work):
    cpu, start = time.process_time(), time.perf_counter()
    result = work()
    return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}, result


def duck_load(path, sql, threads=1):
    for statement in sql:
        _duckdb(path, threads).execute(statement)
    _duckdb(path, threads).execute("CHECKPOINT")


def duck_query(path, sql, threads=1, memory=None):
    """The rows are taken as Arrow, as ours are."""
    connection = _duckdb(path, threads, memory)
    took, _ = _timed(lambda: connection.execute(sql).to_arrow_table())
    return took


def duck_value(path, sql, threads=1):
    return {"value": _duckdb(path, threads).execute(sql).fetchone()[0]}


def duck_merge(path, sql, threads, memory):
    connection = _duckdb(path, threads, memory)
    took, _ = _timed(lambda: (connection.execute(sql), connection.execute("CHECKPOINT")))
    return took


def delta_make(path, files):
    """A table of so many files, as far as its log goes; the files themselves are not there."""
    if os.path.exists(os.path.join(path, "made")):
        return None
    shutil.rmtree(path, ignore_errors=True)
    log = os.path.join(path, "_delta_log")
    os.makedirs(log)
    columns = ["order", "line", "part", "supplier", "quantity", "price", "shipped", "comment"]
    fields = [{"name": c, "type": "long", "nullable": True, "metadata": {}} for c in columns + ["day"]]
    fields[-1]["type"] = "string"
    meta = {"id": "0", "format": {"provider": "parquet", "options": {}}, "schemaString": json.dumps({"type": "struct", "fields": fields}),
            "partitionColumns": ["day"], "configuration": {}, "createdTime": 0}
    with open(os.path.join(log, f"{0:020}.json"), "w") as out:
        out.write(json.dumps({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}) + "\n")
        out.write(json.dumps({"metaData": meta}) + "\n")
    per, version = 100_000, 1
    for start in range(0, files, per):
        with open(os.path.join(log, f"{version:020}.json"), "w") as out:
            for number in range(start, min(start + per, files)):
                out.write(_add(number, columns) + "\n")
        version += 1
    from deltalake import DeltaTable

    DeltaTable(path).create_checkpoint()
    open(os.path.join(path, "made"), "w").close()


def _add(number, columns):
    values = lambda offset: {c: number * 977 + i * 31 + offset for i, c in enumerate(columns)}
    stats = {"numRecords": 1000000, "minValues": values(0), "maxValues": values(100_000), "nullCount": {c: number % 7 for c in columns}}
    day = f"2026-{number // 28 % 12 + 1:02}-{number % 28 + 1:02}"
    return json.dumps({"add": {"path": f"day={day}/part-{number:08}-6f8e2c1a-9d3b-4c5e-8f7a-0b1c2d3e4f5a.parquet", "partitionValues": {"day": day},
                               "size": 134217728 + number, "modificationTime": 1790000000000 + number, "dataChange": True, "stats": json.dumps(stats)}})


def delta_open(path):
    from deltalake import DeltaTable

    took, table = _timed(lambda: DeltaTable(path))
    return took


def delta_more(path, versions):
    log = os.path.join(path, "_delta_log")
    last = max(int(f[:20]) for f in os.listdir(log) if f.endswith(".json"))
    columns = ["order", "line", "part", "supplier", "quantity", "price", "shipped", "comment"]
    for version in range(last + 1, last + 1 + versions):
        with open(os.path.join(log, f"{version:020}.json"), "w") as out:
            for number in range(10):
                out.write(_add(10_000_000 + version * 10 + number, columns) + "\n")


def delta_refresh(path, versions):
    from deltalake import DeltaTable

    newest = DeltaTable(path).version()
    table = DeltaTable(path, version=newest - versions)
    took, _ = _timed(table.update_incremental)
    return took


def delta_commits(path, writers, each, rows):
    """Writers append; those whose commit fails try again."""
    import pyarrow as pa
    from deltalake import DeltaTable, write_deltalake

    shutil.rmtree(path, ignore_errors=True)
    data = pa.table({"id": list(range(rows)), "value": [float(i) for i in range(rows)]})
    write_deltalake(path, data)
    failed = [0] * writers
    seconds = [[] for _ in range(writers)]

    def work(number):
        for _ in range(each):
            start = time.perf_counter()
            while True:
                try:
                    write_deltalake(path, data, mode="append")
                    break
                except Exception:
                    failed[number] += 1
                    if time.perf_counter() - start > 60:
                        raise
            seconds[number].append(time.perf_counter() - start)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(writers)]
    took, _ = _timed(lambda: ([t.start() for t in threads], [t.join() for t in threads]))
    commits = DeltaTable(path).version()
    every = sorted(s for each in seconds for s in each)
    return {**took, "commits": commits, "failed": sum(failed), "p50": every[len(every) // 2] if every else None}


DO = {f.__name__: f for f in (duck_load, duck_query, duck_value, duck_merge, delta_make, delta_open, delta_more, delta_refresh, delta_commits)}


def main():
    # What packages print is not an answer.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = DO[request.pop("do")](**request) or {}
        except Exception as error:  # noqa: BLE001 - the answer is the error
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


main()
