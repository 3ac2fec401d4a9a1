"""What `weight_decay` is to an optimizer, PyTorch's or another's, and what a run of it leaves of a weight."""

import copy
import functools
import inspect
import math
from typing import NamedTuple

import torch
from torch import nn

from weightdecay.diagnose import decayed, learning_rates


class Meaning(NamedTuple):
    """What `weight_decay` is to an optimizer of PyTorch.

    kind: "decoupled", w ← (1 − ηλ)w beside the step; "coupled", λw added to the gradient, and so to the momentum;
        "normalised", λw added to the gradient, which is then divided by its own size; "none", no weight decay.
    default: λ, unless told otherwise. flag: the option that makes it decoupled, or "".
    """

    kind: str
    default: float = 0.0
    flag: str = ""


FLAG = "decoupled_weight_decay"
MEANINGS = {
    "SGD": Meaning("coupled"),
    "ASGD": Meaning("coupled"),  # whose own `lambd` shrinks by ηλ too
    "Adadelta": Meaning("normalised"),
    "Adagrad": Meaning("normalised"),
    "Adam": Meaning("normalised", flag=FLAG),
    "Adamax": Meaning("normalised"),
    "NAdam": Meaning("normalised", flag=FLAG),
    "RAdam": Meaning("normalised", flag=FLAG),
    "RMSprop": Meaning("normalised"),
    "AdamW": Meaning("decoupled", 0.01),
    "Adafactor": Meaning("decoupled"),
    "Muon": Meaning("decoupled", 0.1),
    "LBFGS": Meaning("none"),
    "Rprop": Meaning("none"),
    "SparseAdam": Meaning("none"),
}
GPU = ("foreach", "fused", "capturable", "differentiable")  # settings that say how to compute, not what
SAMPLE = 64  # about so many weights of a group are followed where they do not all shrink alike


class Decay(NamedTuple):
    """How a group decays; step: what a step takes of a weight in the long run, at the highest η. NaN: not known."""

    kind: str
    lr: float
    lambd: float
    momentum: float
    step: float
    why: str


def decay_of(optimizer, group) -> Decay:
    """Say how the optimizer decays this group; one that is not PyTorch's is tried out."""
    theirs, why = type(optimizer), ""
    lr = group.get("max_lr", group.get("initial_lr", group.get("lr")))  # max_lr is OneCycleLR's
    lambd = group.get("weight_decay", math.nan)
    lr, lambd = math.nan if lr is None else float(lr), float(lambd)
    if _is_known(optimizer):
        kind = "decoupled" if group.get(FLAG) else MEANINGS[theirs.__name__].kind
    elif math.isnan(lambd) or math.isnan(lr):
        kind, why = "not known", "its groups have no weight_decay or no lr"
    else:
        kind, why = _tried(optimizer, group)
    lambd = 0.0 if kind == "none" else lambd + (group["lambd"] if theirs is torch.optim.ASGD else 0)
    momentum = 1.0 if kind in ("decoupled", "λ itself") or theirs is torch.optim.ASGD else math.nan
    if theirs is torch.optim.SGD:
        mu = group["momentum"]
        momentum = (1 - group["dampening"]) / (1 - mu) if mu else 1.0
    step = lambd * momentum * (1 if kind == "λ itself" else lr)
    return Decay(kind, lr, lambd, momentum, 0.0 if lambd == 0 else step, why)


def _is_known(optimizer) -> bool:
    return (
        type(optimizer) is getattr(torch.optim, type(optimizer).__name__, None) and type(optimizer).__name__ in MEANINGS
    )


def _twin(optimizer, group, weight, **changes) -> torch.optim.Optimizer:
    """An optimizer of the same class, with the same settings, of this weight alone."""
    settings = {name: value for name, value in group.items() if name not in ("params", "param_names", "names")}
    settings = copy.deepcopy(settings | changes)
    settings |= {name: None if name in ("foreach", "fused") else False for name in GPU if name in settings}
    accepted = inspect.signature(type(optimizer)).parameters
    twin = type(optimizer)([weight], **{name: settings[name] for name in accepted if name in settings})
    twin.param_groups[0].update(settings)
    return twin


def _tried(optimizer, group) -> tuple[str, str]:
    """Find out by steps on a weight of 1 how an unknown optimizer decays; return the kind, and why it is not known."""
    lr, lambd = 0.01, 0.1

    def lost(gradient, steps, lambd=lambd, dtype=torch.double):
        weight = nn.Parameter(torch.ones(2, 1, dtype=dtype))
        rates = {"lr": lr, "initial_lr": lr} if "initial_lr" in group else {"lr": lr}
        twin = _twin(optimizer, group, weight, weight_decay=lambd, **rates)
        for _ in range(steps):
            weight.grad = torch.full_like(weight, gradient)
            twin.step()
        return 1 - weight.mean().item()

    try:
        for dtype in {p.dtype for p in group["params"]}:
            lost(0, 1, dtype=dtype)
        once, thrice, beside = lost(0, 1), lost(0, 3), lost(1, 1) - lost(1, 1, lambd=0.0)
    except Exception as error:  # another's code: whatever it needs that a lone weight on the CPU lacks
        return "not known", f"{type(error).__name__}: {error}"
    same = functools.partial(math.isclose, rel_tol=1e-6, abs_tol=1e-12)
    if same(once, 0) and same(beside, 0):
        return "none", ""
    if not same(once, beside):
        return ("normalised", "") if abs(beside) < abs(once) / 2 else ("not known", "it depends on the gradient")
    if same(once, lambd):
        return "λ itself", ""
    if not same(once, lr * lambd):
        return "not known", f"of a weight of 1, η = {lr:g} and λ = {lambd:g} take {once:g}"
    return ("decoupled" if same(thrice, 1 - (1 - once) ** 3) else "coupled"), ""


def left_of(optimizer, group, decay, params, steps, schedule) -> tuple[float, float]:
    """What the run leaves of a weight (a median), and what the formula says, without rounding; NaN where not known."""
    if decay.lambd == 0:
        return 1.0, math.nan
    if steps is None or math.isnan(decay.lambd + decay.lr) or decay.kind == "not known":
        return math.nan, math.nan
    if callable(schedule):
        rates = [decay.lr * float(schedule(t)) for t in range(steps)]
    else:
        rates = list(learning_rates(decay.lr, steps, schedule))
    formula, theirs = math.nan, type(optimizer)
    if decay.kind == "decoupled" or theirs is torch.optim.SGD:
        options = ()
        if theirs is torch.optim.SGD:
            options = (group["momentum"], 1 - group["dampening"] if group["momentum"] else 1.0, group["nesterov"])
        for _, formula in decayed(rates, decay.lambd, *options):
            pass
        if _is_known(optimizer) and not 0 < decay.step < 100 * torch.finfo(params[0].dtype).eps:
            return formula, formula
    weight = nn.Parameter(_sample(params))
    start, twin = weight.detach().clone(), _twin(optimizer, group, weight)
    fine = torch.promote_types(weight.dtype, torch.double)
    for rate in rates:
        if decay.kind == "decoupled" and _is_known(optimizer):
            weight.data.mul_(1 - rate * decay.lambd)  # as all of these do it, rounding included, and much faster
            continue
        weight.grad = torch.zeros_like(weight)
        twin.param_groups[0]["lr"] = rate
        twin.step()
    return (weight.detach().to(fine) / start.to(fine)).real.nanmedian().item(), formula


def _sample(params) -> torch.Tensor:
    """About SAMPLE of the weights in these tensors, evenly spread, as a matrix of one column on the CPU."""
    if any(p.is_meta for p in params):
        return torch.ones(2, 1, dtype=params[0].dtype)
    every, passed, pieces = max(1, sum(p.numel() for p in params) // SAMPLE), 0, []
    for p in params:
        local = p.to_local() if hasattr(p, "to_local") else p
        pieces.append(local.detach().reshape(-1)[-passed % every :: every].cpu())
        passed += local.numel()
    sample = torch.cat(pieces)[:, None]
    return sample if sample.any() else torch.ones_like(sample)
