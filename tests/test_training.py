"""The loop: what each move touches, what is logged, what is saved, and resuming bit for bit."""

import copy
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from PIL import Image
from tape import Tape, stand_in
from torch import nn
from torch.nn.functional import logsigmoid

import ganlib
from ganlib import checkpoints, networks, training
from ganlib.checkpoints import CHECKPOINT, GENERATOR

X = torch.rand(40, 3, generator=torch.Generator().manual_seed(1))


def make(seed=0, dropout=0.3, dtype=torch.float32):
    torch.manual_seed(seed)
    G = ganlib.MLPGenerator(ganlib.Noise(2), (3,), hidden=(8,), output="identity")
    D = ganlib.MLPDiscriminator((3,), hidden=(8,), dropout=dropout)
    return G.to(dtype), D.to(dtype)


def play(steps=7, seed=0, **options):
    G, D = make(seed)
    options = {"batch_size": 8, "log_every": 3, "ema": 0.9} | options
    return ganlib.train(G, D, X, steps=steps, **options)


def momentum_schedulers(G, D):
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.5) for net in (G, D)]
    decay = torch.optim.lr_scheduler.StepLR(optimizers[1], step_size=2, gamma=0.9)
    rise = ganlib.Schedule(optimizers[0], lambda step: {"momentum": 0.5 + step / 100})
    return {"optimizer_G": optimizers[0], "optimizer_D": optimizers[1], "schedulers": [decay, rise]}


def bits(game):
    """Everything that a game ends with, to compare to the bit."""
    state = game.state_dict()
    return {name: _freeze(state[name]) for name in state if name != "settings"}


def _freeze(value):
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape), value.dtype, value.cpu().numpy().tobytes())
    if isinstance(value, dict):
        return {key: _freeze(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_freeze(item) for item in value]
    return value


class Conditional(nn.Module):
    """A player with two arguments; the first may be None."""

    def __init__(self, inputs, outputs, noise=None):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.dropout = nn.Dropout(0.5)
        self.noise = noise

    def forward(self, first, y):
        both = y if first is None else torch.cat([first, y], 1)
        return self.linear(self.dropout(both))


# What a move touches -----------------------------------------------------------------------------


@pytest.fixture
def game():
    G, D = make(dropout=0.0)
    return ganlib.train(G, D, X, steps=1, batch_size=8)


def snapshot(net):
    return copy.deepcopy(net.state_dict())


def same(net, before):
    return all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), before.values()))


def test_ds_move_leaves_g_alone_and_sends_it_no_gradient(game):
    before_G, before_D = snapshot(game.G), snapshot(game.D)
    for p in game.G.parameters():
        p.grad = None
    game.move_D(X[:8], ())
    assert same(game.G, before_G)
    assert not same(game.D, before_D)
    assert all(p.grad is None for p in game.G.parameters())


def test_gs_move_leaves_d_alone_and_sends_it_no_gradient(game):
    before_G, before_D = snapshot(game.G), snapshot(game.D)
    for p in game.D.parameters():
        p.grad = None
    game.move_G(X[:8], ())
    assert same(game.D, before_D)
    assert not same(game.G, before_G)
    assert all(p.grad is None for p in game.D.parameters())


def test_real_data_do_not_enter_gs_move(game):
    def moved(x):
        other = copy.deepcopy(game.G)
        torch.manual_seed(3)
        game.move_G(x, ())
        result = snapshot(game.G)
        game.G.load_state_dict(other.state_dict())
        game.optimizer_G.state.clear()
        return result

    game.optimizer_G.state.clear()
    first, second = moved(X[:8]), moved(100 * X[:8])
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_l1_looks_at_the_data():
    G, D = make()
    plain = ganlib.train(*copy.deepcopy((G, D)), X, steps=3, batch_size=8)
    drawn = ganlib.train(*copy.deepcopy((G, D)), X, steps=3, batch_size=8, lambda_l1=5.0)
    assert plain.history["L1"] == [0.0]
    assert drawn.history["L1"][0] > 0
    assert not same(drawn.G, plain.G.state_dict())


def plain_sgd_step(net, loss, lr):
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    with torch.no_grad():
        for p, g in zip(net.parameters(), gradients):
            p -= lr * g


@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_alternating_moves_are_those_of_algorithm_1_written_out(loss, k):
    """The loop against a float64 transcription of the paper's algorithm box."""
    G, D = make(dropout=0.0, dtype=torch.float64)
    G2, D2 = copy.deepcopy((G, D))
    sgd = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (G, D)]
    game = ganlib.train(
        G, D, X, steps=4, batch_size=8, k=k, loss=loss, seed=5,
        optimizer_G=sgd[0], optimizer_D=sgd[1],
    )  # fmt: skip
    torch.manual_seed(training.derive_seed(5, "noise", 0))
    for t in range(4):
        for j in range(k):
            x, _ = game.minibatches[t * k + j]
            fake = G2(torch.randn(8, 2, dtype=torch.float64)).detach()
            V = logsigmoid(D2(x)).mean() + torch.log(1 - torch.sigmoid(D2(fake))).mean()
            plain_sgd_step(D2, -V, 0.1)
        d = torch.sigmoid(D2(G2(torch.randn(8, 2, dtype=torch.float64))))
        plain_sgd_step(
            G2, torch.log(1 - d).mean() if loss == "minimax" else -torch.log(d).mean(), 0.1
        )
    for net, reference in ((G, G2), (D, D2)):
        for a, b in zip(net.parameters(), reference.parameters()):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_simultaneous_moves_start_from_the_same_point_and_the_same_samples():
    G, D = make(dropout=0.0, dtype=torch.float64)
    G2, D2 = copy.deepcopy((G, D))
    sgd = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (G, D)]
    game = ganlib.train(
        G, D, X, steps=3, batch_size=8, simultaneous=True, seed=5,
        optimizer_G=sgd[0], optimizer_D=sgd[1],
    )  # fmt: skip
    torch.manual_seed(training.derive_seed(5, "noise", 0))
    for t in range(3):
        x, _ = game.minibatches[t]
        fake = G2(torch.randn(8, 2, dtype=torch.float64))
        logits = D2(fake)
        loss_D = -logsigmoid(D2(x)).mean() - logsigmoid(-logits).mean()
        loss_G = -logsigmoid(logits).mean()
        gradient_G = torch.autograd.grad(loss_G, list(G2.parameters()), retain_graph=True)
        plain_sgd_step(D2, loss_D, 0.1)
        with torch.no_grad():
            for p, g in zip(G2.parameters(), gradient_G):
                p -= 0.1 * g
    for net, reference in ((G, G2), (D, D2)):
        for a, b in zip(net.parameters(), reference.parameters()):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_one_dropout_mask_serves_both_players_when_they_move_together():
    G, D = make(dropout=0.5)
    game = ganlib.train(G, D, X, steps=1, batch_size=8, simultaneous=True)
    calls = []
    judge = game.judge
    game.judge = lambda x, y: calls.append(len(x)) or judge(x, y)
    game.play_step()
    assert calls == [16]  # data and samples at once


class Curved(nn.Module):
    """A D with a condition, whose answers on samples can be made as sure as one likes."""

    def __init__(self, inputs, scale):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, 7), nn.Tanh(), nn.Linear(7, 1))
        self.scale = scale

    def forward(self, x, *y):
        return self.scale * self.layers(torch.cat([x, *y], 1)) - 3 * self.scale


@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 30.0])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("lambda_l1", [0.0, 2.5])
def test_one_way_back_gives_both_players_the_gradients_of_two(loss, scale, conditional, lambda_l1):
    """Joint moves against two separate passes, in float64, from unsure D to one sure to 1e-40."""
    torch.manual_seed(0)
    y = torch.randn(40, 2, dtype=torch.float64) if conditional else None
    G = Conditional(2 + 2 * conditional, 3, ganlib.Noise(2)).double()
    G.forward = lambda z, *y: G.linear(torch.cat([z, *y], 1)).tanh()
    D = Curved(3 + 2 * conditional, scale).double()
    sgd = [torch.optim.SGD(net.parameters(), lr=0.0) for net in (G, D)]
    game = ganlib.train(
        G, D, X, y, steps=1, batch_size=8, simultaneous=True, loss=loss, lambda_l1=lambda_l1,
        optimizer_G=sgd[0], optimizer_D=sgd[1],
    )  # fmt: skip
    x, y = game.minibatches[1]
    torch.manual_seed(7)
    game.move_both(x, y)
    found = {name: [p.grad for p in game.parameters[name]] for name in "DG"}
    measured = game.measured.copy()
    torch.manual_seed(7)
    fake = game.sample(8, y)
    fake_logits = game.judge(fake, y)
    losses = {"D": game.loss_D(game.judge(x, y), fake_logits)}
    losses["G"] = game.loss_G(fake_logits, fake, x)
    for name in ("D(x)", "D(G(z))", "loss_D", "loss_G", "L1"):
        torch.testing.assert_close(measured[name], game.measured[name])
    for name, its_loss in losses.items():
        expected = torch.autograd.grad(its_loss, game.parameters[name], retain_graph=True)
        for one, other in zip(found[name], expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-20)
        norm = torch.cat([g.flatten() for g in expected]).norm().float()
        torch.testing.assert_close(measured[f"grad_{name}"], norm)


def test_one_way_back_serves_the_conditional_pair_too():
    """Joint moves of networks that take classes, dropout and all, against two passes in float64."""
    torch.manual_seed(0)
    G = ganlib.ConditionalMLPGenerator(ganlib.Noise(4), (3,), 5, 6, 7, (8,), 0.5, 0.5).double()
    D = ganlib.ConditionalMaxoutDiscriminator((3,), 5, 6, 7, 8, 2, 3, 0.8, 0.5, 0.5).double()
    sgd = [torch.optim.SGD(net.parameters(), lr=0.0) for net in (G, D)]
    game = ganlib.train(
        G, D, X, torch.arange(40) % 5, steps=1, batch_size=8, simultaneous=True,
        optimizer_G=sgd[0], optimizer_D=sgd[1],
    )  # fmt: skip
    x, (y,) = game.minibatches[1]
    torch.manual_seed(7)
    game.move_both(x, (y,))
    found = {name: [p.grad for p in game.parameters[name]] for name in "DG"}
    torch.manual_seed(7)
    fake = game.sample(8, (y,))
    real_logits, fake_logits = D(torch.cat([x, fake]), torch.cat([y, y])).chunk(2)
    losses = {"D": game.loss_D(real_logits, fake_logits), "G": -logsigmoid(fake_logits).mean()}
    for name, its_loss in losses.items():
        expected = torch.autograd.grad(its_loss, game.parameters[name], retain_graph=True)
        for one, other in zip(found[name], expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-20)


def test_the_average_of_a_conditional_generator_is_taken_and_saved(tmp_path):
    torch.manual_seed(0)
    G = ganlib.ConditionalMLPGenerator(ganlib.Noise(4), (3,), 5, 6, 7, (8,))
    D = ganlib.ConditionalMaxoutDiscriminator((3,), 5, 6, 7, 8)
    start = [p.detach().clone() for p in G.parameters()]
    options = {"batch_size": 8, "ema": 0.9, "ema_power": 0.0, "out": tmp_path}
    game = ganlib.train(G, D, X, torch.arange(40) % 5, steps=1, **options)
    for before, now, mean in zip(start, G.parameters(), game.averaged.parameters(), strict=True):
        torch.testing.assert_close(mean, (before + now) / 2)
    saved = ganlib.load_network(tmp_path / GENERATOR)
    assert torch.equal(ganlib.sample(saved, 5), ganlib.sample(game.averaged, 5))


@pytest.mark.parametrize("wrong", [-1, 5])
def test_a_class_out_of_range_is_refused_before_any_work(wrong, monkeypatch):
    G = ganlib.ConditionalMLPGenerator(ganlib.Noise(4), (3,), 5, 6, 7, (8,))
    D = ganlib.ConditionalMaxoutDiscriminator((3,), 5, 6, 7, 8)
    y = torch.arange(40) % 5
    y[17] = wrong
    monkeypatch.setattr(training.Game, "play_step", lambda _: pytest.fail("too late"))
    with pytest.raises(ValueError, match="y must be from 0 to 4, got values from"):
        ganlib.train(G, D, X, y, steps=1, batch_size=4)


@pytest.mark.parametrize(
    "D",
    [
        nn.Sequential(nn.Linear(3, 2)),  # two logits a sample, as of two patches
        nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
    ],
    ids=["two logits", "batch norm"],
)
def test_joint_moves_need_one_logit_for_each_sample_alone(D):
    message = "D must give each sample one logit, of that sample alone, when .* simultaneously"
    with pytest.raises(ValueError, match=message):
        ganlib.train(make()[0], D, X, steps=1, batch_size=8, simultaneous=True)
    ganlib.train(make()[0], D, X, steps=1, batch_size=8)


def test_the_players_take_a_condition():
    torch.manual_seed(0)
    y = torch.eye(4)[torch.arange(40) % 4]
    G, D = Conditional(2 + 4, 3, ganlib.Noise(2)), Conditional(3 + 4, 1)
    game = ganlib.train(G, D, X, y, steps=5, batch_size=8, lambda_l1=1.0)
    assert game.step == 5
    assert game.history["L1"][0] > 0


def test_a_generator_may_take_its_condition_alone():
    torch.manual_seed(0)
    G, D = Conditional(4, 3), Conditional(3 + 4, 1)
    y = torch.eye(4)[torch.arange(40) % 4]
    game = ganlib.train(G, D, X, y, steps=5, batch_size=8)
    assert game.step == 5


def test_lambda_weighs_l1(game):
    logits, fake = torch.zeros(4), torch.zeros(4, 3)
    plain = game.loss_G(logits, fake, fake + 2)
    game.lambda_l1 = 5.0
    torch.testing.assert_close(game.loss_G(logits, fake, fake + 2), plain + 5 * 2)


def test_players_play_in_training_mode():
    modes = []
    play(3, on_log=lambda game: modes.append((game.G.training, game.D.training)))
    assert modes == [(True, True)]


def test_images_as_conditions_are_used_as_floats():
    torch.manual_seed(0)
    G, D = Conditional(2 + 4, 3, ganlib.Noise(2)).double(), Conditional(3 + 4, 1).double()
    y = torch.randint(256, (40, 4), dtype=torch.uint8)
    game = ganlib.train(G, D, X, y, steps=2, batch_size=8)
    given = game.minibatches[0][1][0]
    assert given.dtype == torch.float64
    assert given.max() <= 1
    assert ganlib.sample(G, 3, y[:3]).shape == (3, 3)


def test_buffers_of_the_average_are_those_of_g():
    torch.manual_seed(0)
    G = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    G.noise = ganlib.Noise(2)
    _, D = make()
    game = ganlib.train(G, D, X, steps=3, batch_size=8, ema=0.9)
    assert torch.equal(game.averaged[1].running_mean, G[1].running_mean)
    assert not torch.equal(game.averaged[0].weight, G[0].weight)


def test_a_frozen_parameter_stays():
    G, D = make()
    G.last.bias.requires_grad_(False)
    before = G.last.bias.clone()
    ganlib.train(G, D, X, steps=3, batch_size=8)
    assert torch.equal(G.last.bias, before)
    G.requires_grad_(False)
    with pytest.raises(ValueError, match="G must have parameters that can be trained"):
        ganlib.train(G, D, X, steps=3, batch_size=8)


@pytest.mark.parametrize("power", [0, 2.5, 8])
def test_averaged_weights_follow_their_definition(power):
    G, D = make()
    weights = []
    game = ganlib.train(
        G, D, X, steps=30, batch_size=8, ema=0.8, ema_power=power, log_every=1,
        on_log=lambda game: weights.append(game.G.last.bias.detach().clone()),
    )  # fmt: skip
    mean = torch.zeros(3)
    for step, now in enumerate(weights, start=1):
        beta = min(0.8, step / (step + power + 1))
        # before the first move the average is G's start
        start = make()[0].last.bias.detach() if step == 1 else mean
        mean = beta * start + (1 - beta) * now
    torch.testing.assert_close(game.averaged.last.bias, mean)
    assert game.generator is game.averaged


def test_an_average_of_power_0_is_the_plain_mean_of_start_and_steps():
    G, D = make()
    weights = [G.last.bias.detach().clone()]
    game = ganlib.train(
        G, D, X, steps=30, batch_size=8, ema=0.999, ema_power=0, log_every=1,
        on_log=lambda game: weights.append(game.G.last.bias.detach().clone()),
    )  # fmt: skip
    torch.testing.assert_close(game.averaged.last.bias, torch.stack(weights).mean(0))


def test_without_averaging_the_generator_is_g():
    game = play(ema=None)
    assert game.generator is game.G
    assert game.averaged is None


# History -----------------------------------------------------------------------------------------


def test_history_holds_means_over_the_steps_since_the_last_entry():
    every, third = play(6, log_every=1), play(6, log_every=3)
    assert every.history["step"] == [1, 2, 3, 4, 5, 6]
    assert third.history["step"] == [3, 6]
    for name in training.MEASURED:
        ones = torch.tensor(every.history[name]).reshape(2, 3).mean(1)
        torch.testing.assert_close(torch.tensor(third.history[name]), ones)


def test_the_last_step_is_logged_whatever_the_interval():
    assert play(7, log_every=5).history["step"] == [5, 7]


def test_history_at_the_start_is_what_the_untrained_players_do():
    G, D = make(dropout=0.0)
    D.layers[-1].weight.data.zero_()
    D.layers[-1].bias.data.zero_()  # D answers 1/2
    history = ganlib.train(G, D, X, steps=1, simultaneous=True, batch_size=8).history
    assert history["D(x)"] == history["D(G(z))"] == [0.5]
    assert history["loss_D"][0] == pytest.approx(2 * torch.log(torch.tensor(2.0)).item())
    assert history["loss_G"][0] == pytest.approx(torch.log(torch.tensor(2.0)).item())
    assert history["grad_G"] == [0.0]  # the last layer of D passes nothing back


def test_gradient_norms_are_euclidean(game):
    game.move_D(X[:8], ())
    norm = torch.cat([p.grad.flatten() for p in game.D.parameters()]).norm()
    torch.testing.assert_close(game.measured["grad_D"], norm)


def test_nothing_synchronises_within_a_step(monkeypatch):
    """Reading a number from a tensor makes the host wait for the device."""
    G, D = make()
    sgd = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (G, D)]
    game = ganlib.train(
        G, D, X, steps=1, batch_size=8, ema=0.9, optimizer_G=sgd[0], optimizer_D=sgd[1]
    )

    def refuse(*_):
        raise AssertionError("a step read a number from a tensor")

    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    game.play_step()
    assert game.step == 2


# Reproducible ------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits():
    assert bits(play()) == bits(play())


def test_another_seed_gives_others():
    G, D = make()
    first = ganlib.train(*copy.deepcopy((G, D)), X, steps=3, batch_size=8, seed=0)
    second = ganlib.train(*copy.deepcopy((G, D)), X, steps=3, batch_size=8, seed=1)
    assert not same(first.G, second.G.state_dict())


def test_the_callers_random_state_and_modes_are_left_alone():
    G, D = make()
    G.eval()
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    ganlib.train(G, D, X, steps=3, batch_size=8)
    assert torch.equal(torch.rand(3), expected)
    assert not G.training
    assert D.training


def test_what_on_log_draws_does_not_change_the_game():
    assert bits(play(on_log=lambda game: torch.rand(5))) == bits(play())


# Saving and resuming -----------------------------------------------------------------------------


class Killed(Exception):
    """Stands for a process that ends without a word."""


def options_of(kind):
    """A game's players and options, made anew for each run as a new process would."""
    G, D = make()
    kinds = {
        "alternating": {"k": 2},
        "simultaneous": {"simultaneous": True},
        "same samples": {"same_samples": True},
        "scheduled": momentum_schedulers(G, D),
    }
    return (G, D, X), {"steps": 15, "batch_size": 8, "log_every": 4, "ema": 0.9} | kinds[kind]


@pytest.mark.parametrize("kind", ["alternating", "simultaneous", "same samples", "scheduled"])
@settings(max_examples=10, deadline=None)
@given(save_every=st.integers(1, 8), killed_at=st.integers(0, 14))
def test_a_run_killed_at_any_step_and_resumed_ends_in_the_same_bits(kind, save_every, killed_at):
    arguments, options = options_of(kind)
    whole = ganlib.train(*arguments, **options)
    play_step = training.Game.play_step

    def play_until_killed(game):
        if game.step == killed_at:
            raise Killed
        play_step(game)

    with tempfile.TemporaryDirectory() as out:
        options |= {"out": out, "save_every": save_every}
        arguments, own = options_of(kind)
        with (
            mock.patch.object(training.Game, "play_step", play_until_killed),
            pytest.raises(Killed),
        ):
            ganlib.train(*arguments, **options | own)
        arguments, own = options_of(kind)
        assert bits(ganlib.train(*arguments, **options | own)) == bits(whole)


def test_averages_and_history_survive_an_interruption_between_two_entries(tmp_path):
    whole = play(20, log_every=6)

    def interrupt(game):
        if game.step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="after step 6"):
        play(20, log_every=6, out=tmp_path, on_log=interrupt)
    again = play(20, log_every=6, out=tmp_path)
    assert bits(again) == bits(whole)


def test_a_checkpoint_holds_tensors_and_plain_values_only(tmp_path):
    play(out=tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)

    def plain(value):
        if isinstance(value, dict):
            return all(plain(k) and plain(v) for k, v in value.items())
        if isinstance(value, list | tuple):
            return all(map(plain, value))
        return value is None or isinstance(value, torch.Tensor | int | float | str | bool)

    assert plain(state)
    assert {"G", "D", "averaged", "optimizer_G", "optimizer_D", "schedulers", "rng", "step",
            "history"} <= state.keys()  # fmt: skip


def test_the_generator_file_holds_what_one_would_sample_from(tmp_path):
    game = play(out=tmp_path)
    G = ganlib.load_network(tmp_path / GENERATOR)
    assert torch.equal(ganlib.sample(G, 5), ganlib.sample(game.averaged, 5))


def test_a_run_goes_on_from_a_checkpoint_older_than_a_setting(tmp_path):
    whole = play(steps=8)
    play(steps=3, out=tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    for name in training.LATER:
        del state["settings"][name]
    torch.save(state, tmp_path / CHECKPOINT)
    with pytest.raises(ValueError, match="same_samples: the checkpoint has False, this run has Tr"):
        play(steps=8, out=tmp_path, same_samples=True)
    assert bits(play(steps=8, out=tmp_path)) == bits(whole)


def test_a_finished_run_is_not_played_again(tmp_path):
    first = play(out=tmp_path)
    written = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    assert bits(play(out=tmp_path)) == bits(first)
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("batch_size", {"batch_size": 4}),
        ("k", {"k": 2}),
        ("loss", {"loss": "minimax"}),
        ("simultaneous", {"simultaneous": True}),
        ("same_samples", {"same_samples": True}),
        ("lambda_l1", {"lambda_l1": 1.0}),
        ("ema", {"ema": 0.5}),
        ("ema", {"ema": None}),
        ("seed", {"seed": 1}),
        ("y", {"y": torch.zeros(40)}),
        ("noise", {"noise": ganlib.Noise(2, "uniform")}),
        ("precision", {"precision": "bf16-mixed"}),
        ("schedulers", {"gamma": 0.5}),
    ],
)
def test_a_resume_with_other_settings_is_refused_by_name(tmp_path, name, options):
    def run(steps, noise=None, precision="32-true", gamma=0.9, **options):
        G, D = make()
        G.noise = noise or G.noise
        optimizer = torch.optim.SGD(D.parameters(), lr=0.1)
        rule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: gamma**step)
        options = {"batch_size": 8, "log_every": 3, "ema": 0.9, "out": tmp_path} | options
        fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
        G.forward = lambda z, y=None: ganlib.MLPGenerator.forward(G, z)
        D.forward = lambda x, y=None: ganlib.MLPDiscriminator.forward(D, x)
        ganlib.train(
            G, D, X, steps=steps, optimizer_D=optimizer, schedulers=[rule], fabric=fabric, **options
        )  # fmt: skip

    run(3)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(ValueError, match=f"other settings[^:]*\n  {name}: the checkpoint has"):
        run(9, **options)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_resume_with_other_players_optimisers_or_data_is_refused(tmp_path):
    play(out=tmp_path)
    G, _ = make()
    D = ganlib.MLPDiscriminator((3,), hidden=(9,), dropout=0.3)
    with pytest.raises(ValueError, match=r"  D: .*out_features=8.*out_features=9"):
        ganlib.train(G, D, X, steps=9, batch_size=8, ema=0.9, out=tmp_path)
    G, D = make()
    sgd = torch.optim.SGD(D.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"  optimizer_D: .*Adam.*SGD"):
        ganlib.train(G, D, X, steps=9, batch_size=8, ema=0.9, optimizer_D=sgd, out=tmp_path)
    with pytest.raises(ValueError, match="  x: the checkpoint has"):
        ganlib.train(*make(), X + 1, steps=9, batch_size=8, ema=0.9, out=tmp_path)


def test_fewer_steps_than_a_run_has_are_refused(tmp_path):
    play(6, out=tmp_path)
    with pytest.raises(ValueError, match="steps must be at least 6, where"):
        play(5, out=tmp_path)


def test_a_killed_end_of_a_run_is_made_good(tmp_path):
    """A kill between the two files of the last save leaves a generator that the rerun replaces."""
    whole = play(8, out=tmp_path / "whole", save_every=3)
    write = training.write_whole

    def write_until_killed(path, function):
        write(path, function)
        if path.name == GENERATOR and game_steps(path.parent) == 6:
            raise Killed

    def game_steps(folder):
        path = folder / CHECKPOINT
        return torch.load(path, weights_only=True)["step"] if path.exists() else 0

    with (
        mock.patch.object(training, "write_whole", write_until_killed),
        pytest.raises(Killed),
    ):
        play(8, out=tmp_path / "killed", save_every=3)
    again = play(8, out=tmp_path / "killed", save_every=3)
    assert bits(again) == bits(whole)
    one, other = ((tmp_path / run / GENERATOR).read_bytes() for run in ("whole", "killed"))
    assert one == other


def test_a_checkpoint_of_a_newer_format_is_refused(tmp_path):
    play(out=tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    torch.save(state | {"format": checkpoints.FORMAT + 1}, tmp_path / CHECKPOINT)
    with pytest.raises(ValueError, match="newer ganlib"):
        play(out=tmp_path)


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"no"]
)
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, damage):
    play(out=tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a readable checkpoint"):
        play(out=tmp_path)


def test_loading_a_checkpoint_runs_no_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    torch.save({"format": 1, "settings": {}, "bomb": Bomb()}, tmp_path / CHECKPOINT)
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        play(out=tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path, monkeypatch):
    play(4, out=tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def half(state, path):
        path.write_bytes(before[:100])
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        play(8, out=tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


# Failing clearly ---------------------------------------------------------------------------------


def test_a_nan_loss_stops_the_game_and_leaves_the_last_good_checkpoint(tmp_path):
    def poison(game):
        if game.step == 6:
            game.D.layers[-1].weight.data.fill_(float("nan"))

    with pytest.raises(FloatingPointError, match=r"D\(x\) became nan in steps 7 to 9"):
        play(20, out=tmp_path, save_every=5, on_log=poison)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert state["step"] == 5


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    def poison(game):
        if game.step == 6:
            game.G.last.bias.data[0] = float("inf")

    with pytest.raises(FloatingPointError, match="a weight became infinite or NaN by step 6"):
        play(20, out=tmp_path, save_every=3, on_log=poison)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 3


def test_statistics_that_are_not_finite_are_not_saved(tmp_path):
    def poison(game):
        if game.step == 6:
            game.D[1].running_var[0] = float("inf")

    G, _ = make()
    D = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    options = {"steps": 20, "batch_size": 8, "log_every": 3, "save_every": 3}
    with pytest.raises(FloatingPointError, match="a weight became infinite or NaN by step 6"):
        ganlib.train(G, D, X, on_log=poison, out=tmp_path, **options)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_finishes_the_step_and_saves(tmp_path, number):
    handler = signal.getsignal(number)
    step = training.Game.play_step

    def interrupted(game):
        if game.step == 4:
            os.kill(os.getpid(), number)
        step(game)

    with (
        mock.patch.object(training.Game, "play_step", interrupted),
        pytest.raises(KeyboardInterrupt, match="stopped after step 5"),
    ):
        play(20, out=tmp_path)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 5
    assert signal.getsignal(number) is handler
    assert bits(play(20, out=tmp_path)) == bits(play(20))


@pytest.fixture
def own_sigint():
    """Python's own handler: a job in a shell's background starts without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_interrupt_does_not_wait(tmp_path, own_sigint):
    step = training.Game.play_step

    def interrupted(game):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        step(game)

    with (
        mock.patch.object(training.Game, "play_step", interrupted),
        pytest.raises(KeyboardInterrupt),
    ):
        play(20, out=tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_training_works_outside_the_main_thread():
    with ThreadPoolExecutor() as pool:
        assert bits(pool.submit(play).result()) == bits(play())


def without_noise():
    G, D = make()
    del G.noise
    return G, D


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"k": 0}, "k must be a whole number of at least 1, got 0"),
        ({"log_every": 0}, "log_every must be"),
        ({"save_every": -1}, "save_every must be"),
        ({"k": 2, "simultaneous": True}, "k must be 1 when the players move simultaneously, got 2"),
        ({"k": 2, "same_samples": True}, "k must be 1 when the players move on the same .*, got 2"),
        ({"simultaneous": True, "same_samples": True}, "same_samples must be False when"),
        ({"jitter": True}, r"jitter needs images x \(N, C, H, W\), got \(40, 3\)"),
        ({"loss": "wasserstein"}, "loss must be one of minimax, non_saturating, got 'wasserstein'"),
        ({"lambda_l1": -1.0}, "lambda_l1 must be at least 0 and finite, got -1.0"),
        ({"lambda_l1": float("nan")}, "lambda_l1 must be at least 0 and finite, got nan"),
        ({"lambda_l1": float("inf")}, "lambda_l1 must be at least 0 and finite, got inf"),
        ({"ema": 1.0}, r"ema must be None or in \[0, 1\), got 1.0"),
        ({"ema_power": -1}, "ema_power must be at least 0 and finite, got -1"),
        ({"ema_power": float("inf")}, "ema_power must be at least 0 and finite, got inf"),
        ({"batch_size": 41}, r"batch_size must be from 1 to 40 \(the data\), got 41"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"batch_size": 8.0}, "batch_size must be a whole number of at least 1, got 8.0"),
        ({"steps": True}, "steps must be a whole number of at least 1, got True"),
        ({"y": X.numpy()}, "y must be a tensor, image files or None, got ndarray"),
        ({"schedulers": 3}, "schedulers must be a sequence, got int"),
        ({"schedulers": [3]}, r"schedulers must have a step\(\) without arguments, got int"),
        ({"out": __file__}, "out must be a folder that can be made"),
        ({"x": X.long()}, "x must be a tensor of uint8 or floats, or image files, got torch.int64"),
        ({"x": X.numpy()}, "x must be a tensor of uint8 or floats, or image files, got ndarray"),
        ({"x": X / 0}, "x must be finite"),
        ({"y": X / 0}, "y must be finite"),
        ({"x": X[:0], "y": X[:0]}, r"x must hold data, got \(0, 3\)"),
        ({"x": torch.rand(40, 4)}, r"G's samples must have the shape of x, \(4,\), got \(3,\)"),
        ({"y": torch.rand(39, 1)}, "y must have one condition for each of the 40 x, got 39"),
        ({"y": torch.rand(40, 1)}, "y must be left out for a MLPGenerator: too many positional"),
        (
            {"players": (make()[0], Conditional(4, 1))},
            "y must be given for a Conditional: missing a required argument: 'y'",
        ),
        (
            {"players": (Conditional(4, 3, ganlib.Noise(2)), make()[1])},
            "y must be given for a Conditional: missing a required argument: 'y'",
        ),
        ({"players": without_noise()}, "G must have an attribute noise"),
        (
            {"players": (make()[0], nn.Sequential(nn.Linear(3, 2), nn.Flatten(0)))},
            "D's logits must have a shape that starts with",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(options, message):
    options = {"steps": 3, "batch_size": 8, "x": X} | options
    G, D = options.pop("players", make())
    with pytest.raises(ValueError, match=message):
        ganlib.train(G, D, **options)


def test_a_schedule_of_what_the_optimiser_lacks_is_refused():
    adam = torch.optim.Adam(make()[0].parameters())
    with pytest.raises(ValueError, match="rule must set what Adam has, got momentum"):
        ganlib.Schedule(adam, lambda step: {"momentum": 0.5})


def test_a_schedule_that_ends_with_the_run_is_refused_before_any_work():
    """A resumed run is known by what its schedules give far beyond the end."""
    rates = [0.1] * 50
    schedules = [
        lambda optimizer: ganlib.Schedule(optimizer, lambda step: {"lr": rates[step]}),
        lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, rates.__getitem__),
    ]
    for schedule in schedules:
        G, D = make()
        optimizer = torch.optim.SGD(G.parameters(), lr=0.1)
        options = {"optimizer_G": optimizer, "schedulers": [schedule(optimizer)]}
        with pytest.raises(ValueError, match=r"schedulers must .* got IndexError at step 100: "):
            ganlib.train(G, D, X, steps=20, batch_size=8, **options)


def test_a_config_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    G, D = make()
    G.config = {"shape": {3}}
    with pytest.raises(ValueError, match=r"the config of MLPGenerator must hold plain values only"):
        ganlib.train(G, D, X, steps=1, batch_size=8, out=tmp_path)


def test_an_optimiser_that_needs_a_closure_is_refused():
    G, D = make()
    with pytest.raises(ValueError, match=r"optimizer_D must have a step.* got LBFGS"):
        ganlib.train(G, D, X, steps=1, optimizer_D=torch.optim.LBFGS(D.parameters()))


def test_an_optimiser_of_other_parameters_is_refused():
    G, D = make()
    with pytest.raises(ValueError, match="optimizer_D must hold the trainable parameters of D"):
        ganlib.train(G, D, X, steps=1, optimizer_D=torch.optim.SGD(G.parameters(), lr=0.1))


def test_a_precision_that_needs_a_loss_scale_is_refused():
    fabric = Fabric(accelerator="cpu", devices=1, precision="64-true")
    with pytest.raises(ValueError, match="fabric must have precision '32-true' or 'bf16-mixed'"):
        play(fabric=fabric)


# Precision and processes -------------------------------------------------------------------------


def test_bf16_autocast_trains_float32_weights():
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    game = play(fabric=fabric)
    assert game.G.last.weight.dtype == torch.float32
    exact = play()
    assert not same(game.G, exact.G.state_dict())
    assert game.history["loss_D"][0] == pytest.approx(exact.history["loss_D"][0], abs=0.02)


TWO_PROCESSES = """
import sys
import ganlib, torch
from lightning_fabric import Fabric
from PIL import Image

out, steps = sys.argv[1], int(sys.argv[2])
fabric = Fabric(accelerator="cpu", devices=2)
fabric.launch()
torch.manual_seed(fabric.global_rank)  # different starts: the first process's must win
G = ganlib.MLPGenerator(ganlib.Noise(2), (3,), hidden=(8,), output="identity")
D = ganlib.MLPDiscriminator((3,), hidden=(8,), dropout=0.3)
x = torch.rand(40, 3, generator=torch.Generator().manual_seed(1))
drawn = []
game = ganlib.train(
    G, D, x, steps=steps, batch_size=8, ema=0.9, fabric=fabric, out=out, save_every=2,
    log_every=2, on_log=lambda game: drawn.append(torch.rand(4)),
)
weights = torch.nn.utils.parameters_to_vector([*G.parameters(), *D.parameters()]).detach()
both = fabric.all_gather(weights)
assert torch.equal(both[0], both[1]), "the processes' weights differ"
for draws in drawn:
    both = fabric.all_gather(draws)
    assert not torch.equal(both[0], both[1]), "the processes draw the same noise"
numbers = torch.tensor(game.history["D(x)"])
both = fabric.all_gather(numbers)
assert torch.equal(both[0], both[1]), "the processes' histories differ"
game.set_gradient("D", (fabric.global_rank + 1) * sum(p.sum() for p in D.parameters()))
means = [p.grad for p in D.parameters()]
assert all(torch.equal(g, torch.full_like(g, 1.5)) for g in means), "gradients are not averaged"
if fabric.is_global_zero:
    torch.save(weights, f"{out}/weights-{steps}.pt")
"""


def test_two_processes_play_one_game_and_resume_it(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)

    def launch(out, steps):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node=2", str(script), str(out), str(steps)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return torch.load(out / f"weights-{steps}.pt", weights_only=True)

    launch(tmp_path / "stopped", 4)
    again, whole = launch(tmp_path / "stopped", 8), launch(tmp_path / "whole", 8)
    assert torch.equal(again, whole)
    files = {path.name for path in (tmp_path / "whole").iterdir()}
    assert files == {CHECKPOINT, GENERATOR, "weights-8.pt"}


def test_the_gradient_of_two_processes_is_that_of_the_joined_minibatch():
    """Each process's part of a minibatch, averaged, against the whole in float64."""
    G, D = make(dropout=0.0, dtype=torch.float64)
    game = ganlib.train(G, D, X, steps=1, batch_size=8)
    x, fake = game.minibatches[3][0], game.sample(8, ()).detach()

    def gradient(part):
        game.set_gradient("D", game.loss_D(game.judge(x[part], ()), game.judge(fake[part], ())))
        return torch.cat([p.grad.flatten() for p in D.parameters()])

    parts = [gradient(slice(rank, None, 2)) for rank in (0, 1)]
    torch.testing.assert_close(sum(parts) / 2, gradient(slice(None)), rtol=0, atol=1e-12)


# Image to image ----------------------------------------------------------------------------------

PHOTOS, PLANS = (
    torch.rand(7, channels, 16, 16, generator=torch.Generator().manual_seed(2))
    for channels in (3, 2)
)


def make_pix2pix(dtype=torch.float32, noise=None):
    torch.manual_seed(0)
    G = ganlib.UNetGenerator((3, 16, 16), inputs=2, width=2, noise=noise)
    D = ganlib.PatchDiscriminator((3, 16, 16), inputs=2, width=2, halvings=1)
    return G.to(dtype), D.to(dtype)


def play_pix2pix(steps=5, x=PHOTOS, y=PLANS, noise=None, **options):
    options = {"batch_size": 1, "same_samples": True, "lambda_l1": 200, "jitter": True} | options
    return ganlib.train(*make_pix2pix(noise=noise), x, y, steps=steps, **options)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("lambda_l1", [0.0, 200.0])
def test_steps_on_the_same_samples_are_those_of_a_textbook_pix2pix(batch_size, lambda_l1):
    """Weights, gradients and running statistics, with one dropout mask for both players."""
    G, D = make_pix2pix(torch.float64)
    G2, D2 = copy.deepcopy((G, D))
    adam = partial(torch.optim.Adam, lr=0.01, betas=(0.5, 0.999))
    game = ganlib.train(
        G, D, PHOTOS, PLANS, steps=3, batch_size=batch_size, same_samples=True, seed=5,
        lambda_l1=lambda_l1, optimizer_G=adam(G.parameters()), optimizer_D=adam(D.parameters()),
    )  # fmt: skip
    optimizers = adam(G2.parameters()), adam(D2.parameters())
    bce = nn.BCEWithLogitsLoss()
    torch.manual_seed(training.derive_seed(5, "noise", 0))
    for t in range(3):
        x, (y,) = game.minibatches[t]
        fake = G2(None, y)
        real_logits, fake_logits = D2(x, y), D2(fake.detach(), y)
        optimizers[1].zero_grad()
        loss_D = bce(real_logits, torch.ones_like(real_logits))
        (loss_D + bce(fake_logits, torch.zeros_like(fake_logits))).backward()
        gradient_D = [p.grad.clone() for p in D2.parameters()]
        optimizers[1].step()
        optimizers[0].zero_grad()
        logits = D2(fake, y)
        both = (2 * x - 1) - (2 * fake - 1)  # as the paper has its images
        loss_G = bce(logits, torch.ones_like(logits)) + lambda_l1 / 2 * both.abs().mean()
        loss_G.backward()
        optimizers[0].step()
    for net, reference, gradients in (
        (G, G2, [p.grad for p in G2.parameters()]),
        (D, D2, gradient_D),
    ):
        for p, gradient in zip(net.parameters(), gradients):
            torch.testing.assert_close(p.grad, gradient, rtol=0, atol=1e-10)
        state, expected = net.state_dict(), reference.state_dict()
        for name in state:
            torch.testing.assert_close(state[name], expected[name], rtol=0, atol=1e-10)
    assert game.D.layers[3].num_batches_tracked == 9  # data, samples, and samples again


@pytest.mark.parametrize("same_samples", [True, False])
def test_samples_are_made_once_where_they_serve_both_players(same_samples):
    game = play_pix2pix(1, same_samples=same_samples)
    sample, made = game.sample, []
    game.sample = lambda n, y: made.append(n) or sample(n, y)
    game.play_step()
    assert made == [1] * (1 if same_samples else 2)


def test_jitter_is_done_to_the_minibatches_of_a_game():
    game = play_pix2pix(1, seed=3)
    dealt = ganlib.data.minibatches(PHOTOS, PLANS, 1, 3, jittered=True)
    x, (y,) = game.minibatches[4]
    assert torch.equal(x, dealt[4][0])
    assert torch.equal(y, dealt[4][1][0])
    assert not torch.equal(x, play_pix2pix(1, seed=3, jitter=False).minibatches[4][0])


@pytest.mark.parametrize("same_samples", [True, False])
@pytest.mark.parametrize("noise", [None, ganlib.Noise(2)])
def test_a_pix2pix_goes_on_bit_for_bit_with_its_dropout_norms_and_jitter(
    tmp_path, same_samples, noise
):
    options = {"same_samples": same_samples, "noise": noise, "batch_size": 2, "ema": 0.9}
    options |= {"log_every": 4}
    whole = play_pix2pix(7, **options)
    play_pix2pix(4, out=tmp_path, **options)
    again = play_pix2pix(7, out=tmp_path, **options)
    assert bits(again) == bits(whole)
    assert torch.equal(
        ganlib.sample(again.generator, 2, PLANS[:2]), ganlib.sample(whole.generator, 2, PLANS[:2])
    )
    with pytest.raises(ValueError, match="jitter: the checkpoint has True, this run has False"):
        play_pix2pix(8, out=tmp_path, jitter=False, **options)


def test_a_pix2pix_plays_in_bf16():
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    game = play_pix2pix(3, fabric=fabric)
    assert all(p.dtype == torch.float32 for p in game.G.parameters())
    assert game.history["L1"][-1] > 0


def test_a_small_pix2pix_learns_to_copy_its_condition():
    y = PLANS[:, :, ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3)
    G, D = make_pix2pix()
    rates = [torch.optim.Adam(net.parameters(), lr=0.01, betas=(0.5, 0.999)) for net in (G, D)]
    game = ganlib.train(
        G, D, y[:, [0, 1, 0]], y, steps=200, batch_size=7, same_samples=True, lambda_l1=200,
        optimizer_G=rates[0], optimizer_D=rates[1],
    )  # fmt: skip
    assert game.history["L1"][-1] < 0.5 * game.history["L1"][0]


def test_pairs_of_several_sizes_cannot_be_jittered():
    message = r"images y of the height and width of x, \(16, 16\), got \(8, 16\)"
    with pytest.raises(ValueError, match=message):
        play_pix2pix(y=PLANS[:, :, :8])


def test_maps_of_class_numbers_cannot_be_jittered():
    with pytest.raises(ValueError, match=r"images y of uint8 or floats, got torch\.int64"):
        play_pix2pix(y=(9 * PLANS).long())


# Data larger than memory -------------------------------------------------------------------------


@pytest.fixture
def streamed(tmp_path):
    """The digits as image files, and as a tensor."""
    images, folder = ganlib.load("digits").images[:30], tmp_path / "images"
    folder.mkdir()
    for n, image in enumerate(images[:, 0]):
        Image.fromarray(image.numpy()).save(folder / f"{n:02}.png")
    return ganlib.stream(folder), images


def play_digits(x, **options):
    torch.manual_seed(0)
    G = ganlib.MLPGenerator(ganlib.Noise(3), (1, 8, 8), (5,))
    D = ganlib.MLPDiscriminator((1, 8, 8), (5,), dropout=0.2)
    return ganlib.train(G, D, x, **{"steps": 11, "batch_size": 8} | options)


def test_image_files_train_as_the_images_in_memory_bit_for_bit(streamed):
    others = set(multiprocessing.active_children())
    of_files, of_tensor = play_digits(streamed[0].images), play_digits(streamed[1])
    for one, other in zip(of_files.G.parameters(), of_tensor.G.parameters()):
        assert torch.equal(one, other)
    assert set(multiprocessing.active_children()) <= others  # the workers ended with the run


def test_a_run_on_image_files_goes_on_with_the_same_files_alone(streamed, tmp_path):
    files, out = streamed[0].images, tmp_path / "run"
    play_digits(files, steps=5, out=out)
    again, alone = play_digits(files, out=out), play_digits(files)
    for one, other in zip(again.G.parameters(), alone.G.parameters()):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match=r"x: the checkpoint has .* files .*, this run has"):
        play_digits(type(files)(files.files[::-1]), out=out, steps=12)


def test_pairs_of_files_train_as_those_in_memory_bit_for_bit(tmp_path):
    images = {name: (255 * side).byte() for name, side in (("x", PHOTOS), ("y", PLANS[:, :1]))}
    for name, side in images.items():
        (tmp_path / name).mkdir()
        for n, image in enumerate(side):
            pixels = image.permute(1, 2, 0).squeeze(2).numpy()
            Image.fromarray(pixels).save(tmp_path / name / f"{n}.png")
    files = {name: ganlib.stream(tmp_path / name).images for name in images}

    def play(x, y):
        torch.manual_seed(0)
        G = ganlib.UNetGenerator((3, 16, 16), inputs=1, width=2)
        D = ganlib.PatchDiscriminator((3, 16, 16), inputs=1, width=2, halvings=1)
        return bits(ganlib.train(G, D, x, y, steps=5, batch_size=2, jitter=True))

    assert play(**files) == play(**images)
    with pytest.raises(ValueError, match="x must be image files where y is, got a tensor"):
        play(images["x"], files["y"])


JOINT = """
import sys
import ganlib, torch
from lightning_fabric import Fabric

fabric = Fabric(accelerator="cpu", devices=int(sys.argv[1]))
fabric.launch()
torch.manual_seed(0)
G = ganlib.MLPGenerator(ganlib.Noise(2), (3,), hidden=(8,), output="identity").double()
D = ganlib.MLPDiscriminator((3,), hidden=(8,)).double()
x = torch.rand(40, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
sgd = [torch.optim.SGD(net.parameters(), lr=0.0) for net in (G, D)]
game = ganlib.train(
    G, D, x, steps=1, batch_size=8, simultaneous=True, fabric=fabric,
    optimizer_G=sgd[0], optimizer_D=sgd[1],
)
rank, world = fabric.global_rank, fabric.world_size
z = G.noise(8, like=x, seed=3)[rank::world]  # each process its share of one noise
G.forward = lambda _: ganlib.MLPGenerator.forward(G, z)
for move in (lambda: game.move_both(x_, ()), lambda: (game.move_D(x_, ()), game.move_G(x_, ()))):
    x_ = game.minibatches[1][0]
    move()
    gradient = torch.cat([p.grad.flatten() for p in [*G.parameters(), *D.parameters()]])
    if fabric.is_global_zero:
        print(*gradient.tolist())
"""


def test_processes_find_the_gradients_of_one_on_the_joined_minibatch(tmp_path):
    """torchrun with two gloo processes against one process, in float64."""
    script = tmp_path / "joint.py"
    script.write_text(JOINT)
    found = []
    for processes in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={processes}", str(script), str(processes)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        lines = [[float(word) for word in line.split()] for line in done.stdout.splitlines()]
        found.append(torch.tensor(lines, dtype=torch.float64))
    one, two = found
    assert one.shape == two.shape == (2, 8 * 2 + 8 + 3 * 8 + 3 + 8 * 3 + 8 + 8 + 1)
    assert (one != 0).double().mean() > 0.8  # ReLU keeps some at 0
    torch.testing.assert_close(two, one, rtol=0, atol=1e-10)


def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    def launch(processes, steps):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={processes}", "-m", "ganlib", "train", "digits"]
        command += ["--accelerator", "cpu", "--devices", str(processes), "--steps", str(steps)]
        command += ["--save-every", "5", "--log-every", "5", "--out", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return torch.load(tmp_path / CHECKPOINT, weights_only=True)

    for processes, steps in ((2, 10), (1, 20), (2, 30)):
        state = launch(processes, steps)
        assert state["step"] == steps
        assert len(state["rng"]["cpu"]) == processes
    assert state["history"]["step"].tolist() == [5, 10, 15, 20, 25, 30]
    names = {CHECKPOINT, GENERATOR, "samples.png", "curves.png", "history.json"}
    assert {path.name for path in tmp_path.iterdir()} == names


# CUDA graphs --------------------------------------------------------------------------------------


@pytest.fixture
def tape(monkeypatch):
    stand_in(monkeypatch)
    monkeypatch.setattr(training, "_check_cuda_graph", lambda fabric: None)
    return Tape


def both_ways(make_players, *data, **options):
    """Nine steps of a game as it is, and the last of them by what was recorded."""
    games = []
    for cuda_graph in (False, True):
        G, D = make_players()
        Tape.buffers = [*G.buffers(), *D.buffers()]
        options |= momentum_schedulers(G, D) | {"steps": 9, "log_every": 4}
        games.append(ganlib.train(G, D, *data, cuda_graph=cuda_graph, **options))
    return games


@pytest.mark.parametrize(
    ("options", "graphs"),
    [
        ({"k": 2}, 2 * (18 - 3) + 2 * (9 - 3)),
        ({"loss": "minimax", "ema": 0.9}, 2 * (9 - 3) + 2 * (9 - 3)),
        ({"simultaneous": True, "lambda_l1": 0.5}, 3 * (9 - 3)),
        ({"fabric": Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")}, 4 * (9 - 3)),
    ],
    ids=["k = 2", "minimax", "simultaneous", "bf16"],
)
def test_a_recorded_move_is_the_move(tape, options, graphs):
    """To the bit, with noise, dropout, and rates that change from step to step.

    Three calls of each move are played as ever. A move of one player has a graph before and one
    after the optimiser's step, and a move of both one more.
    """
    plain, recorded = both_ways(make, X, batch_size=8, **options)
    assert bits(recorded) == bits(plain)
    assert tape.replays == graphs


def test_recorded_moves_go_on_the_same_samples_with_batch_norm(tape):
    plain, recorded = both_ways(
        partial(make_pix2pix, noise=ganlib.Noise(2)), PHOTOS, PLANS,
        batch_size=2, same_samples=True, lambda_l1=200.0, jitter=True,
    )  # fmt: skip
    assert bits(recorded) == bits(plain)
    assert tape.replays == 3 * (9 - 3)


def test_recorded_moves_take_the_classes_of_each_step(tape, monkeypatch):
    monkeypatch.setattr(networks, "check_classes", lambda *_: None)  # in a step on a CPU only

    def players():
        torch.manual_seed(0)
        G = ganlib.ConditionalMLPGenerator(ganlib.Noise(4), (3,), 5, 6, 7, (8,))
        return G, ganlib.ConditionalMaxoutDiscriminator((3,), 5, 6, 7, 8)

    plain, recorded = both_ways(players, X, torch.arange(40) % 5, batch_size=8, simultaneous=True)
    assert bits(recorded) == bits(plain)
    assert tape.replays == 3 * (9 - 3)


@pytest.mark.parametrize(
    ("operator", "look"),
    [
        ("_local_scalar_dense", lambda x: 1 if x.mean() < 9 else 2),
        ("equal", lambda x: 1 if torch.equal(x, x) else 2),
        ("index", lambda x: x[x < 9].mean()),
        ("nonzero", lambda x: x.nonzero().sum()),
        ("_unique2", lambda x: x.detach().unique().sum()),
        ("bincount", lambda x: x.flatten().relu().long().bincount().sum()),
    ],
)
def test_a_player_that_waits_for_the_device_cannot_be_recorded(tape, operator, look):
    G, D = make()
    D.forward = lambda x: D.layers(x) * look(x)
    with pytest.raises(RuntimeError, match=f"aten::{operator} is not permitted") as caught:
        ganlib.train(G, D, X, steps=9, batch_size=8, cuda_graph=True)
    assert "never wait for a number" in caught.value.__notes__[0]


def test_an_index_of_whole_numbers_can_be_recorded(tape):
    G, D = make()
    D.forward = lambda x: D.layers(x[torch.arange(len(x)), :])
    ganlib.train(G, D, X, steps=9, batch_size=8, cuda_graph=True)
    assert tape.replays


def test_other_failures_while_recording_say_nothing_of_waiting(tape, monkeypatch):
    def full(self, *_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(tape, "__torch_dispatch__", full)
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        ganlib.train(*make(), X, steps=9, batch_size=8, cuda_graph=True)
    assert not hasattr(caught.value, "__notes__")


def test_a_cuda_graph_needs_one_process_on_a_gpu():
    with pytest.raises(ValueError, match=r"cuda_graph must be False .* got 1 on cpu"):
        play(cuda_graph=True)
    gpu = torch.device("cuda")
    training._check_cuda_graph(SimpleNamespace(device=gpu, world_size=1))
    with pytest.raises(ValueError, match=r"cuda_graph must be False .* got 2 on cuda"):
        training._check_cuda_graph(SimpleNamespace(device=gpu, world_size=2))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", ["mnist", "cgan-mnist", "colour-quick"])
def test_a_gpu_plays_the_same_game_by_its_graphs(name):
    """The real thing: twenty steps, all but three of them from graphs."""
    recipe = ganlib.RECIPES[name]
    data = None if name == "colour-quick" else "digits"
    options = {"steps": 20, "fabric": Fabric(accelerator="cuda", devices=1)}
    plain, recorded = (recipe.run(data=data, cuda_graph=how, **options) for how in (False, True))
    for one, other in ((plain.G, recorded.G), (plain.D, recorded.D)):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
