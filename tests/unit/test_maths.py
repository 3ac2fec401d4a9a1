"""Formulas on the site: what KaTeX makes of them, what stands for them in plain text, and what fails a build."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXTENSIONS = Path(__file__).parents[2] / "book" / "_ext"
sys.path.insert(0, str(EXTENSIONS))

import maths  # noqa: E402


def build(folder, page):
    """Build a page of Markdown with nothing but the extension; gives what Sphinx said, and the page."""
    (folder / "index.md").write_text(page, encoding="utf-8")
    (folder / "conf.py").write_text(
        f"import sys; sys.path.insert(0, {str(EXTENSIONS)!r})\n"
        "extensions, html_math_renderer = ['myst_parser', 'maths'], 'katex'\n"
        "myst_enable_extensions = ['dollarmath']\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "sphinx", "-q", folder, folder / "html"]
    ended = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    html = folder / "html" / "index.html"
    return ended, html.read_text(encoding="utf-8") if html.exists() else ""


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\frac\lambda2\lVert w\rVert^2", "λ/2‖w‖²"),
        (r"\frac{1}{2n}\sum_{i=1}^n(\hat y_i-y_i)^2", "1/(2n)∑ᵢ₌₁ⁿ(ŷᵢ − yᵢ)²"),
        (r"w_{t+1}=(1-\eta\lambda)w_t", "wₜ₊₁ = (1 − ηλ)wₜ"),
        (r"\sqrt{B/(nT)}", "√(B/(nT))"),
        (r"5\times10^{-4}", "5 × 10⁻⁴"),
    ],
)
def test_a_formula_has_a_plain_text(latex, text):
    assert maths.plain(latex) == text


def test_a_formula_is_html_with_mathml_beside_it_and_no_source():
    html = maths.set_formula(r"\lambda\le 1", True)
    assert re.match(r'<span class="katex-display"><span class="katex nohighlight" data-text="λ ≤ 1">', html)
    assert "<mi>λ</mi><mo>≤</mo>" in html
    assert r"\lambda" not in html


@pytest.mark.parametrize("page", [r"Here $\frac{1}$ stands.", "# Title\n\n$$\n\\nosuchthing\n$$", r"## Of $\frac{1}$"])
def test_a_formula_that_cannot_be_set_fails_the_build_by_name(tmp_path, page):
    ended, html = build(tmp_path, page)
    formula = r"\nosuchthing" if "such" in page else r"\frac{1}"
    assert ended.returncode != 0
    assert f"index.md: the formula {formula} cannot be set" in ended.stderr
    assert not html


def test_headings_and_alt_texts_show_formulas_as_text(tmp_path):
    page = "# About $\\lambda^2$\n\n## Then $w_0$\n\n| a | b |\n|---|---|\n| $x$ | y |\n\n$$\na = b\n$$ (eq)\n"
    ended, html = build(tmp_path, page + "\nSee {eq}`eq`.\n\n```{image} here.png\n:alt: From $\\hat y$ on\n```\n")
    assert "image file not readable" in ended.stderr  # there is none
    assert "<title>About λ² " in html
    assert re.search("<h2>Then w₀<a", html)
    assert 'alt="From ŷ on"' in html
    assert '<td><p><span class="katex' in html
    assert '<span class="eqno">(1)' in html
    assert re.search(r'href="#equation-eq">\(1\)</a>', html)
    assert "katex" not in re.search("<title>.*?</title>", html)[0]


def test_the_fonts_that_formulas_ask_for_are_found():
    css = (maths.KATEX / "katex.min.css").read_text(encoding="utf-8")

    def fonts(latex):
        return maths.fonts_of(
            {"katex", *" ".join(re.findall('class="([^"]*)"', maths.set_formula(latex))).split()}, css
        )

    assert fonts("1+1") == {"KaTeX_Main-Regular"}
    assert fonts(r"\lambda") == {"KaTeX_Main-Regular", "KaTeX_Math-Italic"}
    assert fonts(r"\mathbb E \mathbf 1") == {"KaTeX_Main-Regular", "KaTeX_AMS-Regular", "KaTeX_Main-Bold"}
    assert fonts(r"\mathcal N \textbf{a}") == {"KaTeX_Main-Regular", "KaTeX_Caligraphic-Regular", "KaTeX_Main-Bold"}
    files = {path.stem for path in (maths.KATEX / "fonts").glob("*.woff2")}
    assert {f"KaTeX_{name}" for name in ("Main-Regular", "Math-Italic", "Size4-Regular")} < files
