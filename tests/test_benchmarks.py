"""The benchmarks: that they run, and that what they compare does equal work."""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from lightning_fabric import Fabric
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import ganlib
from ganlib.recipes import RECIPES
from ganlib.rivals import GSN
from ganlib.rivals.cae import CAE
from ganlib.rivals.dbn import RBM
from ganlib.rivals.recipes import RIVALS
from ganlib.rivals.rival import draw

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import bench  # noqa: E402
import textbook  # noqa: E402
from floor import floor  # noqa: E402
from images import random_images, random_pairs  # noqa: E402
from tutorial import Tutorial  # noqa: E402


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """`python benchmarks/bench.py --quick`, from end to end."""
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "benchmarks/bench.py", "--quick", "--out", str(folder)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "metrics.json").read_text("utf-8")), done.stdout


def test_every_case_is_measured_and_printed(quick):
    report, printed = quick
    assert report.keys() == set(bench.CASES)
    for case in report.values():
        assert case["command"].startswith("python benchmarks/bench.py --quick")
        assert case["versions"]["torch"] == torch.__version__
        assert case["threads"] >= 1
        for its in case["rows"]:
            low, high = its["quartiles"]
            assert 0 < low <= its["median"] <= high
            assert f"  {its['what']} " in printed


def test_the_steps_of_a_block_are_written_down_as_they_were_played(tmp_path, monkeypatch):
    played = {}
    for name in ("cgan", "pix2pix"):
        measure = lambda effort, name=name: played.update({name: effort.steps}) or []  # noqa: E731
        monkeypatch.setitem(bench.CASES, name, measure)
    result = CliRunner().invoke(bench.main, ["cgan", "pix2pix", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    assert {name: case["steps a block"] for name, case in report.items()} == played
    assert played == {"cgan": 20, "pix2pix": 1}


def test_each_goal_of_speed_and_memory_is_judged(quick):
    goals = {
        (name, its["what"]): its["goal"]
        for name, case in quick[0].items()
        for its in case["rows"]
        if "goal" in its
    }
    assert goals == {
        ("memory", "mnist: peak of 1 steps"): "≤ 1",
        ("digits", "tutorial / ganlib 32-true"): "≥ 4",
        ("mnist", "tutorial / ganlib 32-true"): "≥ 4",
        ("mnist", "tutorial / ganlib bf16-mixed"): "≥ 4",
        ("mnist", "floor / ganlib 32-true"): "≥ 0.5",
        ("mnist", "floor / ganlib bf16-mixed"): "≥ 0.5",
        ("cgan", "tutorial / ganlib 32-true"): "≥ 4",
        ("cgan", "tutorial / ganlib bf16-mixed"): "≥ 4",
        **{
            ("pix2pix", f"{game}: tutorial / ganlib {precision}"): "≥ 2"
            for game in ("256², batch 1", "128², batch 1", "128², batch 4")
            for precision in ("32-true", "bf16-mixed")
        },
        **{
            ("rivals", f"{rival}: {book} / ganlib {precision}"): "≥ 2"
            for rival, book in (
                ("dbn", "TextbookRBM"),
                ("cae", "TextbookCAE"),
                ("cae", "JacobianCAE"),
                ("gsn", "TextbookGSN"),
            )
            for precision in ("32-true", "bf16-mixed")
        },
        ("parzen", "score / one product"): "≤ 1.3",
        ("parzen", "broadcasting port / score"): "≥ 50",
    }


def test_a_row_is_the_median_and_quartiles_of_its_values():
    its = bench.row("it", [5.0, 1.0, 2.0, 4.0, 3.0], "ms", least=3.5)
    assert (its["median"], its["quartiles"], its["met"]) == (3.0, [2.0, 4.0], False)
    assert bench.row("it", [3.0], "ms", most=3.5)["met"]


def test_ratios_are_taken_round_by_round():
    assert bench.ratios([6.0, 8.0], [3.0, 2.0]) == [2.0, 4.0]


def test_the_sides_take_turns_and_the_first_turn_is_not_timed():
    called = []
    sides = {name: lambda name=name: called.append(name) for name in "ab"}
    seconds = bench.take_turns(sides, 3, torch.device("cpu"))
    assert called == ["a", "b"] * 4
    assert [len(s) for s in seconds.values()] == [3, 3]


class SameNoise(ganlib.Noise):
    """Draws the same points each time, so that both loops judge G on the same samples."""

    def __call__(self, n, like=None, seed=None):
        return super().__call__(n, like, seed=7)


@pytest.mark.parametrize("name", ["digits", "mnist", "cgan-digits", "cgan-mnist", "colour-quick"])
def test_the_tutorials_step_is_ganlibs_in_turn(name, monkeypatch):
    measured = {}  # in float64, as the history does not keep it
    measure = ganlib.Game.measure

    def spy(game, name, number):
        measured[name] = number.item()
        measure(game, name, number)

    monkeypatch.setattr(ganlib.Game, "measure", spy)
    recipe, m = RECIPES[name], 50
    data = random_images(recipe, 200)
    training = {}
    if recipe.condition == "inputs":
        m, data = 3, random_pairs(6, 32)
        training = {"same_samples": True, "lambda_l1": 200.0}
    options = recipe.options | {"lr": 0.02}  # far enough that G's loss hangs on D's move

    def players():
        G, D = (player.double() for player in recipe.players(data))
        G.noise = G.noise and SameNoise(G.noise.dim, G.noise.distribution)
        return G, D, *(recipe.optimizer(player.parameters(), **options) for player in (G, D))

    y = getattr(data, recipe.condition) if recipe.condition else None
    G, D, *optimizers = players()
    game = ganlib.train(
        G,
        D,
        data.images,
        y,
        steps=1,
        batch_size=m,
        optimizer_G=optimizers[0],
        optimizer_D=optimizers[1],
        **training,
    )
    other_G, other_D, *optimizers = players()
    tutorial = Tutorial(
        other_G, other_D, data.images, y, m, *optimizers, training.get("lambda_l1", 0.0)
    )
    x, y = game.minibatches[0]
    with torch.random.fork_rng():
        torch.manual_seed(ganlib.data.derive_seed(0, "noise", 0))  # the dropout of ganlib's step
        losses = tutorial.play_on(x, *y)
    expected = [measured["loss_D"], measured["loss_G"]]
    assert losses == pytest.approx(expected, rel=0, abs=1e-10)
    for ours, theirs in zip(G.parameters(), other_G.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-10)
    for ours, theirs in ((G, other_G), (D, other_D)):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "version", "part"),
    [
        ("dbn", textbook.TextbookRBM, RBM(64, 20, k=2)),
        ("cae", textbook.TextbookCAE, CAE(64, 20, penalty=0.3)),
        ("cae", textbook.JacobianCAE, CAE(64, 20, penalty=0.3)),
        ("gsn", textbook.TextbookGSN, GSN((1, 8, 8), hidden=(20, 15))),
    ],
)
def test_the_textbooks_step_is_the_rivals(name, version, part, monkeypatch):
    """The same update of the same weights on the same batch, with the same draws."""
    monkeypatch.setattr(textbook, "bernoulli", draw)
    ours, theirs = copy.deepcopy(part).double(), copy.deepcopy(part).double()
    options = RIVALS[name].options | {"lr": 0.02}
    images = ganlib.load("digits").images[:50]
    x = ganlib.data.to_float(images, torch.float64).flatten(1)
    optimizer = RIVALS[name].optimizer(ours.parameters(), **options)
    book = version(theirs, images, 50, RIVALS[name].optimizer(theirs.parameters(), **options))
    for step in range(2):
        torch.manual_seed(step)
        with torch.no_grad():
            ours.set_gradient(x)
        optimizer.step()
        torch.manual_seed(step)
        book.play_on(x)
    for a, b, first in zip(ours.parameters(), theirs.parameters(), part.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
        assert not torch.equal(a, first.double())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cgan-digits", random_images(RECIPES["cgan-digits"], 200)),
        ("colour-quick", random_pairs(9, 16)),
    ],
)
def test_the_tutorial_keeps_images_and_conditions_together(name, data, monkeypatch):
    played = []
    monkeypatch.setattr(Tutorial, "play_on", lambda self, *batch: played.append(batch))
    recipe = RECIPES[name]
    if recipe.condition == "inputs":
        recipe = bench._still(recipe, 4, 4)
    tutorial = bench.follow_tutorial(recipe, data, torch.device("cpu"))
    tutorial.play_step()
    x, y = played[0]
    _, places = ganlib.nearest(x, data.images)
    given = getattr(data, recipe.condition)[places[:, 0]]
    assert torch.equal(y, ganlib.data.as_condition(given))
    assert tutorial.lambda_l1 == (200.0 if recipe.condition == "inputs" else 0.0)


def test_the_tutorial_goes_round_the_data():
    recipe = RECIPES["digits"]
    data = random_images(recipe, 200)
    few = ganlib.data.Data("few", "train", data.images[:130])
    tutorial = bench.follow_tutorial(recipe, few, torch.device("cpu"))
    assert len([tutorial.play_step() for _ in range(5)]) == 5  # 2 minibatches of 64 an epoch


def layers(network):
    """(inputs, outputs) of each matrix of a chain of layers."""
    return [tuple(p.shape[::-1]) for p in network.parameters() if p.ndim == 2]


@pytest.mark.parametrize("simultaneous", [False, True])
@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_the_floor_is_the_products_of_the_step(name, simultaneous):
    recipe, m = RECIPES[name], RECIPES[name].training["batch_size"]
    game = recipe.run(data=random_images(recipe, 200), steps=1, simultaneous=simultaneous)
    products = floor(game)
    with FlopCounterMode(display=False) as least:
        products()
    (g, g_first), (d, d_first) = (
        (sum(a * b for a, b in its), its[0][0] * its[0][1]) for its in map(layers, (game.G, game.D))
    )
    learn_G = 3 * g - g_first  # forward, to the weights, to the inputs but z
    # In turn, D learns from data and samples, then G from samples through D. At once, one way back
    # through D serves both, and the data's half of it goes on to the pixels, too.
    in_turn, at_once = g + 2 * (3 * d - d_first) + learn_G + 2 * d, learn_G + 2 * 3 * d
    assert least.get_total_flops() == 2 * m * (at_once if simultaneous else in_turn)


@pytest.mark.parametrize("name", ["cgan-mnist", "facades-128"])
def test_the_floor_holds_all_products_and_convolutions(name):
    recipe = RECIPES[name]
    data = random_images(recipe, 200)
    if name == "facades-128":
        recipe, data = bench._still(recipe, 1, 4), random_pairs(3, 128)
    game = recipe.run(data=data, steps=1)
    products = floor(game)
    with FlopCounterMode(display=False) as played:
        game.play_step()
    with FlopCounterMode(display=False) as least:
        products()
    assert 0 < least.get_total_flops() == played.get_total_flops()


def test_the_floor_is_in_the_precision_of_the_step():
    recipe = RECIPES["mnist"]
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    game = recipe.run(data=random_images(recipe, 200), steps=1, fabric=fabric)
    products = floor(game)
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            seen.extend(factor.dtype for factor in args)
            return operator(*args, **(kwargs or {}))

    with Watch():
        products()
    assert len(seen) == 2 * 17
    assert set(seen) == {torch.bfloat16}


def measured(what):
    """The median of one row of results/bench; None where there is no such row."""
    report = json.loads((ROOT / "results/bench/metrics.json").read_text("utf-8"))
    case, _, row = what.partition(": ")
    return next((its["median"] for its in report[case]["rows"] if its["what"] == row), None)


def test_the_table_of_the_book_is_what_was_measured():
    text = (ROOT / "chapters/scaling.md").read_text("utf-8")
    rows = re.findall(r"^\| ([\w ×]+), (\d+) a step \|(.*)\|$", text, re.M)
    games = {
        "digits": "digits: ",
        "MNIST": "mnist: ",
        "conditional MNIST": "cgan: ",
        "pix2pix 256×256": "pix2pix: 256², batch 1: ",
        "pix2pix 128×128": "pix2pix: 128², batch 4: ",
    }
    books = {
        "Boltzmann machine": "rivals: dbn: TextbookRBM / ganlib ",
        "contractive autoencoder": "rivals: cae: TextbookCAE / ganlib ",
        "GSN": "rivals: gsn: TextbookGSN / ganlib ",
    }
    assert [name for name, *_ in rows] == [*games, *books]
    batches = ("digits", "mnist", "cgan-mnist", "facades", None, "dbn", "cae", "gsn")
    for (name, m, cells), its in zip(rows, batches, strict=True):
        if its is not None:  # the other one says its batch itself
            assert int(m) == (RECIPES | RIVALS)[its].training["batch_size"]
        else:
            assert games[name].endswith(f"batch {m}: ")
        if name in games:
            sides = [f"{games[name]}tutorial / {side} " for side in ("ganlib", "floor")]
            whats = [side + precision for precision in bench.BOTH for side in sides]
        else:
            whats = [
                books[name] + bench.BOTH[0],
                "rivals: ",
                books[name] + bench.BOTH[1],
                "rivals: ",
            ]
        for cell, what in zip(cells.split("|"), whats, strict=True):
            ratio = measured(what)
            assert cell.strip() == ("" if ratio is None else f"{ratio:.2f}"), what
    shares = {
        "mnist: floor / ganlib bf16-mixed": "then {} of the step",
        "mnist: floor / ganlib 32-true": "they are {} in float32",
        "digits: floor / ganlib 32-true": "are only {};",
    }
    for what, words in shares.items():
        assert words.format(f"{100 * measured(what):.0f} %") in text
    most = [measured(f"{games[name]}tutorial / floor 32-true") for name in games]
    assert f"that is {most[1]:.1f} for MNIST and {most[3]:.1f} for pix2pix" in text
    jacobian = measured("rivals: cae: JacobianCAE / ganlib 32-true")
    assert f"takes {jacobian:.0f} times as long" in text
