"""The protocols: what they say of images of which it can be worked out by hand."""

import numpy as np
import pytest
import torch

from ganlib import protocols
from ganlib.data import Data, load
from ganlib.networks import UNetGenerator
from ganlib.protocols import Likelihood, Pairs

SPLITS = ("train", "validation", "test")


class Ones(torch.nn.Module):
    """A judge that says 1 whatever it sees."""

    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.tensor([0.0, 1.0, 0.0]))

    def forward(self, x):
        return self.bias.expand(len(x), 3)


def pairs(images):
    """The same pairs in every split; the inputs have two channels."""
    inputs = torch.zeros(len(images), 2, *images.shape[2:], dtype=torch.uint8)
    return Pairs({split: Data("mine", split, images, inputs=inputs) for split in SPLITS}, None)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    splits = {split: load("digits", split) for split in SPLITS}
    return Likelihood(splits, tmp_path_factory.mktemp("digits"))


def test_agreement_counts_by_the_class_asked_for(tmp_path):
    data = Data("mine", "train", torch.zeros(2, 1, 2, 2), classes=("a", "b", "c"))
    protocol = Likelihood(dict.fromkeys(SPLITS, data), tmp_path)
    protocol.judge = Ones()
    assert protocol._agreement(torch.rand(7, 1, 2, 2)) == {
        "mean": 0.3333, "least": 0.0, "of each class": {"a": 0.0, "b": 1.0, "c": 0.0}
    }  # fmt: skip


def test_softening_keeps_brightness_and_colour_apart():
    one = torch.zeros(1, 3, 5, 5)
    one[0, 1, 2, 2] = 1
    soft = protocols._softened(one)
    assert soft.sum().item() == pytest.approx(1)
    assert soft[0, 1, 2, 2].item() == pytest.approx(0.49)
    assert soft[0, 1, 2, 3].item() == pytest.approx(0.105)
    assert not soft[0, [0, 2]].any()


def test_the_judge_is_trained_once(digits):
    assert digits.judge is digits.judge
    again = Likelihood({s: load("digits", s) for s in SPLITS}, digits.path.parent)
    before = digits.path.stat().st_mtime_ns
    x = load("digits", "test").images[:5] / 255
    assert torch.equal(again.judge(x), digits.judge(x))
    assert digits.path.stat().st_mtime_ns == before


def test_the_test_images_themselves_lack_nothing(digits):
    found = digits.measure_images(digits.test.images / 255)
    assert found["centres"] == len(digits.test)
    assert found["sharpness"] == 1
    for space in ("pixels", "features"):
        assert found[space] == {"precision": 1, "recall": 1}
    assert found["score"]["mean"] > digits.reference()["training images"]["score"]["mean"]


def test_the_truth_has_no_error_and_a_shift_has_its_own():
    rng = torch.Generator().manual_seed(0)
    protocol = pairs(torch.randint(0, 200, (5, 3, 8, 8), generator=rng, dtype=torch.uint8))
    truth = protocol.test.images / 255
    exact = protocol.measure_images(truth)
    assert exact["score"] == {"mean": 0, "standard error": 0}
    assert (exact["pairs"], exact["sharpness"], exact["colour spread"]) == (5, 1, 1)
    lighter = truth.clone()
    lighter[:2] += 0.1  # of two images in five
    shifted = protocol.measure_images(lighter)
    assert shifted["score"]["mean"] == pytest.approx(0.04, abs=1e-4)
    spread = torch.tensor([0.1, 0.1, 0, 0, 0]).std().item()
    assert shifted["score"]["standard error"] == pytest.approx(spread / 5**0.5, abs=1e-4)
    assert (shifted["sharpness"], shifted["colour spread"]) == (1, 1)
    grey = protocol.measure_images(truth.mean(1, keepdim=True).expand_as(truth))
    assert grey["colour spread"] == 0
    assert grey["sharpness"] < 1


def test_what_cannot_be_told_of_one_pair_without_texture_is_none():
    protocol = pairs(torch.full((1, 3, 8, 8), 51, dtype=torch.uint8))
    for images in (protocol.test.images / 255, torch.rand(1, 3, 8, 8)):
        found = protocol.measure_images(images)
        assert found["score"]["mean"] is not None
        assert found["score"]["standard error"] is None
        assert (found["sharpness"], found["colour spread"]) == (None, None)


def test_what_no_game_has_made():
    images = torch.tensor([0, 0, 90], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 8, 8)
    found = pairs(images.contiguous()).reference()
    means = {row: its["score"]["mean"] * 255 for row, its in found.items()}
    assert means["the truth"] == 0
    assert means["the input itself"] == pytest.approx(30, abs=0.05)  # black
    assert means["the median training image"] == pytest.approx(30, abs=0.05)  # 0, 0 and 90 off
    assert means["the mean training image"] == pytest.approx(40, abs=0.05)  # 30, 30 and 60
    assert "colour spread" not in found["the truth"]


def test_grey_is_what_colouring_must_beat():
    protocol = Pairs({split: load("colour", split) for split in SPLITS}, None)
    grey = protocol.reference()["the input itself"]
    expected = (protocol.test.inputs / 255 - protocol.test.images / 255).abs().mean().item()
    assert grey["score"]["mean"] == pytest.approx(expected, abs=1e-4)
    assert grey["colour spread"] == 0


def test_a_sheet_shows_pairs_from_all_over_and_greys_two_channels():
    images = torch.arange(15, dtype=torch.uint8).view(15, 1, 1, 1).expand(15, 3, 16, 16)
    protocol = pairs(images.contiguous())
    protocol.test.inputs[:, 0] = 2 * images[:, 0]
    G = UNetGenerator((3, 16, 16), inputs=2, width=2)
    (axes,) = protocols.draw_pairs(G, protocol.test, "mine").axes
    assert axes.get_title() == "mine"
    picture = np.asarray(axes.images[0].get_array())
    height, width = picture.shape[0] / 3, picture.shape[1] / 8
    for row in (0, 2):  # the mean of 2 n and 0, and n
        middles = [picture[int((row + 0.5) * height), int((n + 0.5) * width), 0] for n in range(8)]
        np.testing.assert_allclose(np.array(middles) * 255, range(0, 15, 2), atol=1e-3)
