"""Sentences with measured numbers in them, shown in the chapter and quoted on other pages; and a line that passes."""

import io
import re
import string
import sys

from IPython import get_ipython
from IPython.display import Markdown, display

# A plain script whose output goes into a file that knows no λ, as on Windows, writes \u03bb there, as stderr would.
if get_ipython() is None and isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
    sys.stdout.reconfigure(errors="backslashreplace")


def say(sentence: str, **values) -> None:
    """Show a Markdown sentence with numbers filled in, and glue each number under the name of its field.

    `sentence` is a format string: ``say("The test loss falls {factor:.0f}-fold.", factor=x)``; a field may look
    into a value, as ``{end[test loss]:.3f}`` does, and is then named ``end_test_loss``. A page of the book quotes
    the number, to the same digits, as ``{glue:text}`chapter.ipynb::factor:s```. The output format is that of
    MyST-NB's ``glue``, written here so that a notebook needs no Sphinx to run. A plain script prints the sentence.
    """
    formatter, text, shown = string.Formatter(), "", {}
    for literal, field, spec, _ in formatter.parse(sentence):
        text += literal
        if field is not None:
            value, _ = formatter.get_field(field, (), values)
            number = format(value.item() if hasattr(value, "item") else value, spec)
            shown[re.sub(r"\W+", "_", field).strip("_")] = number
            text += number
    if get_ipython() is None:
        print(text)
        return
    display(Markdown(text))
    prefix = "application/papermill.record/"
    for name, number in shown.items():
        metadata = {"scrapbook": {"name": name, "mime_prefix": prefix}}
        display({f"{prefix}text/plain": repr(number)}, metadata=metadata, raw=True)  # quoted: not to be rounded again


def passing_line() -> io.TextIOBase | None:
    """A file for a progress bar, which on stderr would leave an empty line in a notebook; None without a kernel."""
    return _PassingLine() if hasattr(get_ipython(), "kernel") else None


class _PassingLine(io.TextIOBase):
    """Shows what was written last, and nothing once that is blank."""

    place = None

    def write(self, text: str) -> int:
        shown = {"text/plain": text.strip()} if text.strip() else {}
        if self.place:
            if text:  # a bar also writes "", to stay where it is
                self.place.update(shown, raw=True)
        elif shown:
            self.place = display(shown, raw=True, display_id=True)
        return len(text)
