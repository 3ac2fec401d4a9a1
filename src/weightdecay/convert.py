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

from weightdecay.form import Choice, Form, Number, pick, read_script


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
    scale: the same for the factor by which the loss here exceeds the mean ½ loss, summed over the outputs.
    folds: whether momentum holds the learning rate inside the velocity; None where that is up to the reader's loop.
    follows: whether the shrink of a step goes down with the learning rate.
    solves: whether the form is about the minimiser alone, and takes no steps that could be compared.
    inverse: whether what stands in the form, like C, is 1 over what `power` and `scale` say.
    loss: the only loss that the form takes: "squared", "cross-entropy", or "" for any.
    remark: a condition that holds whichever way one converts, or what to write.
    """

    title: str
    code: str
    family: str
    power: dict[str, float]
    scale: dict[str, float]
    optimizers: tuple[str, ...] = ("sgd", "adam")
    folds: bool | None = None
    follows: bool = True
    solves: bool = False
    inverse: bool = False
    loss: str = ""
    remark: str = ""


YOURS = {"half": 1, "count": 1}  # the loss as the reader has it
MEAN = {"half": 1, "outputs": -1}  # a mean whatever the reader says
PER_LR = {"lr": -1}
MINIMISER = "The minimiser, not the path: train to the end, and spare the bias."

FORMS = {
    "penalty-over-n": LambdaForm("loss + λ/(2n) ‖w‖²", "", "penalty", {"n": 1}, YOURS),
    "penalty": LambdaForm("loss + λ/2 ‖w‖²", "this book", "penalty", {}, YOURS),
    "penalty-per-sample": LambdaForm(
        "λ/2 ‖w‖² added to each sample's loss, summed, divided by B", "Dive into Deep Learning, from scratch",
        "penalty", {"batch_size": 1, "m": -1}, {"half": 1, "outputs": -1, "m": 1, "batch_size": -1},
        remark="Holds for batches of m samples: a shorter last batch decays less, and learns less.",
    ),
    "keras-l2": LambdaForm(
        "loss + λ ‖w‖²", "Keras: kernel_regularizer=L2(λ)", "penalty", {"two": -1}, YOURS, folds=True,
    ),
    "ridge": LambdaForm(
        "‖Xw − y‖² + α ‖w‖²", "scikit-learn: Ridge(alpha=α)", "penalty", {"two": -1}, {"two": 1, "n": 1},
        solves=True, loss="squared", remark=MINIMISER + " The loss is the squared error.",
    ),
    "logistic": LambdaForm(
        "C × sum of cross-entropies + ½ ‖w‖²", "scikit-learn: LogisticRegression(C=C)", "penalty", {"n": 1}, {},
        solves=True, inverse=True, loss="cross-entropy",
        remark=MINIMISER + " For two classes the other model has one output, with a sigmoid.",
    ),
    "sklearn-sgd": LambdaForm(
        "scikit-learn's linear models by SGD", "SGDClassifier or SGDRegressor(alpha=α)", "penalty", {}, {},
        solves=True,
        remark=MINIMISER + " Their SGD takes one sample at a time, and SGDClassifier's default rate depends on α too.",
    ),
    "mlp": LambdaForm(
        "scikit-learn's networks", "MLPClassifier or MLPRegressor(alpha=α)", "penalty", {"m": 1}, {}, folds=True,
        remark="α is divided by the samples in the batch, by all n with solver='lbfgs', so a short batch decays more.",
    ),
    "gluon": LambdaForm(
        "MXNet and Gluon", "Trainer(…, {'wd': λ}), step(m)", "penalty", {}, MEAN, folds=True,
        remark="Give step() the number of samples in the batch; biases decay too unless their wd_mult is 0.",
    ),
    "torch-sgd": LambdaForm("PyTorch SGD", "optim.SGD(weight_decay=λ)", "penalty", {}, YOURS, ("sgd",), False),
    "torch-adam": LambdaForm(
        "PyTorch Adam", "optim.Adam(weight_decay=λ)", "penalty", {}, YOURS, ("adam",), False,
        remark="NAdam, RAdam, Adamax, Adagrad, Adadelta and RMSprop do the same.",
    ),
    "optax-penalty": LambdaForm(
        "Optax, before the optimizer", "chain(add_decayed_weights(λ), sgd(η))", "penalty", {}, YOURS, folds=False,
        remark="In the chain it stands first; behind the optimizer it would make weights grow.",
    ),
    "decoupled": LambdaForm(
        "any optimizer that decays by ηλ", "w ← (1 − ηλ) w beside its step", "decay", PER_LR, YOURS,
        remark="PyTorch: AdamW, Muon (λ = 0.1 by default), Adafactor, and Adam, NAdam and RAdam with "
        "decoupled_weight_decay=True. Lion. Adam in bitsandbytes, and in DeepSpeed unless adam_w_mode is false.",
    ),
    "torch-adamw": LambdaForm("PyTorch AdamW", "optim.AdamW(weight_decay=λ)", "decay", PER_LR, YOURS, ("adam",), False),
    "optax-adamw": LambdaForm(
        "Optax AdamW", "adamw(η, weight_decay=λ)", "decay", PER_LR, YOURS, ("adam",), False,
        remark="By hand: chain(scale_by_adam(), add_decayed_weights(λ), scale_by_learning_rate(η)), in this order.",
    ),
    "keras-decay": LambdaForm(
        "Keras 3 optimizers", "SGD, Adam, AdamW, Lion, …(weight_decay=λ)", "decay", PER_LR, YOURS, folds=True,
        remark="Biases and gains decay too, unless optimizer.exclude_from_weight_decay(var_names=['bias', 'gamma', "
        "'beta']) comes before training. Ftrl and ScheduleFreeAdamW decay otherwise.",
    ),
    "paper": LambdaForm(
        "AdamW and SGDW as in their paper", "Composer: DecoupledAdamW, DecoupledSGDW(weight_decay=λ)", "decay", {},
        YOURS, remark="λ is not multiplied by η, the rate that the optimizer is made with; both follow the schedule.",
    ),
    "unscheduled": LambdaForm(
        "AdamW and SGDW of TensorFlow Addons", "AdamW(weight_decay=λ)", "decay", {}, YOURS, folds=True, follows=False,
        remark="λ is not multiplied by η, and no schedule of η changes it: give λ the same schedule. So too in Optax: "
        "adafactor(weight_decay_rate=λ).",
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
WHOLE = "a whole number above 0"
NUMBERS = {
    "lambd": Number("λ", "λ", "a negative λ makes weights grow", NOT_NEGATIVE, low=0),
    "lr": Number("η", "learning rate η", "the rate you train with", POSITIVE, above=0),
    "momentum": Number("μ", "momentum μ", "of SGD; 0 if left out", "a number from 0 to below 1", low=0, below=1),
    "n": Number("n", "training samples n", "", WHOLE, above=0, whole=True, counts=True),
    "batch_size": Number("B", "batch size B", "", WHOLE, above=0, whole=True, counts=True),
    "m": Number(
        "m", "samples m in this batch", "B, but for a short last batch", WHOLE, above=0, whole=True, counts=True
    ),
    "outputs": Number(
        "k", "outputs k that the loss averages", "1, or where it sums them", WHOLE, above=0, whole=True, counts=True
    ),
    "epochs": Number("T", "epochs T", "", POSITIVE, above=0, counts=True),
}
C = Number("C", "", "", POSITIVE, above=0)  # what λ is called in a form that has its inverse
SCHEDULE = Choice("learning rate is", {False: "constant", True: "scheduled"})

REASONS = {
    "optimizer": "None: the one form is an SGD, the other an Adam, and they train different models at any λ.",
    "adam": "None: Adam divides the penalty's gradient by its own scale but not the decay, so no λ makes them equal.",
    "momentum": "None exactly: momentum carries a penalty's gradient over many steps, a decay acts at once. In the "
    "long run the penalty shrinks weights about 1/(1 − μ) times as fast.",
    "schedule": "None exactly: with momentum and a changing learning rate, MXNet, Keras and scikit-learn keep the rate "
    "inside the velocity, PyTorch and Optax outside. The objective has the same λ, the paths part.",
    "follows": "None: in the one form the decay goes down with the learning rate, in the other it stays as it is, "
    "unless λ is given the same schedule.",
    "short": "None exactly: a batch of another size weighs differently here and there, and momentum or Adam's averages "
    "carry it into the next steps.",
    "solution": "None: a minimiser takes no steps, so it has no decay per step. Convert to a penalty first.",
    "loss": "None: the one form takes cross-entropy only, the other loss is a squared error.",
}
RANGE = "No number that a computer holds: one of those given is far too large or too small."
ONE_OUTPUT = "For one output, or a loss that sums over them: where it averages over k outputs, give k."


def convert(
    lambd, source, target, *, lr=None, n=None, batch_size=None, m=None, outputs=None, epochs=None, momentum=None,
    optimizer=None, schedule=False, loss="half-mean", target_loss="half-mean",
) -> Equal:  # fmt: skip
    """Return the λ of form `target` that trains the same model as `lambd` of form `source`, both names in `FORMS`.

    lr, n, batch_size, epochs: learning rate, training samples, batch size and number of epochs, where the forms ask
        for them. m: samples in this batch, if it is a short one. outputs: over how many outputs the losses are
        averaged, as `nn.MSELoss` does; 1, the default, where they are summed, as cross-entropy is over its classes.
        momentum: of SGD, the same on both sides, and Nesterov's or not on both; None is 0. No dampening.
    optimizer: "sgd", or "adam" for Adam and its kin; by default what the two forms imply, and SGD where they imply
        nothing. schedule: whether the learning rate changes during training.
    loss, target_loss: a name in `LOSSES`, the squared (or other) loss with or without its ½, as a mean over batch and
        outputs or a sum over both; ignored by forms that fix it. With SGD another scale of the loss asks for another
        learning rate too, which is returned.

    A number may be of Python, NumPy or PyTorch; n, batch_size, m and outputs are whole, epochs need not be.
    Raises NoEquivalent where there is none, and ValueError for an unknown form, a missing quantity or a number that
    makes no sense, each in one sentence. Sources: the code of each framework; Loshchilov and Hutter, "Decoupled weight
    decay regularization" (1711.05101), for `paper` and `lambda-norm`.
    """
    source, target = pick("form", source, FORMS), pick("form", target, FORMS)
    loss, target_loss = pick("loss", loss, LOSSES), pick("loss", target_loss, LOSSES)
    given = {"lr": lr, "n": n, "batch_size": batch_size, "m": m, "outputs": outputs, "epochs": epochs}
    given |= {"momentum": momentum}
    given = {name: None if value is None else NUMBERS[name].read(value) for name, value in given.items()}
    given["lambd"] = (C if FORMS[source].inverse else NUMBERS["lambd"]).read(lambd)
    if optimizer is None:
        implied = [FORMS[form].optimizers for form in (source, target)]
        optimizer = next((names[0] for names in implied if len(names) == 1), "sgd")
    moves = optimizer == "sgd" and bool(given["momentum"])
    case = _case(pick("optimizer", optimizer, ("sgd", "adam")), moves, pick("schedule", schedule, (False, True)))
    answer = _answers()[case, source, target]
    if isinstance(answer, str):
        raise NoEquivalent(REASONS[answer])

    (half, summed), (target_half, target_summed) = LOSSES[loss], LOSSES[target_loss]
    values = given | {"two": 2, "half": half, "target_half": target_half, "outputs": given["outputs"] or 1}
    values["m"] = given["batch_size"] if m is None else given["m"]
    powers = {name: _flat(powers, summed, target_summed) for name, powers in answer.items()}
    scales = {name: values[name] for name in powers["scale"]}
    if "cross-entropy" in (FORMS[source].loss, FORMS[target].loss) and 2 in (
        scales.get("half"), scales.get("target_half")
    ):  # fmt: skip
        raise NoEquivalent(REASONS["loss"])
    if "m" in scales and values["m"] != given["batch_size"] and (optimizer == "adam" or moves):
        raise NoEquivalent(REASONS["short"])
    lacking = [name for name in powers["lambd"] if values[name] is None]
    if lacking:
        wanted = " and ".join(dict.fromkeys(_asked(name).label for name in lacking))
        raise ValueError(f"To get from “{FORMS[source].title}” to “{FORMS[target].title}”, give the {wanted}.")
    known = "lr" in powers and not [name for name in powers["lr"] if values[name] is None]
    found, new_lr = _product(powers["lambd"], values), _product(powers["lr"], values) if known else None
    if found is None or (known and new_lr is None):
        raise ValueError(RANGE)
    remarks = [FORMS[source].remark, FORMS[target].remark]
    if outputs is None and any("outputs" in powers[name] for name in ("lambd", "lr") if name in powers):
        remarks.append(ONE_OUTPUT)
    return Equal(found, new_lr, " ".join(dict.fromkeys(filter(None, remarks))))


class Converter(Form):
    """The converter as a form on the page."""

    lines = 55
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
        "optimizer": Choice("optimizer", {"sgd": "SGD", "adam": "Adam or its kin"}),
        "schedule": SCHEDULE,
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
        "inverse_zero": f"{C.symbol} must be {C.rule}, but it is 0.",
        "range": RANGE,
        "one_output": ONE_OUTPUT,
        "symbols": {name: _asked(name).symbol for name in NUMBERS},
        "answers": answers,
        "cases": {
            case: {source: [answers.index(_answers()[case, source, target]) for target in FORMS] for source in FORMS}
            for case in dict.fromkeys(case for case, _, _ in _answers())
        },
    }
    start = {"lambd": 0.01, "source": "penalty", "optimizer": "sgd", "schedule": False, "momentum": 0}
    start |= {"loss": "half-mean", "target_loss": "half-mean"}
    return Converter("The λ converter", fields, table, start | values)


def _asked(name) -> Number:
    """What to ask for where this number is missing: m is B unless it is given."""
    return NUMBERS["batch_size" if name == "m" else name]


def _case(optimizer, moves, schedule) -> str:
    """The part of the answer that does not depend on numbers: the optimizer with what changes its path."""
    return optimizer + " momentum" * moves + " schedule" * schedule


@functools.cache
def _answers() -> dict:
    """{(case, source, target): {"lambd": powers, "scale": powers, "lr": powers, if any}, or the name of a reason}."""
    cases = [("sgd", False), ("sgd", True), ("adam", False)]
    cases = [_case(*case, schedule) for case in cases for schedule in (False, True)]
    return {key: _answer(*key) for key in itertools.product(cases, FORMS, FORMS)}


def _answer(case, source, target):
    s, t = FORMS[source], FORMS[target]
    optimizer, *path = case.split()
    if optimizer not in s.optimizers or optimizer not in t.optimizers:
        return "optimizer"
    if s.loss and t.loss and s.loss != t.loss:
        return "loss"
    if s.family != t.family:
        if s.solves or t.solves:
            return "solution"
        if optimizer == "adam":
            return "adam"
        if "momentum" in path:
            return "momentum"
    if "schedule" in path:
        if s.follows != t.follows:
            return "follows"
        if "momentum" in path and None not in (s.folds, t.folds) and s.folds != t.folds:
            return "schedule"
    target_scale = {f"target_{name}" if name in ("half", "count") else name: power for name, power in t.scale.items()}
    ratio = _sum((1, s.scale), (-1, target_scale))  # how many times larger the loss here is than the loss there
    lr = _sum((1, {"lr": 1}), (1, ratio if optimizer == "sgd" else {}))
    there = _sum((1, t.power), (t.power.get("lr", 0), _sum((1, lr), (-1, {"lr": 1}))))
    factor = _sum((1, there), (-1, s.power), *{
        ("penalty", "penalty"): [(-1, ratio)],
        ("penalty", "decay"): [(1, {"lr": 1})],
        ("decay", "penalty"): [(-1, {"lr": 1}), (-1, ratio)],
        ("decay", "decay"): [],
    }[s.family, t.family])  # fmt: skip
    here = -1 if s.inverse else 1
    lambd = _sum((-1 if t.inverse else 1, _sum((here, {"lambd": 1}), (1, factor))))
    answer = {"lambd": lambd, "scale": ratio}
    return answer if s.solves or t.solves else answer | {"lr": lr}  # a minimiser has no learning rate


def _sum(*terms) -> dict[str, float]:
    """The powers of a product of powers: each term a (exponent, {quantity: power})."""
    total = Counter()
    for times, powers in terms:
        for name, power in powers.items():
            total[name] += times * power
    return {name: power for name, power in total.items() if power}


def _flat(powers, summed, target_summed) -> dict[str, float]:
    """The same powers, with m for the number of samples that a loss is summed over, or 1/k where it is a mean."""
    counts = {"count": {"m": 1} if summed else {"outputs": -1}}
    counts["target_count"] = {"m": 1} if target_summed else {"outputs": -1}
    return _sum(*((power, counts.get(name, {name: 1})) for name, power in powers.items()))


def _product(powers, values) -> float | None:
    """The product, or None where floating-point numbers end; C without a penalty is infinite."""
    try:
        factors = [float(values[name]) ** power for name, power in powers.items()]
    except OverflowError:
        return None
    except ZeroDivisionError:
        return math.inf
    product = math.prod(factors)
    return product if math.isfinite(product) and (product or 0 in factors) else None
