"""Restricted Boltzmann machines so small that every state can be counted, and stacks of them."""

import math

import pytest
import torch
from tiny import histogram, states, stirred

from ganlib.rivals.dbn import DBN, RBM
from ganlib.rivals.rival import draw

TINY = (1, 2, 2)  # four pixels


def energy(rbm, v, h):
    """By the definition, term by term."""
    return -sum(
        [rbm.b[i] * v[i] for i in range(len(v))]
        + [rbm.c[j] * h[j] for j in range(len(h))]
        + [v[i] * rbm.W[i, j] * h[j] for i in range(len(v)) for j in range(len(h))]
    )


def joint(rbm):
    """p(v, h) of every pair of states, (2^visible, 2^hidden), from the energies alone."""
    V, H = (states(n) for n in rbm.W.shape)
    unnormalised = torch.stack([torch.stack([-energy(rbm, v, h) for h in H]) for v in V])
    return (unnormalised - unnormalised.logsumexp((0, 1))).exp()


@torch.no_grad()
def log_likelihood(rbm, v):
    """Mean log p(v) in nats, by counting all states for the partition function."""
    log_z = (-rbm.free_energy(states(len(rbm.b)))).logsumexp(0)
    return (-rbm.free_energy(v)).mean() - log_z


def test_conditionals_and_free_energy_are_those_of_the_energy():
    rbm = stirred(RBM(4, 3))
    p, V, H = joint(rbm), states(4), states(3)
    torch.testing.assert_close(rbm.hidden(V), (p @ H) / p.sum(1, keepdim=True))
    torch.testing.assert_close(rbm.visible(H), (p.T @ V) / p.sum(0)[:, None])
    torch.testing.assert_close((-rbm.free_energy(V)).softmax(0), p.sum(1))


@pytest.mark.parametrize(("k", "particles"), [(1, 0), (3, 0), (2, 7)])
def test_its_gradient_is_that_of_the_free_energies(k, particles):
    rbm = stirred(RBM(5, 4, k=k, particles=particles))
    v = torch.rand(6, 5, dtype=torch.float64)
    with torch.no_grad():
        q = rbm.hidden(v) if not particles else rbm.particles
        torch.manual_seed(1)
        for _ in range(k):
            w = draw(rbm.visible(draw(q)))
            q = rbm.hidden(w)
        torch.manual_seed(1)
        rbm.set_gradient(v)
    difference = rbm.free_energy(v).mean() - rbm.free_energy(w).mean()
    by_autograd = torch.autograd.grad(difference, list(rbm.parameters()))
    for parameter, its in zip(rbm.parameters(), by_autograd, strict=True):
        torch.testing.assert_close(parameter.grad, its, rtol=0, atol=1e-12)


def exact_gradient(rbm, v):
    """−∂ mean log p(v) / ∂ each parameter, by finite differences of the exact likelihood."""
    gradients = []
    for parameter in rbm.parameters():
        slopes = torch.zeros_like(parameter)
        for place in range(parameter.numel()):
            ends = []
            for step in (1e-5, -2e-5, 1e-5):
                parameter.data.view(-1)[place] += step
                ends.append(log_likelihood(rbm, v).item())
            slopes.view(-1)[place] = (ends[1] - ends[0]) / 2e-5
        gradients.append(slopes)
    return gradients


def test_long_gibbs_chains_give_the_likelihoods_gradient():
    """CD-k with many steps, 40,000 chains: each number within 5 of its standard errors."""
    rbm = stirred(RBM(4, 3, k=100))
    v = states(4)[[1, 3, 3, 12]]
    torch.manual_seed(0)
    with torch.no_grad():
        rbm.set_gradient(v.repeat(10_000, 1))
    for parameter, expected in zip(rbm.parameters(), exact_gradient(rbm, v), strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=5 * 0.5 / 200)


def test_cd_1_is_biased_where_long_chains_are_not():
    """That the test above can fail: one step from these data is not the model yet."""
    rbm = stirred(RBM(4, 3, k=1))
    v = states(4)[[1, 3, 3, 12]]
    with torch.no_grad():
        rbm.set_gradient(v.repeat(10_000, 1))
    off = (rbm.W.grad - exact_gradient(rbm, v)[0]).abs().max()
    assert off > 0.05


def test_persistent_chains_reach_the_model_and_stay():
    rbm = stirred(RBM(4, 3, particles=2000))
    v = states(4)[[1, 3, 3, 12]]
    expected = exact_gradient(rbm, v)
    torch.manual_seed(0)
    sums = [torch.zeros_like(parameter) for parameter in rbm.parameters()]
    with torch.no_grad():
        for step in range(300):
            rbm.set_gradient(v)
            if step >= 100:
                for total, parameter in zip(sums, rbm.parameters()):
                    total += parameter.grad / 200
    for mean, its in zip(sums, expected, strict=True):
        torch.testing.assert_close(mean, its, rtol=0, atol=0.01)


@pytest.mark.parametrize("particles", [0, 1000])
def test_learning_raises_the_exact_likelihood(particles):
    """Towards that of the data themselves, whose entropy no model beats."""
    truth = torch.tensor([0.35, 0.1, 0.025, 0.025, 0.025, 0.025, 0.1, 0.35])
    torch.manual_seed(0)
    v = states(3)[truth.multinomial(2000, replacement=True)]
    rbm = RBM(3, 4, particles=particles).double()
    optimizer = torch.optim.SGD(rbm.parameters(), lr=0.05, momentum=0.5)
    before = log_likelihood(rbm, v)
    with torch.no_grad():
        for step in range(3000):
            rbm.set_gradient(v[step % 20 :: 20])
            optimizer.step()
    shares = histogram(v)
    best = torch.special.entr(shares.double()).sum().neg()
    assert before == pytest.approx(-3 * math.log(2), abs=0.02)
    assert best - 0.02 < log_likelihood(rbm, v) <= best + 1e-9


@pytest.mark.parametrize("down", ["draws", "means"])
def test_the_chain_of_a_stack_draws_from_its_distribution(down):
    """p(x) = Σ_h p_top(h) p(x | h) by counting; with means in between it is another one."""
    dbn = stirred(DBN(TINY, hidden=(3, 4)), scale=1.5)
    top = joint(dbn.layers[1]).sum(1)  # of its visible units
    if down == "draws":
        through, weights = states(3), top
    else:  # the means of its visible units, given its hidden ones
        through, weights = dbn.layers[1].visible(states(4)), joint(dbn.layers[1]).sum(0)
    on = dbn.layers[0].visible(through)[:, None]
    X = states(4)
    expected = weights @ (on * X + (1 - on) * (1 - X)).prod(2)
    start = torch.rand(5000, *TINY, dtype=torch.float64)
    images = dbn.sample(start, 8, burn_in=50, every=2, down=down).flatten(2)
    torch.manual_seed(0)
    found = histogram(draw(images).flatten(0, 1)).double()
    assert (found - expected).abs().sum() / 2 < 0.01  # total variation
    assert (expected - 1 / 16).abs().sum() / 2 > 0.1  # not what noise would do


def test_means_are_not_binary_and_one_layer_draws_alone():
    dbn = DBN(TINY, hidden=(3,))
    images = dbn.sample(torch.rand(5, *TINY), 2)
    assert images.shape == (2, 5, *TINY)
    assert ((images > 0) & (images < 1)).all()


def test_each_layer_learns_from_the_hidden_means_below():
    dbn = stirred(DBN(TINY, hidden=(3, 2)))
    x = torch.rand(6, *TINY, dtype=torch.float64)
    first = torch.sigmoid(x.flatten(1) @ dbn.layers[0].W + dbn.layers[0].c)
    torch.testing.assert_close(dbn.inputs(1, x), first)
    assert torch.equal(dbn.inputs(0, x), x.flatten(1))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="hidden must be at least 1, got 0"):
        RBM(4, 0)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        DBN(TINY, k=0)
    with pytest.raises(ValueError, match="particles must be at least 0, got -1"):
        RBM(4, 3, particles=-1)
    with pytest.raises(ValueError, match="number of layers in hidden must be at least 1, got 0"):
        DBN(TINY, hidden=())
    with pytest.raises(ValueError, match=r"shape must be \(C, H, W\), each at least 1, got \(4,\)"):
        DBN((4,))
    with pytest.raises(ValueError, match="down must be 'means' or 'draws', got 'up'"):
        DBN(TINY).sample(torch.rand(2, *TINY), down="up")
