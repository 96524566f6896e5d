"""The pictures that stand where an instrument of the laboratory would be, without JavaScript."""

import base64
import html
import io
import json
import re
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.stats import norm

import ganlib
from ganlib.objectives import optimal_discriminator

ROOT = Path(__file__).resolve().parents[1]
LESSONS = {  # lesson and name of the figure that stands for an instrument
    "figure_1": (ROOT / "chapters" / "figure_1.ipynb", "fig-four-moments"),
    "plane": (ROOT / "chapters" / "failures.ipynb", "fig-fail-collapse"),
}
GAUSSIANS = ROOT / "laboratory" / "gaussians.html"


def figure(path: Path, name: str) -> str:
    """A figure of a lesson, as its committed run drew it."""
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        shown = cell["metadata"].get("mystnb", {})
        if shown.get("figure", {}).get("name") == name:
            (picture,) = [
                output["data"]["image/png"]
                for output in cell["outputs"]
                if "image/png" in output.get("data", {})
            ]
            return image("".join(picture).replace("\n", ""), shown["image"]["alt"])
    raise ValueError(f"{path} has no figure {name}")


def gaussians() -> str:
    """The two Gaussians with which the instrument starts, and D* between them."""
    sliders = dict(
        re.findall(r'name="((?:mean|sd)_\w+)".*? value="([^"]+)"', GAUSSIANS.read_text("utf-8"))
    )
    (m, s), (m_g, s_g) = (
        [float(sliders[f"{what}_{who}"]) for what in ("mean", "sd")] for who in ("data", "samples")
    )
    x = np.linspace(-6, 6, 601)
    p_data, p_g = norm.pdf(x, m, s), norm.pdf(x, m_g, s_g)
    D_star = optimal_discriminator(*map(torch.from_numpy, (p_data, p_g))).numpy()
    figure, file = ganlib.plot.densities(x, p_data, p_g, D_star=D_star), io.BytesIO()
    figure.savefig(file, format="png")
    plt.close(figure)
    return image(
        base64.b64encode(file.getvalue()).decode(),
        f"Over x from -6 to 6, the density of the data is a hump at {m:g} of width {s:g}, that of "
        f"the samples a hump at {m_g:g} of width {s_g:g}. The best discriminator D* is "
        f"{D_star[np.abs(x - m).argmin()]:.2f} at the first and "
        f"{D_star[np.abs(x - m_g).argmin()]:.2f} at the second.",
    )


def image(picture: str, alt: str) -> str:
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{picture}">'


STILLS = {name: partial(figure, *source) for name, source in LESSONS.items()}
STILLS["gaussians"] = gaussians
