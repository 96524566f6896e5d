"""The generative stochastic network: its updates, its gradient, and where its chain ends up."""

import pytest
import torch
from tiny import histogram, states, stirred
from torch.nn.functional import binary_cross_entropy

from ganlib.rivals import GSN
from ganlib.rivals.gsn import salt_and_pepper
from ganlib.rivals.rival import draw

TINY = (1, 2, 2)


def test_salt_and_pepper_replaces_as_often_as_it_says():
    torch.manual_seed(0)
    noisy = salt_and_pepper(torch.full((200_000,), 0.5), 0.4)
    shares = [(noisy == value).float().mean().item() for value in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.2, 0.6, 0.2], abs=0.005)
    assert torch.equal(salt_and_pepper(noisy, 0.0), noisy)


def test_the_updates_are_those_of_the_two_weight_matrices(monkeypatch):
    gsn = stirred(GSN(TINY, hidden=(5, 3), sigma=0.7))
    W1, W2 = gsn.U[:4], gsn.U[4:].T
    b, b1, b2 = gsn.even[:4], gsn.odd, gsn.even[4:]
    x, h2 = torch.rand(6, 4, dtype=torch.float64), torch.rand(6, 3, dtype=torch.float64)
    noises = [torch.randn(6, 3, dtype=torch.float64) for _ in range(2)]
    left = iter(noises)
    monkeypatch.setattr(torch, "randn_like", lambda like: next(left))
    torch.testing.assert_close(
        gsn.update(x, ends=True), gsn.update(torch.cat([x, 0 * h2], 1), ends=True)
    )
    torch.manual_seed(0)
    h1, logits, _, state = gsn.update(torch.cat([x, h2], 1))
    torch.testing.assert_close(h1, torch.tanh(x @ W1 + h2 @ W2.T + b1))
    torch.testing.assert_close(logits, h1 @ W1.T + b)
    noisy = torch.tanh(h1 @ W2 + b2 + 0.7 * noises[0]) + 0.7 * noises[1]
    torch.testing.assert_close(state[:, 4:], noisy)
    torch.manual_seed(0)
    assert torch.equal(state[:, :4], salt_and_pepper(draw(logits.sigmoid()), 0.4))


@pytest.mark.parametrize("walkback", [1, 2, 4])
def test_its_gradient_is_that_of_the_loss(walkback):
    """By autograd to rounding; by finite differences with the noise and the draws held."""
    gsn = stirred(GSN(TINY, hidden=(5, 3), walkback=walkback, sigma=0.7))
    x = torch.rand(6, 4, dtype=torch.float64)

    def loss():
        torch.manual_seed(1)
        return gsn.loss(x)

    torch.manual_seed(1)
    with torch.no_grad():
        gsn.set_gradient(x)
    by_autograd = torch.autograd.grad(loss(), list(gsn.parameters()), materialize_grads=True)
    for parameter, its in zip(gsn.parameters(), by_autograd, strict=True):
        torch.testing.assert_close(parameter.grad, its, rtol=0, atol=1e-12)
        for place in range(0, parameter.numel(), 3):
            ends = []
            for step in (1e-7, -2e-7, 1e-7):
                parameter.data.view(-1)[place] += step
                ends.append(loss().item())
            slope = (ends[0] - ends[1]) / 2e-7
            assert parameter.grad.view(-1)[place].item() == pytest.approx(slope, abs=1e-6)


def test_the_loss_sums_the_cross_entropies_of_the_walk():
    gsn = stirred(GSN(TINY, hidden=(5, 3), walkback=3))
    x = torch.rand(6, 4, dtype=torch.float64)
    torch.manual_seed(1)
    steps = gsn.walk(x)
    assert len(steps) == 3
    expected = sum(binary_cross_entropy(step[2].sigmoid(), x) for step in steps)
    torch.manual_seed(1)
    torch.testing.assert_close(gsn.loss(x), expected)


def test_the_chain_draws_from_the_distribution_it_has_learnt():
    """Three bits that hang together. Little noise, so that p(x | x̃) is nearly a product: with much
    noise it is not, and the chain of any network of independent pixels must miss the truth."""
    truth = torch.tensor([0.35, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.35])
    torch.manual_seed(0)
    x = states(3)[truth.multinomial(4000, replacement=True)].float().view(-1, 1, 1, 3)
    gsn = GSN((1, 1, 3), hidden=(32, 16), walkback=2, rate=0.1, sigma=0.1)
    make = lambda weights: torch.optim.Adam(weights, lr=3e-3)  # noqa: E731

    def off():
        means = gsn.sample(x[:2000], 20, burn_in=200, every=5)
        return (histogram(draw(means).view(-1, 3)) - histogram(x.view(-1, 3))).abs().sum() / 2

    before = off()
    gsn.fit(x, steps=[2000], optimizer=make, batch_size=200)
    assert before > 0.2  # total variation
    assert off() < 0.05


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"hidden must hold two numbers of units, got \[3\]"):
        GSN(TINY, hidden=(3,))
    with pytest.raises(ValueError, match="walkback must be at least 1, got 0"):
        GSN(TINY, walkback=0)
    with pytest.raises(ValueError, match="rate must be from 0 to 1, got -1"):
        GSN(TINY, rate=-1)
    with pytest.raises(ValueError, match="sigma must be at least 0, got -1"):
        GSN(TINY, sigma=-1.0)
