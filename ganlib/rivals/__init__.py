"""The other rows of Table 1 of Goodfellow et al. (2014), to be judged as the games are."""

import os

from ganlib import networks
from ganlib.rivals.cae import StackedCAE
from ganlib.rivals.dbn import DBN
from ganlib.rivals.gsn import GSN
from ganlib.rivals.rival import Course, Rival

__all__ = ["DBN", "GSN", "Course", "Rival", "StackedCAE", "load"]
KINDS = {kind.__name__: kind for kind in (DBN, StackedCAE, GSN)}


def build(config: dict) -> Rival:
    """Make a rival from its `config`, freshly initialised; as `ganlib.networks.build` does."""
    return networks.build(config, KINDS)


def load(path: str | os.PathLike) -> Rival:
    """Read a rival's weights, `generator.safetensors`, as `ganlib.load_network` does.

    Raises:
        FileNotFoundError, ValueError: As there.
    """
    return networks.load_network(path, KINDS)
