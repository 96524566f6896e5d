"""The pictures that stand where an instrument of the laboratory would be, without JavaScript."""

import base64
import html
import io
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.stats import norm

import ganlib
from ganlib.objectives import optimal_discriminator

ROOT = Path(__file__).resolve().parents[1]
LESSON = ROOT / "chapters" / "figure_1.ipynb"
GAUSSIANS = ROOT / "laboratory" / "gaussians.html"


def figure_1() -> str:
    """The four moments of the lesson on figure 1, as its committed run drew them."""
    for cell in json.loads(LESSON.read_text("utf-8"))["cells"]:
        shown = cell["metadata"].get("mystnb", {})
        if shown.get("figure", {}).get("name") == "fig-four-moments":
            (picture,) = [
                output["data"]["image/png"]
                for output in cell["outputs"]
                if "image/png" in output.get("data", {})
            ]
            return image("".join(picture).replace("\n", ""), shown["image"]["alt"])
    raise ValueError(f"{LESSON} has no figure fig-four-moments")


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


STILLS = {"figure_1": figure_1, "gaussians": gaussians}
