"""The recipes: what they say is what they run."""

import math

import pytest
import torch

import ganlib
from ganlib.recipes import RECIPES, paper_schedule

MNIST_LIKE = (torch.rand(200, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 255).byte()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains(name, tmp_path):
    game = RECIPES[name].run(data=MNIST_LIKE, steps=2, out=tmp_path, log_every=1)
    assert game.step == 2
    assert ganlib.sample(game.generator, 3).shape == (3, 1, 28, 28)


def test_a_recipe_gives_the_same_bits_for_a_seed_and_others_for_another():
    first, again, other = (
        ganlib.sample(RECIPES["digits"].run(steps=3, seed=seed).generator, 2) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_building_players_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    RECIPES["digits"].players(MNIST_LIKE)
    assert torch.equal(torch.rand(2), expected)


def test_the_digits_recipe_learns_to_draw_digits():
    """Samples of a short run lie near real digits of most classes; of one step, near one blot."""
    digits = ganlib.load("digits")

    def classes_and_distance(images):
        distance, place = ganlib.nearest(images, digits.images)
        counts = torch.bincount(digits.labels[place[:, 0]], minlength=10)
        return (counts >= 2).sum().item(), distance.mean().item()

    start, trained = (
        classes_and_distance(ganlib.sample(RECIPES["digits"].run(steps=steps).generator, 200))
        for steps in (1, 600)
    )
    _, noise = classes_and_distance(torch.rand(200, 1, 8, 8))
    assert start[0] <= 3
    assert trained[0] >= 7
    assert trained[1] < start[1] < noise


def test_mnist_is_the_released_recipe():
    recipe = RECIPES["mnist"]
    G, D = recipe.players(MNIST_LIKE)
    # 100·1200 + 1200·1200 + 1200·784 weights and 1200 + 1200 + 784 biases
    assert sum(p.numel() for p in G.parameters()) == 2_500_800 + 3_184
    # 784·1200 + 240·1200 + 240 weights and 1200 + 1200 + 1 biases
    assert sum(p.numel() for p in D.parameters()) == 1_229_040 + 2_401
    mean = MNIST_LIKE.double().mean(0).flatten() / 255
    torch.testing.assert_close(G.last.bias.double().sigmoid(), mean, rtol=0, atol=1e-6)
    assert recipe.optimizer is torch.optim.SGD
    assert recipe.training["simultaneous"]
    assert recipe.training["batch_size"] == 100
    assert recipe.steps == 250 * 500


def test_the_papers_schedule():
    assert paper_schedule(0) == {"lr": 0.1, "momentum": 0.5}
    assert paper_schedule(499)["momentum"] == 0.5  # epoch 1 to its end
    assert math.isclose(paper_schedule(249 * 500)["momentum"], 0.7)  # epoch 250
    assert math.isclose(paper_schedule(10**6)["momentum"], 0.7)
    assert math.isclose(paper_schedule(1000)["lr"], 0.1 * math.exp(-1000 * math.log(1.000004)))
    assert paper_schedule(10**7)["lr"] == 1e-6


def test_the_schedule_reaches_both_optimisers():
    game = RECIPES["mnist"].run(data=MNIST_LIKE, steps=7)
    for optimizer in (game.optimizer_G, game.optimizer_D):
        (group,) = optimizer.param_groups
        assert {name: group[name] for name in ("lr", "momentum")} == paper_schedule(7)
