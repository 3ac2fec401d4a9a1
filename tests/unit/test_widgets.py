"""What the site makes of the widgets of a notebook."""

import subprocess
import sys

import anywidget
import ipywidgets
import nbformat
import pytest
from ipywidgets.embed import embed_data
from notebooks import ROOT
from widgets import EXPORT, module, pack, title_of

from weightdecay import live, sweep
from weightdecay.chart import Chart
from weightdecay.convert import converter

SCRIPTS = ROOT / "src" / "weightdecay" / "js"


class Foreign(anywidget.AnyWidget):
    _esm = "export default { render() {} };"


def train(lambd):
    yield from ((step, {"loss": lambd * step}) for step in range(3))


def models_of(widget):
    return embed_data(views=[widget], drop_defaults=False)["manager_state"]["state"]


def test_a_demo_is_its_numbers_and_the_module_of_its_kind():
    demo, scripts = live(train, sweep(train, lambd=[0, 1])), {}
    name, height = pack(
        "book/chapter", demo.model_id, models_of(demo), scripts, "loss against step; at step 2: loss 0."
    )
    drawer = next(one for one in scripts if one.startswith("widget-"))
    assert scripts.keys() == {name, drawer}
    assert name.startswith("chapter-")
    assert Chart._esm.removesuffix(EXPORT + "\n") in scripts[drawer]
    assert "render" not in scripts[name]
    assert drawer in scripts[name]
    assert height.startswith("--desk: ")
    again = {}
    assert pack("book/chapter", demo.model_id, models_of(demo), again, "")[0] == name
    assert again == scripts


def test_a_title_is_text_and_a_form_has_none():
    demo = live(train, sweep(train, lambd=[0, 1]), title="λ < 1 & η")
    assert [node.astext() for node in title_of(demo.model_id, models_of(demo))] == [
        '<p class="wd-title">λ &lt; 1 &amp; η</p>'
    ]
    assert not list(title_of((form := converter()).model_id, models_of(form)))


@pytest.mark.parametrize(
    ("widget", "name"), [(ipywidgets.HBox(), "HBoxModel"), (ipywidgets.VBox([ipywidgets.Output()]), "OutputModel")]
)
def test_a_widget_that_the_site_does_not_know_is_named(widget, name):
    with pytest.raises(ValueError, match=f"The site cannot show a {name}"):
        pack("page", widget.model_id, models_of(widget), {}, "")


def test_a_module_that_the_site_cannot_load_is_named():
    with pytest.raises(ValueError, match="Foreign has to end in: export default"):
        pack("page", (widget := Foreign()).model_id, models_of(widget), {}, "")


def test_a_page_with_an_unknown_widget_fails_the_build(tmp_path):
    box = ipywidgets.HBox()
    state = {"application/vnd.jupyter.widget-state+json": embed_data(views=[box], drop_defaults=False)["manager_state"]}
    view = {"model_id": box.model_id, "version_major": 2, "version_minor": 0}
    shown = {"application/vnd.jupyter.widget-view+json": view, "text/plain": "a box"}
    cell = nbformat.v4.new_code_cell("box", outputs=[nbformat.v4.new_output("display_data", shown)])
    language = {"kernelspec": {"name": "python3", "display_name": "x"}, "language_info": {"name": "python"}}
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# A page"), cell], metadata=language | {"widgets": state}
    )
    nbformat.write(book, tmp_path / "index.ipynb")
    (tmp_path / "conf.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
        "extensions, nb_execution_mode = ['myst_nb', 'widgets'], 'off'\n"
    )
    command = [sys.executable, "-m", "sphinx", "-q", "-W", tmp_path, tmp_path / "html"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "The site cannot show a HBoxModel" in ended.stderr


def test_every_script_belongs_to_a_widget():
    used = str(Chart._esm) + str(converter()._esm) + module("weightdecay.diagnose.DiagnosisForm")
    unused = [path.name for path in SCRIPTS.glob("*.js") if path.read_text().removesuffix(EXPORT + "\n") not in used]
    assert unused == []
