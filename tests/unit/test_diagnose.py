"""The diagnosis against PyTorch's optimisers, the schedules against those of Transformers."""

import math
from decimal import Decimal

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


@pytest.mark.parametrize("schedule", ["constant", "cosine", "warm-up and linear"])
@pytest.mark.parametrize(
    "options", [{"momentum": 0.9, "dampening": 0.9}, {"momentum": 0.5, "dampening": 0.2}, {"dampening": 0.3},
                {"momentum": 0.9, "nesterov": True}],
)  # fmt: skip
def test_it_follows_sgd_with_dampening_and_with_nesterovs_momentum(weight, options, schedule):
    optimizer = torch.optim.SGD([weight], lr=0.01, weight_decay=0.7, **options)
    left = lone_weight(optimizer, learning_rates(0.01, 321, schedule))
    assert diagnose(0.01, 0.7, 321, schedule=schedule, **options).left == pytest.approx(left, rel=1e-9)


def test_dampening_undoes_what_momentum_does():
    found = diagnose(1e-3, 0.01, 10_000, momentum=0.9, dampening=0.9)
    assert found.left == pytest.approx(0.905, abs=5e-4)
    assert (found.timescale, found.runs) == pytest.approx((100_000, 0.1))
    assert diagnose(1e-3, 0.01, 10_000, momentum=0.9).left == pytest.approx(0.368, abs=5e-4)


@pytest.mark.parametrize(
    ("schedule", "left"), [("linear", 0.368), ("cosine", 0.368), ("multi-step", 0.348), ("cosine to a tenth", 0.333),
                           ("warm-up and cosine", 0.368)],
)  # fmt: skip
def test_a_schedule_counts_by_its_area(schedule, left):
    assert diagnose(1e-3, 0.2, 10_000, schedule=schedule).left == pytest.approx(left, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("linear", lambda optimizer: transformers.get_linear_schedule_with_warmup(optimizer, 0, 50)),
        ("warm-up and linear", lambda optimizer: transformers.get_linear_schedule_with_warmup(optimizer, 5, 50)),
        ("cosine", lambda optimizer: transformers.get_cosine_schedule_with_warmup(optimizer, 0, 50)),
        ("constant", lambda optimizer: transformers.get_constant_schedule(optimizer)),
        ("warm-up and cosine", lambda optimizer: transformers.get_cosine_schedule_with_warmup(optimizer, 5, 50)),
        ("cosine to a tenth", lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50, 0.03)),
        ("multi-step", lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [25, 38])),
    ],
)
def test_the_schedules_are_those_of_transformers_and_pytorch(weight, name, theirs):
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
        ((1e-3, 0.1, 200_000, 0, "constant", 50_000), "forgets the data"),
        ((1e-3, 0.1, 100_000, 0, "constant", 50_000), "forgets the start"),  # two epochs
        ((1e-3, 0.1, 100_000, 0, "constant", 20_000), "forgets the start"),  # an epoch leaves e⁻² of a weight
        ((3e-4, 0.1, 200_000, 0, "cosine", 200_000), "forgets the start"),  # pre-training sees each text once
        ((6e-4, 0.1, 600_000, 0, "cosine to a tenth", 18_400), "forgets the start"),  # nanoGPT, on OpenWebText
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
        (("1e-4", 0.1, 100), "η must be a finite number above 0, but it is the string '1e-4'."),
        ((None, 0.1, 100), "η must be a finite number above 0, but it is None."),
        ((0.1, None, 100), "λ must be a finite number that is not negative, but it is None."),
        ((0.1, 0.1, None), "from 1 to 2000000, but it is None."),
        ((0.1, 0.1, True), "from 1 to 2000000, but it is True."),
        ((0.1, 0.1, 0), "The number of steps must be a whole number from 1 to 2000000, but it is 0."),
        ((0.1, 0.1, 2.5), "The number of steps must be a whole number from 1 to 2000000, but it is 2.5."),
        ((0.1, 0.1, 3e6), "from 1 to 2000000, but it is 3000000.0."),
        ((0.1, 0.1, 10, 1), "μ must be a number from 0 to below 1, but it is 1."),
        ((0.1, 0.1, 10, 0, "step"), "There is no schedule 'step'; there are constant, linear, cosine,"),
        ((0.1, 0.1, 10, 0, ["linear"]), "There is no schedule a list; there are constant, linear, cosine,"),
        ((0.1, 0.1, 10, 0, "linear", 0), "The length of an epoch must be a finite number above 0, but it is 0."),
    ],
)
def test_what_no_run_can_have_is_refused_in_one_sentence(run, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        diagnose(*run)
    assert "\n" not in str(caught.value)


def test_nesterovs_momentum_goes_without_dampening_as_in_pytorch(weight):
    with pytest.raises(ValueError, match="without dampening only: leave one of them out"):
        diagnose(0.1, 0.1, 10, 0.9, dampening=0.1, nesterov=True)
    with pytest.raises(ValueError, match="zero dampening"):
        torch.optim.SGD([weight], lr=0.1, momentum=0.9, dampening=0.1, nesterov=True)
    with pytest.raises(ValueError, match="dampening must be a number from 0 to below 1, but it is 1"):
        diagnose(0.1, 0.1, 10, 0.9, dampening=1)
    with pytest.raises(ValueError, match="nesterov must be False or True, but it is 'yes'"):
        diagnose(0.1, 0.1, 10, 0.9, nesterov="yes")


def test_whatever_is_one_number_is_taken():
    expected = diagnose(0.1, 0.25, 10, 0.0, steps_per_epoch=4)
    lr = torch.tensor(0.1, dtype=torch.double)
    found = diagnose(lr, Decimal("0.25"), np.int64(10), None, steps_per_epoch=np.array(4))
    assert found == expected
    assert {type(value) for value in found} == {float, str}
    assert diagnose(1e-320, 1, 10).timescale == math.inf


def test_the_form_starts_with_what_it_is_given_and_refuses_what_diagnose_refuses():
    form = diagnosis(lambd=0.3, steps_per_epoch=12)
    assert set(form.values) == {*FIELDS, "nesterov", "schedule"}
    assert (form.values["lambd"], form.values["steps_per_epoch"], form.values["steps"]) == (0.3, 12, 10_000)
    assert "answer" in form._esm
    assert FIELDS["momentum"].label == "momentum μ (of SGD; 0 for AdamW)"
    assert "render" in form._esm
    with pytest.raises(ValueError, match="λ must be"):
        diagnosis(lambd=-1)
    with pytest.raises(ValueError, match="There is no schedule 'step'; there are constant, linear"):
        diagnosis(schedule="step")


def test_adam_is_another_matter_than_adamw(weight):
    optimizer = torch.optim.Adam([weight], lr=2e-5, weight_decay=0.01)
    assert lone_weight(optimizer, [2e-5] * 10_000) < 0.9 < 0.99 < diagnose(2e-5, 0.01, 10_000).left
    assert "another matter" in diagnosis().spec["table"]["adam"]


def test_a_notebook_stores_the_same_text_for_a_form_at_every_run():
    texts = [diagnosis()._repr_mimebundle_()[0]["text/plain"] for _ in "ab"]
    assert texts[0] == texts[1]
    assert texts[0].startswith("The diagnosis, a form that answers")
