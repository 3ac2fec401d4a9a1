"""What weight decay does to the parameters of a model: `audit`, and what `weight_decay` is to each optimizer."""

import html
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from weightdecay.diagnose import FIELDS, NOTHING, SCHEDULES
from weightdecay.form import pick
from weightdecay.groups import FLAT_ADVICE, Place, is_flat, is_marked, places, refuse_lazy, spared
from weightdecay.optimizers import FLAG, decay_of, left_of

LORA = re.compile(r"(^|\.)lora_(embedding_)?[AB](\.|$)")
SMALL = 1e-6  # a share per step below which AdamW's λ looks like that of a paper, whatever the length of the run

ADVICE = {
    "missing": "in no group, so the optimizer never changes them. Put them into one, or set requires_grad = False.",
    "stranger": "in a group but not in the model. If they are a second model's, give both: torch.nn.ModuleList([one, "
    "other]). Else the model does not learn from them: make the optimizer after the last change to the model.",
    "twice": "listed twice, or two parameters over the same memory: every step decays them twice. List each once.",
    "tied": "one tensor under several names, and it decays under the first of these, which is not that of the "
    "embedding: a rule that spares embeddings by name misses it. To spare it, name it in parameter_groups(..., "
    "spare=[...]).",
    "frozen": "frozen, but in a group. While their gradient is None nothing touches them; once it is a tensor of "
    "zeros, they decay. Leave them out of the optimizer.",
    "flat": FLAT_ADVICE,
    "empty": "given a λ above 0, and without a parameter to decay; nothing else decays either. Look at what the rule "
    "for the groups has spared.",
    "bias": "biases that decay. A bias shifts the output and is not made calmer by being small. Spare them (λ = 0).",
    "gain": "gains, or other vectors, that decay. They rest at a value of their own, mostly 1, which decay pulls "
    "to 0. Spare them (λ = 0); harmless only where a norm multiplies by 1 + w, as Gemma's do.",
    "scale": "scales that decay: a temperature (logit_scale) or LayerScale has a value to learn, not one to keep "
    "small. Spare them (λ = 0).",
    "token": "learnt tokens that decay. They are inputs, vectors like a bias. Vision models spare them (λ = 0).",
    "position": "position tables that decay. Vision models spare them (λ = 0); BERT and nanoGPT did not, so keep "
    "this only if you mean it.",
    "marked": "to be spared according to their model: by its no_weight_decay(), by the mark _no_weight_decay, or "
    "as an A_log, the logarithm of a decay of its own. Spare them (λ = 0).",
    "lora": "LoRA's factors. Decay pulls their product to 0, and so the model to where it started, not to small "
    "weights. Keep it if you want to stay near the start; else λ = 0.",
    "invariant": "weights on whose scale the output does not depend, mostly since a normalisation follows. Decay "
    "makes no function smaller here: it sets the effective learning rate, which is η/ρ² under SGD and η/ρ where the "
    "optimizer divides by the size of the gradient, ρ the norm of the tensor. Tune λ and η together.",
    "unmoved": "without effect on the output for these data, so that their scale could not be tested: not used, hidden "
    "by a zero behind them, or the output is not finite. Give data that use them, or ask again after a few steps.",
    "untested": "on the meta device, where they have no values, so that their scale cannot be tested. Give data "
    "with real ones.",
    "rounding": "rounded away: {dtype} has no number near enough, so that a step of {step:.1e} of a weight is lost "
    "or changed{real}. {cure}",
    "normalised": "decay inside the gradient, which {name} divides by its own size: weights with large gradients "
    "decay less, and how fast one without shrinks, as in the table, hardly depends on λ. Use {better}.",
    "ignored": "given a weight_decay that {name} does not have: it ignores it. Use another optimizer.",
    "averaged": "shrunk by ASGD's own lambd = {lambd:g} as well, in every group, those with λ = 0 too. Give lambd=0.",
    "units": "given λ = {lambd:g}, and {name} takes ηλ = {step:.1e} of a weight in a step: next to nothing. If λ "
    "comes from a paper in which a step takes λ itself, as in AdamW's, give λ/η = {ratio:.3g}; if from SGD, choose it "
    "anew.",
    "itself": "decayed by λ itself in a step, not by ηλ, as in AdamW's paper: by {lambd:g}. Coming from PyTorch's "
    "AdamW, give ηλ.",
    "nothing": "decayed by less than 1 % in the whole run: λ = {lambd:g} could as well be 0. A λ of {needed:.2g} "
    "would take a weight to 1/e.",
    "strong": "decayed by more than they are: a step takes {step:.3g} of a weight. Make λ or η smaller.",
    "unknown": "decayed in a way that is not known: whether {name}'s weight_decay is coupled or decoupled could "
    "not be tried out ({why}). Look it up in its source.",
}


class Group(NamedTuple):
    """A row of the table: the parameters of one group that have the same dtype. What is not known is NaN.

    group: its place in `optimizer.param_groups`. tensors, numbers: how many. share: of all numbers, those
        of the model and those listed.
    lr: the highest η. lambd: λ, to which ASGD's own `lambd` is added. kind: as in `Meaning`; "λ itself" where a step
        takes λ and not ηλ; "not known".
    momentum: by what momentum multiplies the decay in the long run.
    left: what the run leaves of a weight that no gradient holds up, as a share of its start; a median if they differ.
    timescale: steps in which decay at the highest η takes it to 1/e. epochs: the same in passes over the data.
    """

    group: int
    tensors: int
    numbers: int
    share: float
    lr: float
    lambd: float
    kind: str
    momentum: float
    dtype: str
    left: float
    timescale: float
    epochs: float


class Finding(NamedTuple):
    """Something to mind: its kind (a key of `ADVICE`), the parameters' names, and a sentence on what to do."""

    kind: str
    names: list[str]
    advice: str


@dataclass(repr=False)
class Audit:
    """What `audit` found: a `Group` for each row, and a `Finding` for each warning. Printed it is a table."""

    title: str
    groups: list[Group]
    warnings: list[Finding]

    def to_pandas(self):
        """The rows as a pandas.DataFrame, of which `.to_xarray()` makes an xarray.Dataset."""
        import pandas

        return pandas.DataFrame(self.groups, columns=Group._fields)

    def _cells(self) -> list[list[str]]:
        titles = "group", "share", "η", "λ", "decay", "left", "steps to 1/e", "epochs", "momentum ×", "tensors", "dtype"
        rows = [titles]
        for row in self.groups:
            times = (format(time, ",.3g" if time < 100 else ",.0f") for time in (row.timescale, row.epochs))
            settings = f"{row.lr:.3g}", f"{row.lambd:.3g}", row.kind, f"{row.left:z.4f}"
            others = f"{row.momentum:.3g}", str(row.tensors), row.dtype
            cells = str(row.group), f"{row.share:.1%}", *settings, *times, *others
            rows.append([{"nan": "—", "inf": "∞"}.get(cell, cell) for cell in cells])
        return rows

    def __repr__(self) -> str:
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
        warnings = [f"[{kind}] {_few(names)}: {advice}" for kind, names, advice in self.warnings]
        return "\n".join([self.title, *lines, *warnings])

    def _repr_html_(self) -> str:
        def row(cells, tag):
            return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

        head, *rows = self._cells()
        body = "".join(row(cells, "td") for cells in rows)
        items = "".join(
            f"<li><strong>{kind}</strong> <code>{html.escape(_few(names))}</code>: {html.escape(advice)}</li>"
            for kind, names, advice in self.warnings
        )
        table = f"<table><thead>{row(head, 'th')}</thead><tbody>{body}</tbody></table>"
        # Wider than a page.
        table = f'<div class="wd-audit" tabindex="0" style="overflow-x: auto; white-space: nowrap">{table}</div>'
        return f"<p>{html.escape(self.title)}</p>{table}<ul>{items}</ul>"


def audit(
    optimizer: torch.optim.Optimizer, model: nn.Module | None = None, *, steps: int | None = None,
    schedule: str | Callable[[int], float] = "constant", steps_per_epoch: float | None = None, data=None,
) -> Audit:  # fmt: skip
    """Say what weight decay does to each parameter of a model: a table and warnings, before anything is trained.

    >>> optimizer = torch.optim.AdamW(weightdecay.parameter_groups(model, 0.1), lr=1e-3)
    >>> print(weightdecay.audit(optimizer, model, steps=10_000, schedule="cosine", steps_per_epoch=500, data=x))

    optimizer: any torch.optim.Optimizer. One that is not PyTorch's is tried out on a weight of its own.
    model: where names come from, and what is in no group. Without it, names are those that the groups carry.
    steps: the length of the run; without it nothing is said of what is left after it.
    schedule: how η runs: "constant", "linear", "cosine", "cosine to a tenth", "multi-step", "warm-up and linear" or
        "warm-up and cosine" (`weightdecay.diagnose.SCHEDULES`); or a function that takes the step, from 0, and returns
        the factor before the highest η, as for `LambdaLR`. That η is a group's `max_lr` (OneCycleLR's) or `initial_lr`,
        if it has one, else `lr`.
    steps_per_epoch: training samples divided by the batch size, for the time in epochs.
    data: one batch of inputs, without targets: a tensor, a tuple of arguments or a dict of them. With it each tensor
        that decays is scaled alone, by 1/2 and by 256, and the output watched in training mode, in which batch
        normalisation uses the batch's own statistics: three passes forward for each tensor. All numbers that the
        model returns count, nested ones too. What it says holds for the weights as they are: while all biases are 0,
        more is invariant, and a weight that is invariant only together with its bias is not found.

    Returns an `Audit` with `groups` (a `Group` for each group and dtype) and `warnings` (each a `Finding`: kind, names,
    advice); it prints as text and as HTML, and `to_pandas()` gives the rows. Kinds of warnings: missing, stranger (to
    the model), twice, tied, frozen, flat, empty; bias, gain, scale, token, position, marked, lora; invariant, unmoved,
    untested; rounding, normalised, ignored, averaged, units, itself, nothing, strong, unknown.

    The table follows a weight whose gradient is always 0. `left` is what this optimizer really leaves of it, rounding
    included: for SGD and for decoupled decay it is computed as `diagnose` does. Where weights do not all shrink alike
    (decay that is normalised, a dtype too coarse for ηλ, an optimizer that is not PyTorch's) the optimizer itself runs
    on about 64 of the group's weights, on weights of 1 on the meta device, and `left` is the median of what is left of
    each: a minute or so for a million steps.

    To be spared, it says, is what has fewer than two dimensions, or is (1, 1, …, d) and no layer's weight; a name with
    the word bias; a direct parameter of a class called …Norm; tokens and position tables, by name; and what is marked:
    listed in its model's `no_weight_decay()`, with an attribute `_no_weight_decay`, or called A_log.

    Nothing is changed: no weight, gradient, buffer or mode, neither the optimizer nor the state of random numbers. The
    model may be on the meta device. Raises ValueError, in one sentence, for what makes no sense.
    """
    optimizer = getattr(optimizer, "optimizer", optimizer)  # where it is wrapped, as by Accelerate
    if not isinstance(optimizer, torch.optim.Optimizer) or not isinstance(model, nn.Module | None):
        raise ValueError("Give the optimizer first, a torch.optim.Optimizer, and then the model, an nn.Module.")
    if data is not None and model is None:
        raise ValueError("data are inputs for the model: give the model too.")
    steps = None if steps is None else FIELDS["steps"].read(steps)
    steps_per_epoch = math.nan if steps_per_epoch is None else FIELDS["steps_per_epoch"].read(steps_per_epoch)
    if hasattr(schedule, "get_last_lr"):
        raise ValueError("Give the schedule by its name, or as a function of the step, not as a scheduler.")
    schedule = schedule if callable(schedule) else pick("schedule", schedule, SCHEDULES)

    found = places(model) if model is not None else {}
    listed = [p for group in optimizer.param_groups for p in group["params"]]
    refuse_lazy([*found, *listed])
    sharded = any(hasattr(p, "to_local") for p in found)
    if data is not None and (sharded or isinstance(model, torch.jit.ScriptModule | nn.DataParallel)):
        raise ValueError("data need a model whose weights can be replaced: give it as it was before it was wrapped.")
    total = sum(p.numel() for p in dict.fromkeys([*found, *listed]))
    everywhere = _unnamed(optimizer) | found
    rows, decaying, idle, said = [], [], [], list(_about_lists(listed, found, everywhere))
    for number, group in enumerate(optimizer.param_groups):
        decay = decay_of(optimizer, group)
        idle += [f"group {number}"] if decay.lambd > 0 and not any(p.numel() for p in group["params"]) else []
        for dtype in dict.fromkeys(p.dtype for p in group["params"]):
            params = [p for p in group["params"] if p.dtype == dtype]
            left, formula = left_of(optimizer, group, decay, params, steps, schedule)
            numbers, timescale = sum(p.numel() for p in params), 1 / decay.step if decay.step else math.inf
            row = Group(
                number, len(params), numbers, numbers / max(total, 1), decay.lr, decay.lambd, decay.kind,
                decay.momentum, str(dtype).removeprefix("torch."), left, timescale, timescale / steps_per_epoch,
            )  # fmt: skip
            rows.append(row)
            said += [(kind, params, values) for kind, values in _about_row(row, decay, formula, optimizer)]
            decaying += params if decay.lambd > 0 else []
    said += _about_tensors(decaying, everywhere)
    if data is not None:
        weights = [p for p in dict.fromkeys(decaying) if p in found and p.requires_grad and not spared(p, found[p])]
        said += _about_scale(weights, model, found, data)

    warnings = {} if any(p.numel() for p in decaying) else {("empty", ADVICE["empty"]): idle}
    for kind, params, values in said:
        names = warnings.setdefault((kind, ADVICE[kind].format(**values)), [])
        names += [everywhere[p].names[0] for p in params]
    title = f"{type(optimizer).__name__}, " + (f"{steps:,} steps, " if steps else "a run of unknown length, ")
    title += f"η {'by a function' if callable(schedule) else SCHEDULES[schedule].title}."
    if model is not None and data is None:
        title += " Give data to find weights whose scale does not matter."
    return Audit(title, rows, [Finding(kind, names, sentence) for (kind, sentence), names in warnings.items() if names])


def _about_lists(listed, found, everywhere) -> Iterator[tuple]:
    """Warnings about what is in the groups at all: their kind, parameters, and values for the sentence."""
    here = set(listed)
    yield "missing", [p for p in found if p.requires_grad and p not in here], {}
    yield "stranger", [p for p in listed if found and p not in found], {}
    memory, again = set(), []
    for p in listed:
        place = id(p) if p.is_meta or not p.data_ptr() else (p.device, p.data_ptr(), p.shape)
        again += [p] if place in memory else []
        memory.add(place)
    yield "twice", again, {}
    yield "flat", [p for p in listed if is_flat(p, everywhere[p].names[0])], {}


def _about_row(row, decay, formula, optimizer) -> Iterator[tuple]:
    """Warnings about a row of the table: their kind, and values for the sentence."""
    group, name = optimizer.param_groups[row.group], type(optimizer).__name__
    of = {"name": name, "lambd": row.lambd, "step": decay.step, "dtype": row.dtype}
    if row.kind == "none" and group.get("weight_decay"):
        yield "ignored", of
    if row.kind == "not known":
        yield "unknown", of | {"why": decay.why}
    if not row.lambd > 0:
        return
    if row.kind == "normalised":
        flagged = FLAG in group and name != "Adam"
        yield "normalised", of | {"better": f"{FLAG}=True" if flagged else "AdamW"}
    if isinstance(optimizer, torch.optim.ASGD) and group["lambd"]:
        yield "averaged", of | {"lambd": group["lambd"]}
    if row.kind == "λ itself":
        yield "itself", of
    if decay.step >= 1:
        yield "strong", of
    idle = decay.step < SMALL if math.isnan(row.left) else row.left > 0.9
    if row.kind == "decoupled" and row.lambd <= row.lr and idle:
        yield "units", of | {"ratio": row.lambd / row.lr}
    elif 1 - NOTHING < formula < 1:
        yield "nothing", of | {"needed": row.lambd / -math.log(formula)}
    elif decay.step and _rounded(row, decay, formula):
        real = "" if math.isnan(formula) else f" (the formula leaves {formula:.4f}, the optimizer {row.left:.4f})"
        cure = "Keep the weights in float32 (autocast leaves them there), or round stochastically."
        cure = "Make ηλ larger." if row.dtype in ("float32", "float64") else cure
        if group.get("fused"):  # decay and update in float32, rounded once
            cure = f"Fused, a weight does decay together with an update that moves it, coarsely. {cure}"
        yield "rounding", of | {"real": real, "cure": cure}


def _rounded(row, decay, formula) -> bool:
    """Whether rounding takes away, or adds, a quarter of the decay; without a number of steps, whether all is lost."""
    if math.isnan(formula):
        return decay.step < torch.finfo(getattr(torch, row.dtype)).eps / 4
    return abs(row.left - formula) > 0.25 * (1 - formula)


def _about_tensors(decaying, everywhere) -> Iterator[tuple]:
    """Warnings about single tensors that decay: their kind, parameters, and values for the sentence."""
    yield "frozen", [p for p in decaying if not p.requires_grad], {}
    decaying = [p for p in dict.fromkeys(decaying) if p.requires_grad and not is_flat(p, everywhere[p].names[0])]
    kinds = {p: spared(p, everywhere[p]) for p in decaying}
    for kind in filter(None, dict.fromkeys(kinds.values())):
        yield kind, [p for p in decaying if kinds[p] == kind], {}
    yield "tied", [p for p in decaying if _hides_embedding(everywhere[p])], {}
    yield "lora", [p for p in decaying if any(map(LORA.search, everywhere[p].names))], {}


def _hides_embedding(place: Place) -> bool:
    embeds = [isinstance(owner, nn.Embedding) for owner in place.owners]
    return any(embeds) and not embeds[0]


def _unnamed(optimizer) -> dict[torch.Tensor, Place]:
    """Each parameter by the names that its group carries, or else by where it stands there."""
    found = {}
    for number, group in enumerate(optimizer.param_groups):
        given = group.get("param_names") or group.get("names")
        for i, p in enumerate(group["params"]):
            name = given[i] if given else f"group {number}, parameter {i}, {'×'.join(map(str, p.shape)) or 'a number'}"
            found[p] = Place([name], [None], is_marked(p))
    return found


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _about_scale(weights, model, found, data) -> Iterator[tuple]:
    """A warning about the weights that the output depends on, but not on their scale."""
    if any(p.is_meta for p in found):
        yield "untested", weights, {}
        return
    modes = {module: module.training for module in model.modules()}
    model.train()
    try:
        with torch.no_grad():
            try:
                plain = _output(model, data, {})
            except (TypeError, RuntimeError, AttributeError, IndexError) as error:
                raise ValueError(
                    "The model does not take these data: give its inputs alone, without targets, as a tensor, a tuple "
                    f"of arguments or a dict ({' '.join(str(error).split())[:200]})."
                ) from error
            said = {p: _tested(p, found[p].names[0], model, data, plain) for p in weights}
            for kind in ("invariant", "unmoved"):
                yield kind, [p for p in weights if said[p] == kind], {}
    finally:
        for module, mode in modes.items():
            module.training = mode


def _tested(p, name, model, data, plain) -> str:
    """Say "invariant" where scaling this tensor moves the output by less than 1 % of what another change as large as it
    moves it, "unmoved" where that does not move it either, and else "".

    The factor 256 finds what is invariant for small weights alone: attention does not see its input while all scores
    are near 0. No factor is without effect, because of the ε of a normalisation and of rounding.
    """
    signs = torch.randint(0, 2, p.shape, generator=torch.Generator().manual_seed(0)).to(p) * 2 - 1
    *moved, other = ((_output(model, data, {name: p * by}) - plain).norm() for by in (0.5, 256, 1 + signs))
    noise = torch.finfo(p.dtype).eps * plain.norm()
    if not other > 4 * noise:
        return "unmoved"
    return "invariant" if max(moved) < max(0.01 * other, noise) else ""


def _output(model, data, changed) -> torch.Tensor:
    """All numbers that the model returns for these data, with some of its parameters changed, as one vector."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    args, kwargs = ((), dict(data)) if isinstance(data, Mapping) else (data, {})
    args = tuple(args) if isinstance(args, tuple | list) else (args,)
    devices = {p.device for p in model.parameters() if p.device.type != "cpu"}
    kind = next(iter(devices)).type if devices else "cuda"
    states = random.getstate(), np.random.get_state()  # some models draw from these: the same for every pass
    try:
        with torch.random.fork_rng([device.index or 0 for device in devices], device_type=kind):
            output = torch.func.functional_call(model, buffers | changed, args, kwargs)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
    found = [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]
    if not found:
        raise ValueError(f"The model returns no tensor that could be watched, but a {type(output).__name__}.")
    return torch.cat([leaf.cpu().double().flatten().nan_to_num(0, 0, 0) for leaf in found])
