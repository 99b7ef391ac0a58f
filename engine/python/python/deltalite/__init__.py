"""DeltaLite: columnar files, transactional tables and SQL.

>>> import deltalite, pyarrow
>>> table = deltalite.create("orders", pyarrow.schema([("id", "int64"), ("total", "float64")]))
>>> table.append(pyarrow.table({"id": [1, 2], "total": [9.5, 20.0]}))
>>> table.delete("total < 10")
>>> deltalite.sql("SELECT count(*) FROM './orders'").to_pydict()

Rows go to and come from other libraries by the Arrow C interface, without a copy: whatever has ``__arrow_c_stream__``
(pyarrow, polars, pandas, DuckDB) is taken, and what is returned has it.
"""

from __future__ import annotations

import contextlib as _contextlib
import datetime as _datetime
import json as _json
import os as _os
from collections.abc import Iterable as _Iterable, Iterator as _Iterator, Mapping as _Mapping
from typing import Any, Union as _Union

from . import _deltalite
from ._deltalite import ConflictError, DeltaLiteError, __version__
from ._merge import Merge

__all__ = [
    "ConflictError",
    "DeltaLiteError",
    "Merge",
    "Result",
    "Session",
    "Table",
    "connect",
    "create",
    "open",
    "scan_file",
    "sql",
    "write",
    "__version__",
]

_Path = _Union[str, "_os.PathLike[str]"]


def _name(text: str) -> str:
    """A name as SQL takes it."""
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    """A string as SQL takes it."""
    return "'" + text.replace("'", "''") + "'"


def _absolute(path: _Path) -> str:
    """A path that means the same whatever the working folder becomes."""
    return _os.path.abspath(_os.fspath(path))


def _columns(columns: _Iterable[str] | str | None) -> str:
    if columns is None:
        return "*"
    names = [columns] if isinstance(columns, str) else list(columns)
    return ", ".join(_name(name) for name in names)


def _select(source: str, columns: Any, filter: str | None, limit: int | None) -> str:
    text = f"SELECT {_columns(columns)} FROM {source}"
    if filter is not None:
        text += f" WHERE {filter}"
    if limit is not None:
        text += f" LIMIT {int(limit)}"
    return text


class Result:
    """Rows, once: they are computed as they are taken, by any library that knows the Arrow C interface."""

    def __init__(self, rows: Any):
        self._rows = rows

    @property
    def column_names(self) -> list[str]:
        return list(self._rows.column_names)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._rows.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return self._rows.__arrow_c_schema__()

    def to_arrow(self) -> Any:
        """All rows as a ``pyarrow.Table``."""
        return self.to_reader().read_all()

    def to_reader(self) -> Any:
        """The rows batch by batch, as a ``pyarrow.RecordBatchReader``."""
        import pyarrow

        return pyarrow.RecordBatchReader.from_stream(self)

    def to_polars(self) -> Any:
        """All rows as a ``polars.DataFrame``."""
        import polars

        return polars.DataFrame(self)

    def to_pandas(self, **options: Any) -> Any:
        """All rows as a ``pandas.DataFrame``; options are those of ``pyarrow.Table.to_pandas``."""
        return self.to_arrow().to_pandas(**options)

    def to_pylist(self) -> list[dict[str, Any]]:
        """All rows as dictionaries."""
        return self.to_arrow().to_pylist()

    def to_pydict(self) -> dict[str, list[Any]]:
        """All columns as lists."""
        return self.to_arrow().to_pydict()

    def __repr__(self) -> str:
        return f"<deltalite.Result of {', '.join(self.column_names)}>"


class Session:
    """Takes SQL statements.

    catalog: the folder whose folders are tables, known by their names.
    memory_bytes: what the session may use, buffers included; what operators have beyond is spilled to ``temp_dir``. No limit without.
    threads: shards that read, and parts of a query that run at once. One a core without.
    timeout: seconds that a statement may take.
    token, tls_ca, tls_client: what servers named in FROM (``'deltalite://host:port/table'``) are shown; the file of certificates
    that theirs have to be signed by, which makes connections TLS; and the files of one's own certificate and key.
    """

    def __init__(
        self,
        catalog: _Path | None = None,
        *,
        memory_bytes: int | None = None,
        threads: int | None = None,
        temp_dir: _Path | None = None,
        timeout: float | None = None,
        token: str | None = None,
        tls_ca: _Path | None = None,
        tls_client: tuple[_Path, _Path] | None = None,
    ):
        self._session = _deltalite.Session(
            catalog,
            memory_bytes=memory_bytes,
            threads=threads,
            temp_dir=temp_dir,
            timeout=timeout,
            token=token,
            tls_ca=tls_ca,
            tls_client=tls_client,
        )

    def sql(self, text: str, **tables: Any) -> Result:
        """Runs statements, separated by semicolons; the rows of the last one.

        Further arguments are Arrow data that the statements know by the argument's name, held in memory meanwhile.
        """
        names = []
        try:
            for name, data in tables.items():
                self._session.register(name, data)
                names.append(name)
            return Result(self._session.sql(text))
        finally:
            for name in names:
                self._session.unregister(name)

    @_contextlib.contextmanager
    def transaction(self, isolation: str | None = None) -> _Iterator["Session"]:
        """Makes one transaction of the statements in a ``with`` block: committed at its end, rolled back if it raises.

        isolation: ``"serializable"`` or ``"snapshot"``; that of each table without.
        Only what is written through ``sql`` takes part.
        """
        self.sql("BEGIN" if isolation is None else f"BEGIN ISOLATION LEVEL {isolation}")
        try:
            yield self
        except BaseException:
            if self._session.in_transaction():
                self.sql("ROLLBACK")
            raise
        self.sql("COMMIT")

    def register(self, name: str, data: Any) -> None:
        """Gives Arrow data a name that statements know. It is held in memory until ``unregister``."""
        self._session.register(name, data)

    def unregister(self, name: str) -> bool:
        """Takes such a name back; whether there was one."""
        return self._session.unregister(name)

    def tables(self) -> list[str]:
        """The names of tables."""
        return self._session.table_names()


_default: Session | None = None


def _session() -> Session:
    global _default
    if _default is None:
        _default = Session(".")
    return _default


def connect(catalog: _Path | None = ".", **options: Any) -> Session:
    """A session; see ``Session``."""
    return Session(catalog, **options)


def sql(text: str, **tables: Any) -> Result:
    """Runs statements in the session of this process, whose catalog is the working folder; see ``Session.sql``."""
    return _session().sql(text, **tables)


class Table:
    """A transactional table. A handle sees one version; what is written through it, and ``refresh``, move it on."""

    def __init__(self, native: Any, past: bool = False):
        self._native = native
        self._past = past

    @property
    def path(self) -> str:
        return str(self._native.path)

    @property
    def version(self) -> int:
        return self._native.version

    @property
    def column_names(self) -> list[str]:
        return list(self.schema.names)

    @property
    def schema(self) -> Any:
        """The columns, as a ``pyarrow.Schema``."""
        import pyarrow

        return pyarrow.schema(self._native)

    def __arrow_c_schema__(self) -> object:
        return self._native.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.scan().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"<deltalite.Table {self.path} version {self.version}>"

    def _run(self, text: str, **tables: Any) -> list[dict[str, Any]]:
        done = _session().sql(text, **tables).to_pylist()
        self.refresh()
        return done

    def _writable(self, what: str) -> str:
        if self._past:
            raise DeltaLiteError(f"{what}: this handle reads version {self.version} of {self.path}; open the newest, or restore that version")
        return _name(self.path)

    # Reading

    def scan(self, columns: _Iterable[str] | str | None = None, filter: str | None = None, limit: int | None = None) -> Result:
        """Rows of this version: those for which ``filter``, a condition in SQL, is true."""
        return _session().sql(_select(_name(f"{self.path}@v{self.version}"), columns, filter, limit))

    def to_arrow(self, columns: _Iterable[str] | str | None = None, filter: str | None = None) -> Any:
        """Rows as a ``pyarrow.Table``."""
        return self.scan(columns, filter).to_arrow()

    def to_polars(self, columns: _Iterable[str] | str | None = None, filter: str | None = None) -> Any:
        """Rows as a ``polars.DataFrame``."""
        return self.scan(columns, filter).to_polars()

    def to_pandas(self, columns: _Iterable[str] | str | None = None, filter: str | None = None) -> Any:
        """Rows as a ``pandas.DataFrame``."""
        return self.scan(columns, filter).to_pandas()

    def count_rows(self, filter: str | None = None) -> int:
        """How many rows there are, or fulfil a condition."""
        where = "" if filter is None else f" WHERE {filter}"
        name = _name(f"{self.path}@v{self.version}")
        return _session().sql(f"SELECT count(*) AS n FROM {name}{where}").to_pydict()["n"][0]

    def refresh(self) -> int:
        """Moves on to the newest version; its number. A handle of the past stays."""
        return self._native.refresh()

    def at(self, version: int | None = None, timestamp: Any = None, tag: str | None = None) -> Table:
        """A handle of the past: a version, the version at a time, or the one that a tag names."""
        if tag is not None:
            tags = self.tags()
            if tag not in tags:
                raise DeltaLiteError(f"{self.path} has no tag {tag!r}; it has {', '.join(tags) or 'none'}")
            version = tags[tag]
        return open(self.path, version=version, timestamp=timestamp)

    # Writing

    def append(self, data: Any, *, merge_schema: bool = False, **options: Any) -> dict[str, Any]:
        """Adds rows.

        merge_schema: adds columns that the table does not have, and widens types.
        user_metadata: a text for the history.
        app_id, app_version: does nothing if the application has written this version or a later one before.
        """
        return self._native.write(data, "append", merge_schema=merge_schema, **options)

    def overwrite(
        self,
        data: Any,
        *,
        where: str | None = None,
        partitions: bool = False,
        overwrite_schema: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        """Puts rows in the place of all rows; or of those that fulfil ``where``; or, with ``partitions``, of those in the same partitions."""
        mode = "overwrite_partitions" if partitions else "overwrite"
        return self._native.write(data, mode, replace_where=where, overwrite_schema=overwrite_schema, **options)

    def delete(self, where: str | None = None) -> int:
        """Deletes the rows that fulfil a condition, or all; how many."""
        condition = "" if where is None else f" WHERE {where}"
        return self._run(f"DELETE FROM {self._writable('deleting rows')}{condition}")[0]["count"]

    def update(self, values: _Mapping[str, str], where: str | None = None) -> int:
        """Changes rows that fulfil a condition, or all; how many. Values are expressions in SQL."""
        assignments = ", ".join(f"{_name(column)} = {value}" for column, value in values.items())
        condition = "" if where is None else f" WHERE {where}"
        return self._run(f"UPDATE {self._writable('updating rows')} SET {assignments}{condition}")[0]["count"]

    def merge(self, source: Any, on: str | _Iterable[str], *, target: str = "t", alias: str = "s") -> Merge:
        """Merges rows of ``source``: begins a statement that ``execute`` runs.

        on: columns that both have, or a condition in SQL in which the table is ``target`` and the source is ``alias``.
        """
        return Merge(self, source, on, target, alias)

    def truncate(self) -> int:
        """Deletes all rows."""
        return self.delete()

    # Versions

    def history(self, limit: int | None = None) -> list[dict[str, Any]]:
        """The versions, the newest first."""
        bound = "" if limit is None else f" LIMIT {int(limit)}"
        return _session().sql(f"DESCRIBE HISTORY {_name(self.path)}{bound}").to_pylist()

    def restore(self, version: int) -> dict[str, Any]:
        """Makes a new version with the rows and columns of an old one."""
        return self._run(f"RESTORE {self._writable('restoring')} TO VERSION AS OF {int(version)}")[0]

    def changes(self, start: int, end: int | None = None) -> Result:
        """Rows that the versions from ``start`` to ``end``, both included, inserted, deleted and changed: ``_change_type`` says which."""
        return Result(_Capsule(self._native.changes(start, self.version if end is None else end)))

    def tags(self) -> dict[str, int]:
        """Tags, and the versions that they name."""
        return self._native.tags()

    def tag(self, name: str, version: int | None = None) -> None:
        """Names a version, this one if none is given. It is never vacuumed while it has the name."""
        self._native.set_tag(name, self.version if version is None else version)

    def untag(self, name: str) -> None:
        """Takes a tag away."""
        self._native.set_tag(name, None)

    # Maintenance

    def optimize(
        self,
        where: str | None = None,
        *,
        zorder_by: _Iterable[str] | str | None = None,
        hilbert_by: _Iterable[str] | str | None = None,
    ) -> dict[str, Any]:
        """Makes few large files of many small ones; ordered along a curve, if columns are given."""
        text = f"OPTIMIZE {self._writable('optimizing')}"
        if where is not None:
            text += f" WHERE {where}"
        if zorder_by is not None and hilbert_by is not None:
            raise DeltaLiteError("optimizing: rows are ordered along one curve; give zorder_by or hilbert_by")
        for word, columns in (("ZORDER", zorder_by), ("HILBERT", hilbert_by)):
            if columns is not None:
                text += f" {word} BY ({_columns(columns)})"
        return self._run(text)[0]

    def vacuum(
        self, *, hours: int | None = None, versions: int | None = None, dry_run: bool = False
    ) -> dict[str, Any]:
        """Removes files that only versions older than ``hours`` (7 days without), or than the newest ``versions``, have."""
        if hours is not None and versions is not None:
            raise DeltaLiteError("vacuuming: give hours or versions, not both")
        text = f"VACUUM {self._writable('vacuuming')}"
        if hours is not None:
            text += f" RETAIN {int(hours)} HOURS"
        if versions is not None:
            text += f" RETAIN {int(versions)} VERSIONS"
        return self._run(text + (" DRY RUN" if dry_run else ""))[0]

    def verify(self, rows: bool = False) -> list[dict[str, Any]]:
        """Proves the log, and with ``rows`` every page of every file."""
        return _session().sql(f"VERIFY {_name(self.path)}{' ROWS' if rows else ''}").to_pylist()

    def export_delta(self, path: _Path) -> dict[str, Any]:
        """Writes the rows of this version as a new Delta Lake table of Parquet files, for others to read."""
        text = f"EXPORT {_name(self.path)} VERSION AS OF {self.version} TO {_text(_absolute(path))}"
        return _session().sql(text).to_pylist()[0]

    def detail(self) -> dict[str, Any]:
        """What the table is: its columns, partitioning, properties, size."""
        return _session().sql(f"DESCRIBE DETAIL {_name(self.path)}").to_pylist()[0]

    def checkpoint(self) -> None:
        """Writes a checkpoint, so that opening reads less of the log. Every 100 versions it is done by itself."""
        self._native.checkpoint()


class _Capsule:
    """A stream that is already there."""

    def __init__(self, capsule: object):
        self._capsule = capsule

    @property
    def column_names(self) -> list[str]:
        return []

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._capsule


def _milliseconds(time: Any) -> int | None:
    if time is None or isinstance(time, int):
        return time
    if isinstance(time, str):
        time = _datetime.datetime.fromisoformat(time)
    if time.tzinfo is None:
        time = time.replace(tzinfo=_datetime.timezone.utc)
    return int(time.timestamp() * 1000)


def open(path: _Path, *, version: int | None = None, timestamp: Any = None) -> Table:
    """Opens a table: the newest version, or one of the past, for reading.

    timestamp: a ``datetime`` (UTC if it has no zone), a text of one, or milliseconds since 1970.
    """
    past = version is not None or timestamp is not None
    return Table(_deltalite.NativeTable.open(_session()._session, _absolute(path), version, _milliseconds(timestamp)), past)


def create(
    path: _Path,
    schema: Any,
    *,
    partition_by: _Iterable[str] = (),
    properties: _Mapping[str, str] | None = None,
    constraints: _Mapping[str, str] | None = None,
    key: _Iterable[str] = (),
    comment: str | None = None,
    if_not_exists: bool = False,
) -> Table:
    """Makes a table without rows.

    schema: a ``pyarrow.Schema``, or Arrow data, whose columns are taken.
    partition_by: columns, or ``year(column)``, ``month``, ``day``, ``hour``, ``bucket(n, column)``, ``truncate(n, column)``.
    constraints: names and conditions, in SQL, that all rows fulfil.
    key: columns in which no two rows have the same values.
    """
    every = dict(properties or {})
    for name, condition in (constraints or {}).items():
        every[f"delta.constraints.{name}"] = condition
    columns = [key] if isinstance(key, str) else list(key)
    if columns:
        every["deltalite.keys"] = _json.dumps(columns)
    by = [partition_by] if isinstance(partition_by, str) else list(partition_by)
    return Table(_deltalite.NativeTable.create(_session()._session, _absolute(path), schema, by, every, comment, if_not_exists))


def write(path: _Path, data: Any, **options: Any) -> Table:
    """Makes a table of Arrow data; options are those of ``create``."""
    if not hasattr(data, "__arrow_c_schema__") and hasattr(data, "__arrow_c_stream__"):
        # A stream can be taken once; its columns are needed before its rows.
        import pyarrow

        data = pyarrow.RecordBatchReader.from_stream(data)
    schema = getattr(data, "schema", data)
    if not hasattr(schema, "__arrow_c_schema__"):
        schema = data
    table = create(path, schema, **options)
    table.append(data)
    return table


def import_delta(source: _Path, path: _Path) -> Table:
    """Makes a table of a Delta Lake table, with its history: what each version was stands in ``history()``."""
    _session().sql(f"IMPORT {_text(_absolute(source))} TO {_name(_absolute(path))}").to_pylist()
    return open(path)


def scan_file(
    path: _Path,
    columns: _Iterable[str] | str | None = None,
    filter: str | None = None,
    limit: int | None = None,
) -> Result:
    """Rows of a ``.dlb`` file, or of files of Parquet, CSV, JSON or Arrow; a ``*`` stands for any part of a name."""
    return _session().sql(_select(_name(_absolute(path)), columns, filter, limit))
