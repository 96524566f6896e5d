"""Print the peak resident memory, in bytes, of a process that trains a recipe on random images.

python benchmarks/memory.py mnist 300
"""

import resource
import sys

from images import random_images, random_pairs

from ganlib.recipes import RECIPES


def main(name: str, steps: int) -> None:
    recipe = RECIPES[name]
    pairs = recipe.condition == "inputs"
    data = random_pairs(8, 256) if pairs else random_images(recipe, 50_000)
    recipe.run(data=data, steps=steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak if sys.platform == "darwin" else 1024 * peak)  # Linux counts in KiB


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
