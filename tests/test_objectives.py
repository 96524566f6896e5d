"""The value function and its relatives: exact values, float64 references, gradients, refusals."""

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganlib.objectives import (
    GENERATOR_LOSSES,
    discriminator_loss,
    l1_loss,
    minimax,
    non_saturating,
    optimal_discriminator,
    value,
)

few = settings(deadline=None, max_examples=50)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
# Within ±12 the formulas on probabilities lose few of float64's digits.
LOGITS = st.lists(st.floats(-12, 12), min_size=1, max_size=8).map(
    lambda logits: torch.tensor(logits, dtype=torch.float64)
)
MASS = st.one_of(st.just(0.0), st.floats(1e-300, sys.float_info.max))


def gradient(loss, logits):
    leaf = logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(leaf), leaf)
    return slope


# Values ------------------------------------------------------------------------------------------


@each_dtype
def test_value_is_minus_log_4_where_D_answers_one_half(dtype):
    real, fake = torch.zeros(5, 1, dtype=dtype), torch.zeros(3, 1, dtype=dtype)
    assert value(real, fake).item() == pytest.approx(-math.log(4), rel=1e-7)
    assert discriminator_loss(real, fake).item() == pytest.approx(2 * math.log(2), rel=1e-7)
    assert minimax(fake).item() == pytest.approx(-math.log(2), rel=1e-7)
    assert non_saturating(fake).item() == pytest.approx(math.log(2), rel=1e-7)


@few
@given(LOGITS, LOGITS)
def test_losses_agree_with_the_formulas_on_probabilities(real, fake):
    on_data = [1 / (1 + math.exp(-logit)) for logit in real.tolist()]
    on_samples = [1 / (1 + math.exp(-logit)) for logit in fake.tolist()]
    log_data = sum(math.log(D) for D in on_data) / len(on_data)
    log_samples = sum(math.log(D) for D in on_samples) / len(on_samples)
    log_rest = sum(math.log(1 - D) for D in on_samples) / len(on_samples)
    assert value(real, fake).item() == pytest.approx(log_data + log_rest, rel=1e-9)
    assert minimax(fake).item() == pytest.approx(log_rest, rel=1e-9)
    assert non_saturating(fake).item() == pytest.approx(-log_samples, rel=1e-9)


@few
@given(LOGITS, LOGITS)
def test_D_descends_minus_the_value(real, fake):
    assert torch.equal(discriminator_loss(real, fake), -value(real, fake))


@few
@given(LOGITS, LOGITS)
def test_naming_the_samples_data_turns_the_logits_round(real, fake):
    torch.testing.assert_close(value(real, fake), value(-fake, -real))


@few
@given(LOGITS, LOGITS)
def test_minimax_is_the_term_of_the_value_that_G_moves(real, fake):
    torch.testing.assert_close(value(real, fake), minimax(fake) - non_saturating(real))
    assert torch.equal(gradient(minimax, fake), gradient(lambda f: value(real, f), fake))


@few
@given(LOGITS)
def test_generator_losses_sum_to_minus_the_mean_logit(fake):
    # log(1 − D) − log D = −logit
    torch.testing.assert_close(minimax(fake) + non_saturating(fake), -fake.mean())


def test_generator_losses_are_found_by_name():
    assert list(GENERATOR_LOSSES) == ["minimax", "non_saturating"]
    assert list(GENERATOR_LOSSES.values()) == [minimax, non_saturating]


# Far from zero -----------------------------------------------------------------------------------


@each_dtype
def test_values_are_exact_where_D_is_certain(dtype):
    far = torch.tensor([[1e4]], dtype=dtype)
    assert value(far, -far).item() == 0  # D is right about both
    assert value(-far, far).item() == -2e4  # D is wrong about both
    assert minimax(far).item() == -1e4
    assert minimax(-far).item() == 0
    assert non_saturating(far).item() == 0
    assert non_saturating(-far).item() == 1e4


@each_dtype
def test_gradients_are_exact_where_D_is_certain(dtype):
    logits = torch.tensor([1e4, -1e4], dtype=dtype)
    assert gradient(minimax, logits).tolist() == [-0.5, 0]
    assert gradient(non_saturating, logits).tolist() == [0, -0.5]
    assert gradient(lambda real: value(real, logits), logits).tolist() == [0, 0.5]
    assert gradient(lambda fake: value(logits, fake), logits).tolist() == [-0.5, 0]


@few
@given(LOGITS)
def test_slopes_by_the_logit_are_those_of_the_docstrings(fake):
    D, M = torch.sigmoid(fake), len(fake)
    torch.testing.assert_close(gradient(non_saturating, fake), -(1 - D) / M)
    torch.testing.assert_close(gradient(minimax, fake), -D / M)


# L1 ----------------------------------------------------------------------------------------------


def test_l1_is_the_mean_absolute_difference():
    fake, target = torch.tensor([[0.0, 1.0], [0.5, 0.25]]), torch.tensor([[1.0, 1.0], [0.0, 0.5]])
    assert l1_loss(fake, target).item() == (1 + 0 + 0.5 + 0.25) / 4


def test_l1_never_broadcasts():
    with pytest.raises(ValueError, match=r"one shape, got \(4, 3\) and \(4, 1\)"):
        l1_loss(torch.zeros(4, 3), torch.zeros(4, 1))


# The optimal discriminator -----------------------------------------------------------------------


@few
@given(st.lists(st.tuples(MASS, MASS), min_size=1, max_size=8))
def test_optimal_discriminator_is_a_probability_and_its_mirror_is_the_rest(pairs):
    a, b = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    D_star, mirrored = optimal_discriminator(a, b), optimal_discriminator(b, a)
    nowhere = (a == 0) & (b == 0)
    assert torch.equal(D_star.isnan(), nowhere)
    assert ((D_star >= 0) & (D_star <= 1))[~nowhere].all()
    torch.testing.assert_close((D_star + mirrored)[~nowhere], torch.ones_like(a)[~nowhere])


def test_optimal_discriminator_at_known_points():
    p_data, p_g = torch.tensor([[0.5, 0.0], [0.3, 0.0]]), torch.tensor([[0.5, 0.2], [0.1, 0.0]])
    torch.testing.assert_close(
        optimal_discriminator(p_data, p_g),
        torch.tensor([[0.5, 0.0], [0.75, math.nan]]),
        equal_nan=True,
    )


@pytest.mark.parametrize(("tiny", "dtype"), [(1e-300, torch.float64), (1e-40, torch.float32)])
def test_optimal_discriminator_keeps_the_ratio_of_tiny_densities(tiny, dtype):
    p_data, p_g = torch.tensor([3 * tiny, tiny], dtype=dtype), torch.tensor([tiny, 0], dtype=dtype)
    expected = torch.tensor([0.75, 1], dtype=dtype)
    torch.testing.assert_close(optimal_discriminator(p_data, p_g), expected, rtol=1e-4, atol=0)


def test_optimal_discriminator_of_the_largest_densities_does_not_overflow():
    largest = torch.tensor([torch.finfo(torch.float32).max])
    assert optimal_discriminator(largest, largest).item() == 0.5
    assert optimal_discriminator(largest / 2, largest).item() == pytest.approx(1 / 3)


@few
@given(st.floats(0.01, 10), st.floats(0.01, 10))
def test_optimal_discriminator_beats_every_other_answer(a, b):
    def V(y):
        return a * torch.log(y) + b * torch.log1p(-y)

    y = torch.linspace(0, 1, 20_001, dtype=torch.float64)[1:-1]
    best = optimal_discriminator(*torch.tensor([[a], [b]], dtype=torch.float64))
    assert V(best) >= V(y).max() - 1e-12 * (a + b)
    assert abs(y[V(y).argmax()] - best) <= y[0]  # the grid's best is a neighbour


@pytest.mark.parametrize("name", ["p_data", "p_g"])
def test_optimal_discriminator_refuses_negative_densities(name):
    densities = {"p_data": torch.ones(2), "p_g": torch.ones(2)}
    densities[name] = torch.tensor([0.5, -0.25])
    with pytest.raises(ValueError, match=f"{name} .* at least 0, got -0.25"):
        optimal_discriminator(**densities)


def test_optimal_discriminator_never_broadcasts():
    with pytest.raises(ValueError, match=r"one shape, got \(2, 1\) and \(2,\)"):
        optimal_discriminator(torch.ones(2, 1), torch.ones(2))
