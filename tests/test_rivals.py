"""What all rivals share: training that can stop anywhere, chains, files."""

import os
import signal
from functools import partial

import pytest
import torch
from lightning_fabric import Fabric

import ganlib
from ganlib import rivals
from ganlib.checkpoints import CHECKPOINT, GENERATOR
from ganlib.rivals import DBN, GSN, Course, StackedCAE

SHAPE = (1, 3, 4)
rng = torch.Generator().manual_seed(0)
X = torch.randint(0, 2, (2, *SHAPE), generator=rng).repeat(20, 1, 1, 1)  # two images
X = (255 * X).byte() ^ torch.randint(0, 60, X.shape, generator=rng).byte()  # and dirt on them
MODELS = {
    "dbn": lambda: DBN(SHAPE, hidden=(6, 5), k=2),
    "persistent dbn": lambda: DBN(SHAPE, hidden=(6, 5), particles=7),
    "cae": lambda: StackedCAE(SHAPE, hidden=(6, 5)),
    "gsn": lambda: GSN(SHAPE, hidden=(6, 5), walkback=3),
}
STEPS = {"gsn": (17,)}  # 8 and 9 of each part of the others


def schedule(step):
    return {"lr": 0.1 / (1 + step), "momentum": 0.5}


def cpu(precision):
    return Fabric(accelerator="cpu", devices=1, precision=precision)


def fit(name, seed=0, steps=None, **options):
    torch.manual_seed(5)  # of the first weights
    model = MODELS[name]()
    options = {"batch_size": 10, "log_every": 2, "schedule": schedule} | options
    options.setdefault("optimizer", partial(torch.optim.SGD, lr=0.1, momentum=0.5))
    return model.fit(X, steps=steps or STEPS.get(name, (8, 9)), seed=seed, **options)


def same(one, other):
    a, b = one.model.state_dict(), other.model.state_dict()
    return all(torch.equal(a[key], b[key]) for key in a) and one.history == other.history


def stop_after(monkeypatch, step):
    """As Ctrl-C does, in the middle of a step."""
    take_step = Course.take_step

    def stopping(course):
        if course.step == step - 1:
            os.kill(os.getpid(), signal.SIGINT)
        take_step(course)

    monkeypatch.setattr(Course, "take_step", stopping)
    return lambda: monkeypatch.setattr(Course, "take_step", take_step)


@pytest.mark.parametrize("stop", [5, 8, 12])
@pytest.mark.parametrize("name", MODELS)
def test_ctrl_c_saves_and_the_run_goes_on_to_the_same_bits(name, stop, tmp_path, monkeypatch):
    """Within the first part, between the parts, within the second."""
    straight = fit(name)
    go_on = stop_after(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step {stop}"):
        fit(name, out=tmp_path)
    go_on()
    resumed = fit(name, out=tmp_path)
    assert resumed.step == 17
    assert same(resumed, straight)
    assert same(fit(name, out=tmp_path), straight)  # nothing is left to do


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_gives_the_same_bits_and_another_gives_others(name):
    one, again, other = (fit(name, seed) for seed in (3, 3, 4))
    assert same(one, again)
    assert not same(one, other)
    images = [one.model.sample(X[:5], 3, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


@pytest.mark.parametrize("name", MODELS)
def test_every_part_learns_in_its_turn(name):
    course = fit(name, steps=(300,) if name == "gsn" else (300, 300), log_every=50, schedule=None)
    history = course.history
    assert history["step"] == list(range(50, 50 * len(history["step"]) + 1, 50))
    assert history["part"] == sorted(history["part"])
    for part in set(history["part"]):
        its = [loss for n, loss in zip(history["part"], history["loss"]) if n == part]
        assert len(its) == 6
        assert its[-1] < its[0]


def test_only_the_part_whose_turn_it_is_moves():
    course = fit("dbn", steps=(8, 1), schedule=None)
    first = fit("dbn", steps=(8, 5), schedule=None)
    one, other = (its.model.layers for its in (course, first))
    assert torch.equal(one[0].W, other[0].W)
    assert not torch.equal(one[1].W, other[1].W)


def test_the_schedule_begins_anew_with_each_part():
    seen = []
    fit("cae", steps=(3, 2), schedule=lambda step: seen.append(step) or schedule(step))
    assert seen[-5:] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("name", MODELS)
def test_chains_are_collected_in_time_after_a_burn_in(name):
    """All of them, and every other one after the first three, are the same chain."""
    model = fit(name).model
    every = model.sample(X[:4], 9)
    assert every.shape == (9, 4, *SHAPE)
    assert ((every >= 0) & (every <= 1)).all()
    some = model.sample(X[:4], 3, burn_in=3, every=2)
    assert torch.equal(some, every[[4, 6, 8]])


def test_training_and_sampling_leave_the_callers_random_state():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    model = DBN(SHAPE, hidden=(4,))
    torch.manual_seed(1)
    model.fit(X, steps=[3], optimizer=partial(torch.optim.SGD, lr=0.1), batch_size=10)
    model.sample(X[:3])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", MODELS)
def test_its_file_makes_the_same_model_again(name, tmp_path):
    course = fit(name, out=tmp_path)
    again = rivals.load(tmp_path / GENERATOR)
    assert type(again) is type(course.model)
    assert torch.equal(again.sample(X[:5], 2), course.model.sample(X[:5], 2))


def test_a_file_of_a_gan_is_refused(tmp_path):
    ganlib.save_network(ganlib.MLPGenerator(ganlib.Noise(3), SHAPE), tmp_path / "G.safetensors")
    with pytest.raises(ValueError, match="must be one of DBN, StackedCAE, GSN, got 'MLPGenerator'"):
        rivals.load(tmp_path / "G.safetensors")


@pytest.mark.parametrize("name", MODELS)
def test_half_precision_goes_nearly_the_same_way(name):
    """The draws may differ, the course must not: products in bf16 keep eight bits."""
    losses = [
        fit(
            name, fabric=Fabric(accelerator="cpu", devices=1, precision=precision), steps=steps
        ).history["loss"][-1]
        for precision in ("32-true", "bf16-mixed")
        for steps in [(400,) if name == "gsn" else (200, 200)]
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": (8,)}, r"steps must hold a number of at least 1 for each of the 2 parts"),
        ({"steps": (8, 0)}, r"steps must hold .* got \[8, 0\]"),
        ({"batch_size": 41}, "batch_size must be from 1 to 40"),
        ({"log_every": 0}, "log_every must be at least 1, got 0"),
        ({"schedule": lambda step: {"speed": 1}}, "schedule must set what SGD has, got speed"),
        (
            {"schedule": lambda step: {"lr": ([0.1] * 50)[step]}},
            "schedule must give values for every step, also after the last, got IndexError at",
        ),
        (
            {"fabric": cpu("bf16-true")},
            "must have precision '32-true' or",
        ),
    ],
)
def test_arguments_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit("dbn", **options)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X.long(), "x must be a tensor of uint8 or floats, got torch.int64"),
        ("digits", "x must be a tensor of uint8 or floats, got str"),
        (X[:, :, :2], r"x must be images \('N', 1, 3, 4\), got \(40, 1, 2, 4\)"),
        (X / 100, r"x must lie in \[0, 1\], got from 0 to 2"),
        (X / 255 * float("nan"), r"x must lie in \[0, 1\], got from nan to nan"),
    ],
)
def test_data_that_cannot_be_are_refused(x, message):
    model = MODELS["cae"]()
    with pytest.raises(ValueError, match=message):
        model.fit(x, steps=(1, 1), optimizer=torch.optim.SGD)


def test_chains_that_cannot_be_are_refused():
    model = MODELS["gsn"]()
    with pytest.raises(ValueError, match=r"x must be images \('m', 1, 3, 4\), got \(2, 1, 2, 4\)"):
        model.sample(X[:2, :, :2])
    with pytest.raises(ValueError, match="burn_in must be at least 0, got -1"):
        model.sample(X[:2], burn_in=-1)
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        model.sample(X[:2], 0)


def test_a_run_with_other_settings_is_not_gone_on_with(tmp_path):
    fit("gsn", out=tmp_path)
    with pytest.raises(ValueError, match="batch_size: the checkpoint has 10, this run has 8"):
        fit("gsn", out=tmp_path, batch_size=8)
    with pytest.raises(ValueError, match=r"config: the checkpoint has .* 'walkback': 3"):
        GSN(SHAPE, (6, 5), walkback=2).fit(
            X, steps=(20,), optimizer=partial(torch.optim.SGD, lr=0.1), batch_size=10, out=tmp_path
        )
    with pytest.raises(ValueError, match=r"steps must be at least 17 in all, .* got 16"):
        fit("gsn", out=tmp_path, steps=(16,))
    assert fit("gsn", out=tmp_path, steps=(20,)).step == 20
    fit("dbn", out=tmp_path / "dbn")
    with pytest.raises(ValueError, match=r"steps: the checkpoint has \[8\], this run has \[9\]"):
        fit("dbn", out=tmp_path / "dbn", steps=(9, 9))


def test_a_damaged_or_newer_checkpoint_is_refused(tmp_path):
    fit("cae", out=tmp_path)
    path = tmp_path / CHECKPOINT
    state = torch.load(path, weights_only=True)
    torch.save(state | {"format": 99}, path)
    with pytest.raises(ValueError, match="it was written by a newer ganlib"):
        fit("cae", out=tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="is not a readable checkpoint"):
        fit("cae", out=tmp_path)


def test_divergence_is_told_and_leaves_the_files(tmp_path):
    fit("cae", out=tmp_path, steps=(8, 9))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def spoil(course):
        with torch.no_grad():
            course.model.layers[1].W.fill_(float("nan"))

    with pytest.raises(FloatingPointError, match="training has diverged"):
        fit("cae", out=tmp_path, steps=(8, 13), on_log=spoil)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_particles_that_are_not_finite_are_not_saved(tmp_path):
    course = fit("persistent dbn")
    next(course.model.buffers())[0] = float("nan")
    with pytest.raises(FloatingPointError, match="a weight became infinite or NaN by step 17"):
        course.save(tmp_path)
    assert not list(tmp_path.iterdir())
