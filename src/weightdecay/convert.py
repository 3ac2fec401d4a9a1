"""One λ in every convention: which number in one form trains the same model as a given number in another.

Each form fixes three things: the objective or update that its λ stands in, how the loss beside it is scaled, and
which optimizers take it. Up to that, every exact conversion is a product of powers of known quantities, so the
whole of it is one table: `convert` evaluates it here, and `converter` hands it to the page's script.
"""

import functools
import itertools
import math
from collections import Counter
from typing import NamedTuple

from weightdecay.form import Choice, Form, Number, read_script


class NoEquivalent(ValueError):
    """No λ in the wanted form trains the same model; the message says why."""


class Equal(NamedTuple):
    """The λ of the wanted form, the learning rate to use with it (None where none was given), and what to mind."""

    lambd: float
    lr: float | None
    remark: str


class LambdaForm(NamedTuple):
    """A convention for λ.

    family: "penalty", where λ is part of the gradient, or "decay", where it shrinks the weights beside that step.
    power: {quantity: exponent}. A penalty's λ is that product times the λ of mean ½ loss + λ/2‖w‖², times `scale`;
        a decay's λ is that product times the shrink of one step.
    scale: the same for the factor by which the loss here exceeds the mean ½ loss.
    folds: whether momentum holds the learning rate inside the velocity; None where that is up to the reader's loop.
    """

    title: str
    code: str
    family: str
    power: dict[str, float]
    scale: dict[str, float]
    optimizers: tuple[str, ...] = ("sgd", "adam")
    folds: bool | None = None
    remark: str = ""


YOURS = {"half": 1, "count": 1}  # the loss as the reader has it
MEAN = {"half": 1}  # a mean whatever the reader says
PER_LR = {"lr": -1}
IN_CHAIN = "Put it into the chain before the optimizer; behind it, it is decoupled decay."
PER_BATCH = "Holds for batches of m samples: a shorter last batch decays less, and learns less."

FORMS = {
    "penalty-over-n": LambdaForm("loss + λ/(2n) ‖w‖²", "", "penalty", {"n": 1}, YOURS),
    "penalty": LambdaForm("loss + λ/2 ‖w‖²", "this book", "penalty", {}, YOURS),
    "penalty-per-sample": LambdaForm(
        "λ/2 ‖w‖² added to each sample's loss, summed, divided by B", "Dive into Deep Learning, from scratch",
        "penalty", {"batch_size": 1, "m": -1}, {"half": 1, "m": 1, "batch_size": -1}, remark=PER_BATCH,
    ),
    "keras-l2": LambdaForm("loss + λ ‖w‖²", "Keras: regularizers.L2(λ)", "penalty", {"two": -1}, YOURS, folds=True),
    "ridge": LambdaForm(
        "‖Xw − y‖² + α ‖w‖²", "scikit-learn: Ridge(alpha=α)", "penalty", {"two": -1}, {"two": 1, "n": 1},
        remark="The minimiser, not the path: train to the end, squared loss, no penalty on the bias.",
    ),
    "gluon": LambdaForm(
        "MXNet and Gluon", "Trainer(…, {'wd': λ}), step(m)", "penalty", {}, MEAN, folds=True,
        remark="Give step() the number of samples in the batch; biases decay too unless their wd_mult is 0.",
    ),
    "torch-sgd": LambdaForm("PyTorch SGD", "optim.SGD(weight_decay=λ)", "penalty", {}, YOURS, ("sgd",), False),
    "torch-adam": LambdaForm("PyTorch Adam", "optim.Adam(weight_decay=λ)", "penalty", {}, YOURS, ("adam",), False),
    "optax-penalty": LambdaForm(
        "Optax, before the optimizer", "chain(add_decayed_weights(λ), sgd(η))", "penalty", {}, YOURS,
        folds=False, remark=IN_CHAIN,
    ),
    "torch-adamw": LambdaForm("PyTorch AdamW", "optim.AdamW(weight_decay=λ)", "decay", PER_LR, YOURS, ("adam",), False),
    "optax-adamw": LambdaForm("Optax AdamW", "adamw(η, weight_decay=λ)", "decay", PER_LR, YOURS, ("adam",), False),
    "keras-decay": LambdaForm(
        "Keras 3 optimizers", "SGD or Adam(weight_decay=λ), AdamW", "decay", PER_LR, YOURS, folds=True,
    ),
    "paper": LambdaForm(
        "AdamW and SGDW as in their paper", "λ not multiplied by η", "decay", {}, YOURS,
        remark="η is the rate that the schedule starts from; both η and λ follow the schedule.",
    ),
    "lambda-norm": LambdaForm(
        "normalised λ of that paper", "λ_norm", "decay", {"n": 0.5, "epochs": 0.5, "batch_size": -0.5}, YOURS,
    ),
}  # fmt: skip

LOSSES = {  # (factor in place of the ½, whether the batch is summed)
    "half-mean": (1, False),
    "mean": (2, False),
    "half-sum": (1, True),
    "sum": (2, True),
}
NOT_NEGATIVE = "a finite number that is not negative"
POSITIVE = "a finite number above 0"
NUMBERS = {
    "lambd": Number("λ", "λ", "a negative λ makes weights grow", NOT_NEGATIVE, low=0),
    "lr": Number("η", "learning rate η", "the rate you train with", POSITIVE, above=0),
    "momentum": Number("μ", "momentum μ", "of SGD", "a number from 0 to below 1", low=0, below=1),
    "n": Number("n", "training samples n", "", POSITIVE, above=0),
    "batch_size": Number("B", "batch size B", "", POSITIVE, above=0),
    "m": Number("m", "samples m in this batch", "B, but for a short last batch", POSITIVE, above=0),
    "epochs": Number("T", "epochs T", "", POSITIVE, above=0),
}

REASONS = {
    "optimizer": "None: the one form is an SGD, the other an Adam, and they train different models at any λ.",
    "adam": "None: Adam divides the penalty's gradient by its own scale but not the decay, so no λ makes them equal.",
    "momentum": "None exactly: momentum carries a penalty's gradient over many steps, a decay acts at once. In the "
    "long run the penalty shrinks weights about 1/(1 − μ) times as fast.",
    "schedule": "None exactly: with momentum and a changing learning rate, MXNet and Keras keep the rate inside the "
    "velocity, PyTorch and Optax outside. The objective has the same λ, the paths part.",
    "short": "None exactly: a batch of another size weighs differently here and there, and momentum or Adam's averages "
    "carry it into the next steps.",
    "solution": "None: a ridge solution takes no steps, so it has no decay per step. Convert to a penalty first.",
}


def convert(
    lambd, source, target, *, lr=None, n=None, batch_size=None, m=None, epochs=None, momentum=0.0, optimizer=None,
    schedule=False, loss="half-mean", target_loss="half-mean",
) -> Equal:  # fmt: skip
    """Return the λ of form `target` that trains the same model as `lambd` of form `source`, both names in `FORMS`.

    lr, n, batch_size, epochs: learning rate, training samples, batch size and number of epochs, where the forms ask
        for them. m: samples in this batch, if it is a short one. momentum: of SGD, the same on both sides.
    optimizer: "sgd" or "adam"; by default what the two forms imply, and SGD where they imply nothing.
    schedule: whether the learning rate changes during training.
    loss, target_loss: a name in `LOSSES`, the squared (or other) loss per sample with or without its ½, as a mean or
        a sum over the batch; ignored by forms that fix it. With SGD another scale of the loss asks for another
        learning rate too, which is returned.

    Raises NoEquivalent where there is none, and ValueError for an unknown form, a missing quantity or a number that
    makes no sense, each in one sentence. Sources: the documentation of each framework; Loshchilov and Hutter,
    "Decoupled weight decay regularization" (1711.05101), for `paper` and `lambda-norm`.
    """
    for form in (source, target):
        _known("form", form, FORMS)
    for name in (loss, target_loss):
        _known("loss", name, LOSSES)
    given = {"lambd": lambd, "lr": lr, "n": n, "batch_size": batch_size, "m": m, "epochs": epochs}
    given["momentum"] = momentum
    for name, value in given.items():
        if value is not None:
            NUMBERS[name].check(value)
    if optimizer is None:
        implied = [FORMS[form].optimizers for form in (source, target)]
        optimizer = next((names[0] for names in implied if len(names) == 1), "sgd")
    _known("optimizer", optimizer, ("sgd", "adam"))
    answer = _answers()[_case(optimizer, momentum > 0, schedule), source, target]
    if isinstance(answer, str):
        raise NoEquivalent(REASONS[answer])

    (half, summed), (target_half, target_summed) = LOSSES[loss], LOSSES[target_loss]
    values = given | {"two": 2, "half": half, "target_half": target_half, "m": batch_size if m is None else m}
    powers = {name: _flat(powers, summed, target_summed) for name, powers in answer.items()}
    if "m" in powers["scale"] and values["m"] != batch_size and (optimizer == "adam" or momentum > 0):
        raise NoEquivalent(REASONS["short"])
    lacking = [name for name in powers["lambd"] if values[name] is None]
    if lacking:
        wanted = " and ".join(dict.fromkeys(_asked(name).label for name in lacking))
        raise ValueError(f"To get from “{FORMS[source].title}” to “{FORMS[target].title}”, give the {wanted}.")
    known = "lr" in powers and not [name for name in powers["lr"] if values[name] is None]
    new_lr = _product(powers["lr"], values) if known else None
    return Equal(lambd * _product(powers["lambd"], values), new_lr, FORMS[target].remark)


class Converter(Form):
    """The converter as a form on the page."""

    _esm = read_script("convert.js")


def converter(**values) -> Converter:
    """Return a form that shows a λ in every convention; `values` are its first contents, named as in `convert`."""
    titles = {"Penalty, part of the gradient": "penalty", "Decay, beside the gradient": "decay"}
    groups = {
        group: {name: form.title for name, form in FORMS.items() if form.family == family}
        for group, family in titles.items()
    }
    losses = {
        "half-mean": "mean of ½(ŷ − y)², or cross-entropy",
        "mean": "mean of (ŷ − y)²",
        "half-sum": "sum of ½(ŷ − y)², or of cross-entropy",
        "sum": "sum of (ŷ − y)²",
    }
    fields = {
        "lambd": NUMBERS["lambd"],
        "source": Choice("stands in", groups),
        "optimizer": Choice("optimizer", {"sgd": "SGD", "adam": "Adam"}),
        "schedule": Choice("learning rate is", {"": "constant", "yes": "scheduled"}),
        "loss": Choice("your loss", losses),
        "target_loss": Choice("loss of the answers", losses),
        **{name: number for name, number in NUMBERS.items() if name != "lambd"},
    }
    answers = list({repr(answer): answer for answer in _answers().values()}.values())
    table = {
        "names": list(FORMS),
        "forms": {name: form._asdict() for name, form in FORMS.items()},
        "groups": {family: group for group, family in titles.items()},
        "losses": LOSSES,
        "reasons": REASONS,
        "symbols": {name: _asked(name).symbol for name in NUMBERS},
        "answers": answers,
        "cases": {
            case: {source: [answers.index(_answers()[case, source, target]) for target in FORMS] for source in FORMS}
            for case in dict.fromkeys(case for case, _, _ in _answers())
        },
    }
    start = {"lambd": 0.01, "source": "penalty", "optimizer": "sgd", "schedule": "", "momentum": 0}
    start |= {"loss": "half-mean", "target_loss": "half-mean"}
    return Converter("The λ converter", fields, table, start | values)


def _known(what, name, names) -> None:
    if name not in names:
        raise ValueError(f"There is no {what} {name!r}; there are {', '.join(names)}.")


def _asked(name) -> Number:
    """What to ask for where this number is missing: m is B unless it is given."""
    return NUMBERS["batch_size" if name == "m" else name]


def _case(optimizer, momentum, schedule) -> str:
    """The part of the answer that does not depend on numbers: Adam, or SGD with what changes its path."""
    return "adam" if optimizer == "adam" else "sgd" + " momentum" * momentum + " schedule" * (momentum and schedule)


@functools.cache
def _answers() -> dict:
    """{(case, source, target): {"lambd": powers, "scale": powers, "lr": powers, if any}, or the name of a reason}."""
    cases = ("sgd", "sgd momentum", "sgd momentum schedule", "adam")
    return {key: _answer(*key) for key in itertools.product(cases, FORMS, FORMS)}


def _answer(case, source, target):
    s, t = FORMS[source], FORMS[target]
    optimizer = case.split()[0]
    if optimizer not in s.optimizers or optimizer not in t.optimizers:
        return "optimizer"
    if s.family != t.family:
        if "ridge" in (source, target):
            return "solution"
        if case != "sgd":
            return "adam" if case == "adam" else "momentum"
    if case.endswith("schedule") and None not in (s.folds, t.folds) and s.folds != t.folds:
        return "schedule"
    target_scale = {f"target_{name}" if name in ("half", "count") else name: power for name, power in t.scale.items()}
    ratio = _sum((1, s.scale), (-1, target_scale))  # how many times larger the loss here is than the loss there
    lr = _sum((1, {"lr": 1}), (1, ratio if optimizer == "sgd" else {}))
    there = _sum((1, t.power), (t.power.get("lr", 0), _sum((1, lr), (-1, {"lr": 1}))))
    lambd = _sum((1, there), (-1, s.power), *{
        ("penalty", "penalty"): [(-1, ratio)],
        ("penalty", "decay"): [(1, {"lr": 1})],
        ("decay", "penalty"): [(-1, {"lr": 1}), (-1, ratio)],
        ("decay", "decay"): [],
    }[s.family, t.family])  # fmt: skip
    answer = {"lambd": lambd, "scale": ratio}
    return answer if "ridge" in (source, target) else answer | {"lr": lr}  # a solution has no learning rate


def _sum(*terms) -> dict[str, float]:
    """The powers of a product of powers: each term a (exponent, {quantity: power})."""
    total = Counter()
    for times, powers in terms:
        for name, power in powers.items():
            total[name] += times * power
    return {name: power for name, power in total.items() if power}


def _flat(powers, summed, target_summed) -> dict[str, float]:
    """The same powers, with the number of samples that a loss is summed over as m, or as 1 where it is a mean."""
    counts = {"count": {"m": 1} if summed else {}, "target_count": {"m": 1} if target_summed else {}}
    return _sum(*((power, counts.get(name, {name: 1})) for name, power in powers.items()))


def _product(powers, values) -> float:
    return math.prod(values[name] ** power for name, power in powers.items())
