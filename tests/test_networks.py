"""The players: shapes, starting weights, noise, dropout, and files that come back bit for bit."""

import hashlib
import json
import math
import os
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import ganlib
from ganlib import networks
from ganlib.networks import (
    Classifier,
    ConditionalMaxoutDiscriminator,
    ConditionalMLPGenerator,
    Maxout,
    MaxoutDiscriminator,
    MLPDiscriminator,
    MLPGenerator,
    Noise,
    PatchDiscriminator,
    UNetGenerator,
    build,
    limit_norms,
    load_network,
    mode,
    own_random_state,
    save_network,
)

MNIST = Path(os.environ.get("GANLIB_DATA") or os.devnull) / "mnist"
RESULTS = Path(__file__).resolve().parents[1] / "results"

few = settings(deadline=None, max_examples=30)
NETWORKS = {
    "generator": lambda: MLPGenerator(Noise(3, "uniform"), (1, 2, 2), (5, 4), init=0.1),
    "generator of faces": lambda: MLPGenerator(
        Noise(3), (1, 2, 2), (5, 4), init=0.1, activations=("relu", "sigmoid"), sparse=3
    ),
    "generator of numbers": lambda: MLPGenerator(Noise(2), (1,), (), output="identity"),
    "discriminator": lambda: MLPDiscriminator((1, 2, 2), (5, 4), dropout=0.3),
    "maxout discriminator": lambda: MaxoutDiscriminator((2, 2), (3,), 2, 0.7, 0.6, 0.1),
    "conditional generator": lambda: ConditionalMLPGenerator(
        Noise(3, "uniform"), (1, 2, 2), 3, 5, 4, (6, 7), dropout=0.3, init=0.1
    ),
    "conditional discriminator": lambda: ConditionalMaxoutDiscriminator(
        (1, 2, 2), 3, 5, 4, 6, 2, 3, 0.7, 0.6, 0.1, 0.3
    ),
    "classifier": lambda: Classifier((1, 5, 4), classes=3, width=6),
    "U-Net": lambda: UNetGenerator((1, 16, 16), inputs=2, width=2, dropout_at_test=False),
    "U-Net with noise": lambda: UNetGenerator(
        (2, 16, 16), 1, 2, Noise(3), dropout_at_test=False, batch_statistics_at_test=False
    ),
    "patch discriminator": lambda: PatchDiscriminator((1, 16, 16), inputs=2, width=2, halvings=1),
}
each_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def bits(network):
    return {
        name: (w.dtype, w.shape, w.numpy().tobytes()) for name, w in network.state_dict().items()
    }


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def paper_pair():
    """The generator and the discriminator of the 2014 paper's MNIST experiment."""
    torch.manual_seed(0)
    G = MLPGenerator(Noise(100, "uniform"), (1, 28, 28), hidden=(1200, 1200), init=0.05)
    return G, MaxoutDiscriminator((1, 28, 28))


# Noise -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_noise_has_mean_0_and_variance_1_in_every_coordinate(distribution):
    n = 100_000
    z = Noise(4, distribution)(n, torch.empty(0, dtype=torch.float64), seed=0)
    fourth = {"normal": 3, "uniform": 9 / 5}[distribution]  # E z⁴ of each distribution
    assert (z.mean(0).abs() < 5 / math.sqrt(n)).all()
    assert ((z.square().mean(0) - 1).abs() < 5 * math.sqrt((fourth - 1) / n)).all()
    assert ((z**4).mean(0) - fourth).abs().max() < 0.2
    assert (torch.corrcoef(z.T) - torch.eye(4)).abs().max() < 5 / math.sqrt(n)


def test_uniform_noise_fills_its_interval_and_stays_in_it():
    z = Noise(1, "uniform")(100_000, seed=0)
    assert 1.73 < z.max() <= math.sqrt(3)
    assert -1.73 > z.min() >= -math.sqrt(3)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_noise_is_decided_by_its_seed_and_leaves_the_global_generator_alone(distribution):
    noise, before = Noise(3, distribution), torch.get_rng_state()
    assert torch.equal(noise(5, seed=1), noise(5, seed=1))
    assert not torch.equal(noise(5, seed=1), noise(5, seed=2))
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_without_a_seed_comes_from_the_global_generator():
    torch.manual_seed(3)
    first, second = Noise(3)(5), Noise(3)(5)
    torch.manual_seed(3)
    assert torch.equal(Noise(3)(5), first)
    assert not torch.equal(first, second)


def test_noise_takes_its_type_from_another_tensor():
    assert (Noise(3)(5).dtype, Noise(3)(5).shape) == (torch.float32, (5, 3))
    for seed in (None, 0):
        assert Noise(3)(5, torch.empty(1, dtype=torch.float64), seed).dtype == torch.float64


def test_impossible_noise_is_refused():
    with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
        Noise(0)
    with pytest.raises(ValueError, match="must be 'normal' or 'uniform', got 'cauchy'"):
        Noise(2, "cauchy")


# Shapes and starting weights ---------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (3, 4), (1, 8, 8), (3, 5, 7)])
def test_generator_makes_samples_and_discriminators_make_logits(shape):
    x = MLPGenerator(Noise(2), shape, hidden=(6,))(torch.randn(5, 2))
    assert x.shape == (5, *shape)
    for D in (MLPDiscriminator(shape, (6,)), MaxoutDiscriminator(shape, (6,))):
        assert D(x).shape == (5, 1)


def test_generator_is_its_layers_written_out():
    G = MLPGenerator(Noise(3), (2, 2), hidden=(5, 4))
    z = torch.randn(6, 3)
    first, _, second, _ = G.hidden
    h = (z @ first.weight.T + first.bias).clamp(min=0)
    h = (h @ second.weight.T + second.bias).clamp(min=0)
    x = 1 / (1 + torch.exp(-(h @ G.last.weight.T + G.last.bias)))
    torch.testing.assert_close(G(z), x.reshape(6, 2, 2))


def test_identity_output_leaves_the_interval_from_0_to_1():
    G = MLPGenerator(Noise(3), (2,), hidden=(), output="identity")
    z = 100 * torch.eye(3)
    torch.testing.assert_close(G(z), z @ G.last.weight.T + G.last.bias)


def test_discriminator_is_its_layers_written_out():
    D = MLPDiscriminator((2, 2), hidden=(5,))
    x = torch.randn(6, 2, 2)
    _, first, _, last = D.layers
    h = x.reshape(6, 4) @ first.weight.T + first.bias
    h = torch.where(h > 0, h, 0.2 * h)
    torch.testing.assert_close(D(x), h @ last.weight.T + last.bias)


def test_unknown_output_is_refused():
    with pytest.raises(ValueError, match="output must be 'sigmoid' or 'identity', got 'tanh'"):
        MLPGenerator(Noise(2), (1,), output="tanh")


@few
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
def test_maxout_is_the_largest_of_its_affine_maps(inputs, units, pieces, seed):
    torch.manual_seed(seed)
    layer, x = Maxout(inputs, units, pieces).double(), torch.randn(3, inputs).double()
    expected = torch.empty(3, units, dtype=torch.float64)
    for n in range(3):
        for unit in range(units):
            rows = range(unit, units * pieces, units)
            expected[n, unit] = max(x[n] @ layer.weight[row] + layer.bias[row] for row in rows)
    torch.testing.assert_close(layer(x), expected)


def test_paper_pair_has_the_parameters_counted_by_hand():
    G, D = paper_pair()
    counts = [sum(p.numel() for p in network.parameters()) for network in (G, D)]
    assert counts == [
        (100 * 1200 + 1200) + (1200 * 1200 + 1200) + (1200 * 784 + 784),
        (784 * 240 * 5 + 240 * 5) + (240 * 240 * 5 + 240 * 5) + (240 + 1),
    ]


def test_paper_pair_starts_uniform_with_biases_0():
    for network, bound in zip(paper_pair(), (0.05, 0.005)):
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                assert (parameter == 0).all()
            else:
                wide = 1 - 10 / parameter.numel()
                assert bound * wide <= parameter.max() <= bound
                assert -bound * wide >= parameter.min() >= -bound
                spread = parameter.std().item() / (bound / math.sqrt(3))
                assert spread == pytest.approx(1, abs=3 / math.sqrt(parameter.numel()))


def faces_generator(noise=100, hidden=(80, 300), activations=("relu", "sigmoid")):
    torch.manual_seed(0)
    return MLPGenerator(
        Noise(noise), (1, 30, 30), hidden, init=0.05, activations=activations, sparse=100
    )


def test_generator_of_faces_is_its_layers_written_out():
    G = faces_generator(3, hidden=(120, 110))
    z = torch.randn(6, 3)
    first, _, second, _ = G.hidden
    h = (z @ first.weight.T + first.bias).clamp(min=0)
    h = 1 / (1 + torch.exp(-(h @ second.weight.T + second.bias)))
    x = 1 / (1 + torch.exp(-(h @ G.last.weight.T + G.last.bias)))
    torch.testing.assert_close(G(z), x.reshape(6, 1, 30, 30))


def test_generator_of_faces_starts_as_the_released_one():
    G = faces_generator()
    first, _, second, _ = G.hidden
    for layer, bias in ((first, 0), (second, -2)):
        assert 0.0495 < layer.weight.abs().max() <= 0.05
        assert (layer.bias == bias).all()
    weight = G.last.weight
    assert (weight != 0).sum(1).tolist() == [100] * 900
    # each input is as likely as another: 900 draws of 100 out of 300
    assert ((weight != 0).sum(0) - 300).abs().max() < 5 * math.sqrt(900 * 1 / 3 * 2 / 3)
    drawn = weight[weight != 0].double()
    assert drawn.mean().abs() < 5 / math.sqrt(len(drawn))
    assert (drawn.square().mean() - 1).abs() < 5 * math.sqrt(2 / len(drawn))
    assert (drawn**4).mean().item() == pytest.approx(3, abs=0.2)
    assert (G.last.bias == 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activations": ["relu"]}, r"for each of 2 hidden layers, got \['relu'\]"),
        ({"activations": ["relu", "tanh"]}, "activations must be 'relu' or 'sigmoid' for each"),
        ({"sparse": 0}, r"sparse must be from 1 to 4 \(the outputs' inputs\), got 0"),
        ({"sparse": 5}, "sparse must be from 1 to 4"),
    ],
)
def test_impossible_layers_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLPGenerator(Noise(2), (1,), (3, 4), **arguments)


def test_generator_goes_on_from_another():
    top = faces_generator(40, hidden=(70, 110))
    G = faces_generator(3, (50, 40, 70, 110), ("relu", "sigmoid") * 2)
    below = bits(G.hidden[:4])
    G.go_on_from(top)
    assert [*bits(G.hidden[4:]).values()] == [*bits(top.hidden).values()]
    assert bits(G.last) == bits(top.last)
    assert bits(G.hidden[:4]) == below
    z = torch.randn(5, 3)
    assert torch.equal(G(z), top(G.hidden[:4](z)))
    with torch.no_grad():
        G.last.bias.add_(1)
    assert (top.last.bias == 0).all()  # a copy


@pytest.mark.parametrize(
    ("noise", "hidden", "activations"),
    [
        (3, (50, 41, 70, 110), ("relu", "sigmoid") * 2),
        (3, (50, 40, 71, 110), ("relu", "sigmoid") * 2),
        (3, (50, 40, 70, 110), ("relu", "sigmoid", "sigmoid", "sigmoid")),
        (3, (110,), ("sigmoid",)),
        (3, (70, 110), ("relu", "sigmoid")),
    ],
)
def test_generator_that_does_not_end_in_the_other_is_refused(noise, hidden, activations):
    with pytest.raises(ValueError, match="other must be the top of this generator"):
        faces_generator(noise, hidden, activations).go_on_from(
            faces_generator(40, hidden=(70, 110))
        )


# Max norm ----------------------------------------------------------------------------------------


@few
@given(st.integers(0, 99), st.floats(0.1, 3))
def test_limited_norms_scale_long_rows_and_leave_the_others(seed, largest):
    torch.manual_seed(seed)
    weight = torch.randn(6, 4) * torch.rand(6, 1) * 3
    weight[0] = 0
    before, bias = weight.clone(), torch.full((3,), 9.0)
    limit_norms([weight, bias], largest)
    for row, was in zip(weight, before):
        norm = math.sqrt(sum(float(w) ** 2 for w in was))
        if norm > largest * (1 + 1e-6):
            torch.testing.assert_close(row, was * (largest / norm))
        elif norm < largest * (1 - 1e-6):
            assert torch.equal(row, was)
    assert (bias == 9).all()


def test_each_piece_of_a_maxout_unit_and_each_filter_has_a_norm_of_its_own():
    layer, filters = Maxout(3, 2, 5), torch.ones(4, 3, 2, 2)
    filters = filters.to(memory_format=torch.channels_last).requires_grad_()
    nn.init.constant_(layer.weight, 0.4)
    limit_norms([*layer.parameters(), filters], 0.5)
    assert layer.weight.shape == (10, 3)
    for weight in (layer.weight, filters.flatten(1)):
        torch.testing.assert_close(weight.norm(dim=1), torch.full((len(weight),), 0.5))


@pytest.mark.parametrize("largest", [0, -1.0, float("nan")])
def test_norm_that_is_not_positive_is_refused(largest):
    with pytest.raises(ValueError, match=f"largest must be positive, got {largest}"):
        limit_norms([torch.ones(2, 2)], largest)


# Classes -----------------------------------------------------------------------------------------


def conditional_pair(**options):
    """The generator and the discriminator of Mirza & Osindero (2014)."""
    torch.manual_seed(0)
    noise, shape = Noise(100, "uniform"), (1, 28, 28)
    return (
        ConditionalMLPGenerator(noise, shape, 10, **options),
        ConditionalMaxoutDiscriminator(shape, 10),
    )


def test_conditional_pair_has_the_parameters_counted_by_hand():
    G, D = conditional_pair()
    own = (100 * 200 + 200) + (10 * 1000 + 1000)
    assert count(G) == own + (1200 * 1200 + 1200) + (1200 * 784 + 784)
    own = 5 * (784 * 240 + 240) + 5 * (10 * 50 + 50)
    assert count(D) == own + 4 * (290 * 240 + 240) + (240 + 1)


def test_conditional_generator_is_its_layers_written_out():
    G = ConditionalMLPGenerator(Noise(3), (2, 2), 4, 5, 6, (7, 8))
    z, y = torch.randn(9, 3), torch.arange(9) % 4
    of_z, of_y = G.of_z[0], G.of_y[0]
    h_z = (z @ of_z.weight.T + of_z.bias).clamp(min=0)
    h_y = (of_y.weight.T[y] + of_y.bias).clamp(min=0)
    h = torch.cat([h_z, h_y], 1)
    for layer in (m for m in G.hidden if isinstance(m, nn.Linear)):
        h = (h @ layer.weight.T + layer.bias).clamp(min=0)
    x = torch.sigmoid(h @ G.last.weight.T + G.last.bias)
    torch.testing.assert_close(G.eval()(z, y), x.reshape(9, 2, 2))


def test_conditional_discriminator_is_its_layers_written_out():
    def largest(x, layer, pieces):
        affine = x @ layer.weight.T + layer.bias
        return affine.reshape(len(x), pieces, -1).max(1).values

    D = ConditionalMaxoutDiscriminator((2, 2), 4, 5, 6, 7, 3, 2, init=1.0).eval()
    x, y = torch.randn(9, 2, 2), torch.arange(9) % 4
    own = [largest(x.reshape(9, 4), D.of_x[2], 3), largest(torch.eye(4)[y], D.of_y, 3)]
    h = largest(torch.cat(own, 1), D.of_both[1], 2)
    torch.testing.assert_close(D(x, y), h @ D.of_both[3].weight.T + D.of_both[3].bias)


def test_both_players_hear_their_class_and_learn_from_it():
    G, D = conditional_pair()
    z, y = torch.randn(10, 100), torch.arange(10)
    x = G(z[:1].expand(10, 100), y)
    assert torch.cdist(x.flatten(1), x.flatten(1)).add(torch.eye(10)).min() > 1e-3
    same = x[:1].expand(10, 1, 28, 28)
    with mode(D, training=False):
        assert D(same, y).unique().numel() == 10
        D(x, y).sum().backward()
    for player in (G, D):
        for name, parameter in player.named_parameters():
            assert parameter.grad.any(), name


def test_conditional_discriminator_starts_uniform_and_hears_y_from_the_start():
    _, D = conditional_pair()
    for name, parameter in D.named_parameters():
        bound = 0 if name.endswith("bias") else 0.5 if name == "of_y.weight" else 0.005
        largest = parameter.abs().max().item()
        assert 0.97 * bound <= largest <= bound, name


def test_dropout_of_the_conditional_pair_is_where_it_is_said_to_be():
    G, D = conditional_pair(dropout=0.5)
    assert [m.p for m in G.modules() if isinstance(m, nn.Dropout)] == [0.5] * 3
    assert [m.p for m in D.modules() if isinstance(m, nn.Dropout)] == pytest.approx([0.2, 0.5, 0.5])
    z, y = torch.randn(1, 100).expand(2, 100), torch.zeros(2, dtype=torch.int64)
    assert not torch.equal(*G(z, y))  # two masks
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    conditional_pair()[0](z, y)  # without dropout nothing is drawn
    torch.manual_seed(1)
    G.eval()(z, y)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.tensor([0, 10]), "y must be from 0 to 9, got values from 0 to 10"),
        (torch.tensor([-1, 3]), "y must be from 0 to 9, got values from -1 to 3"),
        (torch.tensor([0.0, 1.0]), r"y must be 2 int64 classes, .*, got \(2,\) torch.float32"),
        (torch.tensor([1]), r"y must be 2 int64 classes, .*, got \(1,\) torch.int64"),
        (torch.eye(10)[:2].long(), r"y must be 2 int64 classes, .*, got \(2, 10\) torch.int64"),
    ],
)
def test_what_is_no_class_is_refused(y, message):
    G, D = conditional_pair()
    with pytest.raises(ValueError, match=message):
        G(torch.randn(2, 100), y)
    with pytest.raises(ValueError, match=message):
        D(torch.rand(2, 1, 28, 28), y)


def test_a_pair_without_classes_is_refused():
    with pytest.raises(ValueError, match="classes must be at least 1, got 0"):
        ConditionalMLPGenerator(Noise(3), (1, 8, 8), 0)
    with pytest.raises(ValueError, match="classes must be at least 1, got 0"):
        ConditionalMaxoutDiscriminator((1, 8, 8), 0)


def test_conditional_generator_starts_at_the_mean_image():
    images = ganlib.load("digits").images
    G = ConditionalMLPGenerator(Noise(3), (1, 8, 8), 10)
    nn.init.zeros_(G.last.weight)
    G.start_at_mean(images)
    expected = (images.double() / 255).mean(0).clamp(1e-7, 1 - 1e-7).float().expand(4, 1, 8, 8)
    x = G(torch.randn(4, 3), torch.arange(4))
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=0)


# Dropout -----------------------------------------------------------------------------------------


def test_maxout_discriminator_drops_the_input_of_every_layer():
    layers = MaxoutDiscriminator((1, 28, 28)).layers
    kinds = [nn.Flatten, *[nn.Dropout, Maxout] * 2, nn.Dropout, nn.Linear]
    assert len(layers) == len(kinds)
    assert all(map(isinstance, layers, kinds))


@pytest.mark.parametrize(("number", "dropped"), [(0, 0.2), (1, 0.5), (2, 0.5)])
def test_dropped_inputs_are_0_and_kept_ones_are_divided_by_their_share(number, dropped):
    torch.manual_seed(0)
    D, seen = MaxoutDiscriminator((1, 28, 28), init=0.1), []
    layer = [m for m in D.layers if isinstance(m, Maxout | nn.Linear)][number]
    dropout = [m for m in D.layers if isinstance(m, nn.Dropout)][number]
    dropout.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with mode(D, training=True):
        D(1 + torch.rand(50, 1, 28, 28))
    (before, after), entered = seen
    assert torch.equal(entered, after)
    kept = after != 0
    n = kept.numel()
    assert kept.double().mean().item() == pytest.approx(
        1 - dropped, abs=5 * math.sqrt(dropped * (1 - dropped) / n)
    )
    torch.testing.assert_close(after[kept], before[kept] / (1 - dropped))


def test_discriminator_drops_hidden_units_alone():
    D = MLPDiscriminator((4,), (6, 5), dropout=0.3)
    block = [nn.Linear, nn.LeakyReLU, nn.Dropout]
    assert [type(layer) for layer in D.layers] == [nn.Flatten, *block * 2, nn.Linear]
    assert {m.p for m in D.layers if isinstance(m, nn.Dropout)} == {0.3}
    assert not any(isinstance(m, nn.Dropout) for m in MLPDiscriminator((4,)).modules())


@each_network
def test_evaluation_is_deterministic(make):
    network = make().eval()
    noise, inputs = getattr(network, "noise", None), network.config.get("inputs")
    first = torch.rand(5, *network.config["shape"]) if noise is None else noise(5)
    y = []
    if inputs is not None:
        first = None if hasattr(network, "noise") and noise is None else first
        y = [torch.rand(5, inputs, 16, 16)]
    elif "Conditional" in network.config["network"]:
        y = [torch.arange(5) % 3]
    assert torch.equal(network(first, *y), network(first, *y))


# Image to image ----------------------------------------------------------------------------------


def small_unet(**options):
    torch.manual_seed(0)
    return UNetGenerator((3, 32, 32), inputs=2, width=4, **options)


def images(n, channels, size, seed=0):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def convolutions(network):
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


def test_unet_has_the_parameters_counted_by_hand():
    down = 3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 4 * 512 * 512
    up = 512 * 512 + 3 * 1024 * 512 + 1024 * 256 + 512 * 128 + 256 * 64 + 128 * 3
    norms = (128 + 256 + 4 * 512) + (4 * 512 + 256 + 128 + 64)
    biases = 64 + 512 + 3  # the layers without a norm
    with torch.device("meta"):
        whole, half = UNetGenerator((3, 256, 256)), UNetGenerator((3, 128, 128))
    assert count(whole) == 16 * (down + up) + 2 * norms + biases == 54_414_531
    assert count(whole) - count(half) == 16 * (512 * 512 + 1024 * 512) + 4 * 512


def test_unet_has_the_layers_of_the_paper():
    with torch.device("meta"):
        G = UNetGenerator((3, 256, 256))
    assert [c.out_channels for c in G.down] == [64, 128, 256, 512, 512, 512, 512, 512]
    assert [c.out_channels for c in [*G.up, G.last]] == [512, 512, 512, 512, 256, 128, 64, 3]
    assert [isinstance(norm, nn.BatchNorm2d) for norm in G.down_norms] == [0, *[1] * 6, 0]
    assert all(isinstance(norm, nn.BatchNorm2d) for norm in G.up_norms)
    assert {(c.kernel_size, c.stride) for c in convolutions(G)} == {((4, 4), (2, 2))}


@pytest.mark.parametrize("size", [16, 32, 64])
def test_unet_reaches_one_pixel_and_comes_back(size, monkeypatch):
    monkeypatch.setattr(networks, "_few", lambda *_: False)  # so that the layers are asked
    G = UNetGenerator((3, size, size), inputs=1, width=2)
    bottlenecks = []
    G.down[-1].register_forward_hook(lambda *found: bottlenecks.append(found[-1]))
    x = G(None, images(2, 1, size))
    assert x.shape == (2, 3, size, size)
    assert bottlenecks[0].shape == (2, 16, 1, 1)
    assert x.min() >= 0
    assert x.max() <= 1


def test_unet_is_its_layers_written_out():
    torch.manual_seed(0)
    G = UNetGenerator((1, 16, 16), inputs=2, width=2, dropout_at_test=False).double()
    y = images(1, 2, 16).double()
    e1 = G.down[0](2 * y - 1)
    leaky = nn.LeakyReLU(0.2)

    def norm(kind, x):
        x = (x - x.mean((2, 3), keepdim=True)) / (
            x.var((2, 3), keepdim=True, unbiased=False) + 1e-5
        ).sqrt()
        return x * kind.weight[:, None, None] + kind.bias[:, None, None]

    e2 = norm(G.down_norms[1], G.down[1](leaky(e1)))
    e3 = norm(G.down_norms[2], G.down[2](leaky(e2)))
    d = G.down[3](leaky(e3))
    for i, e in enumerate((e3, e2, e1)):
        d = torch.cat([norm(G.up_norms[i], G.up[i](d.relu())), e], 1)
    expected = (G.last(d.relu()).tanh() + 1) / 2
    torch.testing.assert_close(G.eval()(None, y), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n", "size"), [(1, 1), (1, 8), (3, 2), (4, 4)])
def test_where_pixels_are_few_a_product_stands_for_a_convolution(n, size, monkeypatch):
    """In float64, forward and back; and the convolution itself is not asked."""
    down = nn.Conv2d(5, 3, 4, 2, 1).double()
    up = nn.ConvTranspose2d(5, 3, 4, 2, 1, bias=False).double()
    x = torch.randn(n, 5, 2 * size, 2 * size, dtype=torch.float64, requires_grad=True)
    small = x[..., :size, :size]
    for layer, image, apply in ((down, x, networks._halved), (up, small, networks._doubled)):
        expected = layer(image)
        weigh = torch.randn_like(expected)
        by = [x, *layer.parameters()]
        gradients = torch.autograd.grad(expected, by, weigh)
        with monkeypatch.context() as patched:
            patched.setattr(type(layer), "forward", lambda *_: pytest.fail("it was asked"))
            found = apply(image, layer)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        for a, b in zip(torch.autograd.grad(found, by, weigh), gradients, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_where_pixels_are_many_a_convolution_is_asked(monkeypatch):
    asked = []
    for kind in (nn.Conv2d, nn.ConvTranspose2d):
        monkeypatch.setattr(kind, "forward", lambda layer, x: asked.append(layer) or x)
    down, up = nn.Conv2d(1, 1, 4, 2, 1), nn.ConvTranspose2d(1, 1, 4, 2, 1, bias=False)
    networks._halved(torch.zeros(5, 1, 8, 8), down)
    networks._doubled(torch.zeros(5, 1, 4, 4), up)
    assert asked == [down, up]


def test_noise_of_a_unet_enters_as_constant_channels():
    G = small_unet(noise=Noise(5), dropout_at_test=False).eval()
    y, z = images(2, 2, 32), Noise(5)(2, seed=0)
    seen = []
    G.down[0].register_forward_hook(lambda module, given, _: seen.append(given[0]))
    first = G(z, y)
    assert torch.equal(seen[0][:, :2], 2 * y - 1)
    assert torch.equal(seen[0][:, 2:], z[:, :, None, None].expand(2, 5, 32, 32))
    assert not torch.equal(first, G(-z, y))


def test_three_layers_of_the_way_up_drop_half_of_their_units(monkeypatch):
    monkeypatch.setattr(networks, "_few", lambda *_: False)  # so that the layers are asked
    torch.manual_seed(0)
    G = UNetGenerator((3, 64, 64), width=4)
    seen = []
    for layer in [*G.up[1:], G.last]:
        layer.register_forward_hook(lambda module, given, _: seen.append(given[0]))
    for norm in G.up_norms:
        nn.init.ones_(norm.bias)  # so that no unit is 0 for another reason
        nn.init.zeros_(norm.weight)
    G(None, images(8, 3, 64))
    came = [x[:, : x.shape[1] // 2] for x in seen]  # not from across
    assert [x.unique().tolist() for x in came] == [[0, 2]] * 3 + [[1]] * 2
    for x in came[:3]:
        assert abs((x > 0).float().mean() - 0.5) < 4 * 0.5 / math.sqrt(x.numel())


@pytest.mark.parametrize("dropout_at_test", [True, False])
def test_dropout_at_test_is_a_switch_of_its_own(dropout_at_test):
    G, y = small_unet().eval(), images(2, 2, 32)
    G.dropout_at_test = dropout_at_test
    before = bits(G)
    assert torch.equal(G(None, y), G(None, y)) != dropout_at_test
    assert bits(G) == before  # looking at images changes no running statistics


def test_batch_statistics_at_test_are_those_of_training_on_one_image():
    G, y = small_unet(), images(1, 2, 32)

    def drawn():
        torch.manual_seed(1)
        return G(None, y)

    expected = drawn()
    G.eval()
    torch.testing.assert_close(drawn(), expected, rtol=1e-4, atol=1e-6)
    G.batch_statistics_at_test = False
    assert (drawn() - expected).abs().max() > 1e-2


def test_batch_statistics_at_test_are_each_images_own():
    G, y = small_unet(dropout_at_test=False).eval(), images(3, 2, 32)
    alone = torch.cat([G(None, image[None]) for image in y])
    torch.testing.assert_close(G(None, y), alone, rtol=1e-4, atol=1e-6)


def test_running_statistics_at_test_are_those_of_batch_norm():
    G, y = small_unet(dropout_at_test=False, batch_statistics_at_test=False), images(2, 2, 32)
    for _ in range(3):
        G(None, y)
    G.eval()
    first, other = G(None, y)[:1], G(None, torch.cat([y[:1], 1 - y[1:]]))[:1]
    torch.testing.assert_close(first, other)
    nn.init.constant_(G.up_norms[-1].running_mean, 3.0)
    assert not torch.allclose(G(None, y)[:1], first)


def test_switches_of_a_unet_are_saved_as_they_are(tmp_path):
    G = small_unet(dropout_at_test=False)
    G(None, images(2, 2, 32))
    G.dropout_at_test, G.batch_statistics_at_test = True, False
    save_network(G, tmp_path / "G.safetensors")
    again = load_network(tmp_path / "G.safetensors")
    assert (again.dropout_at_test, again.batch_statistics_at_test) == (True, False)
    assert bits(again) == bits(G)
    assert again.up_norms[0].num_batches_tracked == 1


def test_patch_discriminator_has_the_parameters_counted_by_hand():
    filters = 6 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512
    with torch.device("meta"):
        D = PatchDiscriminator((3, 256, 256))
    assert count(D) == 16 * filters + 2 * (128 + 256 + 512) + 64 + 1 == 2_768_705


def test_patch_discriminator_makes_a_logit_for_each_patch():
    D = PatchDiscriminator((3, 256, 256), width=1)
    assert D(images(1, 3, 256), images(1, 3, 256)).shape == (1, 1, 30, 30)
    assert [c.stride[0] for c in convolutions(D)] == [2, 2, 2, 1, 1]
    kinds = [type(layer).__name__ for layer in D.layers]
    block = ["Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert kinds == ["Conv2d", "LeakyReLU", *block * 3, "Conv2d"]


@pytest.mark.parametrize(
    ("halvings", "field"), [(0, 1), (1, 16), (2, 34), (3, 70), (4, 142), (5, 286)]
)
def test_receptive_field_is_where_the_gradient_of_a_logit_reaches(halvings, field):
    torch.manual_seed(0)
    size = 8 * (field // 8 + 12)
    D = PatchDiscriminator((1, size, size), inputs=1, width=1, halvings=halvings).double().eval()
    for layer in convolutions(D):
        nn.init.uniform_(layer.weight, 0.5, 1)  # so that nothing cancels
    x, y = (images(1, 1, size, seed).double().requires_grad_() for seed in (0, 1))
    logits = D(x, y)
    middle = logits.shape[-1] // 2
    for by_image in torch.autograd.grad(logits[0, 0, middle, middle], [x, y]):
        for axis in (0, 1):
            reached = by_image[0, 0].ne(0).any(axis).nonzero()
            assert reached.max() - reached.min() + 1 == field
    assert D.receptive_field == field


def test_patch_discriminator_without_inputs_does_not_look_at_y():
    D = PatchDiscriminator((3, 32, 32), inputs=0, width=2, halvings=1).eval()
    x = images(2, 3, 32)
    assert torch.equal(D(x, images(2, 2, 32)), D(x))


def test_pix2pix_pair_starts_normal_with_biases_0():
    torch.manual_seed(0)
    for network in (UNetGenerator((3, 64, 64), width=32), PatchDiscriminator((3, 64, 64))):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
                center = 1 if isinstance(layer, nn.BatchNorm2d) else 0
                error = 5 * 0.02 / math.sqrt(layer.weight.numel())
                assert abs(layer.weight.mean() - center) < error
                if layer.weight.numel() > 1000:
                    assert 0.019 < layer.weight.std() < 0.021
                assert layer.bias is None or not layer.bias.any()


def test_pix2pix_pair_computes_in_bf16_and_answers_colours_in_float32():
    G, D = small_unet(), PatchDiscriminator((3, 32, 32), inputs=2, width=4, halvings=1)
    y = images(2, 2, 32)
    with torch.autocast("cpu", torch.bfloat16):
        x = G(None, y)
        logits = D(x, y)
        assert G.eval()(None, y).dtype == torch.float32
    assert (x.dtype, logits.dtype) == (torch.float32, torch.bfloat16)
    logits.float().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in G.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UNetGenerator((3, 24, 24)), r"a power of two from 16 on, got \(3, 24, 24\)"),
        (lambda: UNetGenerator((3, 8, 8)), r"a power of two from 16 on, got \(3, 8, 8\)"),
        (lambda: UNetGenerator((3, 32, 16)), r"H = W a power of two"),
        (lambda: UNetGenerator((32, 32)), r"shape must be \(C, H, W\)"),
        (lambda: UNetGenerator(()), r"shape must be \(C, H, W\)"),
        (lambda: UNetGenerator((3, 16, 16), inputs=0), "inputs must be at least 1, got 0"),
        (lambda: UNetGenerator((3, 16, 16), width=0), "width must be at least 1, got 0"),
        (lambda: PatchDiscriminator((3, 23, 64)), "at least 24 for 3 halvings"),
        (lambda: PatchDiscriminator((64, 64)), r"shape must be \(C, H, W\)"),
        (lambda: PatchDiscriminator((3, 64, 64), inputs=-1), "at least 0, got -1 and 3"),
        (lambda: PatchDiscriminator((3, 64, 64), halvings=-1), "at least 0, got 3 and -1"),
        (lambda: PatchDiscriminator((3, 64, 64), width=0), "width must be at least 1, got 0"),
    ],
)
def test_impossible_images_or_channels_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "y", [None, torch.tensor([1, 2]), torch.zeros(2, 32, 32), torch.zeros(2, 3, 32, 32)]
)
def test_conditions_that_are_not_the_images_due_are_refused(y):
    got = re.escape(str(y if y is None else tuple(y.shape)))
    with pytest.raises(ValueError, match=rf"y must be \(N, 2, H, W\), .* of 32, got {got}"):
        small_unet()(None, y)
    D = PatchDiscriminator((3, 32, 32), inputs=2, width=4, halvings=1)
    with pytest.raises(ValueError, match=rf"y must be \(N, 2, H, W\), got {got}"):
        D(images(2, 3, 32), y)


def test_a_unet_takes_sides_that_are_multiples_of_its_own_and_no_others():
    G = small_unet().eval()
    assert G(None, torch.zeros(1, 2, 64, 32)).shape == (1, 3, 64, 32)
    with pytest.raises(ValueError, match=r"multiples of 32, got \(1, 2, 32, 24\)"):
        G(None, torch.zeros(1, 2, 32, 24))


# The mean image ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_generator_starts_at_the_mean_image(kind):
    levels = ganlib.load("digits").images
    images = levels if kind == torch.uint8 else levels.float() / 255
    G = MLPGenerator(Noise(3), (1, 8, 8))
    nn.init.zeros_(G.last.weight)
    G.start_at_mean(images)
    mean = (levels.double() / 255).mean(0)
    assert (mean == 0).any()  # pixels that are always black need the clipping
    expected = mean.clamp(1e-7, 1 - 1e-7).float().expand(4, 1, 8, 8)
    torch.testing.assert_close(G(torch.randn(4, 3)), expected, rtol=1e-5, atol=0)


def test_pixels_of_one_value_keep_the_bias_finite():
    G = MLPGenerator(Noise(3), (2,))
    G.start_at_mean(torch.tensor([[0, 255]] * 5, dtype=torch.uint8))
    edge = math.log(1e-7 / (1 - 1e-7))
    assert G.last.bias.tolist() == pytest.approx([edge, -edge], rel=1e-6)


def test_mean_image_of_another_shape_or_output_is_refused():
    with pytest.raises(ValueError, match=r"shape \(N, 1, 8, 8\), got \(5, 8, 8\)"):
        MLPGenerator(Noise(3), (1, 8, 8)).start_at_mean(torch.zeros(5, 8, 8))
    with pytest.raises(ValueError, match="output is 'sigmoid'"):
        MLPGenerator(Noise(3), (1,), output="identity").start_at_mean(torch.zeros(5, 1))


# Building and files ------------------------------------------------------------------------------


@each_network
def test_config_builds_the_same_network_even_from_json(make):
    torch.manual_seed(0)
    network = make()
    torch.manual_seed(0)
    again = build(json.loads(json.dumps(network.config)))
    assert type(again) is type(network)
    assert again.config == network.config
    assert repr(again) == repr(network)
    assert bits(again) == bits(network)  # drawn by the same distribution from the same seed
    assert getattr(again, "noise", None) == getattr(network, "noise", None)


@pytest.mark.parametrize("name", [None, "Linear", "Noise", "Maxout"])
def test_only_networks_of_ganlib_are_built(name):
    with pytest.raises(ValueError, match=f"network must be one of MLPGenerator, .* got {name!r}"):
        build({"network": name, "inputs": 1})


@pytest.mark.parametrize(
    "arguments",
    [{"shape": [1], "width": 3}, {}, {"shape": [1], "noise": {"dim": 2, "size": 3}}],
    ids=["unknown", "missing", "unknown to the noise"],
)
@pytest.mark.parametrize("name", ["MLPGenerator", "MLPDiscriminator", "MaxoutDiscriminator"])
def test_arguments_that_a_network_does_not_take_are_refused(name, arguments):
    with pytest.raises(ValueError, match=f"{name} cannot be built from"):
        build({"network": name, **arguments})


def test_a_generator_that_needs_noise_is_not_built_without():
    with pytest.raises(ValueError, match="MLPGenerator cannot be built from"):
        build({"network": "MLPGenerator", "shape": [1], "noise": None})


@each_network
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saved_network_comes_back_bit_for_bit_in_evaluation_mode(tmp_path, make, dtype):
    network = make().to(dtype)
    state, training = bits(network), network.training
    save_network(network, tmp_path / "network.safetensors")
    again = load_network(str(tmp_path / "network.safetensors"))
    assert type(again) is type(network)
    assert again.config == network.config
    assert bits(again) == bits(network) == state
    assert not any(module.training for module in again.modules())
    assert all(parameter.requires_grad for parameter in again.parameters())
    assert network.training == training


def test_loaded_network_no_longer_needs_its_file(tmp_path):
    path = tmp_path / "network.safetensors"
    save_network(NETWORKS["generator"](), path)
    network = load_network(path)
    state = bits(network)
    path.write_bytes(bytes(path.stat().st_size))
    assert bits(network) == state


@each_network
def test_file_is_plain_safetensors_with_its_config_beside_the_weights(tmp_path, make):
    network, path = make(), tmp_path / "network.safetensors"
    save_network(network, path)
    weights = load_file(path)
    assert {name: w.tolist() for name, w in weights.items()} == {
        name: w.tolist() for name, w in network.state_dict().items()
    }
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = json.loads(header["__metadata__"]["ganlib"])
    assert about == {"class": type(network).__name__, "config": network.config}


def test_network_of_the_readers_own_is_saved_but_not_built(tmp_path):
    path = tmp_path / "own.safetensors"
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    save_network(network, path)
    assert torch.equal(load_file(path)["weight"], network.weight)
    with pytest.raises(ValueError, match="holds the weights of a Conv2d, which ganlib cannot"):
        load_network(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_network(tmp_path / "nowhere")


def test_every_truncated_file_is_refused_by_name(tmp_path):
    path = tmp_path / "network.safetensors"
    save_network(NETWORKS["generator"](), path)
    content = path.read_bytes()
    for size in [*range(0, len(content), 50), len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"network\.safetensors is not a readable"):
            load_network(path)


def test_file_of_something_else_is_refused_by_name(tmp_path):
    path = tmp_path / "other.safetensors"
    torch.save(NETWORKS["generator"]().state_dict(), path)
    with pytest.raises(ValueError, match=r"other\.safetensors is not a readable"):
        load_network(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"other\.safetensors was not written by ganlib"):
        load_network(path)


CONFIG = {"network": "MLPDiscriminator", "shape": [3], "hidden": [5]}
METADATA = {
    "cut": ("{", "damaged: its metadata cannot be read"),
    "empty": ("{}", "damaged: its metadata cannot be read"),
    "no dictionary": ("[]", "damaged: its metadata cannot be read"),
    "unknown network": ({"network": "System"}, "network must be one of .* got 'System'"),
    "another shape": (CONFIG, "damaged: its weights do not fit its network"),
    "another depth": (CONFIG | {"hidden": []}, "damaged: its weights do not fit its network"),
}


@pytest.mark.parametrize(("about", "message"), METADATA.values(), ids=METADATA)
def test_metadata_that_does_not_fit_is_refused(tmp_path, about, message):
    path = tmp_path / "network.safetensors"
    if isinstance(about, dict):
        about = json.dumps({"class": about["network"], "config": about})
    save_file(MLPDiscriminator((3,), (4,)).state_dict(), path, metadata={"ganlib": about})
    with pytest.raises(ValueError, match=message):
        load_network(path)


# Trained generators ------------------------------------------------------------------------------


TRAINED = {"mnist": ("mnist-225", 6e6, 225), "cgan-mnist": ("cgan-mnist-small", 2e6, 132)}


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_generator_is_the_one_that_was_reported(name):
    recipe, most_bytes, least_nats = TRAINED[name]
    path = networks.WEIGHTS / f"{name}.safetensors"
    about = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == about["sha256"]
    assert path.stat().st_size < most_bytes
    assert about["score"]["mean"] > least_nats
    results = json.loads((RESULTS / recipe / "metrics.json").read_text("utf-8"))
    reported = {seed["sha256"] for seed in results["seeds"].values()}
    assert about["sha256 in float32"] in reported


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_generator_draws_digits_of_all_kinds(name):
    """No data needed: 8×8 means of its samples, judged by a classifier of embedded digits."""
    G = ganlib.pretrained(name)
    assert {p.dtype for p in G.parameters()} == {torch.float32}
    assert not G.training
    samples = ganlib.sample(G, 1000, seed=0)
    assert samples.shape == (1000, 1, 28, 28)
    digits = ganlib.load("digits")
    judge = ganlib.metrics.train_classifier(digits.images, digits.labels, epochs=30)
    # MNIST's digits fill 20 of 28 pixels, the embedded ones the whole picture
    small = nn.functional.adaptive_avg_pool2d(samples[..., 4:24, 4:24], 8)
    small = small / small.amax((1, 2, 3), keepdim=True)
    seen = ganlib.metrics.classes(judge, small)
    counts = torch.bincount(seen, minlength=10)
    assert (counts > 0).all()
    assert counts.max() < 500
    if name == "cgan-mnist":  # asked for in turn; the judge has never seen MNIST
        assert (seen == torch.arange(1000) % 10).double().mean() > 0.4


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs MNIST in GANLIB_DATA")
@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_generator_scores_what_its_provenance_says(name):
    about = json.loads((networks.WEIGHTS / f"{name}.json").read_text("utf-8"))
    validation, test = (ganlib.load("mnist", split).images for split in ("validation", "test"))
    samples = ganlib.sample(ganlib.pretrained(name), 10_000)
    found = ganlib.parzen.score(samples, validation, test)
    assert found.mean == pytest.approx(about["score"]["mean"], abs=0.1)


def test_an_unknown_trained_generator_is_refused():
    with pytest.raises(ValueError, match="name must be one of cgan-mnist, mnist, got 'cifar'"):
        ganlib.pretrained("cifar")


# Modes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_mode_of_every_module_comes_back_even_after_an_error(training, fails):
    G, D = NETWORKS["generator"](), NETWORKS["maxout discriminator"]()
    G.last.eval()  # as when a part of a network is kept fixed
    D.eval()
    D.layers[1].train()
    modules = [*G.modules(), *D.modules()]
    before = [module.training for module in modules]
    assert len(set(before)) == 2

    def visit():
        with mode(G, D, training=training):
            assert {module.training for module in modules} == {training}
            if fails:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            visit()
    else:
        visit()
    assert [module.training for module in modules] == before


@pytest.mark.parametrize("seed", [None, 4])
def test_own_random_state_leaves_the_callers_even_after_an_error(seed):
    before, drawn = torch.get_rng_state(), []

    def visit():
        with own_random_state(torch.empty(0), seed):
            drawn.append(torch.rand(3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        visit()
    assert torch.equal(torch.get_rng_state(), before)
    if seed is not None:
        torch.manual_seed(seed)
    assert torch.equal(torch.rand(3), drawn[0])
