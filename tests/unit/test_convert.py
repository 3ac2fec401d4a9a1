"""The λ converter: every pair of forms trains the same weights with the λ that it gives, or truly cannot."""

import itertools
import math
import random
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
import transformers
import xarray
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor

from weightdecay.convert import FORMS, LOSSES, NoEquivalent, convert, converter
from weightdecay.mxnet import mx, why_not

# MXNet looks at scipy.sparse.csr, the old name of a module, whenever it makes an array.
pytestmark = pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")
N, B, EPOCHS, LR, LAMBD = 23, 5, 40, 0.013, 0.37  # batches of 5, 5, 5, 5 and 3; 200 steps
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 7))
K = 3  # outputs, of which a model may have one or all
Y = X @ RNG.normal(size=(7, K)) + 2 + RNG.normal(size=(N, K))
START = RNG.normal(size=(7, K))
START_AT = {"paper": LAMBD / 30, "unscheduled": LAMBD / 30}  # as large a λ as the others is far too much there
EPSILON = 1e-12  # of Adam: small enough not to feel the scale of the loss


class Model:
    """Linear regression in one form: `step(batch, lambd, lr)` trains it by one minibatch, `weights()` gives w and b."""

    rate = 1.0  # the share of the learning rate that its schedule leaves, which is in lr already
    folds = False  # where the form leaves it open

    def __init__(self, form, optimizer, momentum, loss, outputs=1, batch_size=B):
        self.form, self.optimizer, self.momentum, self.batch_size = form, optimizer, momentum, batch_size
        self.half, self.summed = LOSSES[loss]
        self.x, self.y = torch.tensor(X), torch.tensor(Y[:, :outputs])
        self.w, self.b = (torch.tensor(a, requires_grad=True) for a in (START[:, :outputs].copy(), np.zeros(outputs)))
        self.memory = {}

    def weights(self):
        return np.vstack([self.w.detach().numpy(), self.b.detach().numpy()])

    def objective(self, batch, lambd):
        """The loss, with the penalty where the form has one in the loss."""
        errors = (self.x[batch] @ self.w + self.b - self.y[batch]) ** 2 * self.half / 2
        square = (self.w**2).sum()
        if self.form == "penalty-per-sample":
            return (errors.mean(1) + lambd / 2 * square).sum() / self.batch_size
        loss = errors.sum() if self.summed else errors.mean()
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
            if self.form in ("keras-decay", "optax-adamw", "decoupled"):
                decay = 1 - lr * lambd
            elif self.form == "unscheduled":
                decay = 1 - lambd
            elif self.form == "paper":
                decay = 1 - lambd * self.rate
            elif self.form == "lambda-norm":
                decay = 1 - lambd * self.rate * math.sqrt(B / (N * EPOCHS))
            for p, factor in ((w, decay), (b, 1.0)):
                p *= factor
                p -= self.move(p, lr)

    def move(self, p, lr):
        """What SGD with momentum, or Adam, takes from a parameter."""
        t, m, v = self.memory.get(p, (0, 0.0, 0.0))
        t += 1
        if self.optimizer == "sgd":
            folds = FORMS[self.form].folds
            inside, outside = (lr, 1) if (self.folds if folds is None else folds) else (1, lr)
            self.memory[p] = t, self.momentum * m + inside * p.grad, v
            return outside * self.memory[p][1]
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

    def __init__(self, form, optimizer, momentum, loss, outputs=1):
        self.half, self.optimizer, self.momentum, self.y = LOSSES[loss][0], optimizer, momentum, Y[:, :outputs]
        self.net = mx.gluon.nn.Dense(outputs)
        self.net.cast("float64")
        self.net.initialize()
        self.net(self.array(X[:1]))
        self.net.weight.set_data(self.array(START[:, :outputs].T))
        groups = [self.net.weight], [self.net.bias]
        if not self.apart:
            self.net.bias.wd_mult = 0
            groups = (groups[0] + groups[1],)
        options = {"momentum": momentum} if optimizer == "sgd" else {"epsilon": EPSILON}
        self.trainers = [mx.gluon.Trainer(group, optimizer, {"learning_rate": LR, **options}) for group in groups]

    array = staticmethod(lambda values: mx.nd.array(values, dtype="float64"))

    def weights(self):
        return np.vstack([self.net.weight.data().asnumpy().T, self.net.bias.data().asnumpy()])

    def step(self, batch, lambd, lr):
        with mx.autograd.record():
            loss = (self.net(self.array(X[batch])) - self.array(self.y[batch])) ** 2 * self.half / 2
            loss = loss.mean(axis=1)  # as the losses of Gluon have it
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
            loss = (mx.nd.dot(Gluon.array(X[batch]), w) + b - Gluon.array(self.y[batch].numpy())) ** 2 * self.half / 2
            objective = (loss.sum() if self.summed else loss.mean()) + lambd / 2 * (w**2).sum()
        objective.backward()
        with torch.no_grad():
            for p, seen in zip((self.w, self.b), params, strict=True):
                p.grad = torch.tensor(seen.grad.asnumpy())
                p -= self.move(p, lr)


class Mlp(Model):
    """The same with scikit-learn's network, here one without a hidden layer."""

    def __init__(self, form, optimizer, momentum, loss, outputs=1):
        options = {"momentum": momentum, "nesterovs_momentum": False, "epsilon": EPSILON, "batch_size": N}
        self.net = MLPRegressor(hidden_layer_sizes=(), solver=optimizer, **options)
        self.y = Y[:, :outputs] if outputs > 1 else Y[:, 0]
        self.net.partial_fit(X, self.y)  # makes the arrays
        del self.net._optimizer
        self.net.coefs_[0][:], self.net.intercepts_[0][:] = START[:, :outputs], 0

    def weights(self):
        return np.vstack([self.net.coefs_[0], self.net.intercepts_[0]])

    def step(self, batch, lambd, lr):
        self.net.set_params(alpha=lambd, batch_size=len(batch), learning_rate_init=lr)
        if hasattr(self.net, "_optimizer"):
            self.net._optimizer.learning_rate_init = self.net._optimizer.learning_rate = lr
        self.net.partial_fit(X[batch], self.y[batch])


TRAINED = [name for name in FORMS if not FORMS[name].solves and (name != "gluon" or mx)]
KINDS = {"gluon": Gluon, "mlp": Mlp}


def train(form, options, per_batch, *, kind=None, n_used=N, steps=200, rates=None, folds=False):
    """Train in one form; `per_batch` gives (λ, learning rate) for a batch of m samples."""
    model = (kind or KINDS.get(form, Model))(form, **options)
    model.folds = folds
    rng = np.random.default_rng(1)
    for step in range(steps):
        at = step % math.ceil(n_used / B)
        if at == 0:
            order = rng.permutation(n_used)
        batch = order[at * B : (at + 1) * B]
        lambd, lr = per_batch(len(batch))
        model.rate = 1.0 if rates is None else float(rates[step])
        model.step(batch, lambd, lr * model.rate)
    return model.weights()


def train_converted(source, target, options, target_loss, **how):
    """Train the target form with what `convert` gives for λ and learning rate of the source form."""

    def converted(m):
        quantities = {"lr": LR, "n": N, "batch_size": B, "m": m, "epochs": EPOCHS}
        return convert(START_AT.get(source, LAMBD), source, target, **quantities, **options, target_loss=target_loss)[
            :2
        ]

    trained = {name: value for name, value in options.items() if name != "schedule"} | {"loss": target_loss}
    return train(target, trained, converted, **how)


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
    options["outputs"] = pick.choice([1, K])
    # Where averages are kept, a short batch has no equivalent.
    how = {"n_used": N if optimizer == "sgd" and not momentum else 20}
    if optimizer in FORMS[source].optimizers:
        here = train(source, options, lambda m: (START_AT.get(source, LAMBD), LR), **how)
        assert distance(here[:-1], START[:, : options["outputs"]]) > 0.1  # it did train
    for target in TRAINED:
        target_loss = pick.choice(list(LOSSES))
        if not expected(source, target, optimizer, momentum):
            with pytest.raises(NoEquivalent):
                train_converted(source, target, options, target_loss, steps=1)
            continue
        there = train_converted(source, target, options, target_loss, **how)
        tolerance = 1e-4 if "gluon" in (source, target) else 1e-5
        assert distance(here, there) < tolerance, (target, options, target_loss)


@pytest.mark.parametrize(("optimizer", "momentum"), [("sgd", 0.0), ("sgd", 0.8), ("adam", 0.0)])
@pytest.mark.parametrize("source", ["torch-sgd", "torch-adam", "mlp", "keras-decay", "optax-adamw", "unscheduled"])
def test_with_a_schedule_the_forms_that_can_still_train_the_same(source, optimizer, momentum):
    options = {"optimizer": optimizer, "momentum": momentum, "loss": "half-mean"}
    how = {"n_used": 20, "steps": 40, "rates": np.linspace(1, 0.01, 40), "folds": FORMS[source].folds}
    if optimizer not in FORMS[source].optimizers:
        return
    here = train(source, options, lambda m: (START_AT.get(source, LAMBD), LR), **how)
    for target in TRAINED:
        if optimizer not in FORMS[target].optimizers:
            continue
        try:
            there = train_converted(source, target, options | {"schedule": True}, "half-mean", **how)
        except NoEquivalent:
            if expected(source, target, optimizer, momentum):  # then it is for the schedule, and the paths do part
                there = train_converted(source, target, options, "half-mean", **how)
                assert distance(here, there) > 1e-4, target
            continue
        assert expected(source, target, optimizer, momentum)
        assert distance(here, there) < 1e-4, target


@pytest.mark.skipif(mx is None, reason=why_not or "MXNet is here")
@pytest.mark.parametrize(("target", "kind"), [("gluon", GluonApart), ("penalty", NdLoop)])
@pytest.mark.parametrize("source", ["penalty-over-n", "penalty-per-sample", "torch-sgd", "keras-decay"])
def test_the_other_programs_of_mxnet_train_the_same(source, target, kind):
    options = {"optimizer": "sgd", "momentum": 0.0, "loss": "mean"}
    here = train(source, options, lambda m: (LAMBD, LR))
    assert distance(here, train_converted(source, target, options, "half-mean", kind=kind)) < 1e-4


def minimise(objective, parameters):
    """Train to the end."""
    solver = torch.optim.LBFGS(
        parameters, max_iter=1000, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        solver.zero_grad()
        value = objective()
        value.backward()
        return value

    solver.step(closure)
    return np.vstack([p.detach().numpy() for p in parameters])


@pytest.mark.parametrize("outputs", [1, K])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("source", ["penalty-over-n", "penalty", "penalty-per-sample", "keras-l2", "torch-sgd"])
def test_training_to_the_end_gives_the_ridge_solution(source, loss, outputs):
    quantities = {"n": N, "batch_size": N, "outputs": outputs}
    alpha = convert(LAMBD, source, "ridge", loss=loss, **quantities).lambd
    ridge = Ridge(alpha=alpha, solver="cholesky").fit(X, Y[:, :outputs])
    model = Model(source, "sgd", 0.0, loss, outputs, batch_size=N)

    def objective():
        added = LAMBD / 2 * (model.w**2).sum() if source == "torch-sgd" else 0  # what weight_decay adds to the gradient
        return model.objective(np.arange(N), LAMBD) + added

    minimum = minimise(objective, [model.w, model.b])
    assert distance(np.vstack([np.atleast_2d(ridge.coef_).T, ridge.intercept_]), minimum) < 1e-5
    back = convert(alpha, "ridge", source, target_loss=loss, **quantities)
    assert back.lambd == pytest.approx(LAMBD)
    assert back.lr is None


def test_mse_loss_averages_over_outputs_and_ridge_sums():
    assert convert(0.3, "torch-sgd", "ridge", n=40, loss="mean", outputs=3).lambd == pytest.approx(18)
    one = convert(0.3, "torch-sgd", "ridge", n=40, loss="mean")
    assert one.lambd == pytest.approx(6)
    assert "over k outputs, give k" in one.remark
    assert "over k outputs" not in convert(0.3, "torch-sgd", "ridge", n=40, loss="mean", outputs=1).remark
    model = Model("penalty", "sgd", 0.0, "mean", K)
    ridge = Ridge(alpha=convert(LAMBD, "penalty", "ridge", n=N, loss="mean", outputs=K).lambd).fit(X, Y)

    def objective():
        return torch.nn.MSELoss()(model.x @ model.w + model.b, model.y) + LAMBD / 2 * (model.w**2).sum()

    minimum = minimise(objective, [model.w, model.b])
    assert distance(np.vstack([ridge.coef_.T, ridge.intercept_]), minimum) < 1e-6


@pytest.mark.parametrize("classes", [2, 3])
def test_training_to_the_end_gives_the_logistic_regression(classes):
    labels = np.digitize(Y[:, 0], np.quantile(Y[:, 0], [0.5] if classes == 2 else [0.3, 0.6]))
    c = convert(LAMBD, "torch-sgd", "logistic", n=N).lambd
    assert c == pytest.approx(1 / (N * LAMBD))
    theirs = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(X, labels)
    outputs = 1 if classes == 2 else classes
    w, b = (torch.zeros(shape, outputs, dtype=torch.double, requires_grad=True) for shape in (7, 1))

    def objective():
        scores = torch.tensor(X) @ w + b
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor(labels)) if classes > 2 else (
            torch.nn.functional.binary_cross_entropy_with_logits(scores[:, 0], torch.tensor(labels, dtype=torch.double))
        )  # fmt: skip
        return loss + LAMBD / 2 * (w**2).sum()

    assert distance(theirs.coef_.T, minimise(objective, [w, b])[:-1]) < 1e-4
    assert convert(c, "logistic", "torch-sgd", n=N).lambd == pytest.approx(LAMBD)


def test_no_penalty_is_an_infinite_c_and_scikit_learn_takes_it():
    c = convert(0, "penalty", "logistic", n=N).lambd
    assert c == math.inf
    labels = RNG.permutation(np.arange(N) % 2)
    free, nearly = (LogisticRegression(C=value, max_iter=10_000, tol=1e-8).fit(X, labels).coef_ for value in (c, 1e9))
    assert distance(free, nearly) < 1e-3


def test_scikit_learns_sgd_takes_the_steps_of_sgd_with_one_sample():
    alpha = convert(LAMBD, "torch-sgd", "sklearn-sgd", loss="half-sum", batch_size=1).lambd
    assert alpha == LAMBD
    theirs = SGDRegressor(alpha=alpha, learning_rate="constant", eta0=LR, shuffle=False, max_iter=4, tol=None)
    theirs.fit(X, Y[:, 0], coef_init=START[:, 0], intercept_init=0)
    model = Model("torch-sgd", "sgd", 0.0, "half-sum")
    for i in [*range(N)] * 4:
        model.step([i], LAMBD, LR)
    assert distance(model.weights()[:, 0], [*theirs.coef_, *theirs.intercept_]) < 1e-10


def test_scikit_learns_sgd_comes_near_the_minimiser_of_its_alpha():
    labels = (Y[:, 0] > Y[:, 0].mean()).astype(int)
    alpha = convert(LAMBD, "logistic", "sklearn-sgd", n=N).lambd
    theirs = SGDClassifier("log_loss", alpha=alpha, max_iter=20_000, tol=None, average=True, random_state=0)
    logistic = LogisticRegression(C=LAMBD, tol=1e-10, max_iter=10_000).fit(X, labels)
    assert distance(logistic.coef_, theirs.fit(X, labels).coef_) < 0.01


def test_scikit_learns_networks_divide_alpha_by_the_batch():
    alpha = convert(0.5, "torch-sgd", "mlp", batch_size=8, n=64).lambd
    assert alpha == 4
    with pytest.raises(ValueError, match="give the batch size B"):
        convert(0.5, "torch-sgd", "mlp", n=64)
    # Cross-entropy too, and all the samples where there are no batches.
    labels = np.digitize(Y[:, 0], np.quantile(Y[:, 0], [0.3, 0.6]))
    alpha = convert(LAMBD, "logistic", "mlp", n=N, batch_size=N).lambd
    theirs = MLPClassifier(
        hidden_layer_sizes=(), solver="lbfgs", alpha=alpha, tol=1e-12, max_iter=10_000, random_state=0
    ).fit(X, labels)
    logistic = LogisticRegression(C=LAMBD, tol=1e-10, max_iter=10_000).fit(X, labels)
    assert distance(logistic.coef_.T, theirs.coefs_[0]) < 1e-3


def decayed_by_hand(kind, options, lr, lambd, *, decay):
    """Ten steps of an optimiser, and ten in which it gets no λ, and by hand ηλw is taken from the weights instead, or,
    where `decay` is False, λw is added to their gradients."""
    ends = []
    for by_hand in (False, True):
        w = torch.linspace(-1, 2, 12, dtype=torch.double).reshape(4, 3).requires_grad_()
        optimizer = kind([w], lr=lr, weight_decay=0 if by_hand else lambd, **options)
        for step in range(10):
            before = w.detach().clone()
            w.grad = torch.cos(3 * before + step)
            if by_hand and not decay:
                w.grad += lambd * before
            optimizer.step()
            if by_hand and decay:
                w.data -= lr * lambd * before
        ends.append(w.detach().numpy())
    return ends


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.AdamW, {}),
        (torch.optim.Muon, {}),
        (torch.optim.Adafactor, {}),
        *(
            (kind, {"decoupled_weight_decay": True})
            for kind in (torch.optim.Adam, torch.optim.NAdam, torch.optim.RAdam)
        ),
        (transformers.Adafactor, {"scale_parameter": False, "relative_step": False}),
    ],
)
def test_what_the_general_row_names_decays_by_eta_lambda(kind, options):
    if kind.__module__.startswith("torch"):
        assert kind.__name__ in FORMS["decoupled"].remark
    theirs, by_hand = decayed_by_hand(kind, options, 0.1, 0.5, decay=True)
    assert distance(by_hand, theirs) < 1e-6
    idle, _ = decayed_by_hand(kind, options, 0.1, 0, decay=True)
    assert distance(theirs, idle) > 0.1


def test_muon_decays_by_a_tenth_unless_it_is_told_otherwise():
    assert torch.optim.Muon([torch.ones(2, 2)]).defaults["weight_decay"] == 0.1


@pytest.mark.parametrize("name", ["Adam", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "SGD"])
def test_what_the_row_of_adam_names_adds_lambda_to_the_gradient(name):
    assert name in FORMS["torch-adam"].remark + FORMS["torch-adam"].code + FORMS["torch-sgd"].code
    theirs, by_hand = decayed_by_hand(getattr(torch.optim, name), {}, 0.1, 0.5, decay=False)
    assert distance(theirs, by_hand) < 1e-12


def test_a_schedule_reaches_the_decay_of_pytorch_and_composer_but_not_of_tensorflow_addons():
    steps, eta, lambd = 10_000, 1e-3, 0.1
    given = {"lr": eta, "optimizer": "adam"}
    left = {"torch-adamw": 1.0, "paper": 1.0, "unscheduled": 1.0}
    constant = {name: convert(lambd, "torch-adamw", name, **given).lambd for name in left}
    weight = torch.ones(1, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.AdamW([weight], lr=eta, weight_decay=constant["torch-adamw"])
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        weight.grad = torch.zeros_like(weight)
        rate = optimizer.param_groups[0]["lr"]
        left["paper"] *= 1 - rate / eta * constant["paper"]
        left["unscheduled"] *= 1 - constant["unscheduled"]
        optimizer.step()
        falling.step()
    left["torch-adamw"] = weight.item()
    assert {name: round(value, 3) for name, value in left.items()} == {
        "torch-adamw": 0.606, "paper": 0.606, "unscheduled": 0.368,
    }  # fmt: skip
    assert convert(lambd, "torch-adamw", "paper", schedule=True, **given).lambd == constant["paper"]
    for source, target in (("torch-adamw", "unscheduled"), ("unscheduled", "paper")):
        with pytest.raises(NoEquivalent, match="given the same schedule"):
            convert(lambd, source, target, schedule=True, **given)


@pytest.mark.skipif(mx is None, reason=why_not or "MXNet is here")
def test_gluon_decays_biases_unless_their_wd_mult_is_0():
    left = []
    for spared in (False, True):
        bias = mx.gluon.Parameter("bias", shape=(1,), init="ones")
        bias.initialize()
        bias.wd_mult = 0 if spared else 1
        trainer = mx.gluon.Trainer([bias], "sgd", {"learning_rate": 0.1, "wd": 0.5})
        with mx.autograd.record():
            loss = bias.data() * 0
        loss.backward()
        trainer.step(1)
        left.append(bias.data().asscalar())
    assert left == pytest.approx([0.95, 1])


def test_pytorch_decays_every_parameter_that_it_is_given():
    bias = torch.ones(1, requires_grad=True)
    bias.grad = torch.zeros(1)
    torch.optim.SGD([bias], lr=0.1, weight_decay=0.5).step()
    assert bias.item() == pytest.approx(0.95)


def test_the_conditions_of_both_forms_are_in_the_remark():
    quantities = {"lr": LR, "n": N, "batch_size": B, "epochs": EPOCHS, "outputs": 1}
    told = 0
    for source, target in itertools.product(FORMS, repeat=2):
        try:
            remark = convert(LAMBD, source, target, **quantities).remark
        except NoEquivalent:
            continue
        conditions = {FORMS[source].remark, FORMS[target].remark} - {""}
        assert all(remark.count(condition) == 1 for condition in conditions), (source, target)
        told += len(conditions)
    assert told > 100
    assert "follow the schedule" in convert(1e-4, "paper", "torch-adamw", lr=1e-3, schedule=True).remark
    assert "The minimiser, not the path" in convert(5, "ridge", "torch-adam", n=20).remark


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
        ("mlp", "torch-sgd", {"momentum": 0.8, "batch_size": 5, "schedule": True}),
        ("logistic", "ridge", {"n": N}),
        ("logistic", "torch-sgd", {"n": N, "target_loss": "mean"}),
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
        (2, "logistic", "torch-adam", {"n": 50}, 0.01),
        (2, "logistic", "sklearn-sgd", {"n": 50}, 0.01),
        (1, "logistic", "logistic", {}, 1),
        (1e-5, "paper", "decoupled", {"lr": 1e-3}, 0.01),
        (1e-5, "paper", "unscheduled", {}, 1e-5),
        (4, "mlp", "torch-sgd", {"batch_size": 8, "loss": "mean", "target_loss": "mean"}, 1),
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
        (lambda: convert("1e-4", "penalty", "ridge", n=3), "not negative, but it is the string '1e-4'."),
        (lambda: convert(None, "penalty", "ridge", n=3), "that is not negative, but it is None."),
        (lambda: convert(True, "penalty", "ridge", n=3), "that is not negative, but it is True."),
        (lambda: convert(1 + 2j, "penalty", "ridge", n=3), "that is not negative, but it is a complex."),
        (lambda: convert(np.ones(1), "penalty", "ridge", n=3), "not negative, but it is a ndarray of shape (1,)."),
        (
            lambda: convert(torch.ones(2, 3), "penalty", "ridge", n=3),
            "not negative, but it is a Tensor of shape (2, 3).",
        ),
        (lambda: convert([1], "penalty", "ridge", n=3), "that is not negative, but it is a list."),
        (lambda: convert(Decimal("sNaN"), "penalty", "ridge", n=3), "that is not negative, but it is sNaN."),
        (lambda: convert(1, "penalty", "ridge", n=10**400), "n must be a whole number above 0, but it is 1000"),
        (lambda: convert(1, "penalty", "ridge", n=0), "n must be a whole number above 0, but it is 0."),
        (lambda: convert(1, "penalty", "ridge", n=2.5), "n must be a whole number above 0, but it is 2.5."),
        (lambda: convert(1, "penalty", "mlp", batch_size=2.5), "B must be a whole number above 0, but it is 2.5."),
        (lambda: convert(1, "penalty", "mlp", batch_size=3, m=0.5), "m must be a whole number above 0, but it is 0.5."),
        (lambda: convert(1, "penalty", "ridge", n=3, outputs=1.5), "k must be a whole number above 0, but it is 1.5."),
        (lambda: convert(0.01, "paper", "torch-adamw", lr=1e-320), "No number that a computer holds"),
        (lambda: convert(1e-200, "torch-adamw", "paper", lr=1e-200), "No number that a computer holds"),
        (lambda: convert(1e300, "penalty", "ridge", n=10**10), "No number that a computer holds"),
        (lambda: convert(0, "logistic", "penalty", n=3), "C must be a finite number above 0, but it is 0."),
        (
            lambda: convert(1, "penalty", "gluon", schedule="cosine"),
            "schedule must be False or True, but it is 'cosine'.",
        ),
        (lambda: convert(1, "penalty", ["ridge"]), "There is no form a list; there are"),
        (lambda: convert(1, "penalty", "ridge", n=3, momentum=1), "μ must be a number from 0 to below 1, but it is 1."),
        (lambda: convert(1, "penalty", "ridge", n=3, optimizer="lion"), "There is no optimizer 'lion'; there are sgd"),
        (lambda: convert(1, "penalty", "ridge", n=3, loss="mae"), "There is no loss 'mae'; there are half-mean,"),
        (lambda: converter(lamda=3), "The form has no field 'lamda', only lambd,"),
        (lambda: converter(lambd=-3), "λ must be a finite number that is not negative, but it is -3."),
        (lambda: converter(lambd="3"), "that is not negative, but it is the string '3'."),
        (lambda: converter(source="L2"), "There is no source 'L2'; there are penalty-over-n,"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=r".") as caught:
        call()
    assert sentence in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "tenth",
    [np.float64(0.1), np.array(0.1), torch.tensor(0.1, dtype=torch.double, requires_grad=True), Decimal("0.1"),
     Fraction(1, 10), xarray.DataArray(0.1)],
    ids=lambda tenth: type(tenth).__name__,
)  # fmt: skip
def test_whatever_is_one_number_is_taken(tenth):
    found = convert(tenth, "paper", "torch-adamw", lr=tenth, momentum=None)
    assert found[:2] == pytest.approx((1, 0.1))
    assert [type(value) for value in found] == [float, float, str]
    assert convert(1, "penalty", "ridge", n=torch.tensor(20)).lambd == 20
    assert convert(1, "penalty", "ridge", n=np.int64(20)).lambd == 20
    assert convert(1, "penalty", "ridge", n=20.0).lambd == 20
    assert converter(lambd=tenth).values["lambd"] == 0.1


def test_what_stands_in_the_form_can_be_handed_to_python():
    values = converter(schedule=np.True_, lr=0.1, source="torch-adamw").values
    assert values["schedule"] is True
    assert convert(**values | {"optimizer": "adam"}, target="decoupled").lambd == 0.01
