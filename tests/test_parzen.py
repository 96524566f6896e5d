"""The Parzen-window score: its numbers against direct sums, its protocol, what it refuses."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ganlib import load, parzen
from ganlib.parzen import FINE_SIGMAS, PAPER_SIGMAS, log_density, score

MNIST = Path(os.environ.get("GANLIB_DATA") or os.devnull) / "mnist"


def direct(images, centres, sigma):
    """The formula of the docstring, term by term in float64."""
    x, mu = (t.double().flatten(1).numpy() for t in (images, centres))
    result = []
    for one in x:
        exponents = [-((one - m) ** 2).sum() / (2 * sigma**2) for m in mu]
        top = max(exponents)
        mean = sum(math.exp(e - top) for e in exponents) / len(mu)
        scale = x.shape[1] * math.log(sigma * math.sqrt(2 * math.pi))
        result.append(top + math.log(mean) - scale)
    return torch.tensor(result, dtype=torch.float64)


def pictures(n, *shape, seed=0, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(n, *shape, generator=rng, dtype=dtype)


@pytest.mark.parametrize("shape", [(1,), (2,), (1, 8, 8), (3, 4, 5)])
@pytest.mark.parametrize("sigma", [0.05, 0.2, 1.0])
def test_log_density_is_the_formula(shape, sigma):
    images, centres = pictures(7, *shape, seed=1), pictures(11, *shape, seed=2)
    expected = direct(images, centres, sigma)
    exact = log_density(images.double(), centres.double(), [sigma])[0]
    torch.testing.assert_close(exact, expected, rtol=0, atol=1e-9)
    fast = log_density(images, centres, [sigma])[0]
    torch.testing.assert_close(fast, expected, rtol=0, atol=2e-3)


def test_on_the_line_it_is_a_density():
    centres = torch.tensor([[0.3], [0.6], [0.6]], dtype=torch.float64)
    inside = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    density = log_density(inside, centres, [0.05])[0].exp()
    assert np.trapezoid(density, inside[:, 0]) == pytest.approx(1, abs=1e-6)
    assert density.argmax() == 1200


def test_one_call_serves_every_sigma_and_any_memory():
    images, centres = pictures(13, 1, 6, 6, seed=1), pictures(9, 1, 6, 6, seed=2)
    together = log_density(images, centres, PAPER_SIGMAS)
    assert together.shape == (10, 13)
    assert together.dtype == torch.float64
    for row, sigma in zip(together, PAPER_SIGMAS):
        torch.testing.assert_close(row, log_density(images, centres, [sigma])[0])
    for memory in (1, 300, 10**9):  # one image at a time, a few, all
        pieces = log_density(images, centres, PAPER_SIGMAS, memory=memory)
        torch.testing.assert_close(pieces, together, rtol=0, atol=1e-3)


def exact_on(images, centres, sigmas):
    """All pairs broadcast in numpy's float64, one centre less another, squared and summed."""
    x, mu = (t.flatten(1).numpy() / 255 for t in (images, centres))
    squared = ((x[:, None] - mu) ** 2).sum(-1)
    rows = [
        np.log(np.exp(-squared / (2 * s**2)).mean(1)) - x.shape[1] * np.log(s * np.sqrt(2 * np.pi))
        for s in sigmas
    ]
    return torch.from_numpy(np.array(rows))


def test_on_real_digits_every_width_is_right():
    centres, images = load("digits").images[:300], load("digits", "test").images[:50]
    sigmas = PAPER_SIGMAS + FINE_SIGMAS[6:]  # below 0.067 the plain sum underflows
    expected = exact_on(images, centres, sigmas)
    assert expected.isfinite().all()
    exact = log_density(images.double() / 255, centres.double() / 255, sigmas)
    torch.testing.assert_close(exact, expected, rtol=0, atol=1e-9)
    fast = log_density(images, centres, sigmas)
    torch.testing.assert_close(fast.mean(1), expected.mean(1), rtol=0, atol=1e-3)


class Largest(TorchDispatchMode):
    """Records the bytes of the largest tensor that any operation answers with."""

    nbytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple | list) else [found]:
            if isinstance(one, torch.Tensor):
                self.nbytes = max(self.nbytes, one.nbytes)
        return found


@pytest.mark.parametrize("memory", [2**14, 2**16, 2**18])
def test_no_tensor_outgrows_the_memory(memory):
    images, centres = pictures(400, 2, 2, seed=1), pictures(1000, 2, 2, seed=2)
    with Largest() as largest:
        log_density(images, centres, [0.2, 0.3], memory=memory)
    assert memory / 4 < largest.nbytes <= max(memory, centres.nbytes)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9])
@pytest.mark.parametrize("row", [4, 8, 9])
def test_blocks_of_every_length_meet_at_their_edges(n, row, monkeypatch):
    """Blocks of some images, cut into slices of two: full ones, and what is left over."""
    images, centres = pictures(n, 3, seed=1), pictures(5, 3, seed=2)
    slice_bytes, image_bytes = 2 * 5 * 4, (5 + 2 * 3) * 4
    monkeypatch.setattr(parzen, "CACHE", slice_bytes)
    found = log_density(images, centres, [0.1, 0.4], memory=slice_bytes + row * image_bytes)
    expected = torch.stack([direct(images, centres, sigma) for sigma in (0.1, 0.4)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_a_gradient_is_neither_needed_nor_kept():
    images = pictures(3, 4).requires_grad_()
    assert not log_density(images, images, [0.2]).requires_grad


def test_far_images_have_a_finite_density():
    far = log_density(torch.ones(1, 784), torch.zeros(2, 784), [0.01])[0]
    expected = -784 / (2 * 0.01**2) - 784 * math.log(0.01 * math.sqrt(2 * math.pi))
    assert far.item() == pytest.approx(expected, rel=1e-6)


def test_bytes_are_pixels_from_0_to_255():
    levels = torch.randint(0, 256, (5, 1, 4, 4), dtype=torch.uint8)
    same = log_density(levels, levels.flip(0), [0.3])
    torch.testing.assert_close(same, log_density(levels / 255, levels.flip(0) / 255, [0.3]))


def test_inputs_stay_as_they_are():
    images, centres = pictures(3, 4), pictures(4, 4, seed=1)
    before = images.clone(), centres.clone()
    log_density(images, centres, [0.2])
    assert torch.equal(images, before[0])
    assert torch.equal(centres, before[1])


def test_the_papers_widths_are_ten_from_a_tenth_to_one():
    assert len(PAPER_SIGMAS) == 10
    assert PAPER_SIGMAS[0] == pytest.approx(0.1)
    assert PAPER_SIGMAS[-1] == pytest.approx(1)
    ratios = np.divide(PAPER_SIGMAS[1:], PAPER_SIGMAS[:-1])
    assert ratios == pytest.approx(10 ** (1 / 9))


def test_the_fine_widths_go_from_a_twentieth_to_a_half_in_even_steps():
    assert len(FINE_SIGMAS) == 47
    assert (FINE_SIGMAS[0], FINE_SIGMAS[-1]) == pytest.approx((0.05, 0.5))
    ratios = np.divide(FINE_SIGMAS[1:], FINE_SIGMAS[:-1])
    assert ratios == pytest.approx(10 ** (1 / 46))


def test_score_follows_the_protocol():
    samples = pictures(20, 1, 3, 3, seed=1)
    validation, test = pictures(1200, 1, 3, 3, seed=2), pictures(30, 1, 3, 3, seed=3)
    found = score(samples, validation, test)
    by_sigma = [direct(validation[:1000], samples, s).mean().item() for s in PAPER_SIGMAS]
    assert found.validation == pytest.approx(by_sigma, abs=2e-3)
    assert found.sigma == PAPER_SIGMAS[int(np.argmax(by_sigma))]
    each = direct(test, samples, found.sigma)
    assert found.each == pytest.approx(each, abs=2e-3)
    assert found.mean == pytest.approx(each.mean().item(), abs=1e-3)
    assert found.error == pytest.approx(each.std().item() / math.sqrt(30), rel=1e-3)
    assert repr(found) == (
        f"Score({found.mean:.1f} ± {found.error:.1f} nats at σ = {found.sigma:.3f})"
    )


def test_wrong_scale_costs_exactly_d_log_2():
    """Images in [−1, 1] with 2σ: the same sum of exponentials, d log 2 nats less."""
    images, centres = pictures(4, 16, dtype=torch.float64), pictures(6, 16, dtype=torch.float64)
    here = log_density(images, centres, [0.1])
    there = direct(2 * images - 1, 2 * centres - 1, 0.2)
    torch.testing.assert_close(here[0] - there, torch.full((4,), 16 * math.log(2)).double())


def test_real_digits_score_more_than_noise():
    train, validation, test = (load("digits", p).images for p in ("train", "validation", "test"))
    real = score(train, validation, test)
    noise = score(pictures(len(train), 1, 8, 8), validation, test)
    assert real.mean > noise.mean + 20
    assert PAPER_SIGMAS[0] < real.sigma < PAPER_SIGMAS[-1]
    fine = score(train, validation, test, FINE_SIGMAS)
    assert max(fine.validation) > max(real.validation)
    assert FINE_SIGMAS[0] < fine.sigma < FINE_SIGMAS[-1]


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs MNIST in GANLIB_DATA")
def test_ten_thousand_training_images_of_mnist_score_as_published():
    train, validation, test = (load("mnist", p).images for p in ("train", "validation", "test"))
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:10_000]
    found = score(train[chosen], validation, test)
    assert found.mean == pytest.approx(242.5, abs=4)
    assert found.sigma == PAPER_SIGMAS[2]
    fine = score(train[chosen], validation, test, FINE_SIGMAS)
    assert found.mean < fine.mean < found.mean + 4
    assert FINE_SIGMAS[20] < fine.sigma < FINE_SIGMAS[30]
    few = torch.arange(0, 10_000, 100)
    exact = log_density(test[few].double() / 255, train[chosen].double() / 255, [found.sigma])
    assert found.each[few].mean().item() == pytest.approx(exact.mean().item(), abs=1e-3)


GOOD = torch.full((3, 1, 2, 2), 0.5)
BAD = {
    "above 1": (
        (GOOD + 1, GOOD, [0.1]),
        r"images must lie in \[0, 1\], got values from 1.5 to 1.5",
    ),
    "below 0": ((GOOD, -GOOD, [0.1]), r"centres must lie in \[0, 1\], got .* -0.5 to -0.5"),
    "NaN": ((GOOD * math.nan, GOOD, [0.1]), r"images must lie in \[0, 1\]"),
    "other shape": ((GOOD, GOOD[..., :1], [0.1]), r"same shape .* got \(1, 2, 2\) and \(1, 2, 1\)"),
    "no image": ((GOOD[:0], GOOD, [0.1]), r"images must have shape \(n, ...\), n ≥ 1, got \(0, "),
    "no centre": ((GOOD, GOOD[:0], [0.1]), "centres must have shape"),
    "a number": ((torch.tensor(0.5), GOOD, [0.1]), "images must have shape"),
    "width 0": ((GOOD, GOOD, [0.1, 0.0]), r"sigmas must be positive numbers, got \[0.0\]"),
    "no width": ((GOOD, GOOD, []), "sigmas must be positive numbers, got none"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        log_density(*arguments)


def test_score_names_its_own_arguments_in_errors():
    with pytest.raises(ValueError, match=r"samples must lie in \[0, 1\]"):
        score(-GOOD, GOOD, GOOD)
    with pytest.raises(ValueError, match="validation must have shape"):
        score(GOOD, GOOD[:0], GOOD)


def test_half_precision_is_computed_in_single():
    half = log_density(GOOD.half(), GOOD.half(), [0.1])
    assert torch.equal(half, log_density(GOOD, GOOD, [0.1]))


def test_a_standard_error_needs_two_test_images():
    with pytest.raises(ValueError, match="test must hold at least 2 images"):
        score(GOOD, GOOD, GOOD[:1])
