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


def test_the_schedule_reaches_both_optimisers_and_d_takes_its_share_of_the_rate():
    """The released code halves D's loss; with SGD that is half the rate."""
    game = RECIPES["mnist"].run(data=MNIST_LIKE, steps=7)
    for optimizer, share in ((game.optimizer_G, 1), (game.optimizer_D, 0.5)):
        (group,) = optimizer.param_groups
        expected = paper_schedule(7)
        assert group["lr"] == share * expected["lr"]
        assert group["momentum"] == expected["momentum"]


def test_half_the_rate_is_half_the_loss():
    """A step of D by the recipe against one step of SGD on ½ (BCE(1, D(x)) + BCE(0, D(S)))."""
    pair = RECIPES["digits"].players(MNIST_LIKE)[1].double()
    start = [p.detach().clone() for p in pair.parameters()]
    x = torch.rand(6, 1, 28, 28, dtype=torch.float64)
    real, fake = pair.eval()(x), pair(1 - x)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    halved = (bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))) / 2
    whole = ganlib.objectives.discriminator_loss(real, fake)
    for loss, rate in ((halved, 0.1), (whole, 0.1 * RECIPES["mnist"].rate_D)):
        gradient = torch.autograd.grad(loss, list(pair.parameters()), retain_graph=True)
        moved = [p - rate * g for p, g in zip(start, gradient)]
        if loss is halved:
            expected = moved
    for one, other in zip(moved, expected):
        torch.testing.assert_close(one, other)
