"""Colour squares of the two embedded photos by a generator that was trained on others.

    python tools/colour_photos.py RUN PICTURE

for example `python tools/colour_photos.py runs/colour/seed-0 results/colour/photos.png`. The photos
of a data set may not be free to show; these two are.
"""

import sys
from pathlib import Path

import ganlib
from ganlib import plotting
from ganlib.checkpoints import GENERATOR
from ganlib.data import colour_pairs
from ganlib.protocols import draw_pairs


def main(run: str, picture: str) -> None:
    G = ganlib.load_network(Path(run) / GENERATOR)
    photos = colour_pairs(split="test", size=G.config["shape"][-1])
    plotting.save(draw_pairs(G, photos, "two photos that G has never seen"), Path(picture))


if __name__ == "__main__":
    main(*sys.argv[1:])
