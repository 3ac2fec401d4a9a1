"""What a weight decay does over a whole run, before anybody trains: `diagnose`, and `diagnosis`, the same as a form."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from weightdecay.convert import NUMBERS, POSITIVE
from weightdecay.form import Choice, Form, Number, pick, read_script


class Schedule(NamedTuple):
    """How the learning rate runs.

    fall: "constant", "line", "cosine" or "steps", after the share `warm` of the run, in which the rate climbs from 0.
    floor: the share of the highest rate to which a cosine falls.
    """

    title: str
    fall: str
    warm: float = 0.0
    floor: float = 0.0


SCHEDULES = {
    "constant": Schedule("constant", "constant"),
    "linear": Schedule("falling to 0 along a line", "line"),
    "cosine": Schedule("falling to 0 along a cosine", "cosine"),
    "cosine to a tenth": Schedule("falling to a tenth along a cosine", "cosine", floor=0.1),
    "multi-step": Schedule("a tenth after 1/2 of the run, a hundredth after 3/4", "steps"),
    "warm-up and linear": Schedule("the line, after a tenth of warm-up", "line", warm=0.1),
    "warm-up and cosine": Schedule("the cosine to 0, after a tenth of warm-up", "cosine", warm=0.1),
}
STEPS = ((0.5, 0.1), (0.75, 0.01))  # of "multi-step": after this share of the run, this share of the rate
NOTHING, START = 0.01, 0.05  # a weight that loses less is as good as untouched; with less than this left, forgotten
FAR = 1e100  # a weight that has grown so large need not be followed any further
FIELDS = {
    "lr": NUMBERS["lr"],
    "lambd": NUMBERS["lambd"],
    "steps": Number(
        "The number of steps", "steps", "", "a whole number from 1 to 2000000", low=1, below=2_000_001, whole=True,
        counts=True,
    ),
    "momentum": NUMBERS["momentum"]._replace(label="momentum μ (of SGD; 0 for AdamW)"),
    "dampening": NUMBERS["momentum"]._replace(symbol="The dampening", label="dampening"),
    "steps_per_epoch": Number(
        "The length of an epoch", "steps in an epoch", "n/B, may be left out", POSITIVE, above=0, counts=True
    ),
}  # fmt: skip
NESTEROV = Choice("Nesterov's momentum", {False: "no", True: "yes"})
SEVERAL = 3  # more epochs than these are several; and so many time scales leave e⁻³, less than START
BOTH = "PyTorch has Nesterov's momentum without dampening only: leave one of them out."
ADAM = (
    "another matter: it divides the decay by the size of the gradients, so that η and λ do not tell what it leaves. "
    "weightdecay.audit tries it out."
)
VERDICTS = {
    "strong": "Your decay is too strong: it takes a weight away within a step.",
    "nothing": "Your decay does nothing: a weight keeps more than 99 % of itself.",
    "data": "It forgets the data: from one visit to the next a weight loses more than 95 % of what it took from them.",
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
    """Yield η_t for every step; lr is the highest, and `schedule` is a name in `SCHEDULES`."""
    _, fall, share, floor = SCHEDULES[pick("schedule", schedule, SCHEDULES)]
    warm = math.ceil(share * steps)
    for t in range(steps):
        if t < warm:
            yield lr * t / warm
            continue
        done = (t - warm) / (steps - warm)
        if fall == "line":
            yield lr * (1 - done)
        elif fall == "cosine":
            yield lr * (floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)
        elif fall == "steps":
            yield lr * ([1] + [left for after, left in STEPS if done >= after])[-1]
        else:
            yield lr


def decayed(
    rates: Iterable[float], lambd: float, momentum=0.0, passed=1.0, nesterov=False
) -> Iterator[tuple[float, float]]:
    """Yield, for every η_t of `rates`, η_t and what is left after that step of a weight of 1 that no gradient holds up.

    passed: the share 1 − dampening of a gradient that the velocity takes up, after the first step.
    Ends early where the weight grows without bound.
    """
    w, v = 1.0, 0.0
    for t, rate in enumerate(rates):
        v = momentum * v + (passed if t else 1) * lambd * w
        w -= rate * (lambd * w + momentum * v if nesterov else v)
        yield rate, w
        if not abs(w) <= FAR:
            return


def diagnose(
    lr, lambd, steps, momentum=None, schedule="constant", steps_per_epoch=None, *, dampening=None, nesterov=False
) -> Diagnosis:
    """Say what decay does to a weight that no gradient holds up, over `steps` steps.

    lr: the highest learning rate η. lambd: λ as PyTorch means it, so that a step takes ηλ.
    momentum: μ of SGD, through which PyTorch's SGD passes the decay too, so that in the long run a step takes
        ηλ/(1 − μ). For AdamW leave it out: its betas do not touch the decay. `torch.optim.Adam` is another matter: it
        divides the decay by the size of the gradients; `weightdecay.audit` tries it out.
    schedule: one of `SCHEDULES`. steps_per_epoch: training samples divided by the batch size; need not be whole.
    dampening, nesterov: as PyTorch's SGD has them. Dampening makes the long run ηλ(1 − dampening)/(1 − μ), as it does
        with the step itself; Nesterov's momentum leaves it.

    The weight is followed step by step, as `torch.optim.SGD` does it: v ← μv + (1 − dampening) λw, without dampening in
    the first step, then w ← w − η_t v, or w − η_t(λw + μv) with Nesterov's momentum; without momentum it is
    `torch.optim.AdamW` too. The time scale 1/(ηλ) is that of the weights as a moving average (Wang and Aitchison,
    arXiv:2405.13698). Raises ValueError, in one sentence, for what no run can have.
    """
    lr, lambd, steps = (FIELDS[name].read(value) for name, value in (("lr", lr), ("lambd", lambd), ("steps", steps)))
    momentum, dampening = (
        0.0 if value is None else FIELDS[name].read(value)
        for name, value in (("momentum", momentum), ("dampening", dampening))
    )
    steps_per_epoch = None if steps_per_epoch is None else FIELDS["steps_per_epoch"].read(steps_per_epoch)
    if pick("nesterov", nesterov, NESTEROV.options) and dampening:
        raise ValueError(BOTH)
    passed = 1 - dampening if momentum else 1.0
    w, area = 1.0, 0.0
    for rate, w in decayed(learning_rates(lr, steps, schedule), lambd, momentum, passed, nesterov):
        area += rate
    per_step = lr * lambd * passed / (1 - momentum)
    timescale = 1 / per_step if per_step else math.inf
    epochs = timescale / steps_per_epoch if steps_per_epoch else math.nan
    runs = area * lambd * passed / (1 - momentum)
    return Diagnosis(
        w, timescale, epochs, runs, VERDICTS[_verdict(w, per_step, epochs, steps / (steps_per_epoch or math.inf))]
    )


class DiagnosisForm(Form):
    """The diagnosis as a form on the page."""

    lines = 13.2
    _esm = read_script("diagnose.js")


def diagnosis(**values) -> DiagnosisForm:
    """Return a form that diagnoses a run; `values` are its first contents, named as in `diagnose`."""
    shown = {name: schedule.title for name, schedule in SCHEDULES.items()}
    fields = FIELDS | {"nesterov": NESTEROV, "schedule": Choice("learning rate is", shown)}
    table = {
        "asked": ["lr", "lambd", "steps"],
        "schedules": {name: schedule._asdict() for name, schedule in SCHEDULES.items()},
        "steps": STEPS,
        "both": BOTH,
        "adam": ADAM,
        "verdicts": VERDICTS,
        "limits": {"nothing": NOTHING, "start": START, "several": SEVERAL, "far": FAR},
    }
    start = {"lr": 2e-5, "lambd": 0.01, "steps": 10_000, "momentum": 0, "nesterov": False, "schedule": "constant"}
    return DiagnosisForm("The diagnosis", fields, table, start | values)


def _verdict(left, per_step, epochs, passes) -> str:
    """The key of the verdict; only in a run of several passes over the data can they be forgotten in between."""
    if per_step >= 1:
        return "strong"
    if 1 - abs(left) < NOTHING:
        return "nothing"
    if SEVERAL * epochs < 1 and passes > SEVERAL:
        return "data"
    return "start" if abs(left) < START else "pull"
