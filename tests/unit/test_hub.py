"""What serves the book to a class: the files that repo2docker reads, and what was measured for the page on it."""

import ast
import contextlib
import json
import re
import shutil

import check_gpu
import pytest
from notebooks import ROOT
from pretended_gpu import DOUBLE, MIXED, pretended_gpu

from weightdecay import pick_device

BINDER = ROOT / ".binder"


def test_binder_installs_what_make_installs():
    asked = [line for line in (BINDER / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert {"-r ../requirements.txt", "-c ../constraints.txt", "-e ."} <= set(asked)
    mxnet = re.search(r"^MXNET := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert f"--no-deps {mxnet}" in (BINDER / "postBuild").read_text()


def test_binder_has_a_python_that_the_library_takes():
    python = re.fullmatch(r"python-(\d+)\.(\d+)\n", (BINDER / "runtime.txt").read_text())
    least = re.search(r'^requires-python = ">=(\d+)\.(\d+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert tuple(map(int, python.groups())) >= tuple(map(int, least.groups()))


def test_every_chapter_was_measured():
    record = json.loads((ROOT / "book" / "hub.json").read_text())
    assert {one["chapter"] for one in record["alone"]} == {path.stem for path in (ROOT / "book").glob("*.ipynb")}
    assert all(one["memory"] > 0 and 0 < one["ready"] < one["first demo"] for one in record["alone"])
    assert {one["readers"] for one in record["at once"]} == {20}


def page(folder):
    """Run the cells of the page in a folder; give its names and what the last expression of each cell is."""
    cells = re.findall(
        r"```\{code-cell\}.*?\n\n(.*?)```", (ROOT / "book" / "hub.md").read_text(encoding="utf-8"), re.DOTALL
    )
    space, shown = {}, []
    with contextlib.chdir(folder):
        for cell in cells:
            *before, last = ast.parse(cell).body
            exec(compile(ast.Module(before, []), "hub.md", "exec"), space)
            shown.append(eval(compile(ast.Expression(last.value), "hub.md", "eval"), space))
    return shown


@pytest.fixture
def folder(tmp_path):
    shutil.copy(ROOT / "book" / "hub.json", tmp_path)
    return tmp_path


def test_without_a_measurement_the_page_says_so(folder):
    *_, sentences, stacks, table, others = page(folder)
    assert sentences.data.startswith("Not measured yet")
    assert (stacks, table, others.data) == (None, None, "")


@pytest.fixture
def checked(monkeypatch, tmp_path, capsys):
    """`make check-gpu` on a pretended GPU, for two quick chapters."""
    (tmp_path / "book").mkdir()
    monkeypatch.setattr(check_gpu, "ROOT", tmp_path)
    monkeypatch.setattr(check_gpu, "CHAPTERS", ["binary-addition", "pytorch"])
    monkeypatch.setattr(check_gpu, "SECONDS", 0.5)
    monkeypatch.setattr(check_gpu, "STACKS", [1, 2])
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a pretended GPU")

    def run():
        with pretended_gpu():
            check_gpu.main()
        return json.loads((tmp_path / "book" / "gpu.json").read_text(encoding="utf-8"))

    return run


def test_a_pretended_gpu_trains_as_the_cpu_and_the_page_says_so(checked, folder):
    record = checked()
    demos = {one["demo"]: one for one in record["demos"]}
    for title in ("200 weights, 20 points", "What ‖w‖ is made of", "Learning to add, small"):
        one = demos[title]
        assert (one["agrees"], one["note"], one["difference"]) == (True, "the same", 0)
        assert all(0 < one[key]["first"] <= one[key]["last"] for key in ("cpu", "gpu"))
        assert one["step"] == 100 or not one["whole"] or title.startswith("Learning")
    assert "cpu" not in demos["200 weights and 200 points"]
    assert demos["200 weights and 200 points"]["note"] == "trains on cpu, whatever there is"
    assert demos["Learning to add"]["note"] == "trains on a GPU alone"
    assert [stack["models"] for stack in record["stacks"]] == [1, 2]
    assert all(stack["cpu"] > 0 < stack["gpu"] for stack in record["stacks"])
    shutil.copy(folder / "book" / "gpu.json", folder)
    *_, sentences, stacks, table, others = page(folder)
    assert sentences.data.startswith("a pretended GPU against one thread")
    assert list(stacks.index) == [1, 2]
    assert "Trains on a GPU alone: Learning to add." in others.data
    assert table.loc["pytorch: What ‖w‖ is made of", "numbers"] == "the same"


def test_a_gpu_that_trains_otherwise_is_told(checked, monkeypatch):
    train = check_gpu.train
    monkeypatch.setattr(check_gpu, "CHAPTERS", ["pytorch"])
    wrong = iter(range(100))

    def other(demo):
        """Every other training, which is the GPU's, 2 % off."""
        factor = 1 + 0.02 * (next(wrong) % 2)
        return [(step, took, {k: factor * v for k, v in values.items()}) for step, took, values in train(demo)]

    monkeypatch.setattr(check_gpu, "train", other)
    with pytest.raises(SystemExit, match="On a pretended GPU these do not train as on the CPU: 200 weights, 20 points"):
        checked()


def test_a_chapter_that_a_gpu_refuses_is_told(monkeypatch):
    def refuse(chapter):
        raise TypeError(DOUBLE if pick_device().type == "mps" else MIXED)

    demos_of = check_gpu.demos_of
    monkeypatch.setattr(
        check_gpu, "demos_of", lambda chapter: demos_of(chapter) if pick_device().type == "cpu" else refuse(chapter)
    )
    for kind, agrees in (("mps", True), ("cuda", False)):
        with pretended_gpu(kind):
            (record,) = check_gpu.check("pytorch", kind)
        assert record["agrees"] is agrees
        assert record["note"] in (DOUBLE, MIXED)


def test_without_a_gpu_there_is_one_sentence(monkeypatch):
    monkeypatch.setenv("WEIGHTDECAY_DEVICE", "cpu")
    with pytest.raises(SystemExit, match="There is no GPU here"):
        check_gpu.main()
