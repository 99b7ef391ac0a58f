"""The statement that merges rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import Table

# Sources are known by names of their own while their statements run, in whatever threads.
_numbers = itertools.count()


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


class Merge:
    """Merging rows into a table. What happens to a row is said by the first clause that fits it; ``execute`` runs it."""

    def __init__(self, table: Table, source: Any, on: str | Iterable[str], target: str, alias: str):
        self._table = table
        self._source = source
        self._target = target
        self._alias = alias
        if not isinstance(on, str):
            on = " AND ".join(f"{_name(target)}.{_name(c)} = {_name(alias)}.{_name(c)}" for c in on)
        elif on.isidentifier():
            on = f"{_name(target)}.{_name(on)} = {_name(alias)}.{_name(on)}"
        self._on = on
        self._clauses: list[str] = []

    def _when(self, what: str, condition: str | None, action: str) -> Merge:
        also = "" if condition is None else f" AND ({condition})"
        self._clauses.append(f"WHEN {what}{also} THEN {action}")
        return self

    def _all(self) -> dict[str, str]:
        return {name: f"{_name(self._alias)}.{_name(name)}" for name in self._table.column_names}

    def when_matched_update(self, values: Mapping[str, str], condition: str | None = None) -> Merge:
        """Rows in both: sets columns to expressions in SQL."""
        assignments = ", ".join(f"{_name(column)} = {value}" for column, value in values.items())
        return self._when("MATCHED", condition, f"UPDATE SET {assignments}")

    def when_matched_update_all(self, condition: str | None = None) -> Merge:
        """Rows in both: sets every column to the source's."""
        return self.when_matched_update(self._all(), condition)

    def when_matched_delete(self, condition: str | None = None) -> Merge:
        """Rows in both: deletes them."""
        return self._when("MATCHED", condition, "DELETE")

    def when_not_matched_insert(self, values: Mapping[str, str], condition: str | None = None) -> Merge:
        """Rows only in the source: inserts expressions in SQL."""
        columns = ", ".join(_name(column) for column in values)
        return self._when("NOT MATCHED", condition, f"INSERT ({columns}) VALUES ({', '.join(values.values())})")

    def when_not_matched_insert_all(self, condition: str | None = None) -> Merge:
        """Rows only in the source: inserts them."""
        return self.when_not_matched_insert(self._all(), condition)

    def when_not_matched_by_source_delete(self, condition: str | None = None) -> Merge:
        """Rows only in the table: deletes them."""
        return self._when("NOT MATCHED BY SOURCE", condition, "DELETE")

    def when_not_matched_by_source_update(self, values: Mapping[str, str], condition: str | None = None) -> Merge:
        """Rows only in the table: sets columns."""
        assignments = ", ".join(f"{_name(column)} = {value}" for column, value in values.items())
        return self._when("NOT MATCHED BY SOURCE", condition, f"UPDATE SET {assignments}")

    def execute(self) -> int:
        """Merges; how many rows were changed, deleted or inserted."""
        if not self._clauses:
            raise ValueError("a merge says what to do with rows: when_matched_update_all(), when_not_matched_insert_all(), …")
        target = self._table._writable("merging rows")
        source = f"__merge_source_{next(_numbers)}"
        text = (
            f"MERGE INTO {target} AS {_name(self._target)} USING {source} AS {_name(self._alias)} ON {self._on} "
            + " ".join(self._clauses)
        )
        return self._table._run(text, **{source: self._source})[0]["count"]
