"""Precision and recall against slow sums, sharpness by hand, and a classifier that judges."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import avg_pool2d

from ganlib import load, metrics
from ganlib.metrics import accuracy, features, precision_recall, sharpness, train_classifier
from ganlib.networks import Classifier


def points(n, *shape, seed=0, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(n, *shape, generator=rng, dtype=dtype)


def direct(real, fake, k):
    """The definition, one point after another, in float64."""
    real, fake = (p.flatten(1).double().tolist() for p in (real, fake))

    def share(covering, covered):
        radii = [
            sorted(math.dist(a, b) for j, b in enumerate(covering) if j != i)[k - 1]
            for i, a in enumerate(covering)
        ]
        inside = [any(math.dist(a, x) <= r for a, r in zip(covering, radii)) for x in covered]
        return sum(inside) / len(covered)

    return share(real, fake), share(fake, real)


def little_blur(images):
    """Three tenths of the way to the mean of 3×3 pixels."""
    images = images / 255
    return images.lerp(avg_pool2d(images, 3, 1, 1), 0.3)


# Precision and recall ----------------------------------------------------------------------------


@given(st.integers(4, 30), st.integers(4, 30), st.integers(1, 3), st.integers(1, 5), st.integers())
@settings(deadline=None, max_examples=60)
def test_precision_and_recall_are_the_definition(n, m, k, dim, seed):
    real = points(n, dim, seed=seed % 2**32)
    fake = 0.3 + 0.8 * points(m, dim, seed=(seed + 1) % 2**32)
    assert precision_recall(real, fake, k) == pytest.approx(direct(real, fake, k))


def test_on_the_line_by_hand():
    """k = 1. Radii of real: 1, 1, 1, 28. Of fake: 0.5, 0.5, 7.

    Real covers [−1, 3] and [2, 58]: all of fake but −1.5. Fake covers [−2, −0.5] and [−1, 13]: all
    of real but 30.
    """
    real = torch.tensor([[0.0], [1.0], [2.0], [30.0]])
    fake = torch.tensor([[-1.5], [-1.0], [6.0]])
    assert precision_recall(real, fake, k=1) == pytest.approx((2 / 3, 3 / 4))
    assert precision_recall(fake, real, k=1) == pytest.approx((3 / 4, 2 / 3))


def test_balls_are_closed():
    """A point exactly at the radius is inside, and one beyond it is not."""
    real, far = torch.tensor([[0.0], [1.0]]), torch.tensor([[50.0], [90.0]])
    assert precision_recall(real, torch.cat([torch.tensor([[2.0]]), far]), 1).precision == 1 / 3
    assert precision_recall(real, torch.cat([torch.tensor([[2.001]]), far]), 1).precision == 0


@pytest.mark.parametrize("k", [1, 3])
def test_what_copies_all_of_the_data_has_all_of_both(k):
    real = load("digits").images[:200]
    assert precision_recall(real, real.clone(), k) == (1, 1)
    assert precision_recall(real, real / 255, k) == (1, 1)


def test_copies_lie_in_a_ball_of_radius_0():
    """Each real point three times, so that with k = 2 every radius is 0 and nothing else is in."""
    once = points(20, 1, 28, 28, seed=1)
    real, other = once.repeat(3, 1, 1, 1), points(20, 1, 28, 28, seed=2)
    assert precision_recall(real, once, 2).precision == 1
    near = once.clone()
    near[:, 0, 0, 0] += 1 / 255
    found = precision_recall(real, torch.cat([near, other, once]), 2)
    assert found.precision == pytest.approx(1 / 3)


def test_one_mode_dropped_costs_recall_alone():
    both = torch.cat([points(100, 2, seed=1), 50 + points(100, 2, seed=2)])
    one = points(200, 2, seed=3)
    found = precision_recall(both, one)
    assert found.precision > 0.85
    assert 0.4 < found.recall <= 0.5


@pytest.mark.parametrize("memory", [1, 3 * 8 * 30 * 7, 10**9])
def test_memory_changes_no_answer(memory):
    """A point at a time, seven at a time with some left over, all."""
    real, fake = points(30, 3, seed=1), points(26, 3, seed=2)
    assert precision_recall(real, fake, memory=memory) == pytest.approx(direct(real, fake, 3))


def test_far_from_the_origin_nothing_is_lost():
    real, fake = (1e6 + points(40, 5, seed=s, dtype=torch.float64) for s in (1, 2))
    assert precision_recall(real, fake) == pytest.approx(direct(real, fake, 3))


def test_in_pixels_blur_is_praised():
    images = load("digits").images
    real, fake = images[::2], images[1::2]
    sharp, soft = precision_recall(real, fake), precision_recall(real, little_blur(fake))
    assert soft.precision > sharp.precision + 0.05
    assert soft.recall < sharp.recall / 2


def test_it_prints_briefly():
    assert repr(metrics.PrecisionRecall(0.98765, 0.5)) == "PrecisionRecall(0.988, 0.500)"


GOOD = points(5, 1, 2, 2)
BAD = {
    "no real": ((GOOD[:0], GOOD), r"real must have shape \(n, ...\), n ≥ 1, got \(0, 1, 2, 2\)"),
    "no fake": ((GOOD, GOOD[:0]), "fake must have shape"),
    "numbers": ((GOOD[:, 0, 0, 0], GOOD), r"real must have shape .* got \(5,\)"),
    "NaN": ((GOOD, GOOD * math.nan), "fake must be finite, got 20 values that are not"),
    "infinite": ((GOOD / 0, GOOD), "real must be finite"),
    "shapes": ((GOOD, GOOD[..., :1]), r"same shape .* got \(1, 2, 2\) and \(1, 2, 1\)"),
    "k = 0": ((GOOD, GOOD, 0), r"k must be from 1 to 4 \(the points, less one\), got 0"),
    "k = n": ((GOOD, GOOD, 5), "k must be from 1 to 4 .* got 5"),
    "k = m": ((GOOD, GOOD[:3], 3), "k must be from 1 to 2 .* got 3"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        precision_recall(*arguments)


# Sharpness ---------------------------------------------------------------------------------------


def test_the_spread_of_colour_by_hand():
    red, blue = torch.tensor([0.6, 0.0, 0.0]), torch.tensor([0.0, 0.0, 0.5])
    images = torch.stack([red, blue])[:, :, None, None].expand(2, 3, 4, 5)
    left = torch.stack([red - 0.299 * 0.6, blue - 0.114 * 0.5])  # half of all pixels each
    expected = (left[0] - left[1]).abs().mean() / 2 * (40 / 39) ** 0.5
    torch.testing.assert_close(metrics.colour_spread(images), expected)
    torch.testing.assert_close(metrics.colour_spread(images + 0.2), expected)  # lighter
    tinted = torch.rand(2, 1, 4, 5) + red[:, None, None]
    torch.testing.assert_close(metrics.colour_spread(tinted), torch.tensor(0.0))
    levels = torch.randint(0, 256, (2, 3, 4, 5)).byte()
    torch.testing.assert_close(metrics.colour_spread(levels), metrics.colour_spread(levels / 255))


def test_the_spread_of_colour_needs_three_channels():
    with pytest.raises(ValueError, match=r"images must have shape \(N, 3, H, W\), got \(2, 1, 4"):
        metrics.colour_spread(torch.zeros(2, 1, 4, 4))


def test_sharpness_by_hand():
    """Pairs of [[0, 1], [1, 0.5]]: 1, 1, 0.5, 0.5 apart; of a second, even channel: nothing."""
    image = torch.tensor([[0.0, 1.0], [1.0, 0.5]])
    assert sharpness(image[None]).tolist() == [2.5 / 4]
    two = torch.stack([image, torch.ones(2, 2)])
    assert sharpness(two[None]).tolist() == [2.5 / 8]
    assert sharpness(torch.tensor([[[0.0, 1.0, 1.0]]])).tolist() == [1 / 2]


def test_sharpness_of_bytes_is_in_the_range_1():
    images = load("digits", "test").images
    torch.testing.assert_close(sharpness(images), sharpness(images / 255))
    assert (sharpness(avg_pool2d(images / 255, 3, 1, 1)) < sharpness(images)).all()


@pytest.mark.parametrize("shape", [(2, 3), (0, 1, 4, 4), (2, 1, 1, 1)])
def test_sharpness_needs_pixels_that_touch(shape):
    with pytest.raises(ValueError, match=r"images must have shape \(N, ..., H, W\)"):
        sharpness(torch.zeros(shape))


# The classifier ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge():
    train = load("digits")
    return train_classifier(train.images, train.labels, epochs=30)


def test_the_classifier_knows_new_digits(judge):
    test = load("digits", "test")
    right = accuracy(judge, test.images, test.labels)
    assert right >= 0.96
    slow = [judge(image[None] / 255).argmax().item() for image in test.images]
    assert right == sum(int(a == b) for a, b in zip(slow, test.labels.tolist())) / len(test)
    assert accuracy(judge, test.images, (test.labels + 1) % 10) < 0.02
    assert accuracy(judge, test.images / 255, test.labels, batch_size=7) == right


def test_features_hold_what_the_last_layer_decides_by(judge):
    images = load("digits", "test").images
    found = features(judge, images, batch_size=100)
    assert found.shape == (256, 48 + 64)
    assert not found.requires_grad
    torch.testing.assert_close(judge.last(found[:, 48:]), judge(images / 255))


def test_features_judge_alike_in_any_mode_and_leave_it(judge):
    images = load("digits", "test").images[:10]
    expected = features(judge, images)
    other = Classifier((1, 8, 8))
    other.load_state_dict(judge.state_dict())
    torch.testing.assert_close(features(other.train(), images), expected)
    assert other.training


def test_in_features_blur_is_punished(judge):
    images = load("digits").images
    real, fake = images[::2], images[1::2]
    sharp, soft = (
        precision_recall(features(judge, real), features(judge, some))
        for some in (fake, little_blur(fake))
    )
    assert sharp.precision > 0.7
    assert soft.precision < sharp.precision / 2


def test_training_is_decided_by_its_seed_and_leaves_the_random_state_alone():
    train = load("digits")
    images, labels = train.images[:200], train.labels[:200]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one, same, other = (
        train_classifier(images, labels, epochs=1, seed=seed).state_dict() for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["last.weight"], other["last.weight"])


IMAGES, LABELS = torch.zeros(6, 1, 8, 8), torch.arange(6)
CANNOT = {
    "no image": ((IMAGES[:0], LABELS[:0]), {}, "images must have shape"),
    "rows": ((IMAGES[:, 0], LABELS), {}, "images must have shape"),
    "fewer labels": ((IMAGES, LABELS[:5]), {}, r"labels must be 6 int64 classes .* got \(5,\)"),
    "floats": ((IMAGES, LABELS / 2), {}, "labels must be 6 int64 classes .* torch.float32"),
    "negative": ((IMAGES, LABELS - 1), {}, "labels must be 6 int64 classes from 0"),
    "no epoch": ((IMAGES, LABELS), {"epochs": 0}, "epochs must be at least 1, got 0"),
    "one by one": ((IMAGES, LABELS), {"batch_size": 1}, "batch_size must be at least 2"),
    "large batch": ((IMAGES, LABELS), {"batch_size": 7}, "batch_size must be from 1 to 6"),
    "small image": ((IMAGES[..., :3], LABELS), {"batch_size": 2}, "H and W at least 4, got"),
}


@pytest.mark.parametrize(("arguments", "settings", "message"), CANNOT.values(), ids=CANNOT)
def test_training_that_cannot_be_is_refused(arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        train_classifier(*arguments, **{"epochs": 1, **settings})


# Chains -------------------------------------------------------------------------------------------


def autoregressive(n, m, share, seed=0):
    """m chains x ← share · x + noise, from their stationary distribution N(0, 1); (n, m)."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, m, generator=rng, dtype=torch.float64)
    chain = [noise[0]]
    for step in noise[1:]:
        chain.append(share * chain[-1] + (1 - share**2) ** 0.5 * step)
    return torch.stack(chain)


@pytest.mark.parametrize("m", [1, 8])
@pytest.mark.parametrize("share", [-0.5, 0.0, 0.5, 0.9])
def test_the_effective_sample_size_of_an_autoregression_is_known(share, m):
    """N (1 − share) / (1 + share)."""
    chains = autoregressive(40_000 // m, m, share)
    expected = 40_000 * (1 - share) / (1 + share)
    assert metrics.effective_sample_size(chains).item() == pytest.approx(expected, rel=0.12)


def test_it_predicts_how_far_means_of_chains_stray():
    """The variance of a mean is that of one number, divided by the size."""
    means = torch.stack([autoregressive(500, 4, 0.8, seed).mean() for seed in range(300)])
    sizes = [metrics.effective_sample_size(autoregressive(500, 4, 0.8, s)) for s in range(20)]
    predicted = (1 / torch.stack(sizes)).mean().item()
    assert means.var().item() == pytest.approx(predicted, rel=0.25)


def test_chains_that_stand_still_count_once_each():
    still = torch.randn(20, generator=torch.Generator().manual_seed(0)).expand(1000, 20)
    moving = still + 1e-3 * autoregressive(1000, 20, 0.0)
    assert metrics.effective_sample_size(moving).item() < 45


def test_the_size_of_several_numbers_is_that_of_each():
    two = torch.stack([autoregressive(1000, 4, 0.9), autoregressive(1000, 4, 0.0)], 2)
    sizes = metrics.effective_sample_size(two)
    for number in (0, 1):
        alone = metrics.effective_sample_size(two[..., number])
        assert sizes[number].item() == pytest.approx(alone.item())


def test_chains_too_short_are_refused():
    with pytest.raises(ValueError, match=r"chains must have shape .* n ≥ 4, got \(3, 2\)"):
        metrics.effective_sample_size(torch.zeros(3, 2))
