"""Samples, walks through z and nearest neighbours, against the same things done one by one."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import ganlib
from ganlib.data import stream
from ganlib.networks import MLPGenerator, Noise, UNetGenerator
from ganlib.sampling import generate, in_turn, interpolate, nearest, sample, walk

few = settings(deadline=None, max_examples=50)
each_way = pytest.mark.parametrize("spherical", [False, True], ids=["linear", "spherical"])
DTYPE = st.sampled_from([torch.float32, torch.float64])


def generator(dtype=torch.float32):
    """A small generator with dropout, so that its mode matters."""
    torch.manual_seed(0)
    G = MLPGenerator(Noise(3), (1, 2, 2), hidden=(8,))
    G.hidden.append(nn.Dropout(0.5))
    return G.to(dtype)


class Conditional(nn.Module):
    """G(z, y) = w z + y, which shows which condition met which z."""

    def __init__(self):
        super().__init__()
        self.noise = Noise(3)
        self.w = nn.Parameter(torch.tensor(0.5))

    def forward(self, z, y):
        return self.w * z + (y.unsqueeze(1) if y.ndim == 1 else y)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Samples -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_are_G_of_the_noise_of_the_seed(dtype):
    G = generator(dtype)
    x = sample(G, 20, seed=5)
    with torch.no_grad():
        expected = G.eval()(G.noise(20, torch.empty(0, dtype=dtype), seed=5))
    assert (x.shape, x.dtype, x.requires_grad) == ((20, 1, 2, 2), dtype, False)
    torch.testing.assert_close(x, expected)


def test_samples_are_decided_by_their_seed():
    G = generator()
    assert torch.equal(sample(G, 20, seed=5), sample(G, 20, seed=5))
    assert torch.equal(sample(G, 20), sample(G, 20, seed=0))
    assert not torch.equal(sample(G, 20, seed=5), sample(G, 20, seed=6))


@pytest.mark.parametrize("training", [True, False])
def test_sampling_leaves_the_modes_and_the_global_generator_alone(training):
    G = generator().train(training)
    G.last.train(not training)
    modes, state = [module.training for module in G.modules()], torch.get_rng_state()
    sample(G, 20)
    interpolate(G, draw(3), draw(3, seed=1))
    assert [module.training for module in G.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("batch_size", [1, 7, 19, 20, 1000])
def test_samples_do_not_depend_on_how_many_are_made_at_once(batch_size):
    G, y = Conditional(), torch.arange(20.0)
    z = G.noise(20, seed=0)
    assert torch.equal(generate(G, z, y, batch_size), 0.5 * z + y.unsqueeze(1))


def test_each_condition_meets_its_own_noise():
    G, y = Conditional(), 10 * torch.arange(6.0)
    assert torch.equal(sample(G, 6, y, seed=2), 0.5 * G.noise(6, seed=2) + y.unsqueeze(1))


def unet(**options):
    torch.manual_seed(0)
    G = UNetGenerator((3, 16, 16), inputs=1, width=2, **options)
    y = torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    G(None if G.noise is None else G.noise(5), y)  # running statistics that are not the batch's
    return G, y


@pytest.mark.parametrize("noise", [None, Noise(3)])
def test_images_drawn_with_dropout_are_decided_by_their_seed(noise):
    G, y = unet(noise=noise)
    state, running = torch.get_rng_state(), G.up_norms[0].running_mean.clone()
    x = sample(G, 5, y, seed=3)
    torch.manual_seed(8)
    assert torch.equal(sample(G, 5, y, seed=3), x)
    assert not torch.equal(sample(G, 5, y, seed=4), x)
    torch.set_rng_state(state)
    sample(G, 5, y)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(G.up_norms[0].running_mean, running)


@pytest.mark.parametrize("dropout_at_test", [True, False])
@pytest.mark.parametrize("batch_statistics_at_test", [True, False])
def test_an_image_does_not_depend_on_those_drawn_with_it(dropout_at_test, batch_statistics_at_test):
    G, y = unet(dropout_at_test=dropout_at_test, batch_statistics_at_test=batch_statistics_at_test)
    x = generate(G, None, y)
    for batch_size in (1, 2, 5):
        assert torch.equal(generate(G, None, y, batch_size), x)
    assert torch.equal(sample(G, 2, y[:2]), x[:2])
    others = torch.cat([y[:2], 1 - y[2:]])
    assert torch.equal(sample(G, 5, others)[:2], x[:2])


def test_images_are_drawn_from_bytes_and_from_files_alike(tmp_path):
    G, y = unet()
    y = (255 * y).byte()
    for i, image in enumerate(y):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{i}.png")
    expected = sample(G, 5, y / 255)
    torch.testing.assert_close(sample(G, 5, y), expected)
    torch.testing.assert_close(sample(G, 5, stream(tmp_path).images), expected)


def test_too_few_samples_or_conditions_are_refused():
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        sample(generator(), 0)
    with pytest.raises(
        ValueError, match="y must have one condition for each of the 4 samples, got 3"
    ):
        sample(Conditional(), 4, torch.zeros(3))
    with pytest.raises(ValueError, match="y must have one condition for each of the 4 z, got 3"):
        generate(Conditional(), torch.zeros(4, 2), torch.zeros(3))
    G, y = unet()  # without z
    with pytest.raises(ValueError, match="y must have one condition for each of the 4 samples, g"):
        sample(G, 4, y)


# Walks -------------------------------------------------------------------------------------------


@st.composite
def ends(draw_from, limit=100):
    """Two points of one dimension and type."""
    dim, dtype = draw_from(st.integers(1, 5)), draw_from(DTYPE)
    width = 32 if dtype == torch.float32 else 64
    point = st.lists(st.floats(-limit, limit, width=width), min_size=dim, max_size=dim)
    return tuple(torch.tensor(draw_from(point), dtype=dtype) for _ in range(2))


def bits(z):
    return z.numpy().tobytes()


@each_way
@few
@given(ends(), st.integers(2, 9))
def test_walk_ends_are_exact_to_the_bit(spherical, pair, steps):
    if spherical:
        assume(all(z.norm() > 1e-3 for z in pair))
        assume(angle(*pair) < 3.14)
    points = walk(*pair, steps, spherical=spherical)
    assert points.shape == (steps, len(pair[0]))
    assert points.dtype == pair[0].dtype
    assert (bits(points[0]), bits(points[-1])) == tuple(map(bits, pair))
    assert points.isfinite().all()


@few
@given(ends(), st.integers(2, 9))
def test_linear_walk_is_equally_spaced(pair, steps):
    z0, z1 = pair
    points = walk(z0, z1, steps)
    step = (z1.double() - z0.double()) / (steps - 1)
    rounding = 4 * 100 * torch.finfo(z0.dtype).eps  # of numbers up to 100
    for n, point in enumerate(points):
        expected = z0.double() + n * step
        torch.testing.assert_close(point.double(), expected, rtol=0, atol=rounding)


def angle(a, b):
    """The angle between two vectors, precise for small angles, too."""
    a, b = a.double() / a.double().norm(), b.double() / b.double().norm()
    return 2 * math.atan2((a - b).norm(), (a + b).norm())


@few
@given(st.integers(2, 6), st.integers(2, 9), st.integers(0, 999))
def test_spherical_walk_keeps_the_norm_and_turns_by_equal_angles(dim, steps, seed):
    z0, z1 = draw(2, dim, seed=seed)
    z1 = z1 * (z0.norm() / z1.norm())
    assume(angle(z0, z1) < 3.1)
    points = walk(z0, z1, steps, spherical=True)
    turn = angle(z0, z1) / (steps - 1)
    for before, after in pairwise(points):
        assert after.norm().item() == pytest.approx(z0.norm().item(), rel=1e-9)
        assert angle(before, after) == pytest.approx(turn, rel=1e-6)


def test_spherical_walk_by_hand():
    z0, z1 = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 3.0])
    half = math.sqrt(0.5)
    expected = torch.tensor([[2, 0], [2 * half, 3 * half], [0, 3]])
    torch.testing.assert_close(walk(z0, z1, 3, spherical=True), expected)


@pytest.mark.parametrize("turn", [1e-3, 1e-5, 1e-9, 0.0])
def test_spherical_walk_between_close_directions_stays_on_the_arc(turn):
    z0, z1 = (torch.tensor([math.cos(a), math.sin(a)], dtype=torch.float64) for a in (0, turn))
    t = torch.linspace(0, turn, 5, dtype=torch.float64)
    expected = torch.stack([t.cos(), t.sin()], 1)
    torch.testing.assert_close(walk(z0, z1, 5, spherical=True), expected, rtol=1e-8, atol=1e-9)


def test_spherical_walk_between_nearly_opposite_ends_keeps_the_norm():
    turn = math.pi - 2e-3
    z0, z1 = torch.tensor([1.0, 0.0]), torch.tensor([math.cos(turn), math.sin(turn)])
    norms = walk(z0, z1, 9, spherical=True).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(9), rtol=1e-3, atol=0)


@pytest.mark.parametrize("factor", [0.1, 1, 3])
def test_spherical_walk_in_one_direction_is_linear(factor):
    z0 = draw(4)
    assert torch.equal(walk(z0, factor * z0, spherical=True), walk(z0, factor * z0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spherical_walk_from_0_or_to_the_opposite_is_refused(dtype):
    z, zero = draw(4).to(dtype), torch.zeros(4, dtype=dtype)
    for pair in ((z, zero), (zero, z), (zero, zero)):
        with pytest.raises(ValueError, match="must not be 0 for a spherical way"):
            walk(*pair, spherical=True)
    with pytest.raises(ValueError, match="must not be opposite for a spherical way"):
        walk(z, -2 * z, spherical=True)
    with pytest.raises(ValueError, match="must not be opposite"):  # one bad way among good ones
        walk(torch.stack([z, z]), torch.stack([z + 1, -z]), spherical=True)
    assert walk(z, -2 * z).isfinite().all()


@each_way
def test_walks_of_a_batch_are_the_walks_one_by_one(spherical):
    z0, z1 = draw(2, 6, 4)
    z1[2] = 2 * z0[2]  # one of them in one direction
    together = walk(z0, z1, 5, spherical=spherical)
    alone = torch.stack([walk(*pair, 5, spherical=spherical) for pair in zip(z0, z1)])
    assert together.shape == (6, 5, 4)
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3,), (4,)), r"one shape, .* got \(3,\) and \(4,\)"),
        (((2, 3), (3,)), r"one shape, .* got \(2, 3\) and \(3,\)"),
        (((), ()), r"one shape, \(dim,\) or \(N, dim\)"),
        (((1, 2, 3), (1, 2, 3)), r"one shape, \(dim,\) or \(N, dim\)"),
    ],
)
def test_walk_between_other_shapes_is_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        walk(*map(torch.ones, shapes))


def test_walk_of_one_step_is_refused():
    with pytest.raises(ValueError, match="steps must be at least 2, got 1"):
        walk(torch.zeros(2), torch.ones(2), 1)


@each_way
@pytest.mark.parametrize("shape", [(3,), (4, 3)])
def test_interpolation_is_G_along_the_walk(spherical, shape):
    G = generator(torch.float64)
    z0, z1 = draw(2, *shape)
    images = interpolate(G, z0, z1, 5, spherical=spherical)
    assert images.shape == (*shape[:-1], 5, 1, 2, 2)
    points = walk(z0, z1, 5, spherical=spherical)
    with torch.no_grad():
        expected = G.eval()(points.reshape(-1, 3)).reshape(images.shape)
    torch.testing.assert_close(images, expected)


@pytest.mark.parametrize(
    ("shape", "y"),
    [
        ((3,), torch.tensor(7.0)),
        ((3,), torch.tensor([1.0, 2, 3])),
        ((4, 3), torch.arange(4.0)),
        ((4, 3), torch.arange(12.0).reshape(4, 3)),
    ],
    ids=["one number", "one vector", "numbers", "vectors"],
)
def test_interpolation_keeps_the_condition_of_each_way(shape, y):
    z0, z1 = draw(2, *shape).float()
    points = 0.5 * walk(z0, z1, 5)
    expected = points + y.reshape(*shape[:-1], 1, -1)
    assert torch.equal(interpolate(Conditional(), z0, z1, 5, y), expected)


def test_walks_of_a_generator_that_draws_at_test_have_a_seed():
    torch.manual_seed(0)
    G = UNetGenerator((3, 16, 16), inputs=1, width=2, noise=Noise(3))
    z0, z1 = Noise(3)(2, seed=0)
    y = torch.rand(1, 16, 16)
    first, again, other = (interpolate(G, z0, z1, 3, y, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("y", [torch.zeros(3), torch.zeros(1), torch.tensor(0.0)])
def test_interpolation_with_another_number_of_conditions_is_refused(y):
    with pytest.raises(ValueError, match="y must have one condition for each of the 4 ways"):
        interpolate(Conditional(), torch.zeros(4, 3), torch.ones(4, 3), y=y)


# Nearest neighbours ------------------------------------------------------------------------------


def brute_force(images, data, k):
    """Whole squared distances of whole numbers, and places, the first of equals first."""
    images, data = images.flatten(1).tolist(), data.flatten(1).tolist()
    squares = [
        [sum((a - b) ** 2 for a, b in zip(image, point)) for point in data] for image in images
    ]
    places = [sorted(range(len(data)), key=row.__getitem__)[:k] for row in squares]
    return [[row[j] for j in best] for row, best in zip(squares, places)], places


@few
@given(st.integers(1, 4), st.integers(1, 12), st.sampled_from([3, 256]), st.data())
def test_neighbours_of_bytes_are_those_of_whole_numbers(n, m, levels, rest):
    k, seed = rest.draw(st.integers(1, m)), rest.draw(st.integers(0, 999))
    rng = torch.Generator().manual_seed(seed)
    images, data = (  # of three levels, many are equally far
        torch.randint(0, levels, (size, 1, 2, 2), dtype=torch.uint8, generator=rng)
        for size in (n, m)
    )
    distances, places = nearest(images, data, k)
    squares, expected = brute_force(images, data, k)
    assert places.tolist() == expected
    torch.testing.assert_close(
        distances, torch.tensor(squares, dtype=torch.float64).sqrt() / 255, rtol=1e-12, atol=0
    )


def test_equally_far_photographs_come_in_their_order():
    rng = torch.Generator().manual_seed(0)
    image = torch.randint(0, 200, (1, 784), generator=rng)
    steps = torch.randint(0, 50, (784,), generator=rng)
    orders = [torch.randperm(784, generator=rng) for _ in range(8)]
    data = torch.cat([image + steps[order] for order in orders])  # the same steps elsewhere
    distances, places = nearest(image.to(torch.uint8), data.to(torch.uint8), 8)
    assert places.tolist() == [list(range(8))]
    assert distances.unique().numel() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbours_of_floats_are_those_of_float64(dtype):
    torch.manual_seed(0)
    images, data = torch.rand(55, 3, 4, 4, dtype=dtype).split([5, 50])
    far = (images.unsqueeze(1).double() - data.double()).square().sum((2, 3, 4)).sqrt()
    expected = far.sort(dim=1, stable=True)
    distances, places = nearest(images, data, 7)
    assert torch.equal(places, expected.indices[:, :7])
    torch.testing.assert_close(distances, expected.values[:, :7], rtol=1e-12, atol=0)


def test_neighbours_that_differ_in_the_last_digits_are_told_apart():
    image = torch.full((1, 784), 0.9)
    data = torch.full((3, 784), 0.9)
    data[:, 0] += torch.tensor([3e-6, 1e-6, 2e-6])
    distances, places = nearest(image, data, 3)
    assert places.tolist() == [[1, 2, 0]]
    expected = (data[[1, 2, 0], 0].double() - image[0, 0].double()).unsqueeze(0)
    torch.testing.assert_close(distances, expected, rtol=1e-12, atol=0)


def test_a_copy_is_at_distance_0_whether_bytes_or_floats():
    data = ganlib.load("digits").images[:200]
    copies = data[50:60]
    for images in (copies, copies.float() / 255):
        for others in (data, data.float() / 255):
            distances, places = nearest(images, others)
            assert distances.tolist() == [[0.0]] * 10
            assert places.tolist() == [[n] for n in range(50, 60)]


@pytest.mark.parametrize("batch_size", [1, 3, 10, 11])
def test_neighbours_do_not_depend_on_how_many_are_compared_at_once(batch_size):
    images, data = draw(40, 6).split([10, 30])
    expected = nearest(images, data, 4)
    found = nearest(images, data, 4, batch_size=batch_size)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("k", [-1, 0, 4])
def test_impossible_number_of_neighbours_is_refused(k):
    with pytest.raises(ValueError, match=rf"k must be from 1 to 3 \(the data\), got {k}"):
        nearest(torch.zeros(2, 5), torch.zeros(3, 5), k)


def test_neighbours_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"one shape, got \(1, 4, 4\) and \(4, 4\)"):
        nearest(torch.zeros(2, 1, 4, 4), torch.zeros(3, 4, 4))


# Classes -----------------------------------------------------------------------------------------


def of_three_classes():
    torch.manual_seed(0)
    return ganlib.ConditionalMLPGenerator(ganlib.Noise(4), (1, 2, 2), 3, 5, 6, (7,), init=0.5)


def test_classes_come_in_turn():
    assert in_turn(7, 3).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert in_turn(10_000, 10).bincount().tolist() == [1000] * 10


def test_without_a_condition_each_class_is_drawn_in_its_turn():
    G = of_three_classes()
    asked = sample(G, 7, torch.tensor([0, 1, 2, 0, 1, 2, 0]))
    assert torch.equal(sample(G, 7), asked)
    assert not torch.equal(sample(G, 7, torch.full((7,), 1)), asked)


def test_a_class_that_there_is_not_is_refused_before_any_work():
    G = of_three_classes()
    G.forward = lambda *_: pytest.fail("too late")  # on a GPU, which then is of no more use
    for y in ([0, 3], [-1, 0]):
        with pytest.raises(ValueError, match="y must be from 0 to 2, got values from"):
            sample(G, 2, torch.tensor(y))


def test_a_class_stays_the_same_on_the_way():
    G = of_three_classes()
    z0, z1 = torch.randn(5, 4), torch.randn(5, 4)
    walks = interpolate(G, z0, z1, 6)
    assert torch.equal(walks, interpolate(G, z0, z1, 6, torch.tensor([0, 1, 2, 0, 1])))
    for number in range(5):
        alone = interpolate(G, z0[number], z1[number], 6, torch.tensor(number % 3))
        torch.testing.assert_close(walks[number], alone)
    torch.testing.assert_close(walks[0], interpolate(G, z0[0], z1[0], 6))
