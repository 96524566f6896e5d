"""Print the peak resident memory, in bytes, of a process that trains a recipe on random images.

python benchmarks/memory.py mnist 300
"""

import resource
import sys

import torch

from ganlib.data import Data
from ganlib.recipes import RECIPES


def main(name: str, steps: int) -> None:
    images = torch.randint(0, 256, (50_000, 1, 28, 28), dtype=torch.uint8)
    RECIPES[name].run(data=Data("random", "train", images), steps=steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak if sys.platform == "darwin" else 1024 * peak)  # Linux counts in KiB


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
