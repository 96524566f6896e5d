"""Deep belief networks (Hinton, Osindero & Teh, 2006): restricted Boltzmann machines, stacked.

A restricted Boltzmann machine gives binary units v and h the energy:

    E(v, h) = −b·v − c·h − vᵀ W h,
    p(v, h) ∝ exp(−E(v, h)).

Given one side, the units of the other are independent: p(h_j = 1 | v) = σ(c_j + (vᵀ W)_j), and
p(v_i = 1 | h) = σ(b_i + (W h)_i). Grey images are taken as probabilities of v.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from ganlib.networks import check_positive
from ganlib.rivals.rival import Rival, affine, draw, flat

__all__ = ["DBN", "RBM"]


class RBM(nn.Module):
    """A restricted Boltzmann machine that learns by contrastive divergence.

    Args:
        visible: Units v.
        hidden: Units h.
        k: Steps of Gibbs sampling for one of learning.
        particles: 0 starts these steps at the data, which is contrastive divergence, CD-k (Hinton,
            2002). So many chains that go on where they stopped are persistent contrastive
            divergence (Tieleman, 2008).

    Raises:
        ValueError: A number cannot be.
    """

    def __init__(self, visible: int, hidden: int, k: int = 1, particles: int = 0):
        super().__init__()
        check_positive(visible=visible, hidden=hidden, k=k)
        if particles < 0:
            raise ValueError(f"particles must be at least 0, got {particles}")
        self.k = k
        self.W = nn.Parameter(0.01 * torch.randn(visible, hidden))  # Hinton (2012), section 8
        self.b = nn.Parameter(torch.zeros(visible))
        self.c = nn.Parameter(torch.zeros(hidden))
        # p(h | v) of the chains' latest v: their h is drawn from it when they go on
        start = torch.full((particles, hidden), 0.5) if particles else None
        self.register_buffer("particles", start)

    def hidden(self, v: Tensor) -> Tensor:
        """p(h_j = 1 | v), (N, hidden), of v (N, visible)."""
        return affine(v, self.W, self.c).sigmoid()

    def visible(self, h: Tensor) -> Tensor:
        """p(v_i = 1 | h), (N, visible), of h (N, hidden)."""
        return affine(h, self.W.T, self.b).sigmoid()

    def free_energy(self, v: Tensor) -> Tensor:
        """F(v) = −log Σ_h exp(−E(v, h)) = −b·v − Σ_j log(1 + exp(c_j + (vᵀ W)_j)), (N,) nats."""
        return -(v @ self.b) - softplus(affine(v, self.W, self.c)).sum(1)

    def set_gradient(self, v: Tensor) -> None:
        """−∂ log p/∂W = −⟨v hᵀ⟩_data + ⟨v hᵀ⟩_model, the latter after k steps of Gibbs sampling.

        Args:
            v: (N, visible) in [0, 1].
        """
        p = self.hidden(v)
        q = p if self.particles is None else self.particles
        for _ in range(self.k):
            w = draw(self.visible(draw(q)))
            q = self.hidden(w)
        if self.particles is not None:
            self.particles.copy_(q)
        # Both means in one product; h is put in as its mean given v, which has less variance.
        both = torch.cat([v, w]).T @ torch.cat([p / -len(v), q / len(w)])
        self.W.grad = both.to(self.W.dtype)
        self.b.grad = w.mean(0) - v.mean(0)
        self.c.grad = q.mean(0) - p.mean(0)

    def loss(self, v: Tensor) -> Tensor:
        """Cross-entropy of v and of what comes back from its p(h | v): nats an image, to watch.

        Learning does not descend it, only lowers it; log p itself has a sum over all states in it.
        """
        logits = affine(self.hidden(v), self.W.T, self.b)
        return binary_cross_entropy_with_logits(logits, v, reduction="sum") / len(v)


class DBN(Rival):
    """A deep belief network: each RBM learns from the hidden means of the one below.

    To draw, Gibbs sampling runs in the top RBM, and each layer below passes its image down.

    Args:
        shape: Of an image, (C, H, W).
        hidden: Units of each layer, from the images up.
        k: As for `RBM`.
        particles: Likewise, of the top RBM: the others need not draw.

    Raises:
        ValueError: A number cannot be, or there is no layer.
    """

    def __init__(
        self, shape: Sequence[int], hidden: Sequence[int] = (1000, 1000), k=1, particles=0
    ):
        super().__init__(shape, hidden=list(hidden), k=k, particles=particles)
        check_positive(**{"number of layers in hidden": len(hidden)})
        chains = [0] * (len(hidden) - 1) + [particles]
        sizes = pairwise([self.pixels, *hidden])
        self.layers = nn.ModuleList(RBM(v, h, k, its) for (v, h), its in zip(sizes, chains))

    @property
    def parts(self) -> nn.ModuleList:
        """The RBMs, from the images up."""
        return self.layers

    def inputs(self, number: int, x: Tensor) -> Tensor:
        """The means of the layer below, given x."""
        v = flat(x, self.layers[0].W.dtype)
        for layer in self.layers[:number]:
            v = layer.hidden(v)
        return v

    def start(self, x: Tensor) -> tuple[Tensor]:
        """The top RBM's visible units, drawn given x."""
        return (draw(self.inputs(len(self.layers) - 1, x)),)

    def move(self, state: tuple[Tensor], down: str = "means") -> tuple[Tensor, tuple[Tensor]]:
        """A step of Gibbs sampling in the top RBM, and the pass down from it.

        Args:
            state: (m, visible) of the top RBM, binary.
            down: Each layer passes on its "means", or binary "draws" from them.

        Returns:
            (m, I) means of the images, and the next state.

        Raises:
            ValueError: `down` is neither.
        """
        if down not in ("means", "draws"):
            raise ValueError(f"down must be 'means' or 'draws', got {down!r}")
        top = self.layers[-1]
        means = top.visible(draw(top.hidden(*state)))
        state = draw(means)
        for layer in reversed(self.layers[:-1]):
            means = layer.visible(means if down == "means" else draw(means))
        return means, (state,)
