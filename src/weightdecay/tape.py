"""Record a training generator as a tape of calls, which a page without Python can run again at another λ.

The functions marked `traced` are the notes of the tape. Each is translated once, with the backward pass that autograd
wrote in it, into an ONNX graph; the tape says which of them was called when, on what, and what was yielded.
"""

import contextlib
import contextvars
import functools
import itertools
import json
import logging
import warnings
from collections import deque

import numpy as np
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary

TYPES = ("float32", "float64", "int64", "bool")
TOLERANCE = 1e-3  # of a number, and a thousandth of that of the largest of its curve so far
NOISE = 1e-6  # in relation to a number, some times its rounding
ROUNDING = 6e-8  # half of the distance from 1 to the next float32, in relation to the largest number of a tensor
DISTURBANCES = 3  # runs that show how far rounding is magnified
LONGEST = 64  # calls in a period that is looked for
KINDS = 16  # of plain arguments a function may be called with: each is a graph of its own

_listener = contextvars.ContextVar("listener", default=None)


def traced(function):
    """Mark a function whose calls become the notes of a tape while one is recorded; else it is called as it is.

    Its tensors are inputs of a graph. Whatever else it is given, such as a number or a function, is part of the graph.
    It returns a tensor, or a tuple, list or dict of tensors, changes no argument in place and draws no random numbers.
    """

    @functools.wraps(function)
    def call(*args, **kwargs):
        return _call(function, args, kwargs)

    return call


def _call(function, args, kwargs):
    """By its name in this module, so that a traced function can be sent to another process."""
    listener = _listener.get()
    if listener is None:
        return function(*args, **kwargs)
    with listening(None):  # what it calls is part of it
        out = function(*args, **kwargs)
    heard = listener(function, args, kwargs, out)
    return out if heard is None else heard


@contextlib.contextmanager
def listening(listener):
    """Let `listener(function, args, kwargs, out)` hear of each call of a traced function, and answer in its place."""
    token = _listener.set(listener)
    try:
        yield listener
    finally:
        _listener.reset(token)


def record(train, params) -> "Tape":
    """Run `train(**params)` once, each number a 0-dim float32 tensor, and return its tape."""
    tape = Tape(params)
    with listening(tape.add_call):
        for step, values in train(**tape.params):
            tape.add_yield(step, values)
    return tape


class Tape:
    """The calls and yields of one run, as they come; `program` makes of them what a page can run."""

    def __init__(self, params):
        self.params = {name: torch.tensor(float(value), dtype=torch.float32) for name, value in params.items()}
        self.items, self.constants, self.functions, self.calls, self.depth = [], {}, {}, 0, 0
        self.repeatable, self.latest = {}, {}  # calls that need no others, and where they were made last
        self.origin = WeakTensorKeyDictionary()  # of each tensor: its version, and its parameter, constant or call
        for name, tensor in self.params.items():
            self.origin[tensor] = (tensor._version, ["p", name])

    def add_call(self, function, args, kwargs, out):
        leaves, spec = pytree.tree_flatten((args, kwargs))
        refs, used = self.refs(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))
        self.items.append((["call", self.name(function, leaves, spec), refs], used))
        if all(ref[0] != "o" for ref in refs):
            self.repeatable[self.calls] = self.items[-1]
        for i, value in enumerate(pytree.tree_leaves(out)):
            if not isinstance(value, torch.Tensor):
                raise ValueError(f"{function.__name__} returns {value!r:.80}: a traced function returns tensors only.")
            self.origin[value] = (value._version, ["o", self.calls, i])
        self.calls += 1

    def add_yield(self, step, values):
        # By name, since a notebook's JSON may come back with sorted keys, and constants are told apart by their order.
        values = {name: value for name, value in sorted(values.items()) if value is not None}
        refs, used = self.refs(values.values())
        step = step.item() if hasattr(step, "item") else step
        step = int(step) if step == int(step) else step
        self.items.append((["yield", dict(zip(values, refs, strict=True))], (step, *used)))

    def refs(self, values) -> tuple[list, tuple]:
        """Where values come from, and the numbers of those that are constants.

        What was made longer ago, of parameters and constants alone, is made again: so all rounds of a loop look alike.
        """
        refs, used = [], []
        origins = [self.origin_of(value) for value in values]
        for call in dict.fromkeys(origin[1] for origin in origins if origin[0] == "o"):
            if call in self.repeatable and self.latest.get(call, call) < self.calls - 1:
                self.items.append(self.repeatable[call])
                self.latest[call], self.calls = self.calls, self.calls + 1
        for kind, at, *which in origins:
            if kind == "o":
                at = self.calls - self.latest.get(at, at)
                self.depth = max(self.depth, at)
            elif kind == "c":
                used.append(at)
            refs.append(["c"] if kind == "c" else [kind, at, *which])
        return refs, tuple(used)

    def origin_of(self, value) -> list:
        """["p", name], ["o", call, i] or ["c", number]; a tensor that was changed in place is a constant of its own."""
        if not isinstance(value, torch.Tensor):
            return ["c", self.constant(value)]
        version, origin = self.origin.get(value, (-1, None))
        if version != value._version:
            origin = ["c", self.constant(value)]
            self.origin[value] = (value._version, origin)
        return origin

    def constant(self, value) -> int:
        """The number of a constant, of which one copy is kept."""
        array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(float(value))
        if array.dtype.name not in TYPES:
            raise ValueError(f"A tape holds {', '.join(TYPES)}, but here is {array.dtype}: convert it first.")
        return self.constants.setdefault((array.dtype.name, array.shape, array.tobytes()), len(self.constants))

    def name(self, function, leaves, spec) -> str:
        """The name of a function with these plain arguments and these shapes."""
        plain = tuple((type(a), a) for a in leaves if not isinstance(a, torch.Tensor))
        shapes = tuple((a.dtype, a.shape) if isinstance(a, torch.Tensor) else None for a in leaves)
        known = self.functions.setdefault(function, {})
        if (key := (plain, shapes, spec)) not in known:
            if len(known) == KINDS:
                raise ValueError(
                    f"{function.__name__} is called with more than {KINDS} different plain values or shapes, "
                    f"the last {[a for _, a in plain]}: hand what changes from call to call as a tensor."
                )
            others = sum(len(kinds) for one, kinds in self.functions.items() if one.__name__ == function.__name__)
            name = f"{function.__name__} {others + 1}" if others else function.__name__
            kept = [a.detach().clone() if isinstance(a, torch.Tensor) else a for a in leaves]
            known[key] = name, kept
        return known[key][0]

    def program(self) -> dict:
        """What a page can run.

        params: names of the numbers to set, each a 0-dim float32 tensor.
        functions: {name: {"graph": ONNX bytes with inputs i0, i1, ..., "outputs": names of its outputs in order}}.
        constants: [{"type": one of `TYPES`, "shape": list, "data": bytes}].
        items: see `compact`. depth: how many calls back any reference reaches.
        """
        return {
            "params": list(self.params),
            "functions": {
                name: translate(function, leaves, spec)
                for function, kinds in self.functions.items()
                for (_, _, spec), (name, leaves) in kinds.items()
            },
            "constants": [{"type": kind, "shape": list(shape), "data": data} for kind, shape, data in self.constants],
            "items": [[template, list(used)] for template, used in compact(self.items)],
            "depth": self.depth,
        }


def translate(function, leaves, spec) -> dict:
    """A traced function as an ONNX graph, for inputs like the tensors among `leaves`.

    BatchNorm is taken apart while it is traced: ONNX would run it as at test time. A matrix times a vector becomes one
    of two matrices: ONNX Runtime confuses the axes where the matrix is transposed. What only people read is left out.
    """
    _needs("onnx", "onnxscript")
    from onnxscript import optimizer

    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))

    def flat(*tensors):
        """The function of tensors alone, as a tuple of tensors of their own."""
        given = iter(tensors)
        args, kwargs = pytree.tree_unflatten(
            [next(given) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves], spec
        )
        return tuple(value.detach().clone() for value in pytree.tree_leaves(function(*args, **kwargs)))

    apart = {op: how for op, how in torch._decomp.decomposition_table.items() if "batch_norm" in str(op)}
    apart[torch.ops.aten.mv.default] = lambda matrix, vector: (matrix @ vector[:, None])[:, 0]
    logged = logging.root.manager.disable
    with warnings.catch_warnings(), listening(None), torch.enable_grad():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            graph = make_fx(flat, decomposition_table=apart)(*tensors)
            graph.graph.eliminate_dead_code()
            graph.recompile()
            inputs = [f"i{k}" for k in range(len(tensors))]
            exported = torch.export.export(graph, tensors)
            # Not optimized: its rules take whatever is within 1e-8 of 0 for 0, such as the ε of Adam.
            options = {"dynamo": True, "verbose": False, "optimize": False, "input_names": inputs}
            program = torch.onnx.export(exported, tensors, **options)
            optimizer.fold_constants(program.model, output_size_limit=1000)
            optimizer.remove_unused_nodes(program.model)
        except Exception as error:
            error.add_note(
                f"while {function.__name__} was translated for the page: a traced function computes with tensors, and "
                "takes no number out of one (float(), .item(), if)."
            )
            raise
        finally:
            logging.disable(logged)
    model = program.model_proto
    del model.graph.value_info[:]
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        for field in {"metadata_props", "doc_string"} | ({"name"} if part in model.graph.node else set()):
            part.ClearField(field)
    return {"graph": model.SerializeToString(), "outputs": [output.name for output in model.graph.output]}


def _needs(*packages):
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise ImportError(
                f"A tape is translated and checked with {package}, which is missing: "
                "pip install onnx onnxscript onnxruntime, or unset WEIGHTDECAY_TAPE."
            ) from error


def compact(items) -> list:
    """Items (template, numbers) with what repeats written once.

    A template is ["call", function, [ref, ...]], ["yield", {variable: ref}] or ["repeat", n, [template, ...],
    [stride, ...]]; a ref is ["p", parameter], ["o", back, i], output i of the call `back` calls ago, or ["c"], the
    constant whose index is the next of the numbers. A yield takes its step first. A repeat has the numbers of its first
    round, and adds its strides at each further one.
    """
    known = {}

    def same(template):
        """One object for equal templates."""
        return known.setdefault(json.dumps(template), template)

    items, before = [(same(template), tuple(used)) for template, used in items], None
    while len(items) != before:
        before = len(items)
        for period in range(1, LONGEST + 1):
            items = _fold(items, period, same)
    return items


def _fold(items, period, same) -> list:
    """Items with each block of so many that comes three times or more, its numbers in equal strides, written once."""
    ids = np.array([id(template) for template, _ in items])
    alike = [*(ids[period:] == ids[:-period]).tolist(), False]
    run = list(itertools.accumulate(reversed(alike), lambda length, equal: length + 1 if equal else 0, initial=0))
    run.reverse()  # from each item on, how many equal the one a period later
    folded, i = [], 0

    def strides(at):
        """From the block at `at` to the next, item by item; None where numbers that are not whole differ."""
        for (_, old), (_, new) in zip(items[at : at + period], items[at + period : at + 2 * period], strict=True):
            pairs = zip(old, new, strict=True)
            yield [b - a if type(a) is type(b) is int else 0 if a == b else None for a, b in pairs]

    while i < len(items):
        rounds = 1
        if i < len(run) and run[i] >= 2 * period:
            while rounds <= run[i] // period and all(
                a == b and None not in a for a, b in zip(strides(i), strides(i + (rounds - 1) * period), strict=True)
            ):
                rounds += 1
        if rounds < 3:
            folded.append(items[i])
            i += 1
            continue
        templates = [template for template, _ in items[i : i + period]]
        used = tuple(number for _, used in items[i : i + period] for number in used)
        folded.append((same(["repeat", rounds, templates, list(itertools.chain(*strides(i)))]), used))
        i += rounds * period
    return folded


def expand(items):
    """The items that `compact` was given, one after another."""
    for template, used in items:
        if template[0] != "repeat":
            yield template, tuple(used)
            continue
        _, rounds, templates, strides = template
        for k in range(rounds):
            left = iter([number + k * stride for number, stride in zip(used, strides, strict=True)])
            yield from expand([(one, list(itertools.islice(left, _count(one)))) for one in templates])


def _count(template) -> int:
    """How many numbers a template takes."""
    if template[0] == "repeat":
        return len(template[3])
    refs = template[2] if template[0] == "call" else template[1].values()
    return (template[0] == "yield") + sum(ref[0] == "c" for ref in refs)


def play(program, params):
    """Run a program as a page does; yields (step, {variable: (number, name of the function that made it or None)})."""
    _needs("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    sessions = {
        name: onnxruntime.InferenceSession(function["graph"], options, providers=["CPUExecutionProvider"])
        for name, function in program["functions"].items()
    }
    takes = {name: [one.name for one in session.get_inputs()] for name, session in sessions.items()}
    constants = [np.frombuffer(c["data"], c["type"]).reshape(c["shape"]) for c in program["constants"]]
    params = {name: np.array(params[name], np.float32) for name in program["params"]}
    past = deque(maxlen=max(program["depth"], 1))
    for template, used in expand(program["items"]):
        left = iter(used[1:] if template[0] == "yield" else used)

        def value(ref, left=left):
            """(what a reference stands for, name of the function that made it)."""
            if ref[0] == "o":
                name, outputs = past[-ref[1]]
                return outputs[ref[2]], name
            return (params[ref[1]] if ref[0] == "p" else constants[next(left)]), None

        if template[0] == "yield":
            yield used[0], {variable: value(ref) for variable, ref in template[1].items()}
        else:
            _, name, refs = template
            inputs = {f"i{k}": value(ref)[0] for k, ref in enumerate(refs)}
            wanted = {key: inputs[key] for key in takes[name]}
            past.append((name, sessions[name].run(program["functions"][name]["outputs"], wanted)))


def check(program, train, params) -> None:
    """Run a program at `params` and `compare` it with `train(**params)` itself; the ValueError names both."""
    params = {name: float(np.float32(value)) for name, value in params.items()}
    at = ", ".join(f"{name} = {value:g}" for name, value in params.items())
    try:
        compare(play(program, params), lambda: train(**params))
    except ValueError as error:
        raise ValueError(
            f"At {at} {error}: what depends on {', '.join(params)} must be computed by traced functions, from tensors."
        ) from None


def compare(played, train) -> None:
    """Compare what a tape said, as `play` yields it, with each number that `train()` yields.

    Raises ValueError where they differ by more than `TOLERANCE` of the number and a thousandth of that of the largest
    of its curve so far. Where training magnifies rounding, twice as much is allowed as `DISTURBANCES` of the results of
    traced functions change up to there and in the tenth of the run that follows. What is not finite is not compared.
    """
    (steps, own), played = _table(train()), list(played)
    played_steps, found = _table((step, {name: value for name, (value, _) in row.items()}) for step, row in played)
    if (steps, own.keys()) != (played_steps, found.keys()):
        raise ValueError("train yields something else, or elsewhere, than on its tape")
    room = {
        name: TOLERANCE * (abs(values) + np.maximum.accumulate(np.where(np.isfinite(values), abs(values), 0)) / 1000)
        for name, values in own.items()
    }

    def wrong():
        """The first row, and the name of what is wrong in it."""
        with np.errstate(invalid="ignore"):
            off = {name: ~(abs(found[name] - own[name]) <= room[name]) & np.isfinite(own[name]) for name in own}
        return min(((int(rows.argmax()), name) for name, rows in off.items() if rows.any()), default=None)

    if wrong():
        most = {name: np.zeros(len(steps)) for name in own}
        for seed in range(DISTURBANCES):
            with listening(_disturb(torch.Generator().manual_seed(seed))):
                _, shaken = _table(train())
            for name, values in own.items():
                moved = np.nan_to_num(abs(shaken[name] - values), nan=np.inf)
                most[name] = np.fmax(most[name], np.maximum.accumulate(np.where(np.isfinite(values), moved, 0)))
        later = np.minimum(np.arange(len(steps)) + len(steps) // 10, len(steps) - 1)
        room = {name: room[name] + 2 * most[name][later] for name in own}
    if first := wrong():
        row, name = first
        function = played[row][1][name][1]
        raise ValueError(
            f"the tape says {name} = {found[name][row]:g} at step {steps[row]:g}, made by "
            f"{function or 'no traced function'}, where train says {own[name][row]:g}"
        )


def _disturb(rng):
    """Answers for traced functions with what they return, a little disturbed.

    What was summed of parts that cancel has an error in relation to the parts: so all numbers of a tensor with both
    signs are disturbed in relation to its largest, but for those that are 0, as of an input that is never on.
    """

    def disturbed(value):
        if not value.is_floating_point():
            return value
        alone, together = torch.randn((2, *value.shape), generator=rng).to(value)
        largest = value.abs().max() * (value != 0) if value.numel() and value.min() < 0 else 0
        return value * (1 + NOISE * alone) + ROUNDING * largest * together

    return lambda function, args, kwargs, out: pytree.tree_map(disturbed, out)


def _table(run) -> tuple[list, dict]:
    """What a run yields as its steps and {variable: array}, NaN where there is no value."""
    steps, rows = zip(*run, strict=True)
    names = sorted({name for row in rows for name, value in row.items() if value is not None})
    given = {name: [row.get(name) for row in rows] for name in names}
    return [float(step) for step in steps], {
        name: np.array([value.item() if hasattr(value, "item") else value for value in values], float)
        for name, values in given.items()
    }
