"""The retired MXNet on a current Python and NumPy: ``from weightdecay.mxnet import mx``.

`mx` is MXNet 1.9.1, importable on Python 3.11 to 3.13 with NumPy 1.26 or 2. Where it cannot be had, `mx` is None and
`why_not`, otherwise empty, says in one sentence why, and what to do; importing this module never fails for it.

MXNet looks up names that NumPy has removed since. They are lent to it while it is being imported, and taken back:
NumPy's public names are the same before and after. MXNet keeps what it was lent in `mx.np`, its imitation of NumPy;
`mx.nd`, `mx.autograd` and `mx.gluon`, which the book uses, need none of it afterwards.
"""

import contextlib
import importlib
import os
import platform
import sys
import warnings

import numpy as np

INSTALL = "pip install --no-deps mxnet==1.9.1 requests setuptools"  # with its dependencies NumPy 1 would come
WHEELS = {("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "x86_64")}  # what is on PyPI for 1.9.1


def _financial(*args, **kwargs):
    raise NotImplementedError("NumPy has removed its financial functions: use the package numpy-financial.")


REMOVED = {
    "bool": bool,  # NumPy 1.24 removed it, 2.0 brought it back
    "PZERO": 0.0,
    "NZERO": -0.0,
    **dict.fromkeys(("Inf", "PINF"), np.inf),
    "NINF": -np.inf,
    **dict.fromkeys(("NaN", "NAN"), np.nan),
    "alltrue": np.all,
    "sometrue": np.any,
    "in1d": np.isin,
    "msort": lambda a: np.sort(a, axis=0),
    "product": np.prod,
    "round_": np.round,
    "trapz": getattr(np, "trapezoid", None),
    **dict.fromkeys(("mirr", "npv", "pmt", "ppmt", "pv", "rate"), _financial),
}


@contextlib.contextmanager
def _lent_names():
    """Give NumPy the names it has lost, for as long as the block runs."""
    lent = REMOVED.keys() - vars(np).keys()  # not hasattr: NumPy warns when it is asked for some of them
    vars(np).update({name: REMOVED[name] for name in lent})
    try:
        yield
    finally:
        for name in lent:
            del vars(np)[name]


def _load():
    """Return (MXNet, "") or (None, why not)."""
    try:
        with _lent_names(), warnings.catch_warnings(action="ignore"):  # about code from 2022
            return importlib.import_module("mxnet"), ""
    except ModuleNotFoundError as error:
        here = (sys.platform, platform.machine().lower())
        if error.name == "mxnet" and here not in WHEELS:
            where = f"{platform.system()} on {platform.machine()}".replace("Darwin", "macOS")
            return None, f"MXNet 1.9.1 was never released for {where}: use Colab, or Linux, to run it."
        missing = "MXNet" if error.name == "mxnet" else f"{error.name}, which MXNet imports,"
        return None, f"{missing} is not installed: run `{INSTALL}`."
    except Exception as error:  # whatever a library of 2022 stumbles over: the book goes on without it
        first_line = next(iter(str(error).strip().splitlines()), "")
        return None, f"MXNet is installed but cannot be imported here ({type(error).__name__}: {first_line})."


mx, why_not = _load()


def context():
    """Return the device for MXNet: its first GPU where this MXNet can use one, else the CPU; None without MXNet.

    ``WEIGHTDECAY_DEVICE=cpu`` overrides the choice. The wheel on PyPI knows only the CPU.
    """
    if mx is None:
        return None
    use_gpu = mx.context.num_gpus() > 0 and os.environ.get("WEIGHTDECAY_DEVICE", "cuda").startswith("cuda")
    return mx.gpu() if use_gpu else mx.cpu()
