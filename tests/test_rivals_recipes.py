"""The rivals' recipes, and what `ganlib reproduce` measures and writes of them."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import ganlib
from ganlib import parzen, protocols, reproduction, rivals
from ganlib.checkpoints import GENERATOR
from ganlib.cli import main
from ganlib.rivals import Course
from ganlib.rivals.recipes import RIVALS, cd_schedule, gsn_schedule, pcd_schedule

PICTURES = {"samples.png", "neighbours.png", "chains.png", "scores.png", "curves.png"}


@pytest.mark.parametrize("name", RIVALS)
def test_every_recipe_trains_all_parts_on_mnists_shape(name):
    """The networks as they are, one step of each part."""
    recipe = RIVALS[name]
    images = torch.randint(0, 256, (100, 1, 28, 28), dtype=torch.uint8)
    model = rivals.build(recipe.model | {"shape": [1, 28, 28]})
    course = model.fit(
        images,
        steps=[1] * len(recipe.lengths),
        optimizer=lambda weights: recipe.optimizer(weights, **recipe.options),
        schedule=recipe.schedule,
        batch_size=recipe.training["batch_size"],
    )
    assert course.step == len(recipe.lengths)
    for choice in recipe.choices:
        assert model.sample(images[:2], **choice).shape == (1, 2, 1, 28, 28)


def test_the_schedules_are_as_published():
    assert [cd_schedule(step)["momentum"] for step in (0, 2499, 2500)] == [0.5, 0.5, 0.9]
    assert [pcd_schedule(step)["lr"] for step in (0, 12_500, 25_000)] == [0.05, 0.025, 0.0]
    assert gsn_schedule(599)["lr"] == 0.25
    assert gsn_schedule(1200)["lr"] == pytest.approx(0.25 * 0.995**2)


def test_the_released_gsn_learns_from_validation_images_too():
    recipe = RIVALS["gsn-released"].quick()
    train, validation = (ganlib.load("digits", split) for split in ("train", "validation"))
    data = recipe.open()
    assert torch.equal(data.images, torch.cat([train.images, validation.images]))
    assert torch.equal(data.labels, torch.cat([train.labels, validation.labels]))
    assert torch.equal(recipe.open(split="test").images, ganlib.load("digits", "test").images)
    assert torch.equal(RIVALS["gsn"].quick().open().images, train.images)


def test_the_released_gsn_learns_from_images_without_labels(tmp_path):
    for split, n in {"train": 3, "validation": 2}.items():
        (tmp_path / split).mkdir()
        for number in range(n):
            Image.new("L", (8, 8), number).save(tmp_path / split / f"{number}.png")
    data = RIVALS["gsn-released"].open(tmp_path)
    assert data.images.shape == (5, 1, 8, 8)
    assert data.labels is None


def test_a_seed_gives_the_same_weights_and_another_gives_others():
    recipe = RIVALS["cae"].quick()
    one, again, other = (
        recipe.run(seed=seed, log_every=300).model.layers[1].W for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.fixture
def few(monkeypatch):
    """Fewer and shorter chains."""
    for name, number in {"SAMPLES": 500, "CHAINS": 50, "BURN_IN": 5, "EVERY": 2}.items():
        monkeypatch.setattr(protocols, name, number)


def reproduce(tmp_path, name, *more):
    arguments = ["reproduce", name, "--quick", "--seeds", "0,1", "--accelerator", "cpu"]
    arguments += ["--runs", f"{tmp_path}/runs", "--results", f"{tmp_path}/results", *more]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "results" / f"{name}-quick"
    return json.loads((folder / "metrics.json").read_text()), folder, result.output


@pytest.mark.parametrize("name", ["dbn", "cae", "gsn", "gsn-released"])
def test_reproduce_measures_the_chains(name, few, tmp_path, monkeypatch):
    report, folder, output = reproduce(tmp_path, name)
    assert {path.name for path in folder.iterdir()} == {"metrics.json", *PICTURES}
    recipe = RIVALS[name].quick()
    splits = {split: recipe.open(split=split) for split in ("train", "validation", "test")}
    scores = []
    for seed in ("0", "1"):
        model = rivals.load(tmp_path / "runs" / f"{name}-quick" / f"seed-{seed}" / GENERATOR)
        its = report["seeds"][seed]
        found = its["chains"]
        protocol = protocols.Chains(splits, tmp_path, recipe.choices, recipe.sigma)
        best = max(recipe.choices, key=lambda choice, p=protocol, m=model: p.watch(m, choice))
        assert found["choice"] == best
        chains = protocol._run(model, 10, 0, best)
        sides = (splits["validation"].images, splits["test"].images)
        score = parzen.score(chains.flatten(0, 1), *sides)
        assert found["score"]["mean"] == pytest.approx(score.mean, abs=0.01)
        assert found["binary draws"]["mean"] < found["score"]["mean"] - 5
        assert sum(found["classes"].values()) == pytest.approx(1, abs=0.001)
        size = found["effective sample size"]
        assert 0 < size["least"] <= size["median"]
        assert size["of"] == found["centres"] == 500
        assert len(found["other draws"]) == 2
        assert list(its["curve"])[-1] == str(recipe.steps)
        if recipe.sigma:
            one = model.sample(splits["test"].images[:1], 500).flatten(0, 1)
            expected = parzen.score(one, *sides, [0.2]).mean
            assert its["one chain"]["score"]["mean"] == pytest.approx(expected, abs=0.01)
            assert its["one chain"]["score"]["sigma"] == 0.2
        scores.append(its["one chain" if recipe.all_images else "chains"]["score"]["mean"])
    assert report["score"]["mean"] == pytest.approx(sum(scores) / 2, abs=0.01)
    assert "nats, mean over seeds 0,1" in output

    def refuse(*_):
        pytest.fail("done again")

    monkeypatch.setattr(Course, "take_step", refuse)
    monkeypatch.setattr(protocols.Chains, "measure", refuse)
    assert reproduce(tmp_path, name)[0] == report


def test_a_choice_is_made_once_for_a_model(monkeypatch):
    seen = []
    choices = [{"sigma": 1}, {"sigma": 2}]
    protocol = protocols.Chains(dict.fromkeys(("train", "validation", "test")), Path(), choices)
    monkeypatch.setattr(protocol, "watch", lambda model, its: seen.append(its) or its["sigma"])
    one, other = rivals.GSN((1, 2, 2)), rivals.GSN((1, 2, 2))
    assert [protocol.choose(model) for model in (one, one, other)] == [{"sigma": 2}] * 3
    assert seen == 2 * choices


def test_learning_shows_in_the_score(few, tmp_path):
    report, *_ = reproduce(tmp_path, "cae-released")
    for its in report["seeds"].values():
        score = its["chains"]["score"]["mean"]
        assert report["reference"]["the same, blurred by a 3×3 box"]["score"]["mean"] + 5 < score
        assert score < report["reference"]["training images"]["score"]["mean"]


def test_chains_start_at_different_training_images(few, tmp_path):
    """With a model that moves nowhere, every chain gives its training image again and again."""

    class Still(rivals.GSN):
        def start(self, x):
            return (x,)

        def move(self, state):
            return state[0], state

    splits = {split: ganlib.load("digits", split) for split in ("train", "validation", "test")}
    protocol = protocols.Chains(splits, tmp_path)
    chains = protocol._run(Still((1, 8, 8)), 3, 0, {})
    assert torch.equal(chains[0], chains[2])
    assert len(chains[0].flatten(1).unique(dim=0)) == 50
    distances, _ = ganlib.nearest(chains[0], splits["train"].images)
    assert distances.max() < 1e-6
    assert not torch.equal(chains[0], protocol._run(Still((1, 8, 8)), 1, 1, {})[0])


def test_a_stopped_run_goes_on(few, tmp_path, monkeypatch):
    take_step = Course.take_step

    def stop(course):
        if course.step == 350:
            raise KeyboardInterrupt
        take_step(course)

    monkeypatch.setattr(Course, "take_step", stop)
    places = {"runs": tmp_path / "runs", "results": tmp_path / "results"}
    with pytest.raises(KeyboardInterrupt):
        reproduction.reproduce("dbn", seeds=[0], quick=True, **places)
    monkeypatch.setattr(Course, "take_step", take_step)
    stopped = reproduction.reproduce("dbn", seeds=[0], quick=True, **places)
    straight = RIVALS["dbn"].quick().run(seed=0, out=tmp_path / "straight")
    assert straight.step == 600
    straight = (tmp_path / "straight" / GENERATOR).read_bytes()
    assert (tmp_path / "runs" / "dbn-quick" / "seed-0" / GENERATOR).read_bytes() == straight
    assert list(stopped["seeds"]["0"]["curve"]) == ["100", "200", "300", "400", "500", "600"]


def test_a_rival_has_no_cuda_graph(tmp_path):
    with pytest.raises(ValueError, match="cuda_graph must be False for gsn, which plays no game"):
        reproduction.reproduce("gsn", quick=True, cuda_graph=True, runs=tmp_path, results=tmp_path)


def test_the_rivals_are_listed():
    output = CliRunner().invoke(main, ["recipes"]).output
    for name, recipe in RIVALS.items():
        for part in (name, recipe.summary, recipe.data, f"{recipe.steps:,} steps", recipe.time):
            assert part in output
