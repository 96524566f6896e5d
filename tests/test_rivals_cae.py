"""Contractive auto-encoders against Jacobians that are built in full, in float64."""

import pytest
import torch
from tiny import stirred
from torch.func import jacrev, vmap
from torch.nn.functional import binary_cross_entropy

from ganlib.rivals.cae import CAE, StackedCAE

TINY = (1, 2, 3)


def test_the_contraction_is_the_norm_of_the_jacobian():
    cae = stirred(CAE(6, 4))
    x = torch.rand(5, 6, dtype=torch.float64)
    J = vmap(jacrev(lambda one: cae.encode(one[None])[0]))(x)
    assert J.shape == (5, 4, 6)
    torch.testing.assert_close(cae.contraction(cae.encode(x)), J.square().sum((1, 2)))


def test_the_loss_is_that_of_the_paper():
    cae = stirred(CAE(6, 4, penalty=0.7))
    x = torch.rand(5, 6, dtype=torch.float64)
    J = vmap(jacrev(lambda one: cae.encode(one[None])[0]))(x)
    r = cae.decode(cae.encode(x))
    expected = binary_cross_entropy(r, x, reduction="sum") / 5 + 0.7 * J.square().sum() / 5
    torch.testing.assert_close(cae.loss(x), expected)


@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_its_gradient_is_that_of_the_loss(penalty):
    """By autograd to rounding, and by finite differences."""
    cae = stirred(CAE(6, 4, penalty=penalty))
    x = torch.rand(5, 6, dtype=torch.float64)
    with torch.no_grad():
        cae.set_gradient(x)
    by_autograd = torch.autograd.grad(cae.loss(x), list(cae.parameters()))
    for parameter, its in zip(cae.parameters(), by_autograd, strict=True):
        torch.testing.assert_close(parameter.grad, its, rtol=0, atol=1e-12)
        for place in range(parameter.numel()):
            ends = []
            for step in (1e-6, -2e-6, 1e-6):
                parameter.data.view(-1)[place] += step
                ends.append(cae.loss(x).item())
            slope = (ends[0] - ends[1]) / 2e-6
            assert parameter.grad.view(-1)[place].item() == pytest.approx(slope, abs=1e-7)


def test_the_walk_multiplies_by_the_top_ones_jacobian(monkeypatch):
    cae = stirred(StackedCAE(TINY, hidden=(5, 4)))
    below, top = cae.layers
    (z,) = cae.start(torch.rand(3, 6, dtype=torch.float64))
    noise = torch.randn(3, 4, dtype=torch.float64)
    monkeypatch.setattr(torch, "randn_like", lambda like: noise)
    J = vmap(jacrev(lambda one: top.encode(one[None])[0]))(z)
    moved = top.decode(top.encode(z) + torch.einsum("nij,nkj,nk->ni", J, J, 0.3 * noise))
    images, (state,) = cae.move((z,), sigma=0.3)
    torch.testing.assert_close(state, moved)
    torch.testing.assert_close(images, below.decode(moved))


def test_without_noise_the_walk_only_reconstructs():
    cae = stirred(StackedCAE(TINY, hidden=(5,)))
    x = torch.rand(3, *TINY, dtype=torch.float64)
    layer = cae.layers[0]
    once = layer.decode(layer.encode(x.flatten(1)))
    torch.testing.assert_close(cae.sample(x, sigma=0.0)[0].flatten(1), once)


def test_the_penalty_makes_codes_that_move_less():
    torch.manual_seed(0)
    x = torch.rand(200, 6, dtype=torch.float64).round()
    norms = []
    for penalty in (0.0, 1.0):
        torch.manual_seed(1)
        cae = CAE(6, 4, penalty).double()
        optimizer = torch.optim.SGD(cae.parameters(), lr=0.1)
        before = cae.loss(x)
        with torch.no_grad():
            for _ in range(300):
                cae.set_gradient(x)
                optimizer.step()
            norms.append(cae.contraction(cae.encode(x)).mean())
        assert cae.loss(x) < before - 0.5
    assert norms[1] < norms[0] / 2


def test_each_layer_learns_from_the_codes_below():
    cae = stirred(StackedCAE(TINY, hidden=(5, 4)))
    x = torch.rand(3, *TINY, dtype=torch.float64)
    first = torch.sigmoid(x.flatten(1) @ cae.layers[0].W + cae.layers[0].c)
    torch.testing.assert_close(cae.inputs(1, x), first)
    torch.testing.assert_close(cae.start(x.flatten(1))[0], first)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="penalty must be at least 0, got -1"):
        CAE(4, 3, penalty=-1)
    with pytest.raises(ValueError, match="number of layers in hidden must be at least 1, got 0"):
        StackedCAE(TINY, hidden=())
