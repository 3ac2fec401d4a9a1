"""The programs of the PyTorch chapter against one another, in double precision, on settings that are not its own."""

import numpy as np
import pytest
import torch
from notebooks import functions_of

from weightdecay import high_dim_regression, sweep


@pytest.fixture(scope="module")
def chapter():
    torch.set_default_dtype(torch.double)
    return functions_of("pytorch")


def test_broadcasting_256_values_equals_looping(chapter):
    lambdas = [0, *np.geomspace(0.01, 10, 255)]
    together = sweep(chapter["train_all"], broadcast=True, lambd=lambdas)
    looped = sweep(chapter["train"], lambd=lambdas[::17])
    for name in ("train loss", "test loss", "w norm"):
        np.testing.assert_allclose(together[name][::17], looped[name], rtol=1e-5, atol=1e-8)


def test_the_optimiser_takes_the_steps_of_the_visible_loop(chapter):
    concise, scratch = (sweep(chapter[name], lambd=[0.7], seed=[5]) for name in ("train_concise", "train"))
    np.testing.assert_allclose(concise["w norm"], scratch["w norm"], rtol=1e-12)


def test_every_step_shrinks_what_no_data_touch(chapter):
    _, first = next(chapter["train"](0, report=chapter["norms"], num_epochs=1, seed=2, batch_size=7))
    *_, (_, last) = chapter["train"](2.0, report=chapter["norms"], num_epochs=10, seed=2, batch_size=7)
    steps = 10 * 3  # batches of 7, 7 and 6: the short one decays as much
    assert last["w unseen"].item() == pytest.approx(first["w unseen"].item() * (1 - 0.003 * 2.0) ** steps, rel=1e-12)


def test_a_short_batch_decays_less_where_the_penalty_is_broadcast(chapter):
    shrink = chapter["shrink_by_broadcasting"]
    assert shrink(3, 8, lambd=0.5) == pytest.approx(0.003 * 0.5 * 3 / 8, rel=1e-9)


def test_ridge_is_where_gradient_descent_comes_to_rest(chapter):
    X, y = chapter["data"].X_train, chapter["data"].y_train
    w, b = chapter["ridge"](X, y, lambd=0.5)
    residual = X @ w + b - y
    assert (X.T @ residual / len(X) + 0.5 * w).abs().max() < 1e-12
    assert residual.mean().abs() < 1e-12


def test_the_closed_form_in_time_equals_the_loop(chapter):
    s, _, X, y, *_ = chapter["directions"](3)
    w = np.zeros(len(s))
    exactly = dict(chapter["train_exactly"](0.02, seed=3))
    for step in range(1, 1001):
        w -= 0.003 * (X.T @ (X @ w - y) / len(y) + 0.02 * w)
        if step in exactly:
            assert exactly[step]["train loss"] == pytest.approx(np.mean((X @ w - y) ** 2) / 2, rel=1e-9)


@pytest.mark.parametrize("n", [150, 200, 201, 230])
def test_no_direction_that_the_data_see_is_left_out(chapter, n):
    s, Uy, _, _, X_test, y_test = chapter["directions"](3, n)
    assert len(s) == min(n - 1, 200)
    by_directions = chapter["squared_loss"](X_test @ (s / (s**2 + n * 1e-4) * Uy), y_test).mean()
    data = high_dim_regression(n, 1000, 200, seed=3, dtype=torch.double)
    w, b = chapter["ridge"](data.X_train, data.y_train, 1e-4)
    assert by_directions == pytest.approx(chapter["squared_loss"](data.X_test @ w + b, data.y_test).mean().item())


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf")])
def test_the_bare_loop_refuses_a_lambda_in_one_sentence(chapter, wrong):
    with pytest.raises(ValueError, match=f"λ must be a finite number that is not negative, but it is {wrong}"):
        next(chapter["train"](wrong))


def test_a_lone_weight_keeps_what_the_formula_says(chapter):
    assert chapter["lone_weight"](0.7, 9, lr=0.2) == pytest.approx([0.86**t for t in range(10)], rel=1e-12)
    # v ← μv + λw, w ← w − ηv, with η = 0.1, λ = 0.5, μ = 0.8: v is 0.5, then 0.4 + 0.475
    by_hand = [1, 0.95, 0.8625]
    assert chapter["lone_weight"](0.5, 2, lr=0.1, momentum=0.8) == pytest.approx(by_hand, rel=1e-12)


def test_a_penalty_in_the_loss_is_printed_and_the_option_is_not(chapter):
    (plain, _), (option, w), (penalty, same) = (chapter["first_step"](*how) for how in [(0, 0), (0.4, 0), (0.4, 1)])
    assert option == plain
    assert penalty - plain == pytest.approx(0.2 * 200, rel=1e-12)
    torch.testing.assert_close(w, same)


def test_the_option_decays_once_a_step_and_a_penalty_at_every_backward(chapter):
    penalty = chapter["l2_penalty"]
    assert chapter["in_portions"](lambda w: 0 * w.sum(), 0.5, portions=3) == pytest.approx(1 - 0.003 * 0.5)
    assert chapter["in_portions"](lambda w: 0.5 * penalty(w), 0, portions=3) == pytest.approx(1 - 3 * 0.003 * 0.5)


def test_clipping_shortens_the_penalty_and_not_the_option(chapter):
    how = {"limit": 0.5, "lambd": 3, "lr": 0.2, "steps": 4}
    assert chapter["clipped"](True, **how) == pytest.approx(10 - 4 * 0.2 * 0.5, rel=1e-5)
    assert chapter["clipped"](False, **how) == pytest.approx(10 * (1 - 0.2 * 3) ** 4, rel=1e-12)


def test_stopping_and_decay_keep_the_shares_that_loops_keep(chapter):
    curvature, lambd = 0.7, 0.5 / 3  # so that 1/(ηλ) is a whole number of steps
    stopped, decayed = chapter["shares"](curvature, lambd)
    early = late = 0.0
    for step in range(1, 20_001):
        late -= 0.003 * (curvature * (late - 1) + lambd * late)
        if step <= 2000:
            early -= 0.003 * curvature * (early - 1)
    assert (stopped, decayed) == pytest.approx((early, late), rel=1e-12)


def test_decay_that_sets_in_late_is_the_same_loop_otherwise(chapter):
    for begin, lambd in ((0, 2), (100, 0)):
        late = [found["w norm"].item() for _, found in chapter["train_late"](2, begin=begin)]
        assert late == pytest.approx([found["w norm"].item() for _, found in chapter["train"](lambd)], rel=1e-12)


def test_a_flat_floor_is_marked_along_its_whole_length(chapter):
    chapter["curvature"], (chapter["across"], chapter["along"]) = 5, np.meshgrid(*[np.linspace(-2, 2, 9)] * 2)
    figure, panes = chapter["plt"].subplots(1, 2)
    for axes, lambd in zip(panes, (0, 5), strict=True):
        chapter["contours"](axes, lambd)
    (floor,), (point,) = (axes.lines for axes in panes)
    assert list(floor.get_xdata()) == [0.5, 0.5]
    assert list(floor.get_ydata()) == [0, 1]  # of the height of the axes
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([0.25], [0])
    chapter["plt"].close(figure)
