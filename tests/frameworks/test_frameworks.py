"""What the converter says of Keras, Optax, Lion and bitsandbytes, with these libraries. For `make test-frameworks`."""

import inspect
import os

import numpy as np
import pytest
import torch

os.environ["KERAS_BACKEND"] = "jax"
import bitsandbytes
import jax
import jax.numpy as jnp
import keras
import lion_pytorch
import optax

from weightdecay.convert import FORMS, convert
from weightdecay.diagnose import diagnose

jax.config.update("jax_enable_x64", True)
keras.config.set_floatx("float64")
N, LR, LAMBD, STEPS, EPSILON = 20, 0.03, 0.37, 100, 1e-12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 7))
Y = X @ RNG.normal(size=(7, 1)) + 2 + RNG.normal(size=(N, 1))
START = RNG.normal(size=(7, 1))
SPARED = ["bias", "gamma", "beta"]


def half_mean(y, y_hat):
    return ((y - y_hat) ** 2).mean() / 2


def train_torch(kind, options, lambd):
    """Linear regression with a bias that does not decay."""
    w, b = (torch.tensor(a, requires_grad=True) for a in (START.copy(), np.zeros(1)))
    optimizer = kind([{"params": [w], "weight_decay": lambd}, {"params": [b], "weight_decay": 0}], lr=LR, **options)
    for _ in range(STEPS):
        optimizer.zero_grad()
        half_mean(torch.tensor(Y), torch.tensor(X) @ w + b).backward()
        optimizer.step()
    return np.append(w.detach().numpy(), b.detach().numpy())


def train_keras(optimizer, regularizer=None):
    dense = keras.layers.Dense(1, kernel_regularizer=regularizer)
    model = keras.Sequential([keras.Input((7,)), dense])
    dense.kernel.assign(START)
    model.compile(optimizer, loss=half_mean)
    model.fit(X, Y, batch_size=N, epochs=STEPS, shuffle=False, verbose=0)
    return np.append(dense.kernel, dense.bias)


def spare(optimizer):
    optimizer.exclude_from_weight_decay(var_names=SPARED)
    return optimizer


def train_optax(optimizer):
    params = {"w": jnp.array(START), "b": jnp.zeros(1)}
    gradient = jax.grad(lambda p: half_mean(Y, X @ p["w"] + p["b"]))
    state = optimizer.init(params)
    for _ in range(STEPS):
        updates, state = optimizer.update(gradient(params), state, params)
        params = optax.apply_updates(params, updates)
    return np.append(params["w"], params["b"])


def penalised(kind, **options):
    """Train with a Keras optimizer and the penalty λ."""
    return lambda lambd: train_keras(kind(LR, **options), keras.regularizers.L2(lambd))


def decaying(kind, **options):
    """Train with a Keras optimizer that decays."""
    return lambda lambd: train_keras(spare(kind(LR, weight_decay=lambd, **options)))


def chained(*, before=(), after=()):
    """Train with a chain of Optax that has the decay of the weights, not of the bias, in it."""
    weights = {"w": True, "b": False}
    return lambda lambd: train_optax(optax.chain(*before, optax.add_decayed_weights(lambd, weights), *after))


PLAIN = torch.optim.SGD, {}
HEAVY = torch.optim.SGD, {"momentum": 0.8}
NESTEROV = torch.optim.SGD, {"momentum": 0.8, "nesterov": True}
ADAM = torch.optim.Adam, {"eps": EPSILON}
ADAMW = torch.optim.AdamW, {"eps": EPSILON}


@pytest.mark.parametrize(
    ("source", "theirs", "target", "train"),
    [
        ("torch-sgd", HEAVY, "keras-l2", penalised(keras.optimizers.SGD, momentum=0.8)),
        ("torch-sgd", NESTEROV, "keras-l2", penalised(keras.optimizers.SGD, momentum=0.8, nesterov=True)),
        ("torch-adam", ADAM, "keras-l2", penalised(keras.optimizers.Adam, epsilon=EPSILON)),
        ("torch-sgd", PLAIN, "keras-decay", decaying(keras.optimizers.SGD)),
        ("torch-adamw", ADAMW, "keras-decay", decaying(keras.optimizers.Adam, epsilon=EPSILON)),
        ("torch-adamw", ADAMW, "keras-decay", decaying(keras.optimizers.AdamW, epsilon=EPSILON)),
        ("torch-sgd", HEAVY, "optax-penalty", chained(after=[optax.sgd(LR, 0.8)])),
        ("torch-sgd", NESTEROV, "optax-penalty", chained(after=[optax.sgd(LR, 0.8, nesterov=True)])),
        ("torch-adam", ADAM, "optax-penalty", chained(after=[optax.adam(LR, eps=EPSILON)])),
        (
            "torch-adamw", ADAMW, "optax-adamw",
            chained(before=[optax.scale_by_adam(eps=EPSILON)], after=[optax.scale_by_learning_rate(LR)]),
        ),
        (
            "torch-adamw", ADAMW, "optax-adamw",
            lambda lambd: train_optax(optax.adamw(LR, weight_decay=lambd, eps=EPSILON, mask={"w": True, "b": False})),
        ),
    ],
)  # fmt: skip
def test_a_converted_lambda_trains_the_same_model(source, theirs, target, train):
    kind, options = theirs
    here = train_torch(kind, options, LAMBD)
    assert np.linalg.norm(here - train_torch(kind, options, 0)) > 0.1  # λ matters
    momentum, optimizer = options.get("momentum"), "sgd" if kind is torch.optim.SGD else "adam"
    there = train(convert(LAMBD, source, target, lr=LR, momentum=momentum, optimizer=optimizer).lambd)
    assert np.linalg.norm(here - there) < 1e-5 * np.linalg.norm(here)


def left_by_optax(optimizer, steps, gradient=0.0):
    """What is left of a weight of 1 that gets this gradient."""
    w, state = jnp.ones((4, 3)), optimizer.init(jnp.ones((4, 3)))
    for _ in range(steps):
        updates, state = optimizer.update(gradient * jnp.ones_like(w), state, w)
        w = optax.apply_updates(w, updates)
    return float(w[0, 0])


def test_a_mask_by_shape_spares_what_is_a_vector():
    params = {"dense": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}, "norm": {"scale": jnp.ones(2)}}
    mask = jax.tree.map(lambda p: p.ndim > 1, params)
    optimizer = optax.adamw(0.1, weight_decay=0.01, mask=mask)
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    left = jax.tree.map(lambda p: float(p.mean()), optax.apply_updates(params, updates))
    assert left["dense"] == pytest.approx({"kernel": 1 - 0.1 * 0.01, "bias": 1})
    assert left["norm"]["scale"] == 1


def test_only_between_scaling_and_learning_rate_does_optax_decay():
    decay = optax.add_decayed_weights(0.01)
    assert left_by_optax(optax.chain(optax.sgd(0.1), decay), 50) == pytest.approx(1.645, abs=5e-4)
    between = optax.chain(optax.scale_by_adam(), decay, optax.scale_by_learning_rate(0.1))
    assert left_by_optax(between, 50) == pytest.approx(0.9512, abs=5e-5)
    assert "behind the optimizer it would make weights grow" in FORMS["optax-penalty"].remark
    assert "chain(scale_by_adam(), add_decayed_weights(λ), scale_by_learning_rate(η))" in FORMS["optax-adamw"].remark


@pytest.mark.parametrize("kind", [optax.adamw, optax.lion, optax.nadamw, optax.contrib.muon])
def test_optax_decays_by_eta_lambda_and_with_the_schedule(kind):
    schedule = optax.cosine_decay_schedule(0.1, 50)
    expected = diagnose(0.1, 0.3, 50, schedule="cosine").left
    assert left_by_optax(kind(schedule, weight_decay=0.3), 50) == pytest.approx(expected)


def test_optax_adafactor_decays_by_lambda_whatever_the_learning_rate():
    for rate in (0.1, 0.001, optax.cosine_decay_schedule(0.1, 50)):
        left = left_by_optax(optax.adafactor(rate, weight_decay_rate=0.03), 50)
        assert left == pytest.approx(0.97**50)
    assert "adafactor(weight_decay_rate=λ)" in FORMS["unscheduled"].remark


def decayed(optimizer, gradient=0.0, steps=1):
    """Kernel, bias, gamma and beta, all 1, after steps of a Keras optimizer with this gradient."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(jnp.ones(variable.shape))
    for _ in range(steps):
        optimizer.apply([gradient * jnp.ones(v.shape) for v in variables], variables)
    return {v.name: float(np.ravel(v)[0]) for v in variables}


def test_keras_decays_biases_and_gains_unless_they_are_excluded():
    found = decayed(keras.optimizers.SGD(0.1, weight_decay=0.5))
    assert found == pytest.approx({"kernel": 0.95, "bias": 0.95, "gamma": 0.95, "beta": 0.95})
    assert "exclude_from_weight_decay(var_names=['bias', 'gamma', 'beta'])" in FORMS["keras-decay"].remark
    found = decayed(spare(keras.optimizers.SGD(0.1, weight_decay=0.5)))
    assert found == pytest.approx({"kernel": 0.95, "bias": 1, "gamma": 1, "beta": 1})


KERAS = {
    name: kind
    for name, kind in vars(keras.optimizers).items()
    if inspect.isclass(kind) and "weight_decay" in inspect.signature(kind).parameters and name != "Optimizer"
}


@pytest.mark.parametrize("name", sorted(KERAS))
def test_the_optimizers_of_keras_decay_by_eta_lambda(name):
    # The steps of some depend on the size of the weights, so the decay is seen alone only where there is no gradient.
    gradient = 0 if name in ("Adafactor", "Lamb") else 0.3
    ends = [decayed(KERAS[name](0.1, weight_decay=lambd), gradient)["kernel"] for lambd in (0, 0.5)]
    others = ("Ftrl", "ScheduleFreeAdamW")
    assert (ends[0] - ends[1] == pytest.approx(0.05)) == (name not in others)
    assert all(other in FORMS["keras-decay"].remark for other in others)


def test_the_decay_of_keras_follows_the_schedule():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 50)
    left = decayed(keras.optimizers.AdamW(schedule, weight_decay=0.3), steps=50)["kernel"]
    assert left == pytest.approx(diagnose(0.1, 0.3, 50, schedule="cosine").left, rel=1e-6)


@pytest.mark.parametrize(
    "kind", [lion_pytorch.Lion, bitsandbytes.optim.Adam, bitsandbytes.optim.AdamW, bitsandbytes.optim.Lion]
)
def test_lion_and_what_bitsandbytes_calls_adam_decay_by_eta_lambda(kind):
    ends = []
    for lambd in (0, 0.5):
        w = torch.nn.Parameter(torch.linspace(1, 2, 12))
        optimizer = kind([w], lr=0.1, weight_decay=lambd)
        w.grad = torch.cos(torch.arange(12.0))
        optimizer.step()
        ends.append(w.detach())
    torch.testing.assert_close(ends[0] - ends[1], 0.05 * torch.linspace(1, 2, 12))
    assert kind.__module__.split(".")[0].split("_")[0] in FORMS["decoupled"].remark.lower()


def test_pytorchs_adam_is_not_that_adam():
    ends = []
    for kind in (torch.optim.Adam, bitsandbytes.optim.Adam):
        w = torch.nn.Parameter(torch.linspace(1, 2, 12))
        optimizer = kind([w], lr=0.1, weight_decay=0.5)
        for step in range(20):
            w.grad = torch.cos(torch.arange(12.0) + step)
            optimizer.step()
        ends.append(w.detach())
    assert (ends[0] - ends[1]).norm() > 0.1 * ends[0].norm()
