"""The diagnosis against PyTorch's optimisers, the schedules against those of Transformers."""

import math

import numpy as np
import pytest
import torch
import transformers

from weightdecay.diagnose import FIELDS, SCHEDULES, diagnose, diagnosis, learning_rates


def lone_weight(optimizer, etas):
    """What an optimiser leaves of a weight of 1 that gets no gradient, with these learning rates."""
    (w,) = optimizer.param_groups[0]["params"]
    w.grad = torch.zeros_like(w)
    for eta in etas:
        optimizer.param_groups[0]["lr"] = eta
        optimizer.step()
    return w.item()


@pytest.fixture
def weight():
    return torch.ones(1, dtype=torch.double, requires_grad=True)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_it_follows_adamw(weight, schedule):
    optimizer = torch.optim.AdamW([weight], lr=0.01, weight_decay=0.7)
    left = lone_weight(optimizer, learning_rates(0.01, 123, schedule))
    assert diagnose(0.01, 0.7, 123, schedule=schedule).left == pytest.approx(left, rel=1e-12)


@pytest.mark.parametrize("momentum", [0, 0.5, 0.99])
def test_it_follows_sgd_with_momentum(weight, momentum):
    optimizer = torch.optim.SGD([weight], lr=0.01, weight_decay=0.7, momentum=momentum)
    left = lone_weight(optimizer, learning_rates(0.01, 321, "cosine"))
    assert diagnose(0.01, 0.7, 321, momentum, "cosine").left == pytest.approx(left, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("linear", lambda optimizer: transformers.get_linear_schedule_with_warmup(optimizer, 0, 50)),
        ("warm-up and linear", lambda optimizer: transformers.get_linear_schedule_with_warmup(optimizer, 5, 50)),
        ("cosine", lambda optimizer: transformers.get_cosine_schedule_with_warmup(optimizer, 0, 50)),
        ("constant", lambda optimizer: transformers.get_constant_schedule(optimizer)),
    ],
)
def test_the_schedules_are_those_of_transformers(weight, name, theirs):
    optimizer = torch.optim.SGD([weight], lr=0.3)
    schedule, etas = theirs(optimizer), []
    for _ in range(50):
        etas.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(list(learning_rates(0.3, 50, name)), etas, rtol=1e-12)


def test_after_one_time_scale_a_weight_is_down_to_one_over_e():
    found = diagnose(1e-3, 0.1, 10_000, steps_per_epoch=2000)
    assert found.left == pytest.approx(math.exp(-1), rel=1e-3)
    assert (found.timescale, found.epochs, found.runs) == pytest.approx((10_000, 5, 1))


def test_momentum_shortens_the_time_scale():
    found = diagnose(1e-3, 0.01, 100_000, momentum=0.9)
    assert found.timescale == pytest.approx(10_000)
    assert found.left == pytest.approx(math.exp(-10), rel=0.01)


@pytest.mark.parametrize(
    ("run", "verdict"),
    [
        ((2e-5, 0.01, 10_000), "does nothing"),
        ((1e-3, 0, 1000), "does nothing"),
        ((1e-4, 0.01, 1_000_000), "the start is still there"),
        ((6e-4, 0.1, 600_000, 0, "cosine"), "forgets the start"),
        ((1e-3, 0.1, 100_000, 0, "constant", 500), "forgets the start"),
        ((1e-3, 0.1, 100_000, 0, "constant", 50_000), "forgets the data"),
        ((0.1, 1, 100, 0.9), "too strong"),
        ((10, 100, 1000), "too strong"),
    ],
)
def test_the_verdict_fits(run, verdict):
    assert verdict in diagnose(*run).verdict


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        ((-1, 0.1, 100), "η must be a finite number above 0, but it is -1."),
        ((0.1, math.nan, 100), "λ must be a finite number that is not negative, but it is nan."),
        ((0.1, 0.1, 0), "The number of steps must be a whole number from 1 to 2000000, but it is 0."),
        ((0.1, 0.1, 2.5), "The number of steps must be a whole number from 1 to 2000000, but it is 2.5."),
        ((0.1, 0.1, 3e6), "from 1 to 2000000, but it is 3000000.0."),
        ((0.1, 0.1, 10, 1), "μ must be a number from 0 to below 1, but it is 1."),
        ((0.1, 0.1, 10, 0, "step"), "The schedule must be one of constant, linear"),
        ((0.1, 0.1, 10, 0, "linear", 0), "The length of an epoch must be a finite number above 0, but it is 0."),
    ],
)
def test_what_no_run_can_have_is_refused_in_one_sentence(run, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        diagnose(*run)
    assert "\n" not in str(caught.value)


def test_the_form_starts_with_what_it_is_given_and_refuses_what_diagnose_refuses():
    form = diagnosis(lambd=0.3, steps_per_epoch=12)
    assert set(form.values) == {*FIELDS, "schedule"}
    assert (form.values["lambd"], form.values["steps_per_epoch"], form.values["steps"]) == (0.3, 12, 10_000)
    assert "answer" in form._esm
    assert "render" in form._esm
    with pytest.raises(ValueError, match="λ must be"):
        diagnosis(lambd=-1)


def test_a_notebook_stores_the_same_text_for_a_form_at_every_run():
    assert repr(diagnosis()) == repr(diagnosis()) == "DiagnosisForm: The diagnosis"
