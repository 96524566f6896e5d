"""The command line: what it writes, what it refuses, and that a kill costs nothing."""

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from unittest import mock

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import ganlib
from ganlib import parzen
from ganlib.checkpoints import CHECKPOINT, GENERATOR
from ganlib.cli import main
from ganlib.recipes import RECIPES


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def train(out, *more):
    return run("train", "digits", "--out", out, "--steps", 30, "--accelerator", "cpu", *more)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "digits"
    result = train(out)
    assert result.exit_code == 0, result.output
    return out


def test_train_leaves_what_it_promises(trained):
    names = {CHECKPOINT, GENERATOR, "samples.png", "curves.png", "history.json"}
    assert {path.name for path in trained.iterdir()} == names
    history = json.loads((trained / "history.json").read_text())
    assert history["step"] == [30]
    for name in ("samples.png", "curves.png"):
        with Image.open(trained / name) as picture:
            assert min(picture.size) > 200


def test_sample_and_interpolate_draw_what_the_package_draws(trained, tmp_path):
    G = ganlib.load_network(trained / GENERATOR)
    result = run("sample", trained, "-n", 5, "--seed", 3, "--out", tmp_path / "five.npy")
    assert result.exit_code == 0
    np.testing.assert_array_equal(
        np.load(tmp_path / "five.npy"), ganlib.sample(G, 5, seed=3).numpy()
    )
    walks = run("interpolate", trained, "--rows", 2, "--steps", 4, "--out", tmp_path / "walks.npy")
    assert walks.exit_code == 0
    z0, z1 = G.noise(4, seed=0).chunk(2)
    expected = ganlib.interpolate(G, z0, z1, 4).numpy()
    np.testing.assert_array_equal(np.load(tmp_path / "walks.npy"), expected)


def test_pictures_go_into_the_run_by_default(tmp_path):
    train(tmp_path)
    for command, name in (("sample", "samples.png"), ("interpolate", "interpolation.png")):
        (tmp_path / name).unlink(missing_ok=True)
        result = run(command, tmp_path)
        assert result.exit_code == 0
        assert result.output.strip() == str(tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 200


def test_own_images_by_path(tmp_path):
    np.save(tmp_path / "own.npy", np.random.default_rng(0).random((70, 6, 5)))
    result = train(tmp_path / "run", "--data", tmp_path / "own.npy")
    assert result.exit_code == 0, result.output
    result = run("sample", tmp_path / "run", "--out", tmp_path / "s.npy")
    assert np.load(tmp_path / "s.npy").shape == (64, 1, 6, 5)


def test_recipes_are_listed_with_data_length_and_time():
    output = run("recipes").output
    for name, recipe in RECIPES.items():
        for part in (name, recipe.summary, recipe.data, f"{recipe.steps:,} steps", recipe.time):
            assert part, f"{name} says nothing of something"
            assert part in output


def test_dry_run_prints_the_plan_and_does_nothing(tmp_path):
    result = train(tmp_path / "run", "--dry-run", "--batch-size", 32)
    plan = json.loads(result.output)
    assert result.exit_code == 0
    assert plan["steps"] == 30
    assert plan["batch_size"] == 32
    assert plan["data"] == "digits"
    assert plan["loss"] == "non_saturating"
    assert plan["k"] == 1
    assert not plan["cuda_graph"]
    assert not plan["goes_on_from_checkpoint"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "reproduce"])
def test_a_cuda_graph_is_refused_before_any_work_on_a_cpu(command, tmp_path):
    where = {"train": ["--out", tmp_path], "reproduce": ["--runs", tmp_path, "--quick"]}[command]
    result = run(command, "digits", *where, "--accelerator", "cpu", "--cuda-graph")
    assert result.exit_code == 1
    assert "cuda_graph must be False but for one process on an NVIDIA GPU" in result.output
    assert not list(tmp_path.rglob("*.pt"))


@pytest.fixture(scope="module")
def of_classes(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "cgan-digits"
    result = run("train", "cgan-digits", "--out", out, "--steps", 30, "--accelerator", "cpu")
    assert result.exit_code == 0, result.output
    return out


def numbers(tmp_path, *arguments):
    result = run(*arguments, "--out", tmp_path / "drawn.npy")
    assert result.exit_code == 0, result.output
    return np.load(tmp_path / "drawn.npy")


def test_one_class_can_be_asked_for(of_classes, tmp_path):
    G = ganlib.load_network(of_classes / GENERATOR)
    sevens = numbers(tmp_path, "sample", of_classes, "-n", 12, "--class", 7)
    np.testing.assert_array_equal(sevens, ganlib.sample(G, 12, torch.full((12,), 7)).numpy())
    all_of_them = numbers(tmp_path, "sample", of_classes, "-n", 12)
    np.testing.assert_array_equal(all_of_them, ganlib.sample(G, 12, torch.arange(12) % 10).numpy())
    walks = numbers(tmp_path, "interpolate", of_classes, "--rows", 2, "--class", 7)
    z0, z1 = G.noise(4, seed=0).chunk(2)
    expected = ganlib.interpolate(G, z0, z1, y=torch.tensor([7, 7])).numpy()
    np.testing.assert_array_equal(walks, expected)


def test_pictures_of_all_classes_have_a_column_for_each(of_classes, monkeypatch):
    shown = []
    grid = ganlib.plot.grid
    monkeypatch.setattr(ganlib.plot, "grid", lambda *args: shown.append(args[1:]) or grid(*args))
    assert run("sample", of_classes).exit_code == 0
    assert run("sample", of_classes, "--class", 3).exit_code == 0
    assert shown == [(10,), (None,)]


@pytest.mark.parametrize("command", ["sample", "interpolate"])
def test_a_class_that_there_is_not_is_refused(command, of_classes, trained):
    result = run(command, of_classes, "--class", 10)
    assert result.exit_code == 1
    assert "class must be from 0 to 9, got 10" in result.output
    result = run(command, trained, "--class", 3)
    assert result.exit_code == 1
    assert "class must be left out: a MLPGenerator draws no classes" in result.output


def test_all_classes_are_evaluated_together(of_classes):
    result = run("evaluate", of_classes, "--data", "digits", "-n", 500)
    assert result.exit_code == 0, result.output
    G = ganlib.load_network(of_classes / GENERATOR)
    samples = ganlib.sample(G, 500, torch.arange(500) % 10)
    score = parzen.score(
        samples, *(ganlib.load("digits", s).images for s in ("validation", "test"))
    )
    assert repr(score) in result.output


@pytest.mark.parametrize("command", [[], *([name] for name in main.commands)])
def test_help_explains_every_option(command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    here = main.commands[command[0]] if command else main
    assert here.help.splitlines()[0] in " ".join(result.output.split())
    for parameter in here.params:
        if parameter.param_type_name == "option":
            assert parameter.opts[0] in result.output
            assert parameter.name in ("help", "version") or parameter.help


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "nothing", "--out", "x"], 2, "'nothing' is not one of"),
        (["train", "digits"], 2, "Missing option '--out'"),
        (["train", "digits", "--out", "x", "--steps", "0"], 2, "0 is not in the range"),
        (
            ["train", "digits", "--out", "x", "--data", "no/such", "--accelerator", "cpu"],
            1,
            "data must be one of",
        ),
        (
            ["train", "digits", "--out", "x", "--batch-size", "9999", "--accelerator", "cpu"],
            1,
            "batch_size must be from",
        ),
        (
            ["train", "digits", "--out", "x", "--devices", "many"],
            2,
            "Invalid value for '--devices': must be a number or auto, got 'many'",
        ),
        (
            ["reproduce", "digits", "--seeds", "0;1"],
            2,
            "Invalid value for '--seeds': must be numbers with commas between them, got '0;1'",
        ),
        (["sample", "no-such-run"], 2, "does not exist"),
        (["interpolate", ".", "--steps", "1"], 2, "1 is not in the range"),
        (["sample", "."], 1, "holds no generator.safetensors"),
    ],
)
def test_wrong_usage_and_failures_have_their_exit_codes(
    arguments, code, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.output
    assert not (tmp_path / "x" / CHECKPOINT).exists()


def test_other_settings_are_refused(trained):
    result = train(trained, "--seed", 1)
    assert result.exit_code == 1
    assert "other settings" in result.output


KILLED = """
import os, signal, sys
from ganlib import cli, training

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

where, step = sys.argv[1], int(sys.argv[2])
if where == "between D's move and G's":
    move_G = training.Game.move_G
    training.Game.move_G = lambda game, *xy: kill() if game.step == step else move_G(game, *xy)
elif where == "half way through a checkpoint":
    save = training.torch.save
    def half(state, path):
        save(state, path)
        if state["step"] >= step:
            os.truncate(path, os.path.getsize(path) // 2)
            kill()
    training.torch.save = half
elif where == "between the two files":
    write = training.write_whole
    def one(path, function):
        write(path, function)
        if path.name == training.GENERATOR and path.parent.joinpath("checkpoint.pt").exists():
            if training.torch.load(path.parent / "checkpoint.pt")["step"] >= step - 7:
                kill()
    training.write_whole = one
cli.main(sys.argv[3:], prog_name="ganlib")
"""


def test_killed_at_random_steps_the_same_command_ends_in_the_same_bits(tmp_path):
    steps, every = 60, 7
    steps_killed_at = sorted(random.sample(range(1, 60), 4))  # other ones each time
    script = tmp_path / "killed.py"
    script.write_text(KILLED)

    def command(out, where="nowhere", step=0):
        arguments = ["train", "digits", "--out", out, "--steps", steps, "--save-every", every]
        arguments += ["--log-every", 5, "--accelerator", "cpu"]
        return subprocess.run(
            [sys.executable, script, where, *map(str, [step, *arguments])],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    whole = command(tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    places = ["between D's move and G's", "half way through a checkpoint"]
    places += ["between the two files", "between D's move and G's"]
    for where, step in zip(places, steps_killed_at):
        killed = command(tmp_path / "killed", where, step)
        assert killed.returncode == -signal.SIGKILL, (where, steps_killed_at, killed.stderr)
    again = command(tmp_path / "killed")
    assert again.returncode == 0, again.stderr
    for name in (GENERATOR, "history.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    one, other = (
        torch.load(tmp_path / run / CHECKPOINT, weights_only=True) for run in ("killed", "whole")
    )
    assert one["optimizer_D"]["state"].keys() == other["optimizer_D"]["state"].keys()
    for number, state in one["optimizer_D"]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, other["optimizer_D"]["state"][number][name])


def test_ctrl_c_saves_and_exits_with_130(tmp_path):
    command = [sys.executable, "-m", "ganlib", "train", "digits", "--out", str(tmp_path / "run")]
    command += ["--save-every", "1", "--accelerator", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    while not (tmp_path / "run" / CHECKPOINT).exists() and process.poll() is None:
        pass
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "the same command goes on from" in errors
    state = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    assert f"stopped after step {state['step']})" in errors


def test_an_interrupted_table_points_to_its_runs(tmp_path, monkeypatch):
    """Whatever else lies there: nothing is said of it."""
    monkeypatch.setattr("ganlib.cli.reproduce_table", mock.Mock(side_effect=KeyboardInterrupt))
    result = run("reproduce", "table1", "--runs", tmp_path, "--accelerator", "cpu")
    assert result.exit_code == 130
    assert result.output.endswith(f"goes on from what is saved in {tmp_path}.\n")


def test_a_folder_can_be_streamed_to_the_same_weights(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(70):
        levels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(levels).save(folder / f"{number:03}.png")
    for out, more in (("loaded", []), ("streamed", ["--stream"])):
        result = train(tmp_path / out, "--data", folder, *more)
        assert result.exit_code == 0, result.output
    loaded, streamed = ((tmp_path / out / GENERATOR).read_bytes() for out in ("loaded", "streamed"))
    assert loaded == streamed


def test_only_a_folder_can_be_streamed(tmp_path):
    result = train(tmp_path / "out", "--stream")
    assert result.exit_code == 1
    assert "data must be a folder of images to be streamed, got digits" in result.output


def test_evaluate_prints_the_score_of_both_grids(trained):
    result = run("evaluate", trained, "--data", "digits", "-n", 500, "--seed", 2)
    assert result.exit_code == 0, result.output
    samples = ganlib.sample(ganlib.load_network(trained / GENERATOR), 500, seed=2)
    validation, test = (ganlib.load("digits", split).images for split in ("validation", "test"))
    for line, sigmas in zip(
        result.output.splitlines(), (parzen.PAPER_SIGMAS, parzen.FINE_SIGMAS), strict=True
    ):
        assert line.split(maxsplit=1)[1] == repr(parzen.score(samples, validation, test, sigmas))


# Image to image -----------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """pix2pix's recipes with narrow players and one step."""
    for name in ("facades", "facades-128", "colour", "colour-quick"):
        recipe = RECIPES[name]
        small = replace(
            recipe,
            generator=recipe.generator | {"width": 2},
            discriminator=recipe.discriminator | {"width": 2, "halvings": 2},
            training=recipe.training | {"batch_size": 1},
            steps=1,
        )
        monkeypatch.setitem(RECIPES, name, small)


@pytest.fixture
def sheets(monkeypatch):
    """What is shown: the images, the columns and the labels of each sheet."""
    shown = []
    grid = ganlib.plot.grid
    monkeypatch.setattr(ganlib.plot, "grid", lambda *args: shown.append(args) or grid(*args))
    return shown


def save_images(folder, n, size, seed):
    """n images, size × size, of random colours; (n, 3, size, size)."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    for number, levels in enumerate(pixels):
        Image.fromarray(levels).save(folder / f"{number}.png")
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def save_pairs(folder, splits, size=16):
    return {
        split + side: save_images(folder / f"{split}{side}", 3, size, seed)
        for seed, split, side in (
            (2 * i + j, s, "AB"[j]) for i, s in enumerate(splits) for j in (0, 1)
        )
    }


def train_small(name, out, *more):
    result = run("train", name, "--out", out, "--accelerator", "cpu", *more)
    assert result.exit_code == 0, result.output
    return ganlib.load_network(out / GENERATOR)


@pytest.mark.parametrize("direction", [None, "AtoB", "BtoA"])
def test_own_pairs_and_what_becomes_of_those_for_validation(small, sheets, tmp_path, direction):
    pairs = save_pairs(tmp_path / "pairs", ["train", "val"])
    more = ["--direction", direction] if direction else []
    G = train_small("facades", tmp_path / "run", "--data", tmp_path / "pairs", *more)
    inputs, truth = ("B", "A") if direction == "BtoA" else ("A", "B")
    ((images, *words),) = sheets
    assert words == [3, ["input", "output", "truth"], "validation pairs"]
    given, made, true = images.chunk(3)
    assert torch.equal(given, ganlib.data.to_float(pairs["val" + inputs]))
    assert torch.equal(true, ganlib.data.to_float(pairs["val" + truth]))
    assert torch.equal(made, ganlib.sample(G, 3, pairs["val" + inputs]))


def test_training_pairs_are_shown_where_none_are_for_validation(small, sheets, tmp_path):
    pairs = save_pairs(tmp_path / "pairs", ["train"])
    train_small("facades", tmp_path / "run", "--data", tmp_path / "pairs")
    assert torch.equal(sheets[0][0][:3], ganlib.data.to_float(pairs["trainA"]))
    assert sheets[0][-1] == "training pairs"


def test_damaged_validation_pairs_are_named_before_training(small, tmp_path):
    save_pairs(tmp_path / "pairs", ["train", "val"])
    (tmp_path / "pairs" / "valB" / "1.png").write_bytes(b"no image")
    result = run("train", "facades", "--data", tmp_path / "pairs", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "1.png is not a readable image" in result.output
    assert not (tmp_path / "run").exists()


def test_colour_takes_the_embedded_photos_at_its_own_size(small, sheets, tmp_path):
    G = train_small("colour", tmp_path / "run")
    squares = ganlib.colour_pairs(split="validation", size=128)
    assert torch.equal(sheets[0][0][-1], ganlib.data.to_float(squares.images[-1]))
    drawn = numbers(tmp_path, "sample", tmp_path / "run", "--inputs", "colour", "-n", 1)
    test = ganlib.colour_pairs(split="test", size=128).inputs
    np.testing.assert_array_equal(drawn, ganlib.sample(G, 1, test[:1]).numpy())


def test_streamed_pairs_train_the_same_weights(small, tmp_path):
    save_pairs(tmp_path / "pairs", ["train"], 144)
    weights = []
    for out, more in (("loaded", []), ("streamed", ["--stream"])):
        G = train_small("facades-128", tmp_path / out, "--data", tmp_path / "pairs", *more)
        assert G.config["shape"] == [3, 128, 128]
        weights.append((tmp_path / out / GENERATOR).read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize(("name", "size"), [("colour", 128), ("colour-quick", 64)])
def test_a_folder_of_photos_is_coloured_by_squares(small, sheets, tmp_path, name, size):
    photos = save_images(tmp_path / "photos", 2, 150, 0)
    train_small(name, tmp_path / "run", "--data", tmp_path / "photos")
    given, made, true = sheets[0][0].chunk(3)
    squares = ganlib.colour_pairs(tmp_path / "photos", size=size)
    assert len(photos) <= len(given) == len(squares)
    assert torch.equal(given, ganlib.data.to_float(squares.inputs).expand(-1, 3, -1, -1))
    assert torch.equal(true, ganlib.data.to_float(squares.images))
    assert made.shape == true.shape


def test_colour_quick_shows_eight_embedded_pairs(small, sheets, tmp_path):
    train_small("colour-quick", tmp_path / "run")
    given, _, true = sheets[0][0].chunk(3)
    assert len(true) == 8
    validation = ganlib.load("colour", "validation")
    assert torch.equal(true[[0, -1]], ganlib.data.to_float(validation.images[[0, -1]]))
    assert torch.equal(given[0, :1], ganlib.data.to_float(validation.inputs[0]))


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    """The folder of a run that colours, at 64×64."""
    out = tmp_path_factory.mktemp("runs") / "colour-quick"
    recipe = RECIPES["colour-quick"]
    recipe = replace(recipe, generator=recipe.generator | {"width": 4})
    recipe.run(steps=3, out=out)
    return out


def test_inputs_by_name_by_folder_and_by_file(translator, tmp_path):
    G = ganlib.load_network(translator / GENERATOR)
    draw = partial(numbers, tmp_path, "sample", translator, "--inputs")
    test = ganlib.load("colour", "test").inputs
    np.testing.assert_array_equal(draw("colour", "-n", 3), ganlib.sample(G, 3, test[:3]).numpy())
    photos = save_images(tmp_path / "photos", 3, 64, 0)
    grey = ganlib.data.to_grey(photos)
    three = draw(tmp_path / "photos", "--seed", 5)
    np.testing.assert_array_equal(three, ganlib.sample(G, 3, grey, seed=5).numpy())
    one = draw(tmp_path / "photos" / "1.png")
    np.testing.assert_array_equal(one, ganlib.sample(G, 1, grey[1:2]).numpy())


def test_both_switches_of_test_time(translator, tmp_path):
    G = ganlib.load_network(translator / GENERATOR)
    y = ganlib.load("colour", "test").inputs[:2]
    found = []
    for switches in ([], ["--no-dropout"], ["--running-statistics"]):
        G.dropout_at_test = "--no-dropout" not in switches
        G.batch_statistics_at_test = "--running-statistics" not in switches
        images = numbers(tmp_path, "sample", translator, "--inputs", "colour", "-n", 2, *switches)
        np.testing.assert_array_equal(images, ganlib.sample(G, 2, y).numpy())
        found.append(images)
    assert not np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_switches_that_were_saved_off_stay_off(translator, tmp_path):
    G = ganlib.load_network(translator / GENERATOR)
    G.dropout_at_test = G.batch_statistics_at_test = False
    ganlib.save_network(G, tmp_path / GENERATOR)
    images = numbers(tmp_path, "sample", tmp_path, "--inputs", "colour", "-n", 2)
    y = ganlib.load("colour", "test").inputs[:2]
    np.testing.assert_array_equal(images, ganlib.sample(G, 2, y).numpy())


def test_outputs_become_a_picture(translator, sheets, tmp_path):
    out = tmp_path / "outputs.png"
    result = run("sample", translator, "--inputs", "colour", "-n", 5, "--out", out)
    assert result.exit_code == 0, result.output
    assert sheets[0][0].shape == (5, 3, 64, 64)
    with Image.open(out) as picture:
        assert min(picture.size) > 100


def test_images_are_asked_for_where_they_are_due_and_refused_elsewhere(
    translator, trained, tmp_path
):
    save_images(tmp_path / "photos", 1, 32, 0)
    lacks = "inputs must be given: a UNetGenerator turns images into images"
    extra = "must be left out: a MLPGenerator takes no images"
    noise = "run must hold a generator of noise alone or of classes, got a UNetGenerator"
    for arguments, message in (
        (["sample", translator], lacks),
        (["sample", translator, "--class", 1], "class must be left out"),
        (["sample", translator, "--inputs", "digits"], "inputs must be images of pairs"),
        (["sample", translator, "--inputs", tmp_path / "none.png"], "is not a readable image"),
        (
            ["sample", translator, "--inputs", tmp_path / "photos"],
            "inputs must have the shape of those in training, (1, 64, 64), got (1, 32, 32)",
        ),
        (["sample", translator, "--inputs", tmp_path], "inputs must be a folder of images, got"),
        (["sample", trained, "--inputs", "colour"], extra),
        (["sample", trained, "--no-dropout"], extra),
        (["sample", trained, "--running-statistics"], extra),
        (["interpolate", translator], noise),
        (["evaluate", translator, "--data", "colour"], noise),
    ):
        result = run(*arguments)
        assert result.exit_code == 1, arguments
        assert message in result.output, arguments


def test_sources_that_do_not_suit_the_recipe_are_refused(tmp_path):
    save_images(tmp_path / "photos", 1, 64, 0)
    for name, more, message in (
        ("facades", ["--data", tmp_path / "photos"], "has no 'train' split of pairs"),
        ("facades", ["--direction", "BtoA"], "direction must be left out"),
        ("digits", ["--data", tmp_path, "--direction", "AtoB"], "direction must be left out"),
        ("colour", ["--data", tmp_path / "photos"], "hold a square of size 128"),
        ("colour", ["--data", tmp_path, "--stream"], "streamed must be False"),
    ):
        result = run("train", name, "--out", tmp_path / "run", "--accelerator", "cpu", *more)
        assert result.exit_code == 1, name
        assert message in " ".join(result.output.split()), (name, result.output)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--stream"], "data must be a folder of images to be streamed"),
        (["--direction", "AtoB"], "direction must be left out"),
    ],
)
def test_a_plan_that_would_be_refused_is_refused(tmp_path, more, message):
    result = train(tmp_path / "run", "--dry-run", *more)
    assert result.exit_code == 1
    assert message in result.output
