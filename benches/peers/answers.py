"""TPC-H and TPC-DS: the answers of DeltaLite beside those of DuckDB, and, of TPC-H, beside the published ones.

Rows and queries are those of DuckDB's extensions, so that nothing of what is compared is ours. Each query runs in a process of its own, whose
peak of resident memory is reported. Exits with 1 if an answer is wrong, a query fails, or more memory is used than allowed.
"""

import argparse
import decimal
import glob
import os
import re
import subprocess
import sys
import tempfile
import time

import duckdb
import pyarrow as pa
import pyarrow.ipc

# A process of its own to start the command from: what a child is said to have used at most includes what its parent had when it began.
MEASURE = """
import os, sys
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(child, 0)
print(used.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


def extension(connection, name):
    folder = os.path.join(os.path.dirname(duckdb.__file__), "..", f"duckdb_extension_{name}")
    connection.sql(f"LOAD '{glob.glob(folder + '/extensions/*/*.duckdb_extension')[0]}'")


def peer(suite, scale, folder):
    """DuckDB with the tables, which are also written as Parquet."""
    place = os.path.join(folder, "duckdb.db")
    made = os.path.exists(place)
    connection = duckdb.connect(place, config={"allow_unsigned_extensions": "true", "threads": "2"})
    extension(connection, suite)
    if not made:
        connection.sql(f"CALL {'dbgen' if suite == 'tpch' else 'dsdgen'}(sf={scale})")
    tables = [name for (name,) in connection.sql("SELECT table_name FROM duckdb_tables()").fetchall()]
    for table in tables:
        parquet = os.path.join(folder, f"{table}.parquet")
        if not os.path.exists(parquet):
            connection.sql(f"COPY {table} TO '{parquet}.part' (FORMAT parquet)")
            os.rename(parquet + ".part", parquet)
    return connection, tables


class Ours:
    """The command line, on tables made of the same Parquet files."""

    def __init__(self, binary, folder, tables, memory):
        self.binary, self.catalog, self.memory = binary, os.path.join(folder, "deltalite"), memory
        os.makedirs(self.catalog, exist_ok=True)
        for table in tables:
            if not os.path.exists(os.path.join(self.catalog, table)):
                parquet = os.path.join(folder, f"{table}.parquet")
                self.run(f"CREATE TABLE {table} AS SELECT * FROM '{parquet}'", None)

    def run(self, sql, memory):
        """Rows, seconds, peak bytes."""
        command = [self.binary, "query", "--catalog", self.catalog, "--output", "arrow", sql]
        if memory:
            command[2:2] = ["--memory", str(memory)]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            begun = time.monotonic()
            measured = subprocess.run([sys.executable, "-S", "-c", MEASURE, *command], stdout=out, stderr=err)
            seconds = time.monotonic() - begun
            err.seek(0)
            said = err.read().decode().strip().split("\n")
            if measured.returncode:
                raise RuntimeError("\n".join(said[:-1]) or f"it ended with {measured.returncode}")
            peak = int(said[-1]) * 1024
            rows = pa.ipc.open_file(pa.PythonFile(out)).read_all() if out.seek(0, os.SEEK_END) else None
            return rows, seconds, peak


def plain(value):
    """A value that compares across engines: numbers as decimals, the rest as text without its padding."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, decimal.Decimal)):
        return decimal.Decimal(value)
    if isinstance(value, float):
        return decimal.Decimal("NaN") if value != value else decimal.Decimal(repr(value))
    text = str(value).rstrip()
    return text[:-9] if text.endswith(" 00:00:00") else text


def same(a, b):
    if isinstance(a, decimal.Decimal) and isinstance(b, decimal.Decimal):
        if a.is_nan() or b.is_nan():
            return a.is_nan() and b.is_nan()
        # Quotients of decimals are decimals with four digits more here, as Arrow has them, and doubles in DuckDB. So: five digits in all, or
        # the last one of whichever has fewer.
        digits = max(a.as_tuple().exponent, b.as_tuple().exponent)
        room = max(abs(a), abs(b)) * decimal.Decimal("1e-5")
        if digits < 0 and min(a.as_tuple().exponent, b.as_tuple().exponent) < digits:
            room = max(room, decimal.Decimal(1).scaleb(digits))
        return abs(a - b) <= room
    return a == b


def key(row):
    """Orders rows alike in both engines, whatever the last digits of their numbers are."""

    def part(value):
        if value is None:
            return (0, 0, "")
        if isinstance(value, decimal.Decimal):
            return (1, float(f"{value:.6g}"), "")
        return (2, 0, str(value))

    return [part(value) for value in row]


def rows_of(table):
    return [tuple(plain(value) for value in row) for row in zip(*(column.to_pylist() for column in table.columns))]


def differs(ours, theirs):
    """The first difference of two lists of rows, in any order; none if they are the same."""
    if len(ours) != len(theirs):
        return f"{len(ours)} rows, {len(theirs)} expected"
    for a, b in zip(sorted(ours, key=key), sorted(theirs, key=key)):
        if len(a) != len(b) or not all(map(same, a, b)):
            return f"{tuple(map(str, a))}, {tuple(map(str, b))} expected"
    return None


def without_limit(sql):
    return re.sub(r"\blimit\s+\d+\s*;?\s*$", "", sql.strip(), flags=re.IGNORECASE)


def published(connection, number):
    """The published answer of a query of TPC-H at scale factor 1."""
    (text,) = connection.sql(
        f"SELECT answer FROM tpch_answers() WHERE scale_factor = 1 AND query_nr = {number}"
    ).fetchone()
    rows = []
    for line in text.strip().split("\n")[1:]:
        row = []
        for field in line.split("|"):
            try:
                row.append(decimal.Decimal(field))
            except decimal.InvalidOperation:
                row.append(field.rstrip() or None)
        rows.append(tuple(row))
    return rows


def to_numbers(rows, like):
    """Texts of our rows as numbers where the published answer has numbers."""

    def number(value, other):
        if isinstance(other, decimal.Decimal) and isinstance(value, str):
            return decimal.Decimal(value)
        return value if value != "" else None

    return [tuple(map(number, row, like[0])) for row in rows] if like else rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=["tpch", "tpcds"])
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--binary", required=True, help="the command deltalite")
    parser.add_argument("--data", required=True, help="a folder for the tables")
    parser.add_argument("--memory", type=int, help="bytes that a query may use; peak resident memory may be 10 %% more")
    parser.add_argument("--queries", help="numbers, such as 1,5,9; all without")
    options = parser.parse_args()
    scale = f"{options.scale:g}"
    folder = os.path.join(options.data, f"{options.suite}-{scale}")
    os.makedirs(folder, exist_ok=True)
    connection, tables = peer(options.suite, scale, folder)
    ours = Ours(options.binary, folder, tables, options.memory)
    queries = dict(connection.sql(f"SELECT query_nr, query FROM {options.suite}_queries()").fetchall())
    wanted = [int(n) for n in options.queries.split(",")] if options.queries else sorted(queries)
    right, most, spent, theirs_spent = 0, 0, 0.0, 0.0
    for number in wanted:
        sql = queries[number].strip().rstrip(";")
        note = ""
        try:
            found, seconds, peak = ours.run(sql, options.memory)
            begun = time.monotonic()
            expected = rows_of(connection.sql(sql).to_arrow_table())
            theirs = time.monotonic() - begun
            wrong = differs(rows_of(found), expected)
            if wrong and without_limit(sql) != sql:
                # Rows that are equal by what they are ordered by may be others of the same: all of them, then.
                everything = rows_of(ours.run(without_limit(sql), options.memory)[0])
                all_expected = rows_of(connection.sql(without_limit(sql)).to_arrow_table())
                if len(found) == len(expected) and not differs(everything, all_expected):
                    wrong, note = None, ", compared without its LIMIT: it cuts among equals"
            if not wrong and options.suite == "tpch" and scale == "1":
                answer = published(connection, number)
                wrong = differs(to_numbers(rows_of(found), answer), answer)
            if not wrong and options.memory and peak > options.memory * 1.1:
                wrong = f"peak {peak >> 20} MiB of {options.memory >> 20} MiB"
        except Exception as error:  # whatever it is, it is this query's
            wrong, seconds, theirs, peak = str(error), 0, 0, 0
        right += wrong is None
        most, spent, theirs_spent = max(most, peak), spent + seconds, theirs_spent + theirs
        verdict = "ok" if wrong is None else "WRONG"
        print(f"{options.suite} {number:2}: {verdict}{note}, {seconds:.2f} s (duckdb {theirs:.2f} s), peak {peak >> 20} MiB", flush=True)
        if wrong:
            print("    " + wrong[:600].replace("\n", "\n    "), flush=True)
    print(
        f"{options.suite} at scale factor {scale}: {right} of {len(wanted)} right; {spent:.1f} s, duckdb {theirs_spent:.1f} s; "
        f"most memory {most >> 20} MiB"
    )
    sys.exit(right != len(wanted))


if __name__ == "__main__":
    main()
