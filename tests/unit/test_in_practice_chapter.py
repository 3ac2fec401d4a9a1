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

import weightdecay
from weightdecay.data import BAD, FILM_WORDS, GOOD, film_reviews

RECORD = ROOT / "book/records/in-practice.nc"
MODELS = ["BERT", "GPT-2", "Llama", "T5"]
RULES = {"name": "name", "shape": "ndim", "kind": "type", "Trainer": "trainer"}


@pytest.fixture(scope="module")
def chapter():
    space = functions_of("in-practice")
    space["rules"] = {name: space[f"spared_by_{rule}"] for name, rule in RULES.items()}
    return space


@pytest.fixture(scope="module")
def models(chapter):
    return chapter["small_models"]()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MODELS)
def test_each_parameter_is_in_one_group_and_the_spared_are_those_named(chapter, models, name, rule):
    model = models[name]
    spared = chapter["rules"][rule](model)
    decayed, exempt = chapter["two_groups"](model, 0.3, spared)
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
        assert chapter["rules"][rule](bert) == expected


def test_in_gpt2_the_list_of_names_decays_the_gains(chapter, models):
    missed = chapter["spared_by_ndim"](models["GPT-2"]) - chapter["spared_by_name"](models["GPT-2"])
    assert missed == {f"transformer.{name}.weight" for name in ("h.0.ln_1", "h.0.ln_2", "ln_f")}


@pytest.mark.parametrize("name", MODELS)
def test_the_trainer_forms_the_groups_that_we_read_from_it(chapter, models, name):
    trainer = types.SimpleNamespace(model=models[name], optimizer=None, args=types.SimpleNamespace(weight_decay=0.3))
    trainer.optimizer_cls_and_kwargs = (torch.optim.AdamW, {"lr": 0.1})
    trainer.get_decay_parameter_names = lambda m: transformers.Trainer.get_decay_parameter_names(trainer, m)
    theirs = transformers.Trainer.create_optimizer(trainer).param_groups
    ours = chapter["two_groups"](models[name], 0.3, chapter["spared_by_trainer"](models[name]))
    for one, two in zip(theirs, ours, strict=True):
        assert one["weight_decay"] == two["weight_decay"]
        assert [id(p) for p in one["params"]] == [id(p) for p in two["params"]]


def test_tied_weights_are_decayed_once(chapter, models):
    gpt2 = models["GPT-2"]
    assert gpt2.lm_head.weight is gpt2.transformer.wte.weight
    optimizer = torch.optim.AdamW(chapter["two_groups"](gpt2, 0.5, chapter["spared_by_ndim"](gpt2)), lr=0.1)
    before = gpt2.lm_head.weight.detach().clone()
    for p in gpt2.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(gpt2.lm_head.weight.detach(), 0.95 * before)


def test_every_rule_fails_somewhere_and_parameter_groups_nowhere(chapter):
    """The cases that a rule was found to miss, by name."""
    wrong = {
        name: {rule: {one for _, one in pairs} for rule, pairs in row.items()}
        for name, row in chapter["missed"]().items()
    }
    vit = {"vit.embeddings.cls_token", "vit.embeddings.position_embeddings"}
    assert wrong["ViT"]["shape"] == wrong["ViT"]["Trainer"] == vit
    gains = {
        name for name, p in chapter["small_models"]()["ResNet"].named_parameters() if "normalization.weight" in name
    }
    assert wrong["ResNet"]["Trainer"] == gains
    assert len(gains) == 8
    mixer = "backbone.layers.0.mixer"
    assert wrong["Mamba"]["Trainer"] == {"backbone.norm_f.weight", f"{mixer}.D", f"{mixer}.A_log"}
    assert all("layer_scale" in name for name in wrong["ConvNeXt"]["Trainer"])
    assert wrong["MultiheadAttention"]["kind"] == {"in_proj_bias"}
    assert wrong["LSTM"]["kind"] == {"bias_ih_l0", "bias_hh_l0"}
    assert "deberta.encoder.layer.0.attention.self.q_bias" in wrong["DeBERTa"]["kind"]
    assert all(any(row[rule] for row in wrong.values()) for rule in RULES)
    for model in chapter["small_models"]().values():
        groups = weightdecay.parameter_groups(model, 0.1)
        assert weightdecay.audit(torch.optim.AdamW(groups), model).warnings == []


def test_the_label_says_which_side_has_more_opinions():
    texts, _, labels = film_reviews(200, 3)
    for text, label in zip(texts, labels.tolist(), strict=True):
        score = 0
        words = text.split()
        for before, word in zip(["", *words], words, strict=False):
            side = (word in GOOD) - (word in BAD)
            score += -side if before == "not" else side
        assert label == (score > 0)
    *_, noisy = film_reviews(2000, 3, 0.2)
    *_, clean = film_reviews(2000, 3)
    assert (noisy != clean).float().mean().item() == pytest.approx(0.2, abs=0.04)


def test_word_numbers_lead_back_to_the_words():
    texts, ids, _ = film_reviews(50, 1)
    for text, row in zip(texts, ids.tolist(), strict=True):
        assert " ".join(FILM_WORDS[i] for i in row) == " ".join(["[CLS]", text, *["[PAD]"] * (9 - len(text.split()))])
    assert FILM_WORDS.index("[UNK]") not in ids


def test_in_bfloat16_decay_below_half_a_gap_is_lost(chapter):
    """Its 128 numbers between two powers of two, at ηλ around 2⁻⁹ and 2⁻⁸."""
    assert chapter["moved"](2**-9 * 0.999) == 0 < chapter["moved"](2**-9 * 1.01)
    assert chapter["moved"](2**-8 * 0.9) < chapter["moved"](2**-8 * 1.01) == 1
    ends = {}
    for precision in ("bfloat16", "float32"):
        *_, (step, ends[precision]) = chapter["decay_alone"](0.1, 0.01, precision)
        assert step == 1000
    assert ends["bfloat16"]["a weight of 1"] == 1
    assert ends["float32"]["a weight of 1"] == pytest.approx(0.999**1000, rel=1e-3)
    _, at_once = next(chapter["decay_alone"](0.1, 0.01, "float16"))
    assert torch.isnan(at_once["a weight of 1"])  # AdamW's ε is 0 in float16, and a gradient of 0 makes 0/0


def test_decay_on_loras_factors_leads_to_the_start(chapter):
    (near, size), (far, small) = (chapter["finetune"](10, lora) for lora in (True, False))
    assert (near, size) == pytest.approx((0, 1), abs=0.05)
    assert (far, small) == pytest.approx((1, 0), abs=0.15)


def test_halving_tells_what_is_scale_invariant(chapter):
    """In BERT only the tables, all three together: a branch goes round the matrices of a block."""
    found = {name: change for name, (change, _) in chapter["halved"]().items()}
    assert found["nothing"] == 0
    assert found["the three tables"] < 1e-8
    assert min(found[name] for name in ("output of attention", "feed-forward", "all matrices of the block")) > 0.2


def test_rows_of_words_that_do_not_occur_shrink_as_the_formula_says(chapter):
    model = chapter["small_bert"](5)
    before = model.get_input_embeddings().weight[2].detach().clone()
    groups = chapter["two_groups"](model, 3.0, set())
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
    for name in ("trainer_defaults", "missed", "decayed_tables"):
        assert results[name] == json.loads(json.dumps(chapter[name]())), name
    assert RECORD.stat().st_size < 2e6


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
