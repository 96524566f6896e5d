"""The full run: what it writes, that its numbers are those of the package, and that it resumes."""

import hashlib
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import ganlib
from ganlib import metrics, parzen, protocols, reproduction
from ganlib.checkpoints import GENERATOR
from ganlib.cli import main

PICTURES = {"samples.png", "neighbours.png", "interpolation.png", "scores.png", "curves.png"}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """`ganlib reproduce mnist-225 --quick`, from end to end."""
    folder = tmp_path_factory.mktemp("quick")
    arguments = ["reproduce", "mnist-225", "--quick", "--seeds", "0,1", "--accelerator", "cpu"]
    arguments += ["--runs", f"{folder}/runs", "--results", f"{folder}/results"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return folder, arguments, result.output


def report_in(folder):
    return json.loads((folder / "results" / "mnist-225-quick" / "metrics.json").read_text())


def test_it_leaves_what_it_promises(quick):
    folder, _, output = quick
    report = report_in(folder)
    names = {path.name for path in (folder / "results" / "mnist-225-quick").iterdir()}
    assert names == {"metrics.json", *PICTURES}
    assert report["command"] == "ganlib reproduce mnist-225 --seeds 0,1 --quick"
    assert report["seeds"].keys() == {"0", "1"}
    for its in report["seeds"].values():
        assert its["versions"].keys() >= {"ganlib", "torch", "python"}
        assert (its["precision"], its["processes"]) == ("32-true", 1)
        assert its["hardware"]
    assert f"{report['score']['mean']:.4g} nats, mean over seeds 0,1" in output


def test_its_numbers_are_those_of_the_package(quick):
    folder, *_ = quick
    report = report_in(folder)
    validation, test = (ganlib.load("digits", s).images for s in ("validation", "test"))
    found = []
    for seed in ("0", "1"):
        path = folder / "runs" / "mnist-225-quick" / f"seed-{seed}" / GENERATOR
        its = report["seeds"][seed]
        assert its["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        samples = ganlib.sample(ganlib.load_network(path), 10_000, seed=0)
        score = parzen.score(samples, validation, test)
        assert its["averaged"]["score"]["mean"] == pytest.approx(score.mean, abs=0.01)
        assert its["averaged"]["score"]["standard error"] == pytest.approx(score.error, abs=0.01)
        both = metrics.precision_recall(test / 255, samples[: len(test)])
        assert its["averaged"]["pixels"]["precision"] == pytest.approx(both.precision, abs=1e-4)
        assert its["averaged"]["pixels"]["recall"] == pytest.approx(both.recall, abs=1e-4)
        assert its["raw, blurred"]["sharpness"] < its["raw"]["sharpness"]
        assert its["seconds"] > 0
        found.append(score.mean)
    assert report["score"]["mean"] == pytest.approx(sum(found) / 2, abs=0.01)
    spread = abs(found[0] - found[1]) / 2**0.5
    assert report["score"]["standard deviation over seeds"] == pytest.approx(spread, abs=0.02)
    assert found[0] != found[1]


def test_the_curve_follows_a_run_that_learns(tmp_path, monkeypatch):
    monkeypatch.setitem(ganlib.RECIPES, "digits", replace(ganlib.RECIPES["digits"], steps=600))
    monkeypatch.setattr(protocols, "SAMPLES", 1000)
    places = {"runs": tmp_path / "runs", "results": tmp_path / "results"}
    report = reproduction.reproduce("digits", seeds=[0], **places)
    curve = report["seeds"]["0"]["curve"]
    assert list(curve)[-1] == "600"
    assert curve["600"]["averaged"] > curve["50"]["averaged"] + 5
    assert curve["600"]["averaged"] > curve["600"]["raw"]
    real = report["reference"]["training images"]["score"]["mean"]
    assert curve["50"]["averaged"] < report["score"]["mean"] < real


def test_real_images_score_more_than_the_run_and_blur_shows(quick):
    report = report_in(quick[0])
    real = report["reference"]["training images"]
    blurred = report["reference"]["the same, blurred by a 3×3 box"]
    assert real["score"]["mean"] > report["score"]["mean"]
    assert report["reference"]["classifier's accuracy on test images"] > 0.95
    assert blurred["sharpness"] < 0.7 < real["sharpness"]
    assert blurred["features"]["precision"] < real["features"]["precision"]


def test_a_second_call_collects_without_playing_again(quick, monkeypatch):
    folder, arguments, _ = quick
    before = report_in(folder)
    refuse = pytest.fail
    monkeypatch.setattr(ganlib.Game, "play_step", lambda game: refuse("played again"))
    monkeypatch.setattr(parzen, "score", lambda *_: refuse("scored again"))
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert report_in(folder) == before


def test_other_weights_are_measured_anew(quick, tmp_path):
    """A longer run in the same folder must not report the scores of the shorter one."""
    folder, *_ = quick
    copy = tmp_path / "runs"
    shutil.copytree(folder / "runs", copy)
    measured = copy / "mnist-225-quick" / "seed-0" / "measured.json"
    stale = json.loads(measured.read_text()) | {"sha256": "of others"}
    stale["averaged"]["score"]["mean"] = 1000
    measured.write_text(json.dumps(stale))
    report = reproduction.reproduce(
        "mnist-225", seeds=[0], quick=True, runs=copy, results=tmp_path / "results"
    )
    assert report["seeds"]["0"]["averaged"] == report_in(folder)["seeds"]["0"]["averaged"]


@pytest.mark.parametrize("version", [1, 2])
def test_what_another_version_of_the_protocol_measured_is_measured_anew(
    version, quick, tmp_path, monkeypatch
):
    """Files of version 1 need not say so: the first ones did not."""
    folder, *_ = quick
    copy = tmp_path / "runs"
    shutil.copytree(folder / "runs", copy)
    paths = [copy / "mnist-225-quick" / name for name in ("seed-0/measured.json", "reference.json")]
    for path in paths:
        before = json.loads(path.read_text())
        assert before.pop("protocol") == 1
        path.write_text(json.dumps(before | {"kept": True}))
    monkeypatch.setattr(protocols.Likelihood, "version", version)
    monkeypatch.setattr(
        protocols.Likelihood, "measure", lambda *_: {"averaged": {"score": {"mean": 7.0}}}
    )
    monkeypatch.setattr(protocols.Likelihood, "reference", lambda _: {})
    report = reproduction.reproduce(
        "mnist-225", seeds=[0], quick=True, runs=copy, results=tmp_path / "results"
    )
    for found, path in zip((report["seeds"]["0"], report["reference"]), paths, strict=True):
        assert ("kept" in found) == (version == 1)
        assert "protocol" not in found
        assert json.loads(path.read_text()).get("protocol") == (None if version == 1 else version)


def test_a_stopped_run_goes_on_to_the_same_weights(quick, tmp_path, monkeypatch):
    folder, *_ = quick
    play_step = ganlib.Game.play_step

    def stop(game):
        if game.step == 150:
            raise KeyboardInterrupt
        play_step(game)

    places = {"runs": tmp_path / "runs", "results": tmp_path / "results"}
    monkeypatch.setattr(ganlib.Game, "play_step", stop)
    with pytest.raises(KeyboardInterrupt):
        reproduction.reproduce("mnist-225", seeds=[1], quick=True, **places)
    monkeypatch.setattr(ganlib.Game, "play_step", play_step)
    again = reproduction.reproduce("mnist-225", seeds=[1], quick=True, **places)
    first = report_in(folder)["seeds"]["1"]
    assert again["seeds"]["1"]["sha256"] == first["sha256"]
    assert again["seeds"]["1"]["curve"] == first["curve"]
    assert again["score"]["standard deviation over seeds"] is None


def test_a_recipe_without_an_average_or_classes_is_scored_raw(tmp_path, monkeypatch):
    plain = replace(ganlib.RECIPES["digits"], training={"batch_size": 64}, steps=20)
    monkeypatch.setitem(ganlib.RECIPES, "plain", plain)
    monkeypatch.setattr(protocols, "SAMPLES", 300)
    monkeypatch.setattr(metrics, "accuracy", lambda *_: 0.5)  # classes that cannot be told
    places = {"runs": tmp_path / "runs", "results": tmp_path / "results"}
    report = reproduction.reproduce("plain", seeds=[0], **places)
    assert report["score"]["of"] == "the raw generator"
    assert report["seeds"]["0"].keys() == {
        "seconds", "processes", "precision", "versions", "hardware", "threads", "curve",
        "raw", "raw, blurred", "sha256",
    }  # fmt: skip
    assert "features" not in report["seeds"]["0"]["raw"]


@pytest.mark.parametrize("name", ["cgan-digits", "cgan-mnist"])
def test_a_recipe_of_classes_tells_how_often_it_obeys(name, tmp_path, monkeypatch):
    monkeypatch.setattr(protocols, "SAMPLES", 500)
    monkeypatch.setitem(reproduction.QUICK, "steps", 100)
    places = {"runs": tmp_path / "runs", "results": tmp_path / "results"}
    report = reproduction.reproduce(name, seeds=[0], quick=True, **places)
    names = {path.name for path in (tmp_path / "results" / f"{name}-quick").iterdir()}
    assert names == {"metrics.json", "classes.png", *PICTURES}
    folder = tmp_path / "runs" / f"{name}-quick"
    samples = ganlib.sample(ganlib.load_network(folder / "seed-0" / GENERATOR), 500)
    judge = ganlib.load_network(folder / "classifier.safetensors")
    found = report["seeds"]["0"]["averaged"]["agreement"]
    shares = found["of each class"]
    assert list(shares) == list("0123456789")
    for number, share in enumerate(shares.values()):
        asked = torch.full((50,), number)
        expected = metrics.accuracy(judge, samples[number::10], asked)
        assert share == pytest.approx(expected, abs=1e-4)
    assert found["mean"] == pytest.approx(sum(shares.values()) / 10, abs=1e-3)
    assert found["least"] == min(shares.values())
    assert report["reference"]["classifier's accuracy on test images"] > 0.95


def test_other_data_can_be_reproduced_with_and_are_named(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for split, n in {"train": 3, "val": 2, "test": 2}.items():
        (tmp_path / "my photos" / split).mkdir(parents=True)
        for number in range(n):
            photo = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
            photo.save(tmp_path / "my photos" / split / f"{number}.png")
    recipe = replace(ganlib.RECIPES["colour-quick"], steps=5)
    monkeypatch.setitem(ganlib.RECIPES, "colour-quick", recipe)
    monkeypatch.chdir(tmp_path)
    arguments = ["reproduce", "colour-quick", "--data", "my photos", "--seeds", "0"]
    done = CliRunner().invoke(main, [*arguments, "--accelerator", "cpu"])
    assert done.exit_code == 0, done.output
    (folder,) = Path("results").glob("colour-quick-my photos-????????")
    report = json.loads((folder / "metrics.json").read_text())
    assert report["data"] == "my photos"
    assert report["command"] == "ganlib reproduce colour-quick --data 'my photos' --seeds 0"
    assert report["reference"]["the truth"]["pairs"] == 2
    with pytest.raises(ValueError, match="data must be left out when quick, got 'digits'"):
        reproduction.reproduce("digits", data="digits", quick=True)
    done = CliRunner().invoke(main, ["reproduce", "digits", "--data", "no such folder"])
    assert done.exit_code == 1
    assert "no such folder" in done.output


@pytest.fixture
def brief(monkeypatch):
    """Twenty steps of the recipe digits, of which little is measured."""
    monkeypatch.setitem(ganlib.RECIPES, "digits", replace(ganlib.RECIPES["digits"], steps=20))
    for name, function in {
        "watch": lambda protocol, G: 0.0,
        "measure": lambda protocol, game: {"averaged": {"score": {"mean": 0.0}}},
        "reference": lambda protocol: {"images": len(protocol.train)},
        "draw": lambda protocol, game, folder: None,
    }.items():
        monkeypatch.setattr(protocols.Likelihood, name, function)


@pytest.mark.usefixtures("brief")
def test_other_data_share_nothing_with_the_recipes_own(tmp_path):
    """Neither what is kept of real images nor the results, also where folders have one name."""
    places = {"runs": tmp_path / "runs", "results": tmp_path / "results"}
    for data in (None, "digits"):
        own = reproduction.reproduce("digits", data=data, seeds=[0], **places)
        assert own["reference"] == {"images": len(ganlib.load("digits"))}
    for n in (64, 65):
        folder = tmp_path / str(n) / "mine"
        for split in ("train", "validation", "test"):
            (folder / split).mkdir(parents=True)
            for number in range(n):
                Image.new("L", (8, 8), number).save(folder / split / f"{number}.png")
        other = reproduction.reproduce("digits", data=folder, seeds=[1], **places)
        assert other["reference"] == {"images": n}
    for where in places.values():
        first, *others = sorted(path.name for path in where.iterdir())
        assert first == "digits"
        assert [name[:-8] for name in others] == ["digits-mine-"] * 2
    report = json.loads((places["results"] / "digits" / "metrics.json").read_text())
    assert report["data"] == "digits"


def test_both_stages_of_a_quick_run_are_quick():
    tfd = reproduction._quick(ganlib.RECIPES["tfd"])
    assert (tfd.steps, tfd.first.steps) == (300, 300)
    assert tfd.data == tfd.first.data == "digits"
    assert reproduction._quick(ganlib.RECIPES["digits"]).first is None


@pytest.mark.usefixtures("brief")
def test_a_run_that_goes_on_elsewhere_says_where(tmp_path, monkeypatch):
    places = {"runs": tmp_path / "runs", "results": tmp_path / "results"}
    options = {"seeds": [0], **places}
    play_step = ganlib.Game.play_step

    def stopping(game):
        os.kill(os.getpid(), signal.SIGINT)
        play_step(game)

    for chip in ("first", "first", "second"):  # a step on each
        monkeypatch.setattr(ganlib.Game, "play_step", stopping)
        monkeypatch.setattr(reproduction, "_processor", lambda device, its=chip: its)
        with pytest.raises(KeyboardInterrupt, match="stopped after step"):
            reproduction.reproduce("digits", **options)
    monkeypatch.setattr(ganlib.Game, "play_step", play_step)
    monkeypatch.setattr(reproduction, "_processor", lambda device: "third")
    found = reproduction.reproduce("digits", **options)["seeds"]["0"]
    assert found["hardware"] == "first"
    assert [its["hardware"] for its in found["continued on"]] == ["second", "third"]
    assert found["continued on"][0]["versions"] == found["versions"]
    monkeypatch.setattr(reproduction, "_processor", lambda device: "where it is only collected")
    assert reproduction.reproduce("digits", **options)["seeds"]["0"] == found


def test_the_command_tells_of_several_processes():
    def command(world_size, nodes):
        precision = SimpleNamespace(precision="32-true")
        strategy = SimpleNamespace(precision=precision, num_nodes=nodes)
        fabric = SimpleNamespace(world_size=world_size, strategy=strategy)
        return reproduction.command("digits", None, [0], False, False, fabric)

    assert command(1, 1) == "ganlib reproduce digits --seeds 0"
    assert command(4, 1) == "ganlib reproduce digits --seeds 0 --devices 4"
    assert command(4, 2) == "ganlib reproduce digits --seeds 0 --devices 2 --nodes 2"


@pytest.mark.parametrize("name", ["colour-quick", "facades-128"])
def test_an_image_to_image_recipe_is_judged_beside_its_truths(name, tmp_path, monkeypatch):
    narrow = {"network": "UNetGenerator", "width": 4}
    recipe = replace(ganlib.RECIPES[name], generator=narrow)
    monkeypatch.setitem(ganlib.RECIPES, name, recipe)
    monkeypatch.setitem(reproduction.QUICK_PAIRS, "steps", 60)
    arguments = ["reproduce", name, "--quick", "--seeds", "0,1", "--accelerator", "cpu"]
    arguments += ["--runs", f"{tmp_path}/runs", "--results", f"{tmp_path}/results"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    folder = tmp_path / "results" / f"{name}-quick"
    names = {path.name for path in folder.iterdir()}
    assert names == {"metrics.json", "samples.png", "draws.png", "scores.png", "curves.png"}
    report = json.loads((folder / "metrics.json").read_text())
    test = ganlib.load("colour", "test")
    errors = []
    for seed in ("0", "1"):
        path = tmp_path / "runs" / f"{name}-quick" / f"seed-{seed}" / GENERATOR
        outputs = ganlib.sample(ganlib.load_network(path), len(test), test.inputs, seed=0)
        errors.append((outputs - test.images / 255).abs().mean().item())
        its = report["seeds"][seed]
        its = its.get("averaged", its["raw"])
        assert its["score"]["mean"] == pytest.approx(errors[-1], abs=1e-4)
        assert its["diversity"] > 0
        assert list(report["seeds"][seed]["curve"]) == ["50", "60"]
    assert report["score"]["mean"] == pytest.approx(sum(errors) / 2, abs=1e-4)
    assert report["score"]["unit"] == "L1"
    assert "L1, mean over seeds 0,1" in done.output


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"name must be one of digits, .* got 'cifar'"):
        reproduction.reproduce("cifar", runs=tmp_path, results=tmp_path)
    with pytest.raises(ValueError, match="seeds must hold at least one seed, got none"):
        reproduction.reproduce("digits", seeds=[], runs=tmp_path, results=tmp_path)


def test_a_report_with_a_number_that_json_lacks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        reproduction.write_json(tmp_path / "metrics.json", {"score": float("nan")})
    assert not list(tmp_path.iterdir())


def test_provenance_names_versions_and_hardware():
    found = reproduction.provenance()
    assert found["versions"]["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
