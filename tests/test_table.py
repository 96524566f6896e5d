"""Table 1: from end to end on embedded digits, and the rows that no model has made."""

import json

import pytest
import torch
from click.testing import CliRunner

import ganlib
from ganlib import parzen, protocols, reproduction, table
from ganlib.cli import main
from ganlib.table import ROWS, centroids


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """`ganlib reproduce table1 --quick`, with fewer samples."""
    folder = tmp_path_factory.mktemp("table")
    numbers = {"SAMPLES": 500, "CHAINS": 50, "BURN_IN": 5, "EVERY": 2}
    with pytest.MonkeyPatch.context() as patch:
        for name, number in numbers.items():
            patch.setattr(protocols, name, number)
        patch.setitem(reproduction.QUICK, "steps", 50)
        arguments = ["reproduce", "table1", "--quick", "--seeds", "0", "--accelerator", "cpu"]
        arguments += ["--runs", f"{folder}/runs", "--results", f"{folder}/results"]
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads((folder / "results" / "table1-quick" / "metrics.json").read_text())
    return folder / "results", report, result.output


def test_every_row_is_the_one_its_recipe_reports(quick):
    results, report, _ = quick
    assert list(report["rows"]) == list(ROWS)
    for name, its in report["rows"].items():
        own = json.loads((results / f"{name}-quick" / "metrics.json").read_text())
        assert its["score"] == own["score"]
        assert its["measured"]["score"]["mean"] == pytest.approx(own["score"]["mean"], abs=0.01)
        assert sum(its["measured"]["classes"].values()) == pytest.approx(1, abs=0.001)
        assert its["published"] is None  # of MNIST, and these are the digits
        assert its["seeds"] == ["0"]
        assert its["own protocol"] == own["seeds"]["0"].get("one chain")
    assert report["rows"]["gsn"]["own protocol"]["score"]["sigma"] == 0.2


def test_what_takes_an_hour_is_run_with_the_first_seed_alone(monkeypatch, tmp_path):
    asked = {}

    def note(name, seeds, **options):
        asked[name] = seeds
        if len(asked) == len(ROWS):
            raise KeyboardInterrupt

    monkeypatch.setattr(table, "reproduce", note)
    with pytest.raises(KeyboardInterrupt):
        table.reproduce_table(seeds=(3, 4), runs=tmp_path, results=tmp_path)
    assert asked.pop("gsn") == (3,)
    assert set(asked.values()) == {(3, 4)}


def test_it_prints_and_draws_every_row(quick):
    results, report, output = quick
    rows = [its["row"] for its in report["rows"].values()]
    assert len(report["reference"]) == 4
    for row, score in [
        *zip(rows, (its["score"]["mean"] for its in report["rows"].values())),
        *((row, its["score"]["mean"]) for row, its in report["reference"].items()),
    ]:
        line = next(line for line in output.splitlines() if line.startswith(row.ljust(40)))
        assert line.split()[-2] == f"{score:.4g}"
    assert (results / "table1-quick" / "samples.png").stat().st_size > 10_000


def test_what_no_model_has_made_says_what_a_score_is_worth(quick):
    """Centroids of few images score less than the images; the mean image scores least."""
    reference = quick[1]["reference"]
    train = ganlib.load("digits").images / 255
    sides = [ganlib.load("digits", split).images for split in ("validation", "test")]
    mean = parzen.score(train.mean(0, keepdim=True), *sides).mean
    assert reference["the mean training image"]["score"]["mean"] == pytest.approx(mean, abs=0.01)
    scores = {row: its["score"]["mean"] for row, its in reference.items()}
    means = scores.pop("257 k-means centroids")
    assert means > max(scores["the mean training image"] + 10, -5)
    for its in reference.values():
        assert sum(its["classes"].values()) == pytest.approx(1, abs=0.001)


def test_centroids_are_where_the_images_are():
    """Of three heaps of images, one centroid each is their mean."""
    torch.manual_seed(0)
    heaps = torch.tensor([0.2, 0.5, 0.8]).repeat_interleave(50).view(-1, 1, 1, 1)
    images = heaps + 0.01 * torch.randn(150, 1, 2, 2)
    found = centroids(images, 3, seed=1)
    assert found.shape == (3, 1, 2, 2)
    expected = images.view(3, 50, 1, 2, 2).mean(1)
    torch.testing.assert_close(found[found[:, 0, 0, 0].argsort()], expected, rtol=0, atol=0.01)
    assert torch.equal(found, centroids(images, 3, seed=1))
    with pytest.raises(ValueError, match=r"n must be from 1 to 150 \(the images\), got 151"):
        centroids(images, 151)
