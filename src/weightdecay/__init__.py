"""Weight decay, made visible: sweep a training loop over λ and put the result under a slider."""

from weightdecay.audit import audit
from weightdecay.data import binary_addition, fashion_mnist, high_dim_regression
from weightdecay.device import pick_device
from weightdecay.groups import parameter_groups
from weightdecay.live import frames, live
from weightdecay.report import say
from weightdecay.sweep import find_record, recorded, sweep
from weightdecay.tape import traced

__version__ = "0.1.0"
__all__ = [
    "audit",
    "binary_addition",
    "fashion_mnist",
    "find_record",
    "frames",
    "high_dim_regression",
    "live",
    "parameter_groups",
    "pick_device",
    "recorded",
    "say",
    "sweep",
    "traced",
]
