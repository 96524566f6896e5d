"""Generative adversarial networks, as the book derives, runs and checks them."""

from ganlib import metrics, objectives, parzen, rivals
from ganlib import plotting as plot
from ganlib.data import Data, colour_pairs, load, load_pairs, stream, stream_pairs
from ganlib.networks import (
    ConditionalMaxoutDiscriminator,
    ConditionalMLPGenerator,
    MaxoutDiscriminator,
    MLPDiscriminator,
    MLPGenerator,
    Noise,
    PatchDiscriminator,
    UNetGenerator,
    load_network,
    pretrained,
    save_network,
)
from ganlib.recipes import RECIPES
from ganlib.sampling import interpolate, nearest, sample, walk
from ganlib.training import Game, Schedule, train

__all__ = [
    "RECIPES",
    "ConditionalMLPGenerator",
    "ConditionalMaxoutDiscriminator",
    "Data",
    "Game",
    "MLPDiscriminator",
    "MLPGenerator",
    "MaxoutDiscriminator",
    "Noise",
    "PatchDiscriminator",
    "Schedule",
    "UNetGenerator",
    "colour_pairs",
    "interpolate",
    "load",
    "load_network",
    "load_pairs",
    "metrics",
    "nearest",
    "objectives",
    "parzen",
    "plot",
    "pretrained",
    "rivals",
    "sample",
    "save_network",
    "stream",
    "stream_pairs",
    "train",
    "walk",
]
__version__ = "0.1.0"
