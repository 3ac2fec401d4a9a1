"""The λ converter: every pair of forms trains the same weights with the λ that it gives, or truly cannot."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from weightdecay.convert import FORMS, LOSSES, NoEquivalent, convert, converter
from weightdecay.mxnet import mx, why_not

# MXNet looks at scipy.sparse.csr, the old name of a module, whenever it makes an array.
pytestmark = pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")
N, B, EPOCHS, LR, LAMBD = 23, 5, 40, 0.013, 0.37  # batches of 5, 5, 5, 5 and 3; 200 steps
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 7))
Y = X @ RNG.normal(size=7) + 2 + RNG.normal(size=N)
START = RNG.normal(size=7)
START_AT = {"paper": LAMBD / 30}  # as large a λ as the others is far too much there
EPSILON = 1e-12  # of Adam: small enough not to feel the scale of the loss


class Model:
    """Linear regression in one form: `step(batch, lambd, lr)` trains it by one minibatch, `weights()` gives w and b."""

    def __init__(self, form, optimizer, momentum, loss, batch_size=B):
        self.form, self.optimizer, self.momentum, self.batch_size = form, optimizer, momentum, batch_size
        self.half, self.summed = LOSSES[loss]
        self.w, self.b = (torch.tensor(a, requires_grad=True) for a in (START.copy(), np.zeros(1)))
        self.memory = {}

    def weights(self):
        return np.hstack([self.w.detach().numpy(), self.b.detach().numpy()])

    def objective(self, batch, lambd):
        """The loss, with the penalty where the form has one in the loss."""
        per_sample = (torch.tensor(X[batch]) @ self.w + self.b - torch.tensor(Y[batch])) ** 2 * self.half / 2
        square = (self.w**2).sum()
        if self.form == "penalty-per-sample":
            return (per_sample + lambd / 2 * square).sum() / self.batch_size
        loss = per_sample.sum() if self.summed else per_sample.mean()
        return (
            loss + {"penalty": 1 / 2, "penalty-over-n": 1 / (2 * N), "keras-l2": 1}.get(self.form, 0) * lambd * square
        )

    def step(self, batch, lambd, lr):
        w, b = self.w, self.b
        w.grad = b.grad = None
        self.objective(batch, lambd).backward()
        if self.form.startswith("torch"):
            self.torch_step(lambd, lr)
            return
        with torch.no_grad():
            if self.form == "optax-penalty":
                w.grad += lambd * w
            decay = 1.0
            if self.form in ("keras-decay", "optax-adamw"):
                decay = 1 - lr * lambd
            elif self.form == "paper":
                decay = 1 - lambd
            elif self.form == "lambda-norm":
                decay = 1 - lambd * math.sqrt(B / (N * EPOCHS))
            for p, factor in ((w, decay), (b, 1.0)):
                p *= factor
                p -= self.move(p, lr)

    def move(self, p, lr):
        """What SGD with momentum, or Adam, takes from a parameter."""
        t, m, v = self.memory.get(p, (0, 0.0, 0.0))
        t += 1
        if self.optimizer == "sgd":
            self.memory[p] = t, self.momentum * m + p.grad, v
            return lr * self.memory[p][1]
        m, v = 0.9 * m + 0.1 * p.grad, 0.999 * v + 0.001 * p.grad**2
        self.memory[p] = t, m, v
        return lr * m / (1 - 0.9**t) / ((v / (1 - 0.999**t)) ** 0.5 + EPSILON)

    def torch_step(self, lambd, lr):
        if not self.memory:
            groups = [{"params": [self.w]}, {"params": [self.b], "weight_decay": 0}]
            kind = {"torch-sgd": torch.optim.SGD, "torch-adam": torch.optim.Adam, "torch-adamw": torch.optim.AdamW}
            options = {"momentum": self.momentum} if self.form == "torch-sgd" else {"eps": EPSILON}
            self.memory["optimizer"] = kind[self.form](groups, lr=lr, **options)
        optimizer = self.memory["optimizer"]
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.param_groups[0]["weight_decay"] = lambd
        optimizer.step()


class Gluon(Model):
    """The same with MXNet: one trainer and `wd_mult`, or, where `apart`, a trainer for w and one for b."""

    apart = False

    def __init__(self, form, optimizer, momentum, loss):
        self.half, self.optimizer, self.momentum = LOSSES[loss][0], optimizer, momentum
        self.net = mx.gluon.nn.Dense(1)
        self.net.cast("float64")
        self.net.initialize()
        self.net(self.array(X[:1]))
        self.net.weight.set_data(self.array(START[None]))
        groups = [self.net.weight], [self.net.bias]
        if not self.apart:
            self.net.bias.wd_mult = 0
            groups = (groups[0] + groups[1],)
        options = {"momentum": momentum} if optimizer == "sgd" else {"epsilon": EPSILON}
        self.trainers = [mx.gluon.Trainer(group, optimizer, {"learning_rate": LR, **options}) for group in groups]

    array = staticmethod(lambda values: mx.nd.array(values, dtype="float64"))

    def weights(self):
        return np.hstack([self.net.weight.data().asnumpy().ravel(), self.net.bias.data().asnumpy()])

    def step(self, batch, lambd, lr):
        with mx.autograd.record():
            loss = (self.net(self.array(X[batch])).reshape(-1) - self.array(Y[batch])) ** 2 * self.half / 2
        loss.backward()
        for trainer, wd in zip(self.trainers, (lambd, 0), strict=False):
            trainer.optimizer.wd = wd
            trainer.set_learning_rate(float(lr))
            trainer.step(len(batch))


class GluonApart(Gluon):
    apart = True


class NdLoop(Model):
    """The penalty of this book with MXNet's arrays and autograd alone."""

    def step(self, batch, lambd, lr):
        params = [mx.nd.array(p.detach().numpy(), dtype="float64") for p in (self.w, self.b)]
        for p in params:
            p.attach_grad()
        w, b = params
        with mx.autograd.record():
            loss = (mx.nd.dot(Gluon.array(X[batch]), w) + b - Gluon.array(Y[batch])) ** 2 * self.half / 2
            objective = (loss.sum() if self.summed else loss.mean()) + lambd / 2 * (w**2).sum()
        objective.backward()
        with torch.no_grad():
            for p, seen in zip((self.w, self.b), params, strict=True):
                p.grad = torch.tensor(seen.grad.asnumpy())
                p -= self.move(p, lr)


TRAINED = [name for name in FORMS if name != "ridge" and (name != "gluon" or mx)]


def train(form, options, per_batch, *, kind=None, n_used=N, steps=200, rates=None):
    """Train in one form; `per_batch` gives (λ, learning rate) for a batch of m samples."""
    model = (kind or (Gluon if form == "gluon" else Model))(form, **options)
    rng = np.random.default_rng(1)
    for step in range(steps):
        at = step % math.ceil(n_used / B)
        if at == 0:
            order = rng.permutation(n_used)
        batch = order[at * B : (at + 1) * B]
        lambd, lr = per_batch(len(batch))
        model.step(batch, lambd, lr * (rates[step] if rates is not None else 1))
    return model.weights()


def train_converted(source, target, options, target_loss, **how):
    """Train the target form with what `convert` gives for λ and learning rate of the source form."""

    def converted(m):
        quantities = {"lr": LR, "n": N, "batch_size": B, "m": m, "epochs": EPOCHS}
        return convert(START_AT.get(source, LAMBD), source, target, **quantities, **options, target_loss=target_loss)[
            :2
        ]

    return train(target, options | {"loss": target_loss}, converted, **how)


def distance(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(a)


def expected(source, target, optimizer, momentum):
    """Whether the two forms can train the same model, said once more."""
    s, t = FORMS[source], FORMS[target]
    meet = s.family == t.family or (optimizer == "sgd" and not momentum)
    return meet and optimizer in s.optimizers and optimizer in t.optimizers


@pytest.mark.parametrize(("optimizer", "momentum"), [("sgd", 0.0), ("sgd", 0.8), ("adam", 0.0)])
@pytest.mark.parametrize("source", TRAINED)
def test_each_form_trains_what_every_other_form_trains(source, optimizer, momentum):
    pick = random.Random(f"{source} {optimizer} {momentum}")
    options = {"optimizer": optimizer, "momentum": momentum, "loss": pick.choice(list(LOSSES))}
    # Where averages are kept, a short batch has no equivalent.
    how = {"n_used": N if optimizer == "sgd" and not momentum else 20}
    if optimizer in FORMS[source].optimizers:
        here = train(source, options, lambda m: (START_AT.get(source, LAMBD), LR), **how)
        assert distance(here, [*START, 0]) > 0.1  # it did train
    for target in TRAINED:
        target_loss = pick.choice(list(LOSSES))
        if not expected(source, target, optimizer, momentum):
            with pytest.raises(NoEquivalent):
                train_converted(source, target, options, target_loss, steps=1)
            continue
        there = train_converted(source, target, options, target_loss, **how)
        tolerance = 1e-4 if "gluon" in (source, target) else 1e-5
        assert distance(here, there) < tolerance, (target, options, target_loss)


@pytest.mark.skipif(mx is None, reason=why_not or "MXNet is here")
@pytest.mark.parametrize(("target", "kind"), [("gluon", GluonApart), ("penalty", NdLoop)])
@pytest.mark.parametrize("source", ["penalty-over-n", "penalty-per-sample", "torch-sgd", "keras-decay"])
def test_the_other_programs_of_mxnet_train_the_same(source, target, kind):
    options = {"optimizer": "sgd", "momentum": 0.0, "loss": "mean"}
    here = train(source, options, lambda m: (LAMBD, LR))
    assert distance(here, train_converted(source, target, options, "half-mean", kind=kind)) < 1e-4


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("source", ["penalty-over-n", "penalty", "penalty-per-sample", "keras-l2", "torch-sgd"])
def test_training_to_the_end_gives_the_ridge_solution(source, loss):
    alpha = convert(LAMBD, source, "ridge", n=N, batch_size=N, loss=loss).lambd
    ridge = Ridge(alpha=alpha, solver="cholesky").fit(X, Y)
    model = Model(source, "sgd", 0.0, loss, batch_size=N)
    w, b = model.w, model.b
    solver = torch.optim.LBFGS(
        [w, b], max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        solver.zero_grad()
        objective = model.objective(np.arange(N), LAMBD)
        if source == "torch-sgd":
            objective = objective + LAMBD / 2 * (w**2).sum()  # what weight_decay adds to the gradient
        objective.backward()
        return objective

    solver.step(closure)
    assert distance(np.hstack([ridge.coef_, ridge.intercept_]), model.weights()) < 1e-5
    back = convert(alpha, "ridge", source, n=N, batch_size=N, target_loss=loss)
    assert back.lambd == pytest.approx(LAMBD)
    assert back.lr is None


def test_where_there_is_no_equivalent_the_paths_do_part():
    adam = {"optimizer": "adam", "momentum": 0.0, "loss": "half-mean"}
    heavy = {"optimizer": "sgd", "momentum": 0.8, "loss": "half-mean"}

    def apart(source, target, options, **how):
        ends = [train(form, options, lambda m: (LAMBD, LR), **how) for form in (source, target)]
        return distance(*ends)

    assert apart("torch-adam", "torch-adamw", adam) > 0.01
    assert apart("torch-sgd", "keras-decay", heavy) > 0.01
    if mx:
        falling = np.linspace(1, 0.01, 200)
        assert apart("torch-sgd", "gluon", heavy, n_used=20) < 1e-6
        assert apart("torch-sgd", "gluon", heavy, n_used=20, rates=falling) > 1e-4
    for source, target, how in (
        ("torch-adam", "torch-adamw", {}),
        ("torch-sgd", "keras-decay", {"momentum": 0.8, "lr": LR}),
        ("torch-sgd", "gluon", {"momentum": 0.8, "schedule": True}),
        ("torch-sgd", "torch-adam", {"optimizer": "sgd"}),
        ("ridge", "paper", {"lr": LR, "n": N}),
        ("penalty-per-sample", "penalty", {"momentum": 0.8, "batch_size": 5, "m": 3}),
    ):
        with pytest.raises(NoEquivalent, match=r"^None"):
            convert(LAMBD, source, target, **how)
    assert convert(LAMBD, "torch-sgd", "gluon", schedule=True).lambd == LAMBD  # without momentum nothing is carried


@pytest.mark.parametrize(
    ("lambd", "source", "target", "quantities", "expected"),
    [  # the table of the fact sheet, by hand
        (3, "penalty", "ridge", {"n": 20}, 60),
        (3, "penalty", "ridge", {"n": 20, "loss": "mean"}, 30),
        (3, "penalty-over-n", "penalty", {"n": 20}, 0.15),
        (3, "penalty-per-sample", "gluon", {"batch_size": 5, "m": 2}, 3),
        (0.5, "keras-l2", "torch-sgd", {}, 1),
        (1e-4, "paper", "torch-adamw", {"lr": 1e-3}, 0.1),
        (0.05, "lambda-norm", "paper", {"n": 5000, "batch_size": 64, "epochs": 5000}, 8e-5),
        (0.05, "lambda-norm", "torch-adamw", {"n": 5000, "batch_size": 64, "epochs": 5000, "lr": 1e-3}, 0.08),
        (0, "torch-sgd", "ridge", {"n": 20}, 0),
    ],
)
def test_known_conversions(lambd, source, target, quantities, expected):
    assert convert(lambd, source, target, **quantities).lambd == pytest.approx(expected)


def test_there_and_back_is_where_one_was():
    quantities = {"lr": LR, "n": N, "batch_size": B, "epochs": EPOCHS}
    for (source, target), loss in itertools.product(itertools.permutations(FORMS, 2), LOSSES):
        try:
            there = convert(LAMBD, source, target, **quantities, loss=loss)
        except NoEquivalent:
            continue
        lr = {} if there.lr is None else {"lr": there.lr}
        back = convert(there.lambd, target, source, **(quantities | lr), target_loss=loss)
        assert back.lambd == pytest.approx(LAMBD)
        assert back.lr == (None if there.lr is None else pytest.approx(LR))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: convert(1, "L2", "penalty"), "There is no form 'L2'; there are penalty-over-n, penalty,"),
        (lambda: convert(1, "penalty", "ridge"), "give the training samples n."),
        (lambda: convert(1, "paper", "torch-adamw"), "give the learning rate η."),
        (lambda: convert(1, "lambda-norm", "torch-adamw", lr=1), "give the training samples n and epochs T and batch"),
        (lambda: convert(1, "penalty", "torch-sgd", loss="sum"), "give the batch size B."),
        (lambda: convert(-1, "penalty", "ridge", n=3), "λ must be a finite number that is not negative, but it is -1."),
        (lambda: convert(math.nan, "penalty", "ridge", n=3), "that is not negative, but it is nan."),
        (lambda: convert(math.inf, "penalty", "ridge", n=3), "that is not negative, but it is inf."),
        (lambda: convert("3", "penalty", "ridge", n=3), "that is not negative, but it is 3."),
        (lambda: convert(1, "penalty", "ridge", n=0), "n must be a finite number above 0, but it is 0."),
        (lambda: convert(1, "penalty", "ridge", n=3, momentum=1), "μ must be a number from 0 to below 1, but it is 1."),
        (lambda: convert(1, "penalty", "ridge", n=3, optimizer="lion"), "There is no optimizer 'lion'; there are sgd"),
        (lambda: convert(1, "penalty", "ridge", n=3, loss="mae"), "There is no loss 'mae'; there are half-mean,"),
        (lambda: converter(lamda=3), "The form has no field 'lamda', only lambd,"),
        (lambda: converter(lambd=-3), "λ must be a finite number that is not negative, but it is -3."),
    ],
)
def test_what_makes_no_sense_is_said_in_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=r".") as caught:
        call()
    assert sentence in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
