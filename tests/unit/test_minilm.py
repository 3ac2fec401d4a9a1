"""The program that fine-tunes a pretrained BERT, on a tiny one with random weights, and the record that it made."""

import gzip
import json

import minilm
import numpy as np
import pytest
import torch
import transformers
import xarray as xr


def test_the_record_of_the_pretrained_bert_holds_what_it_claims():
    record = xr.load_dataset(minilm.RECORD)
    assert record.seed.values.tolist() == list(minilm.SEEDS) == json.loads(record.attrs["seed"])
    assert record.sizes["seed"] >= 3
    assert record.lambd.values.tolist() == minilm.LAMBDAS == [0, 0.01, 0.1, 1]
    np.testing.assert_allclose(record.lr, minilm.RATES)
    assert record.epoch.values.tolist() == [1, 2, 3]
    assert all(np.isfinite(record[name]).all() for name in record)
    assert record.sizes["lr"] * record.sizes["seed"] == np.unique(record["test loss"].sel(lambd=0)).size
    for name in ("logits by decay", "predictions by decay", "weights by decay", "lost"):
        assert (record[name].sel(lambd=0) == 0).all()
    # Warm-up over 12 of 120 steps, then along a line to 0: the area is that of the triangle.
    expected = np.exp(-record.lambd * record.lr * 120 / 2).broadcast_like(record["kept"])
    np.testing.assert_allclose(record["kept"], expected, rtol=1e-6)
    thousandths = 1000 * record["test accuracy"]
    np.testing.assert_allclose(thousandths, thousandths.round(), atol=1e-3)
    assert {"command", "seconds", "versions", "created", "device"} <= record.attrs.keys()
    assert "transformers" in json.loads(record.attrs["versions"])
    assert minilm.RECORD.stat().st_size < 2e5


@pytest.fixture(scope="module")
def tiny_task():
    """A loader of a tiny BERT with random weights, and (word numbers, labels) thrice."""
    config = transformers.BertConfig(
        vocab_size=2000, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, num_labels=8
    )
    rng = torch.Generator().manual_seed(0)
    parts = [
        (torch.randint(1, 1000, (n, 6), generator=rng), torch.randint(8, (n,), generator=rng)) for n in (64, 20, 30)
    ]
    return lambda: transformers.BertForSequenceClassification(config), parts


@pytest.fixture(scope="module")
def two_steps(tiny_task):
    """Two steps for each λ and seed, at η = 0.01."""
    load, parts = tiny_task
    return xr.combine_by_coords(
        [
            minilm.tuned(load, *parts, lambd, 0.01, seed, epochs=1).expand_dims(seed=[seed], lr=[0.01], lambd=[lambd])
            for seed in (0, 1)
            for lambd in (0, 1)
        ]
    )


def test_fine_tuning_is_pytorch_with_the_sources_groups_and_schedule(tiny_task, two_steps):
    """The same two steps, written out with a loop of its own."""
    load, (train, _, test) = tiny_task
    torch.manual_seed(1)
    model = load()
    spared = [name for name, _ in model.named_parameters() if "bias" in name or "LayerNorm" in name]
    named = dict(model.named_parameters())
    groups = [{"params": [p], "weight_decay": 0.0 if name in spared else 1.0} for name, p in named.items()]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    for batch, factor in ((order[:32], 1), (order[32:], 0.5)):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * factor
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(train[0][batch]).logits, train[1][batch]).backward()
        optimizer.step()
    logits = model.eval()(test[0]).logits.detach()
    run = two_steps.sel(seed=1, lr=0.01, lambd=1)
    np.testing.assert_allclose(run["logits"], logits, atol=1e-5)
    assert run["test accuracy"] == pytest.approx((logits.argmax(1) == test[1]).float().mean().item())
    assert run["kept"] == pytest.approx((1 - 0.01) * (1 - 0.005))


def test_the_other_program_of_adamw_takes_the_same_steps(tiny_task, two_steps):
    load, parts = tiny_task
    fused = minilm.tuned(load, *parts, 1, 0.01, 0, epochs=1, fused=True)
    plain = two_steps.sel(seed=0, lr=0.01, lambd=1)
    assert (fused["start"] == plain["start"]).all()
    np.testing.assert_allclose(fused["weights"], plain["weights"], atol=1e-5)
    assert fused["kept"] == plain["kept"]


def test_runs_of_one_seed_differ_by_decay_alone(two_steps):
    start = two_steps["start"]
    assert (start.sel(lambd=0) == start.sel(lambd=1)).all()
    assert (start.sel(seed=0) != start.sel(seed=1)).any()
    told = minilm.summary(two_steps).isel(lr=0)
    assert (told["logits by decay"].sel(lambd=0) == 0).all()
    assert (told["logits by decay"].sel(lambd=1) > 0).all()
    np.testing.assert_allclose(told["logits by seed"][0], told["logits by seed"][1])
    # Half of the words never occur; the first steps hardly know of the decay of the others.
    np.testing.assert_allclose(told["lost"].sel(lambd=1), 1 - told["kept"].sel(lambd=1), rtol=0.05)


def test_a_dictionary_is_read_into_texts_and_subjects(tmp_path):
    entries = (
        "one\n\n   <language> A {language} with\n   seven words in all.\n\n   (1990-01-01)\n\n"
        "two\n\n   <storage, hardware> (TWO) A disk by <a@b.org> that holds many more bytes.\n\n"
        "three\n\n   <person> Somebody who wrote a great many programs.\n\n"
        "four\n\n   <networking> Too short.\n\nfive\n"
    )
    path = tmp_path / "foldoc.dict.dz"
    path.write_bytes(gzip.compress(entries.encode()))
    texts, subjects = minilm.definitions(path)
    assert dict(zip(texts, subjects.tolist(), strict=True)) == {
        "A language with seven words in all.": 0,
        "A disk by  that holds many more bytes.": 7,
    }
