"""Which parameters of a model should decay: the rule, and `parameter_groups`, which gives it to an optimizer."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

from weightdecay.convert import NUMBERS

FLAT = 2**20  # a vector longer than this is many tensors in one
FLAT_ADVICE = (
    "a flat parameter, many tensors in one vector or a piece of that: its shape tells no bias or gain from a matrix. "
    "Use FSDP2 (fully_shard); or note the names of the groups before wrapping, and wrap with use_orig_params=True, "
    "which keeps names but no shapes."
)
BIAS = re.compile(r"(^|_)bias(es)?(_|$)")  # bias, q_bias, in_proj_bias, bias_ih_l0, pos_bias_u
SCALE = re.compile(r"scale|temperature")
TOKEN = re.compile(r"(?<!embed)(^|_)tokens?$|(^|_)registers?$")  # cls_token, register_tokens; not embed_tokens
POSITION = re.compile(
    r"(^|_)pos\w*(emb|enc)|emb\w*_pos|rel(ative)?_(pos|attention_bias|emb)|^wpe$|(^|_)(pos|positions?|positional|pe)$"
)
NORM = re.compile(r"Norm(\dd)?$")
LAYERS = nn.Linear, nn.modules.conv._ConvNd, nn.utils.parametrize.ParametrizationList


class Place(NamedTuple):
    """Where a parameter stands in a model: all its names, the modules of which it is a direct parameter, and whether
    the model marks it as not to be decayed.
    """

    names: list[str]
    owners: list[nn.Module | None]
    marked: bool


def places(model: nn.Module) -> dict[torch.Tensor, Place]:
    """The place of each parameter, a tied one under its first name."""
    found, marked = {}, set()
    for path, module in model.named_modules(remove_duplicate=False):
        if callable(getattr(module, "no_weight_decay", None)):  # timm's models have it
            marked |= {f"{path}.{name}".lstrip(".") for name in module.no_weight_decay()}
        for name, p in module.named_parameters(recurse=False, remove_duplicate=False):
            names, owners = found.setdefault(p, ([], []))
            names.append(f"{path}.{name}".lstrip("."))
            owners.append(module)
    return {p: Place(*at, is_marked(p) or not marked.isdisjoint(at[0])) for p, at in found.items()}


def is_marked(p) -> bool:
    """Whether the parameter carries the mark of Mamba's authors."""
    return getattr(p, "_no_weight_decay", False)


def is_flat(p, name: str) -> bool:
    """Whether it is many tensors laid out in one vector, as FSDP1 and ZeRO do, or a piece of that."""
    return getattr(p, "_is_flat_param", False) or (p.dim() == 1 and (p.numel() > FLAT or "_fsdp_wrapped" in name))


def spared(p: torch.Tensor, place: Place) -> str:
    """Return why a parameter should not decay: "bias", "gain", "scale", "token", "position", "marked"; or "".

    The rule: spare what the model marks, and Mamba's A_log; what has the word bias in its own name; learnt tokens and
    position tables; every vector; a tensor (1, …, 1, d) or (d, 1, 1) that is no layer's weight, as LayerScale and the
    gains of images are; and what belongs to a class whose name ends in Norm.
    """
    for name, owner in zip(place.names, place.owners, strict=True):
        path, _, last = name.rpartition(".")
        layer = isinstance(owner, LAYERS)
        table = path.rpartition(".")[2] if last == "weight" and not layer else last  # an embedding's own name
        vector = p.dim() < 2 or (p.dim() > 2 and sum(n > 1 for n in p.shape) < 2 and not layer and owner is not None)
        if place.marked or last == "A_log":
            return "marked"
        if POSITION.search(table):
            return "position"
        if BIAS.search(last):
            return "bias"
        if TOKEN.search(table):
            return "token"
        if vector or NORM.search(type(owner).__name__):
            return "scale" if SCALE.search(last) else "gain"
    return ""


def parameter_groups(model: nn.Module, lambd: float, *, spare: Iterable[str] = ()) -> list[dict]:
    """Return two groups for any optimizer of PyTorch: what decays by `lambd`, and what should not decay.

    >>> decayed, spared = weightdecay.parameter_groups(model, 0.1, spare=["embed", "head.weight"])
    >>> print(spared["names"])
    >>> optimizer = torch.optim.AdamW([decayed, spared], lr=1e-3)

    model: an nn.Module, also on the meta device. lambd: λ, as the optimizer means it.
    spare: what else to spare: names of parameters, or of modules with all that is in them.

    Each group is a dict of params, weight_decay and names; it may be empty. Every parameter that is trained
    (requires_grad) stands in one of them, once, a tied one under its first name. Spared are biases, gains and whatever
    else is a vector, learnt tokens, position tables, and what the model marks (`no_weight_decay()`,
    `_no_weight_decay`, A_log). `weightdecay.audit` has nothing to say against it, but for LoRA's factors and tables
    that hide behind a tied layer: name those in `spare` if you mean to.
    Raises ValueError, in one sentence, for a λ below 0, a name that the model lacks, a flat parameter, and lazy ones.
    """
    lambd = NUMBERS["lambd"].read(lambd)
    spare, found = [spare] if isinstance(spare, str) else list(spare), places(model)
    refuse_lazy(found)
    for wanted in spare:
        if not any(_within(name, wanted) for place in found.values() for name in place.names):
            raise ValueError(f"The model has no parameter and no module called {wanted!r}, which spare names.")
    groups = [{"params": [], "weight_decay": value, "names": []} for value in (lambd, 0.0)]
    for p, place in found.items():
        if not p.requires_grad:
            continue
        if is_flat(p, place.names[0]):
            raise ValueError(f"{place.names[0]} is {FLAT_ADVICE}")
        asked = any(_within(name, wanted) for name in place.names for wanted in spare)
        group = groups[asked or spared(p, place) != ""]
        group["params"].append(p)
        group["names"].append(place.names[0])
    return groups


def refuse_lazy(params) -> None:
    """Raise ValueError where a parameter has no shape yet."""
    if any(map(nn.parameter.is_lazy, params)):
        raise ValueError("Some parameters have no shape yet: send a batch through the model first.")


def _within(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(wanted + ".")
