"""The scripts and styles that we write use nothing that the oldest browsers in the README lack."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OLDEST = "Chrome and Edge 99, Firefox 98 and Safari 15.4"
SCRIPTS = [*(ROOT / "src/weightdecay/js").glob("*.js"), *(ROOT / "book/_static").glob("*.js")]
# In an older browser a demo does all that it did, and says that it cannot train.
SCRIPTS.remove(ROOT / "book/_static/trainer.js")
STYLES = [*(ROOT / "src/weightdecay").glob("*.css"), *(ROOT / "book/_static").glob("*.css")]
# What came later to one of them, by name; a script may bring it along by `??=`.
YOUNGER = r"""
\.(findLast|findLastIndex|toSorted|toReversed|toSpliced|with|checkVisibility|throwIfAborted|showPopover|startViewTransition)\(
\.(union|intersection|difference|symmetricDifference|isSubsetOf|isSupersetOf|isDisjointFrom)\(
\b(Array\.fromAsync|Object\.groupBy|Map\.groupBy|Promise\.withResolvers|Promise\.try|Iterator\.from|RegExp\.escape)\b
\b(AbortSignal\.any|AbortSignal\.timeout|URL\.canParse|URL\.parse|Response\.json|import\.meta\.resolve)\b
\b(OffscreenCanvas|CompressionStream|DecompressionStream|requestIdleCallback|scheduler|Intl\.Segmenter|navigator\.gpu)\b
\btype:\s*"module"
\(\?<[=!]
\bstatic\s*\{
""".strip().splitlines()
YOUNGER_STYLE = r"""
:has\(
^\s*&
@(container|scope|starting-style|property|view-transition)\b
\b(color-mix|oklch|oklab|light-dark|anchor)\(
\d(dvh|svh|lvh|dvw|svw|lvw|cqw|cqh|cqi|cqb|cqmin|cqmax|lh)\b
[\s{;](translate|scale|rotate|text-wrap|field-sizing):
\bsubgrid\b
\b(width|height)\s*[<>]
""".strip().splitlines()
IN_PRINT = re.compile(r"@media print \{.*?\n\}", re.DOTALL)  # paper is for whoever has a younger one
COMMENT = re.compile(r"/\*.*?\*/|(?<!:)//[^\n]*", re.DOTALL)


def found(patterns, text):
    text = re.sub(r"[\w.]+ \?\?=", "", text)
    return [hit[0] for pattern in patterns for hit in re.finditer(pattern, text, re.MULTILINE)]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_use_nothing_younger(path):
    assert found(YOUNGER, COMMENT.sub("", path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_styles_use_nothing_younger(path):
    assert found(YOUNGER_STYLE, IN_PRINT.sub("", COMMENT.sub("", path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "text", ["curve.findLastIndex((v) => v)", "Object.groupBy(a, b)", "/(?<=a)b/", "class A { static { f() } }"]
)
def test_what_is_younger_is_found(text):
    assert found(YOUNGER, text)


def test_the_readme_and_the_pages_say_which_are_the_oldest():
    assert OLDEST in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "from spring 2022" in (ROOT / "book/_ext/widgets.py").read_text(encoding="utf-8")
