"""Forms that a page answers by itself: numbers and choices in, a table out, with or without a kernel.

A form is two things: its fields with a table of data, from Python, and a function `answer(table, values)` in a
script of its own, which `form.js` calls at every change.
"""

import math
import numbers
from pathlib import Path
from typing import NamedTuple

import anywidget
import traitlets

from weightdecay.still import Still

_HERE = Path(__file__).parent


class Number(NamedTuple):
    """A number to be typed in: its symbol, its label, a hint, and the range it must lie in, in words and in figures."""

    symbol: str
    label: str
    hint: str
    rule: str
    low: float | None = None
    above: float | None = None
    below: float | None = None

    def check(self, value) -> None:
        """Raise ValueError, in one sentence, for what is no number of that range."""
        if (
            not isinstance(value, numbers.Real)
            or not math.isfinite(value)
            or (self.low is not None and value < self.low)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        ):
            raise ValueError(f"{self.symbol} must be {self.rule}, but it is {value}.")


class Choice(NamedTuple):
    """Something to be picked: its label, and {value: what the reader sees}, or {group: such values}."""

    label: str
    options: dict


class Form(Still, anywidget.AnyWidget):
    """The base of all forms; a form adds its script, which defines `answer`, as in `read_script`.

    spec: {"title", "fields": [[name, field]], "table"}; never changes. What has an order is a list there: a notebook
        may be stored with the keys of its objects sorted.
    values: what stands in the fields now, by name; None where a number is not given.
    """

    _css = (_HERE / "form.css").read_text(encoding="utf-8")
    spec = traitlets.Dict().tag(sync=True)
    values = traitlets.Dict().tag(sync=True)

    def __init__(self, title: str, fields: dict[str, Number | Choice], table: dict, values: dict):
        for name, value in values.items():
            if name not in fields:
                raise ValueError(f"The form has no field {name!r}, only {', '.join(fields)}.")
            if value is not None and isinstance(fields[name], Number):
                fields[name].check(value)
        laid_out = [
            [name, field._asdict() | {"options": _pairs(getattr(field, "options", None))}]
            for name, field in fields.items()
        ]
        spec = {"title": title, "fields": laid_out, "table": table}
        super().__init__(spec=spec, values=dict.fromkeys(fields) | values)

    def still(self) -> tuple[str, dict]:
        labels = ", ".join(field["label"] for _, field in self.spec["fields"])
        text = f"{self.spec['title']}, a form that answers as one fills it in. It asks for: {labels}."
        return text, {"text/markdown": text}


def _pairs(options) -> list | None:
    """Options, or groups of them, as pairs in their order."""
    return options and [
        [value, _pairs(shown) if isinstance(shown, dict) else shown] for value, shown in options.items()
    ]


def read_script(name: str) -> str:
    """The module of a form: the script `name`, which defines `answer`, and what shows its fields."""
    return "\n".join((_HERE / script).read_text(encoding="utf-8") for script in (name, "keys.js", "form.js"))
