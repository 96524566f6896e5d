"""Random data, so that a measurement needs no download."""

import torch

from ganlib.data import Data, load
from ganlib.recipes import Recipe
from ganlib.rivals.recipes import RivalRecipe


def random_images(recipe: Recipe | RivalRecipe, n: int) -> Data:
    """The digits, which are embedded; for other recipes, random images of MNIST's shape."""
    if recipe.data == "digits":
        return load("digits")
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 1, 28, 28), dtype=torch.uint8, generator=rng)
    labels = torch.randint(0, 10, (n,), generator=rng)
    return Data("random", "train", images, labels, tuple("0123456789"))


def random_pairs(n: int, size: int) -> Data:
    """n random pairs of colour images, size × size."""
    rng = torch.Generator().manual_seed(0)
    images, inputs = torch.randint(0, 256, (2, n, 3, size, size), dtype=torch.uint8, generator=rng)
    return Data("random", "train", images, inputs=inputs)
