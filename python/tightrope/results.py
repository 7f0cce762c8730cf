"""What results have in common: dictionaries, rows and HTML tables."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as an HTML table."""
    if not rows:
        return "<em>no rows</em>"
    cell = lambda value: html.escape(f"{value:.6g}" if isinstance(value, float) else str(value))
    head = "".join(f"<th>{html.escape(str(key))}</th>" for key in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row.values()) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Result:
    """A result: a dictionary of plain values, whose keys are attributes as well."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            known = ", ".join(self._values)
            raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {known}") from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return json.loads(json.dumps(self._values))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Dictionaries with the same keys, as ``pandas.DataFrame`` takes them."""
        return [self.to_dict()]

    def __repr__(self) -> str:
        told = ", ".join(f"{k}={v!r}" for k, v in self._values.items() if isinstance(v, (str, int, float, type(None))))
        return f"{type(self).__name__}({told})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>" + table(self.rows[:200])
