"""The recipes: what they say is what they run."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import ganlib
from ganlib.data import Data
from ganlib.recipes import RECIPES, paper_schedule, tfd_schedule
from ganlib.rivals.recipes import RIVALS

MNIST_LIKE = (torch.rand(200, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 255).byte()


def some_data(recipe):
    """MNIST-like images, with labels if the recipe conditions on them; pairs if on images."""
    if recipe.condition == "inputs":
        pairs = torch.randint(256, (2, 6, 3, 32, 32), generator=torch.Generator().manual_seed(0))
        return Data("mine", "train", pairs[0].byte(), inputs=pairs[1, :, :2].byte())
    if recipe.condition is None:
        return Data("mine", "train", MNIST_LIKE)
    return Data("mine", "train", MNIST_LIKE, torch.arange(200) % 10, tuple("0123456789"))


def narrow(recipe):
    """The same recipe with no layer of more than 160 units."""
    units = recipe.discriminator.get("units", (160, 160))
    return replace(
        recipe,
        generator=recipe.generator | {"hidden": [min(w, 160) for w in recipe.generator["hidden"]]},
        discriminator=recipe.discriminator | {"units": [min(w, 160) for w in units]},
        first=recipe.first and narrow(recipe.first),
    )


RECORDED = sorted(
    path.parent.name
    for path in Path(__file__).parents[1].glob("results/*/metrics.json")
    if path.parent.name in RECIPES | RIVALS
)


@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_run_took_the_time_that_its_recipe_says(name):
    path = Path(__file__).parents[1] / "results" / name / "metrics.json"
    time = r"(about )?([\d.]+)(?: to ([\d.]+))? (seconds|minutes|hours) on one core"
    about, least, most, unit = re.match(time, (RECIPES | RIVALS)[name].time).groups()
    slack = 1.15 if about else 1
    in_seconds = {"seconds": 1, "minutes": 60, "hours": 3600}[unit]
    for its in json.loads(path.read_text("utf-8"))["seeds"].values():
        assert float(least) / slack <= its["seconds"] / in_seconds <= float(most or least) * slack


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains(name, tmp_path):
    recipe = narrow(RECIPES[name]) if RECIPES[name].first else RECIPES[name]
    data = some_data(recipe)
    game = recipe.run(data=data, steps=2, out=tmp_path, log_every=1)
    assert game.step == 2
    y = data.inputs[:3] if recipe.condition == "inputs" else None
    assert ganlib.sample(game.generator, 3, y).shape == (3, *data.shape)


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
    RECIPES["digits"].players(ganlib.load(MNIST_LIKE))
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
    G, D = recipe.players(ganlib.load(MNIST_LIKE))
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
    """The recipe's step of D, by the gradient of ½ (BCE(1, D(x)) + BCE(0, D(S)))."""
    D = RECIPES["digits"].players(ganlib.load(MNIST_LIKE))[1].double().eval()
    x = torch.rand(6, 1, 28, 28, dtype=torch.float64)
    real, fake = D(x), D(1 - x)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    halved = (bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))) / 2
    whole = ganlib.objectives.discriminator_loss(real, fake)
    for one, other in zip(
        torch.autograd.grad(halved, list(D.parameters()), retain_graph=True),
        torch.autograd.grad(whole, list(D.parameters())),
    ):
        torch.testing.assert_close(one, RECIPES["mnist"].rate_D * other)


# Classes -----------------------------------------------------------------------------------------


def test_labels_reach_both_players():
    game = RECIPES["cgan-digits"].run(steps=2)
    digits = ganlib.load("digits")
    x, (y,) = game.minibatches[0]
    _, places = ganlib.nearest(x, digits.images)
    assert torch.equal(y, digits.labels[places[:, 0]])
    assert (game.G.classes, game.D.classes) == (10, 10)
    three = Data("mine", "train", MNIST_LIKE, torch.arange(200) % 3, ("a", "b", "c"))
    assert RECIPES["cgan-digits"].run(data=three, steps=1).G.classes == 3


def test_cgan_mnist_has_the_widths_of_the_paper_and_the_small_one_fits_a_page():
    def weights(name):
        players = RECIPES[name].players(some_data(RECIPES[name]))
        return [sum(p.numel() for p in player.parameters()) for player in players]

    of_z_and_y = 101 * 200 + 11 * 1000
    G = of_z_and_y + 1201 * 1200 + 1201 * 784
    D = 785 * 1200 + 11 * 250 + 291 * 960 + 241
    assert weights("cgan-mnist") == [G, D]
    small, same = weights("cgan-mnist-small")
    assert 2 * small < 2_000_000  # bytes in half precision
    assert same == D


def test_a_recipe_of_labels_needs_labels():
    with pytest.raises(ValueError, match="data must have labels for this recipe, array has none"):
        RECIPES["cgan-digits"].run(data=MNIST_LIKE, steps=1)


def test_the_conditional_digits_recipe_learns_to_obey():
    digits = ganlib.load("digits")
    judge = ganlib.metrics.train_classifier(digits.images, digits.labels, epochs=10)
    obeys = []
    for steps in (1, 1000):
        G = RECIPES["cgan-digits"].run(steps=steps).generator
        y = torch.arange(500) % 10
        obeys.append(ganlib.metrics.accuracy(judge, ganlib.sample(G, 500, y), y))
    assert obeys[0] < 0.3
    assert obeys[1] > 0.6


# Faces: max norm, and one recipe after another ---------------------------------------------------

TFD = narrow(RECIPES["tfd"])
LIMIT = 1.9365


def test_tfd_is_the_released_recipe():
    second, first = RECIPES["tfd"], RECIPES["tfd"].first
    assert first.generator["hidden"] == [8000, 8000]
    assert second.generator["hidden"] == [8000, 100, 8000, 8000]
    for recipe, activations in ((first, ["relu", "sigmoid"]), (second, ["relu", "sigmoid"] * 2)):
        assert recipe.generator["activations"] == activations
        assert recipe.generator["noise"] == {"dim": 100, "distribution": "normal"}
        assert recipe.discriminator == {"network": "MaxoutDiscriminator", "units": [1200, 1200]}
        assert (recipe.optimizer, recipe.max_norm) == (torch.optim.SGD, LIMIT)
        assert recipe.training["simultaneous"]
        assert recipe.training["batch_size"] == 100
    assert (first.steps, second.steps) == (50 * 980, 22 * 980)


def test_the_schedule_for_faces():
    assert tfd_schedule(0) == {"lr": 0.05, "momentum": 0.5}
    assert tfd_schedule(979)["momentum"] == 0.5
    assert math.isclose(tfd_schedule(249 * 980)["momentum"], 0.7)
    assert math.isclose(tfd_schedule(1000)["lr"], 0.05 * math.exp(-1000 * math.log(1.000004)))
    assert tfd_schedule(10**7)["lr"] == 1e-6


def norms(network):
    return torch.cat([w.double().norm(dim=1) for w in network.parameters() if w.ndim > 1])


def test_no_norm_ever_exceeds_the_largest():
    G, _ = TFD.first.players(ganlib.load(MNIST_LIKE))
    assert norms(G).max() > 3 * LIMIT  # as the released weights start
    seen = []
    game = TFD.first.run(
        data=MNIST_LIKE, steps=4, log_every=1,
        on_log=lambda game: seen.append(max(norms(game.G).max(), norms(game.D).max()).item()),
    )  # fmt: skip
    assert len(seen) == 4
    assert max(seen) <= LIMIT * (1 + 1e-6)
    assert (norms(game.G) > LIMIT * (1 - 1e-6)).sum() >= 784  # the outputs
    assert (norms(game.D) < LIMIT / 2).all()  # so these are as without a limit
    alone = replace(TFD.first, max_norm=None).run(data=MNIST_LIKE, steps=1)
    assert norms(alone.G).max() > 3 * LIMIT


def test_a_run_goes_on_with_its_max_norm_alone(tmp_path):
    TFD.first.run(data=MNIST_LIKE, steps=1, out=tmp_path)
    other = replace(TFD.first, max_norm=1.0)
    with pytest.raises(ValueError, match=r"optimizer_D: .*max_norm.*1.9365.*max_norm.* 1.0"):
        other.run(data=MNIST_LIKE, steps=2, out=tmp_path)


def test_the_second_stage_starts_on_top_of_the_first_and_trains_all_of_it(tmp_path):
    still = replace(TFD, optimizer=torch.optim.SGD, options={"lr": 0.0}, schedule=None)
    game = still.run(data=MNIST_LIKE, steps=2, out=tmp_path)
    first = ganlib.load_network(tmp_path / "first" / "generator.safetensors")
    h = game.G.hidden[:4](torch.randn(5, 100))
    assert h.shape == (5, first.noise.dim)
    top = game.G.output(game.G.last(game.G.hidden[4:](h)))
    torch.testing.assert_close(top.unflatten(1, (1, 28, 28)), first(h))
    for parameter in TFD.run(data=MNIST_LIKE, steps=2).G.parameters():
        assert parameter.grad.any()


def test_each_stage_has_its_own_length_or_the_shorter_one_asked_for(monkeypatch):
    lengths = []

    def note(G, D, images, y, *, steps, **_):
        lengths.append(steps)
        return SimpleNamespace(generator=G)

    monkeypatch.setattr("ganlib.recipes.train", note)
    for steps in (None, 3, 30_000):
        TFD.run(data=MNIST_LIKE, steps=steps)
    assert lengths == [49_000, 21_560, 3, 3, 30_000, 30_000]


def test_a_run_of_two_stages_goes_on_from_where_it_stopped(tmp_path):
    recipe = replace(TFD, steps=3, first=replace(TFD.first, steps=2))
    options = {"data": MNIST_LIKE, "save_every": 1, "log_every": 1}
    alone = recipe.run(**options).G

    def stop(game):
        if game.step == 2:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        recipe.first.run(out=tmp_path / "first", on_log=stop, **options)
    with pytest.raises(RuntimeError, match="stopped"):
        recipe.run(out=tmp_path, on_log=stop, **options)  # of the second stage alone
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "first").iterdir()}
    again = recipe.run(out=tmp_path, **options).G
    for one, other in zip(alone.parameters(), again.parameters()):
        assert torch.equal(one, other)
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "first").iterdir()}


def test_data_may_be_loaded_before():
    part = Data("mine", "train", MNIST_LIKE)
    one, other = (TFD.first.run(data=data, steps=1).G for data in (part, MNIST_LIKE))
    assert torch.equal(one.last.weight, other.last.weight)


def test_the_mean_of_image_files_is_that_of_evenly_spread_ones(tmp_path):
    images = MNIST_LIKE.repeat(11, 1, 1, 1)[:2200]
    for n, image in enumerate(images[:, 0]):
        Image.fromarray(image.numpy()).save(tmp_path / f"{n:04}.bmp")
    streamed, loaded = ganlib.stream(tmp_path), ganlib.load(images[::2])
    G, expected = (TFD.first.players(data)[0] for data in (streamed, loaded))
    assert torch.equal(G.last.bias, expected.last.bias)


def test_another_source_is_read_as_the_recipe_says(tmp_path):
    photo = torch.randint(256, (150, 300, 3), generator=torch.Generator().manual_seed(0)).byte()
    for name in ("7.png", "8.png"):
        Image.fromarray(photo.numpy()).save(tmp_path / name)
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "train").symlink_to(tmp_path)
    A, B = photo.permute(2, 0, 1).split(150, 2)
    found = RECIPES["facades"].open(tmp_path / "pairs")
    assert torch.equal(found.inputs[0], A)
    assert torch.equal(found.images[0], B)
    found = RECIPES["facades"].open(tmp_path / "pairs", streamed=True, direction="BtoA")
    assert isinstance(found.images, ganlib.data.ImageFiles)
    assert torch.equal(found.images[0], A)
    assert RECIPES["facades-128"].open(tmp_path / "pairs").shape == (3, 128, 128)
    assert len(RECIPES["colour"].open(tmp_path)) == 4  # two squares of each photo
    assert torch.equal(RECIPES["digits"].open(tmp_path).images[1], photo.permute(2, 0, 1))
    for name, size in (("colour", 128), ("colour-quick", 64)):
        for source in (None, "colour"):
            assert RECIPES[name].open(source, "test").shape == (3, size, size)
    assert RECIPES["colour"].open(photo[None].permute(0, 3, 1, 2)).shape == (3, 150, 300)
    assert RECIPES["facades"].open("digits", "test").name == "digits"
