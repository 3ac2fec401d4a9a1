"""What a demo brings along for readers without scripts: a picture, a sentence. The browser tests look at the pages."""

import base64
import importlib.util
import io
import re

import ipywidgets
import nbformat
import notebooks
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from PIL import Image

from weightdecay import frames, live, still, sweep
from weightdecay.convert import converter
from weightdecay.diagnose import diagnosis

NOTEBOOK = """
from weightdecay import live, sweep


def shrink(lambd):
    for step in range(1, 11):
        yield step, {"loss": (1 - lambd / 10) ** step}


live(shrink, sweep(shrink, lambd=[0, 1]), title="Shrinking", start={"lambd": 1})
"""


def shrink(lambd, seed=0):
    for step in range(1, 101):
        yield step, {"train loss": (1 - 0.1 * lambd) ** step, "w norm": 1.0 + seed}


def picture(bundle):
    return Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))


def colours(bundle):
    return {colour for _, colour in picture(bundle).convert("RGB").getcolors(10**6)}


def test_a_demo_shows_where_it_starts_as_a_small_picture_and_says_it():
    curves = sweep(shrink, lambd=[0, 0.3, 1], dim="epoch")
    demo = live(shrink, curves, panels={"loss": ["train loss"], "‖w‖": ["w norm"]}, log_y=["loss"], title="Shrinking")
    data, metadata = demo._repr_mimebundle_()
    said = "Shrinking. train loss, w norm against epoch; λ = 0, at epoch 100: train loss 1, w norm 1."
    assert data["text/plain"] == metadata["image/png"]["alt"] == said
    assert data[still.VIEW]["model_id"] == demo.model_id
    assert len(base64.b64decode(data["image/png"])) < 25_000
    assert picture(data).size == still.SIZE
    assert {(0, 114, 178), (213, 94, 0)} <= colours(data)  # the first two colours of the book, one a panel
    assert demo._model_name == "VBoxModel"  # what a front end knows
    demo = live(shrink, curves, title="Shrinking", start={"lambd": 0.3})
    assert demo._repr_mimebundle_()[0]["text/plain"].endswith("λ = 0.3, at epoch 100: train loss 0.0476, w norm 1.")


def test_the_picture_waits_until_it_is_shown(monkeypatch):
    drawn = []
    monkeypatch.setattr(still, "_lines", lambda *where: drawn.append(where) or Image.new("RGB", (9, 9)))
    demo = live(shrink, sweep(shrink, lambd=[0, 1]))
    assert not drawn
    demo._repr_mimebundle_()
    assert len(drawn) == 1


def test_zero_bands_gaps_and_nothing_are_drawn_too():
    curves = sweep(shrink, lambd=[0, 0.1, 1], seed=range(3))
    data, _ = live(None, curves, x="lambd", log_x=True)._repr_mimebundle_()
    said = (
        "train loss, w norm against λ; step = 1, at λ 1: train loss 0.9, w norm 2 (median and 10–90 % band of 3 seeds)."
    )
    assert data["text/plain"] == said
    data, _ = live(None, curves.isel(lambd=[2]).drop_sel(seed=[1, 2]).squeeze("seed"))._repr_mimebundle_()  # no slider
    assert data["text/plain"] == "train loss, w norm against step; at step 100: train loss 2.66e-05, w norm 1."
    gaps = xr.Dataset(
        {"v": (("lambd", "step"), [[1.0, np.nan, 3.0], [np.nan] * 3])}, {"lambd": [1, 2], "step": [1, 2, 3]}
    )
    for start, said in ((1, "v against step; λ = 1, at step 3: v 3."), (2, "λ = 2: nothing to show.")):
        labelled = gaps.assign_coords(lambd=gaps["lambd"].assign_attrs(long_name="λ"))
        assert live(None, labelled, start={"lambd": start})._repr_mimebundle_()[0]["text/plain"] == said


def test_points_are_drawn_without_a_line():
    curves = sweep(shrink, lambd=[0, 1])
    data, _ = live(None, curves, panels={"loss": ["train loss"]})._repr_mimebundle_()
    dots, _ = live(None, curves, panels={"loss": ["train loss"]}, dots=["train loss"])._repr_mimebundle_()
    assert picture(data).tobytes() != picture(dots).tobytes()
    spec = live(None, curves, panels={"loss": ["train loss"], "norm": ["w norm"]}, dots=["w norm"]).chart.spec
    assert [panel["dots"] for panel in spec["panels"]] == [[], ["w norm"]]
    with pytest.raises(ValueError, match="dots has 'accuracy', which is no variable of curves"):
        live(None, curves, dots=["accuracy"])


def test_frames_show_their_first_picture():
    def draw(lambd):
        figure, _ = plt.subplots(facecolor=["red", "lime"][lambd])
        return figure

    demo = frames(draw, lambda lambd: f"a plane of colour {lambd}", lambd=[0, 1], start={"lambd": 1}, title="Colours")
    data, metadata = demo._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == data["text/plain"] == "Colours. a plane of colour 1"
    assert picture(data).width <= still.SIZE[0]
    assert len(base64.b64decode(data["image/png"])) < 40_000


@pytest.mark.parametrize("form", [converter, diagnosis])
def test_a_form_says_what_it_asks_for(form):
    data, metadata = form()._repr_mimebundle_()
    assert data.keys() == {"text/plain", "text/markdown", still.VIEW}
    assert metadata == {}
    assert "asks for: " in data["text/markdown"]
    assert "learning rate η" in data["text/markdown"]
    assert " at 0x" not in data["text/plain"]


def test_ipywidgets_7_shows_the_same(monkeypatch):
    """There a widget displays itself, past the bundle; as it stands, it is Colab's version."""
    shown = []
    monkeypatch.setattr(ipywidgets.Widget, "_ipython_display_", lambda self, **_: shown.append("plain"), raising=False)
    made = importlib.util.spec_from_file_location("still_with_7", still.__file__)
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    monkeypatch.setattr(module, "display", lambda data, **options: shown.append((data, options)))
    demo = live(shrink, sweep(shrink, lambd=[0, 1]))
    same = module.Demo(demo.sliders, demo.chart)
    same._ipython_display_()
    data, metadata = same._repr_mimebundle_()
    assert shown == [(data, {"metadata": metadata, "raw": True})]


def test_a_stored_notebook_holds_the_picture_and_no_widget(tmp_path):
    path = tmp_path / "demo.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(NOTEBOOK.strip())]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    notebooks.run(path)
    (output,) = nbformat.read(path, as_version=4).cells[0].outputs
    assert output.data.keys() == {"image/png", "text/plain"}
    assert re.fullmatch(r"Shrinking\. loss against step; λ = 1, at step 10: loss 0\.349\.", output.data["text/plain"])
    assert output.metadata["image/png"]["alt"] == output.data["text/plain"]


def test_a_value_beyond_the_axis_is_told_by_its_end():
    demo = live(None, sweep(shrink, lambd=[1, 2], dim="epoch"), log_y=[""], limits={"": (1e-3, 0.5)})
    said = demo._repr_mimebundle_()[0]["text/plain"]
    assert "train loss below 0.001, w norm above 0.5" in said
