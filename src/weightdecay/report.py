"""Sentences with measured numbers in them, shown in the chapter and quoted on other pages."""

import string

from IPython.display import Markdown, display


def say(sentence: str, **numbers) -> None:
    """Show a Markdown sentence with numbers filled in, and glue each number under its name.

    `sentence` is a format string: ``say("The test loss falls {factor:.0f}-fold.", factor=x)``. A page of the
    book quotes the number, to the same digits, as ``{glue:text}`chapter.ipynb::factor:s```. The output format is that
    of MyST-NB's ``glue``, written here so that a notebook needs no Sphinx to run.
    """
    display(Markdown(sentence.format(**numbers)))
    for _, name, spec, _ in string.Formatter().parse(sentence):
        if name is not None:
            prefix = "application/papermill.record/"
            display(
                {f"{prefix}text/plain": repr(format(numbers[name], spec))},  # quoted: MyST-NB must not round it again
                metadata={"scrapbook": {"name": name, "mime_prefix": prefix}},
                raw=True,
            )
