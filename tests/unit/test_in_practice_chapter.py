"""The chapter on practice: groups on real models, its record, and what it says where something is missing."""

import json
import subprocess
import sys
import types
from itertools import chain

import nbformat
import numpy as np
import pytest
import torch
import transformers
import xarray as xr
from nbclient import NotebookClient
from notebooks import ROOT, functions_of
from sklearn.linear_model import Ridge

RECORD = ROOT / "book/records/in-practice.nc"
MODELS = ["BERT", "GPT-2", "Llama", "T5"]
RULES = ["spared_by_name", "spared_by_ndim", "spared_by_type", "spared_by_trainer"]


@pytest.fixture(scope="module")
def chapter():
    space = functions_of("in-practice")
    notebook = nbformat.read(ROOT / "book" / "in-practice.ipynb", as_version=4)
    for begins in ("lists = ", "images, shown = "):  # the constants that stand beside what they are for
        (source,) = [cell.source for cell in notebook.cells if cell.source.startswith(begins)]
        exec(source, space)
    return space


@pytest.fixture(scope="module")
def models(chapter):
    return chapter["small_models"]()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MODELS)
def test_each_parameter_is_in_one_group_and_the_spared_are_those_named(chapter, models, name, rule):
    model = models[name]
    spared = chapter[rule](model)
    decayed, exempt = chapter["parameter_groups"](model, 0.3, spared)
    ids = [id(p) for p in chain(decayed["params"], exempt["params"])]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in model.parameters()}
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.3, 0)
    names = {id(p): n for n, p in model.named_parameters()}
    assert {names[id(p)] for p in exempt["params"]} == spared & set(names.values())
    torch.optim.AdamW([decayed, exempt])  # which refuses a parameter in two groups


def test_in_bert_exactly_biases_and_layernorm_are_spared(chapter, models):
    bert = models["BERT"]
    expected = {
        name for name, _ in bert.named_parameters() if name.endswith(".bias") or name.endswith("LayerNorm.weight")
    }
    assert len(expected) == 14
    for rule in RULES:
        assert chapter[rule](bert) == expected


def test_in_gpt2_the_list_of_names_decays_the_gains(chapter, models):
    missed = chapter["spared_by_ndim"](models["GPT-2"]) - chapter["spared_by_name"](models["GPT-2"])
    assert missed == {f"transformer.{name}.weight" for name in ("h.0.ln_1", "h.0.ln_2", "ln_f")}


@pytest.mark.parametrize("name", MODELS)
def test_the_trainer_forms_the_groups_that_we_read_from_it(chapter, models, name):
    trainer = types.SimpleNamespace(model=models[name], optimizer=None, args=types.SimpleNamespace(weight_decay=0.3))
    trainer.optimizer_cls_and_kwargs = (torch.optim.AdamW, {"lr": 0.1})
    trainer.get_decay_parameter_names = lambda m: transformers.Trainer.get_decay_parameter_names(trainer, m)
    theirs = transformers.Trainer.create_optimizer(trainer).param_groups
    ours = chapter["parameter_groups"](models[name], 0.3, chapter["spared_by_trainer"](models[name]))
    for one, two in zip(theirs, ours, strict=True):
        assert one["weight_decay"] == two["weight_decay"]
        assert [id(p) for p in one["params"]] == [id(p) for p in two["params"]]


def test_tied_weights_are_decayed_once(chapter, models):
    gpt2 = models["GPT-2"]
    assert gpt2.lm_head.weight is gpt2.transformer.wte.weight
    optimizer = torch.optim.AdamW(chapter["parameter_groups"](gpt2, 0.5, chapter["spared_by_ndim"](gpt2)), lr=0.1)
    before = gpt2.lm_head.weight.detach().clone()
    for p in gpt2.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(gpt2.lm_head.weight.detach(), 0.95 * before)


def test_the_label_says_which_side_has_more_opinions(chapter):
    texts, labels = chapter["reviews"](200, 3)
    for text, label in zip(texts, labels.tolist(), strict=True):
        score = 0
        words = text.split()
        for before, word in zip(["", *words], words, strict=False):
            side = (word in chapter["good"]) - (word in chapter["bad"])
            score += -side if before == "not" else side
        assert label == (score > 0)
    _, noisy = chapter["reviews"](2000, 3, 0.2)
    _, clean = chapter["reviews"](2000, 3)
    assert (noisy != clean).float().mean().item() == pytest.approx(0.2, abs=0.04)


def test_word_numbers_lead_back_to_the_words(chapter):
    text = "plot not dull acting good"
    (row,) = chapter["encode"]([text, "hero nonsense"])[:1].tolist()
    assert [chapter["words"][i] for i in row] == ["[CLS]", *text.split(), *["[PAD]"] * 4]
    assert chapter["encode"](["hero nonsense"])[0, 2] == chapter["vocabulary"]["[UNK]"]


def test_rows_of_words_that_do_not_occur_shrink_as_the_formula_says(chapter):
    model = chapter["small_bert"](5)
    before = model.get_input_embeddings().weight[2].detach().clone()
    groups = chapter["parameter_groups"](model, 3.0, set())
    for _ in chapter["fit"](model, *chapter["numbers"](64, 1), groups, num_steps=25):
        pass
    after = model.get_input_embeddings().weight[2].detach()
    torch.testing.assert_close(after, chapter["left"](3e-3, 3.0, 25, falling=True) * before, rtol=1e-4, atol=0)


@pytest.mark.parametrize(("lambd", "rule", "seed"), [(0, "vectors", 4), (2, "nothing", 1)])
def test_the_recorded_runs_come_out_again(chapter, lambd, rule, seed):
    recorded = xr.load_dataset(RECORD).sel(lambd=lambd, rule=rule, seed=seed)
    for step, values in chapter["train"](lambd, rule, seed):
        # Other processors round differently, and training makes more of it with every step.
        near = 0.03 if step <= 60 else 0.15
        for name in ("training accuracy", "test accuracy"):
            assert values[name] == pytest.approx(recorded[name].sel(step=step).item(), abs=near)
        assert values["row of [UNK]"].item() == pytest.approx(recorded["row of [UNK]"].sel(step=step).item(), rel=1e-4)
        if step == 100:
            break


def test_the_record_says_where_it_is_from_and_holds_what_the_library_says_now(chapter):
    recorded = xr.load_dataset(RECORD)
    assert {"command", "seed", "versions", "device", "seconds", "created"} <= recorded.attrs.keys()
    assert np.isfinite(recorded["test accuracy"]).all()
    assert "transformers" in json.loads(recorded.attrs["versions"])
    results = json.loads(recorded.attrs["results"])
    for name in ("count", "trainer_defaults", "compare_rules", "decayed_tables", "missed_by_type", "old_import"):
        assert results[name] == json.loads(json.dumps(chapter[name]())), name
    assert RECORD.stat().st_size < 2e6


def test_ridge_is_that_of_scikit_learn(chapter):
    X, Y, _ = chapter["digits"](0)
    ((W, b),) = chapter["ridge"](X[:90], Y[:90], [0.02])
    theirs = Ridge(alpha=90 * 0.02).fit(X[:90], Y[:90])
    np.testing.assert_allclose(W.T, theirs.coef_, atol=1e-10)
    np.testing.assert_allclose(b, theirs.intercept_, atol=1e-10)


def test_without_transformers_the_chapter_says_so_once_and_runs():
    notebook = nbformat.read(ROOT / "book" / "in-practice.ipynb", as_version=4)
    kept = [text_of(cell) for cell in notebook.cells]
    notebook.cells.insert(0, nbformat.v4.new_code_cell('import sys; sys.modules["transformers"] = None'))
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": ROOT / "book"}}).execute()
    said = [text_of(cell) for cell in notebook.cells[1:]]
    differ = [(one, two) for one, two in zip(kept, said, strict=True) if one != two]
    ((_, sentence),) = differ  # everything else is as it was
    assert "The package `transformers` is not installed, so what follows about it was recorded on" in sentence


def text_of(cell):
    """The words that a cell shows, without its pictures and widgets."""
    outputs = cell.get("outputs", [])
    return "".join(output.get("data", {}).get("text/markdown", "") + output.get("text", "") for output in outputs)


@pytest.fixture
def offline_hub(chapter, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setitem(sys.modules, "datasets", types.ModuleType("datasets"))
    sys.modules["datasets"].__spec__ = types.SimpleNamespace()
    chapter["importlib"] = __import__("importlib.util")
    return chapter


def test_without_a_network_the_hub_is_refused_in_one_sentence(offline_hub):
    with pytest.raises(RuntimeError) as caught:
        offline_hub["from_hub"]()
    expected = "https://huggingface.co cannot be reached: connect to a network, or set USE_HUB to False."
    assert str(caught.value) == expected
    assert caught.value.__suppress_context__


def test_without_datasets_the_hub_is_refused_in_one_sentence(offline_hub, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "datasets" else object())
    with pytest.raises(RuntimeError) as caught:
        offline_hub["from_hub"]()
    assert str(caught.value) == "USE_HUB needs the package datasets: install it, or set USE_HUB to False."


def test_the_real_loaders_hand_over_what_training_needs(offline_hub, models, monkeypatch):
    """With stand-ins for the hub: the same calls, a data set and a tokenizer that are here."""

    class Rows(dict):
        def shuffle(self, seed):
            return self

        def select(self, rows):
            return Rows({name: values[: len(rows)] for name, values in self.items()})

    texts, labels = offline_hub["reviews"](40, 0)
    asked = []

    def load_dataset(name, split):
        asked.append((name, split))
        return Rows(text=texts, label=labels.tolist())

    tokenizer = lambda texts, **options: {"input_ids": offline_hub["encode"](texts)}  # noqa: E731
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: types.SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", load_dataset, raising=False)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda name: tokenizer)
    monkeypatch.setattr(
        transformers.AutoModelForSequenceClassification, "from_pretrained", lambda name: offline_hub["small_bert"]()
    )
    model, data, test = offline_hub["from_hub"](n=32)
    assert [split for _, split in asked] == ["train", "test"]
    assert data[0].shape == (32, 10)
    assert list(offline_hub["fit"](model, *data, [{"params": list(model.parameters())}], num_steps=3)) == [1, 2, 3]
    assert 0 <= offline_hub["accuracy"](model, *test) <= 1


def test_transformers_is_told_to_stay_offline():
    program = """
import sys; sys.path.insert(0, "tests")
from notebooks import functions_of
functions_of("in-practice")
import huggingface_hub.constants
print(huggingface_hub.constants.HF_HUB_OFFLINE)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "True", done.stderr
