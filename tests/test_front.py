"""What the front page shows of results/: its strips of samples and its numbers."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganlib import plotting

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "_ext"))
import front  # noqa: E402


@pytest.fixture
def sheet(tmp_path):
    """Four rows of five images with a grey spot each, row by row brighter."""
    images = torch.zeros(20, 1, 8, 8)
    images[:, :, 3:5, 3:5] = torch.arange(20).view(20, 1, 1, 1) // 5 / 4 + 0.25
    path = tmp_path / "sheet.png"
    plotting.save(plotting.grid(images, 5), path)
    return path


def test_a_strip_is_the_first_rows_on_black(sheet):
    picture = Image.open(io.BytesIO(front.strip(sheet, 2))).convert("L")
    whole = Image.open(io.BytesIO(front.strip(sheet, 4))).convert("L")
    assert picture.width == whole.width
    assert abs(2 * picture.height / whole.height - 1) < 0.1
    first, second = np.array_split(np.asarray(picture), 2)
    assert 55 < first.max() < 120 < second.max() < 200  # resampling goes beyond 64 and 128
    assert np.asarray(whole).max() > 240
    edge = np.asarray(whole)
    for line in (edge[0], edge[-1], edge[:, 0], edge[:, -1]):
        assert line.max() < 18


@pytest.mark.parametrize("rows", [0, 5])
def test_rows_that_are_not_there_are_refused(sheet, rows):
    with pytest.raises(ValueError, match=rf"has 4 rows; {rows} were asked for"):
        front.strip(sheet, rows)


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(front, "RESULTS", tmp_path)
    (tmp_path / "game").mkdir()
    (tmp_path / "game" / "metrics.json").write_text(
        '{"score": {"the mean": 2.46}, "seeds": {"0": {"share": 0.985}, "1": {"share": 0.995}}}'
    )


@pytest.mark.usefixtures("results")
def test_a_number_is_read_and_rounded():
    assert front.measured(".1f game score/the mean") == "2.5"


@pytest.mark.usefixtures("results")
def test_a_star_takes_the_mean_and_a_per_cent_sign_its_space():
    assert front.measured(".0% game seeds/*/share") == "99\u00a0%"


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize(
    "text",
    [
        ".1f",
        ".1f game",
        ".1f other score",
        ".1f game score",
        ".1f game score/*/mean",
        "x game score/the mean",
    ],
)
def test_a_number_that_is_not_there_is_an_error(text):
    with pytest.raises(ValueError, match="results/ has no number"):
        front.measured(text)
