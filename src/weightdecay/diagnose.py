"""What a weight decay does over a whole run, before anybody trains: `diagnose`, and `diagnosis`, the same as a form."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from weightdecay.convert import NUMBERS, POSITIVE
from weightdecay.form import Choice, Form, Number, read_script

SCHEDULES = {
    "constant": "constant",
    "linear": "falling to 0 along a line",
    "cosine": "falling to 0 along a cosine",
    "warm-up and linear": "the line, after a tenth of warm-up",
}
WARM_UP = 0.1  # share of the run in which "warm-up and linear" climbs
NOTHING, START = 0.01, 0.05  # a weight that loses less is as good as untouched; with less than this left, forgotten
FAR = 1e100  # a weight that has grown so large need not be followed any further
FIELDS = {
    "lr": NUMBERS["lr"],
    "lambd": NUMBERS["lambd"],
    "steps": Number("The number of steps", "steps", "", "a whole number from 1 to 2000000", low=1, below=2_000_001),
    "momentum": NUMBERS["momentum"]._replace(label="momentum μ (of SGD; 0 for Adam)", hint="0 for AdamW"),
    "steps_per_epoch": Number("The length of an epoch", "steps in an epoch", "n/B, may be left out", POSITIVE, above=0),
}
VERDICTS = {
    "strong": "Your decay is too strong: it takes a weight away within a step.",
    "nothing": "Your decay does nothing: a weight keeps more than 99 % of itself.",
    "data": "It forgets the data: a weight remembers less than one pass over them.",
    "start": "It forgets the start: what training began with is gone, and the data decide.",
    "pull": "It pulls, but the start is still there when the run ends.",
}


class Diagnosis(NamedTuple):
    """left: what remains of a weight that no gradient holds up, as a share of its start (its sign may have turned);
    timescale: steps after which decay at the highest learning rate has taken it to 1/e; infinite for λ = 0;
    epochs: the same in passes over the data; NaN where the length of an epoch is not given;
    runs: length of the whole run in such time scales, the schedule counted in; verdict: one sentence.
    """

    left: float
    timescale: float
    epochs: float
    runs: float
    verdict: str


def learning_rates(lr: float, steps: int, schedule: str = "constant") -> Iterator[float]:
    """Yield η_t for every step: constant, falling to 0 along a line or a cosine, or with a tenth of warm-up before."""
    if schedule not in SCHEDULES:
        raise ValueError(f"The schedule must be one of {', '.join(SCHEDULES)}, but it is {schedule!r}.")
    warm = math.ceil(WARM_UP * steps) if schedule == "warm-up and linear" else 0
    for t in range(steps):
        if schedule == "constant":
            yield lr
        elif schedule == "cosine":
            yield lr * (1 + math.cos(math.pi * t / steps)) / 2
        elif t < warm:
            yield lr * t / warm
        else:
            yield lr * (steps - t) / (steps - warm)


def diagnose(lr, lambd, steps, momentum=0.0, schedule="constant", steps_per_epoch=None) -> Diagnosis:
    """Say what decay does to a weight that no gradient holds up, over `steps` steps.

    lr: the highest learning rate η. lambd: λ as PyTorch means it, so that a step takes ηλ.
    momentum: μ of SGD, through which PyTorch's SGD passes the decay too, so that in the long run a step takes
        ηλ/(1 − μ). For AdamW it is 0: its betas do not touch the decay.
    schedule: one of `SCHEDULES`. steps_per_epoch: training samples divided by the batch size.

    The weight is followed step by step, v ← μv + λw and w ← w − η_t v: exact for `torch.optim.SGD` (without
    dampening and Nesterov's form) and for `torch.optim.AdamW`. The time scale 1/(ηλ) is that of the weights as a
    moving average (Wang and Aitchison, arXiv:2405.13698). Raises ValueError, in one sentence, for what no run can have.
    """
    given = {"lr": lr, "lambd": lambd, "steps": steps, "momentum": momentum, "steps_per_epoch": steps_per_epoch}
    for name, value in given.items():
        if value is not None:
            FIELDS[name].check(value)
    if steps != int(steps):
        raise ValueError(f"{FIELDS['steps'].symbol} must be {FIELDS['steps'].rule}, but it is {steps}.")
    w, v, area = 1.0, 0.0, 0.0
    for rate in learning_rates(lr, int(steps), schedule):
        v = momentum * v + lambd * w
        w -= rate * v
        area += rate
        if abs(w) > FAR:
            break
    per_step = lr * lambd / (1 - momentum)
    timescale = 1 / per_step if per_step else math.inf
    epochs = timescale / steps_per_epoch if steps_per_epoch else math.nan
    runs = area * lambd / (1 - momentum)
    return Diagnosis(w, timescale, epochs, runs, VERDICTS[_verdict(w, per_step, epochs)])


class DiagnosisForm(Form):
    """The diagnosis as a form on the page."""

    _esm = read_script("diagnose.js")


def diagnosis(**values) -> DiagnosisForm:
    """Return a form that diagnoses a run; `values` are its first contents, named as in `diagnose`."""
    fields = FIELDS | {"schedule": Choice("learning rate is", SCHEDULES)}
    table = {
        "asked": [name for name in FIELDS if name != "steps_per_epoch"],
        "verdicts": VERDICTS,
        "limits": {"warm_up": WARM_UP, "nothing": NOTHING, "start": START, "far": FAR},
    }
    start = {"lr": 2e-5, "lambd": 0.01, "steps": 10_000, "momentum": 0, "schedule": "constant"}
    return DiagnosisForm("The diagnosis", fields, table, start | values)


def _verdict(left, per_step, epochs) -> str:
    if per_step >= 1:
        return "strong"
    if 1 - abs(left) < NOTHING:
        return "nothing"
    if epochs < 1:
        return "data"
    return "start" if abs(left) < START else "pull"
