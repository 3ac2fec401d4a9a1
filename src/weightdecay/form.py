"""Forms that a page answers by itself: numbers and choices in, a table out, with or without a kernel.

A form is two things: its fields with a table of data, from Python, and a function `answer(table, values)` in a
script of its own, which `form.js` calls at every change.
"""

import math
import numbers
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import anywidget
import numpy as np
import traitlets

from weightdecay.still import Still

_HERE = Path(__file__).parent


class Number(NamedTuple):
    """A number to be typed in: its symbol, its label, a hint, and the range it must lie in, in words and in figures.

    whole: whether it must be a whole number. counts: whether it may run into thousands, so that 1.024 as well as 1,024
        could be meant as one thousand and twenty-four; `form.js` then asks which.
    """

    symbol: str
    label: str
    hint: str
    rule: str
    low: float | None = None
    above: float | None = None
    below: float | None = None
    whole: bool = False
    counts: bool = False

    def read(self, value) -> float:
        """Return the number, as a plain float, or int if it is whole.

        Takes what is one number in Python, NumPy or PyTorch: Decimal, Fraction, and arrays and tensors without
        dimensions too. Raises ValueError, in one sentence, for anything else and for a number out of range.
        """
        number = plain = value
        if hasattr(value, "item") and getattr(value, "shape", None) == ():
            plain = value.item()
        if isinstance(plain, str):
            seen = f"the string {str(plain)!r}"
        elif isinstance(plain, bool) or plain is None:
            seen = str(plain)
        elif not isinstance(plain, numbers.Real | Decimal):
            shape = getattr(plain, "shape", None)
            seen = f"a {type(plain).__name__}" + (f" of shape {tuple(shape)}" if shape else "")
        else:
            seen = str(plain)
            try:
                number = float(plain)
            except (OverflowError, ValueError):  # a huge integer or fraction; Decimal's signalling NaN
                number = math.nan
            if self._fits(number):
                return int(number) if self.whole else number
        raise ValueError(f"{self.symbol} must be {self.rule}, but it is {seen}.")

    def _fits(self, number: float) -> bool:
        return (
            math.isfinite(number)
            and (self.low is None or number >= self.low)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
            and (not self.whole or number.is_integer())
        )


class Choice(NamedTuple):
    """Something to be picked: its label, and {value: what the reader sees}, or {group: such values}."""

    label: str
    options: dict

    def values(self) -> list:
        """What can be picked."""
        return [
            name for value, shown in self.options.items() for name in (shown if isinstance(shown, dict) else [value])
        ]


def pick(what: str, value, values):
    """Return the one of `values` that equals `value`; raise ValueError, in one sentence, if none does."""
    for one in values:
        if isinstance(value, (type(one), np.bool_)) and value == one:
            return one
    found = repr(value) if isinstance(value, str | numbers.Number) or value is None else f"a {type(value).__name__}"
    if set(values) == {False, True}:
        raise ValueError(f"{what} must be False or True, but it is {found}.")
    raise ValueError(f"There is no {what} {found}; there are {', '.join(map(str, values))}.")


class Form(Still, anywidget.AnyWidget):
    """The base of all forms; a form adds its script, which defines `answer`, as in `read_script`.

    spec: {"title", "fields": [[name, field]], "table"}; never changes. What has an order is a list there: a notebook
        may be stored with the keys of its objects sorted.
    values: what stands in the fields now, by name; None where a number is not given.
    lines: about how many the first answer takes, for a page that keeps room for it.
    """

    lines: float
    _css = (_HERE / "form.css").read_text(encoding="utf-8")
    spec = traitlets.Dict().tag(sync=True)
    values = traitlets.Dict().tag(sync=True)

    def __init__(self, title: str, fields: dict[str, Number | Choice], table: dict, values: dict):
        for name in values:
            if name not in fields:
                raise ValueError(f"The form has no field {name!r}, only {', '.join(fields)}.")
        read = {name: _read(name, fields[name], value) for name, value in values.items()}
        laid_out = [
            [name, field._asdict() | {"options": _pairs(getattr(field, "options", None))}]
            for name, field in fields.items()
        ]
        spec = {"title": title, "fields": laid_out, "table": table}
        super().__init__(spec=spec, values=dict.fromkeys(fields) | read)

    def still(self) -> tuple[str, dict]:
        labels = ", ".join(field["label"] for _, field in self.spec["fields"])
        text = f"{self.spec['title']}, a form that answers as one fills it in. It asks for: {labels}."
        return text, {"text/markdown": text}


def _read(name, field, value):
    if isinstance(field, Choice):
        return pick(name, value, field.values())
    return None if value is None else field.read(value)


def _pairs(options) -> list | None:
    """Options, or groups of them, as pairs in their order."""
    return options and [
        [value, _pairs(shown) if isinstance(shown, dict) else shown] for value, shown in options.items()
    ]


def read_script(name: str) -> str:
    """The module of a form: the script `name`, which defines `answer`, and what shows its fields."""
    return "\n".join((_HERE / "js" / script).read_text(encoding="utf-8") for script in (name, "keys.js", "form.js"))
