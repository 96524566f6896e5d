"""Generative stochastic networks (Bengio et al., 2014), of two hidden layers with tied weights.

The layers x, h1, h2 are updated in turn, the odd one and then the even ones, with noise:

    h1 = tanh(W1ᵀ x̃ + W2 h2 + b1)
    p(x) = σ(W1 h1 + b),  x̃ = corrupted draw from p(x)
    h2 = tanh(W2ᵀ h1 + b2 + σ ε) + σ ε'

Only h1 stands between, so that one matrix U, whose rows are W1's and then the columns of W2, does
both updates: h1 = tanh(Uᵀ (x̃, h2) + b1), and U h1 holds what p(x) and h2 are made of.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ganlib.networks import check_positive
from ganlib.rivals.rival import Rival, affine, draw, flat

__all__ = ["GSN", "salt_and_pepper"]


def salt_and_pepper(x: Tensor, rate: float) -> Tensor:
    """Each number of x is, with probability `rate`, replaced by 0 or 1, either as likely."""
    r = torch.rand_like(x)
    return torch.where(r < 1 - rate, x, (r >= 1 - rate / 2).to(x.dtype))


class GSN(Rival):
    """A generative stochastic network trained with walkback.

    Args:
        shape: Of an image, (C, H, W).
        hidden: Units of h1 and of h2.
        walkback: Steps of the chain in training; each must lead back to the image it began at.
        rate: Of salt and pepper on x.
        sigma: Of the Gaussian noise on h2, before and after tanh.

    Raises:
        ValueError: A number cannot be.
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[int] = (1500, 1500),
        walkback: int = 4,
        rate: float = 0.4,
        sigma: float = 2.0,
    ):
        settings = {"walkback": walkback, "rate": rate, "sigma": sigma}
        super().__init__(shape, hidden=list(hidden), **settings)
        if len(hidden) != 2:
            raise ValueError(f"hidden must hold two numbers of units, got {list(hidden)}")
        h1, h2 = hidden
        check_positive(**{"units of h1": h1, "units of h2": h2, "walkback": walkback})
        if not 0 <= rate <= 1:
            raise ValueError(f"rate must be from 0 to 1, got {rate}")
        if not 0 <= sigma < float("inf"):
            raise ValueError(f"sigma must be at least 0, got {sigma}")
        self.walkback, self.rate, self.sigma = walkback, rate, sigma
        blocks = []
        for rows in (self.pixels, h2):  # W1, and W2 turned round
            bound = (6 / (rows + h1)) ** 0.5  # Glorot & Bengio (2010)
            blocks.append(torch.empty(rows, h1).uniform_(-bound, bound))
        self.U = nn.Parameter(torch.cat(blocks))
        self.odd = nn.Parameter(torch.zeros(h1))  # b1
        self.even = nn.Parameter(torch.zeros(self.pixels + h2))  # b, b2

    @property
    def parts(self) -> tuple[nn.Module]:
        """The whole: it learns at once."""
        return (self,)

    def inputs(self, number: int, x: Tensor) -> Tensor:
        """The images."""
        return flat(x, self.U.dtype)

    def start(self, x: Tensor) -> tuple[Tensor]:
        """x̃ alone: h2 is 0, and need not be multiplied."""
        return (salt_and_pepper(x, self.rate),)

    def update(self, state: Tensor, ends: bool = False) -> tuple[Tensor, ...]:
        """The odd layer and then the even ones.

        Args:
            state: (m, I) x̃, or (m, I + units of h2) x̃ and h2.
            ends: Whether nothing comes after: h2 and x̃ are then left out.

        Returns:
            h1, (m, units), and the logits of p(x), (m, I); then, unless the walk ends, h2 without
            the noise after its tanh, (m, units of h2), and the next state.
        """
        h1 = affine(state, self.U[: state.shape[1]], self.odd).tanh()
        n = self.pixels
        if ends:
            return h1, affine(h1, self.U[:n].T, self.even[:n])
        sums = affine(h1, self.U.T, self.even)
        logits, sums = sums[:, :n], sums[:, n:]
        activation = (sums + self.sigma * torch.randn_like(sums)).tanh()
        h2 = activation + self.sigma * torch.randn_like(sums)
        x = salt_and_pepper(draw(logits.sigmoid()), self.rate)
        return h1, logits, activation, torch.cat([x, h2], 1)

    def move(self, state: tuple[Tensor]) -> tuple[Tensor, tuple[Tensor]]:
        """p(x), (m, I), and the next x̃ and h2."""
        _, logits, _, state = self.update(*state)
        return logits.sigmoid(), (state,)

    def walk(self, x: Tensor) -> list[tuple[Tensor, ...]]:
        """The walk from x, (N, I): of each step its state and what `update` makes of it."""
        (state,) = self.start(x)
        steps = []
        for step in range(1, self.walkback + 1):
            made = self.update(state, ends=step == self.walkback)
            steps.append((state, *made))
            state = made[-1]
        return steps

    def loss(self, x: Tensor) -> Tensor:
        """Σ over the walk's steps of the cross-entropy of x and p(x), a mean over x's numbers.

        In nats a pixel. No gradient passes through the draws: it flows from step to step by h2.
        """
        return sum(binary_cross_entropy_with_logits(logits, x) for _, _, logits, *_ in self.walk(x))

    def set_gradient(self, x: Tensor) -> None:
        """The gradient of `loss`: back along the walk, and then one product for each block of U.

        Args:
            x: (N, I) in [0, 1].
        """
        n, backwards = self.pixels, self.walk(x)[::-1]
        by_h1, by_logits, by_h2 = [], [], []  # before their tanh or sigmoid, the last step first
        for _, h1, logits, *rest in backwards:
            by_even = (logits.sigmoid() - x) / x.numel()
            by_logits.append(by_even)
            if rest:  # h2 went into the step that was looked at before
                activation = rest[0]
                by_noisy = (by_h1[-1] @ self.U[n:].T).to(h1.dtype)
                by_h2.append(by_noisy * (1 - activation.square()))
                by_even = torch.cat([by_even, by_h2[-1]], 1)
            heard = (by_even @ self.U[: by_even.shape[1]]).to(h1.dtype)
            by_h1.append(heard * (1 - h1.square()))
        states, h1 = [step[0] for step in backwards], [step[1] for step in backwards]
        # U is used twice a step, from a state to h1 and from h1 to what follows.
        odd = torch.cat([*by_h1, *h1])
        images = torch.cat([*(state[:, :n] for state in states), *by_logits])
        self.U.grad = torch.zeros_like(self.U)
        self.U.grad[:n] = images.T @ odd
        self.odd.grad = torch.cat(by_h1).sum(0)
        self.even.grad = torch.zeros_like(self.even)
        self.even.grad[:n] = torch.cat(by_logits).sum(0)
        if by_h2:  # else the walk is of a single step, and h2 takes no part
            odd = torch.cat([*by_h1[:-1], *h1[1:]])
            codes = torch.cat([*(state[:, n:] for state in states[:-1]), *by_h2])
            self.U.grad[n:] = codes.T @ odd
            self.even.grad[n:] = torch.cat(by_h2).sum(0)
