"""Contractive auto-encoders (Rifai et al., 2011), and their chain (Rifai et al., 2012).

An encoder h = σ(c + Wᵀ x) and a decoder r = σ(b + W h) share their weights. What they minimise is:

    −Σ_i [x_i log r_i + (1 − x_i) log(1 − r_i)]
        + λ ‖J‖²,
    J = ∂h/∂x = diag(h (1 − h)) Wᵀ,

which keeps h from moving with x where no data call for it.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ganlib.networks import check_positive
from ganlib.rivals.rival import Rival, affine, flat

__all__ = ["CAE", "StackedCAE"]


class CAE(nn.Module):
    """One contractive auto-encoder.

    Args:
        visible: Units x.
        hidden: Units h.
        penalty: λ.

    Raises:
        ValueError: A number cannot be.
    """

    def __init__(self, visible: int, hidden: int, penalty: float = 0.1):
        super().__init__()
        check_positive(visible=visible, hidden=hidden)
        if not 0 <= penalty < float("inf"):
            raise ValueError(f"penalty must be at least 0, got {penalty}")
        self.penalty = penalty
        bound = 4 * (6 / (visible + hidden)) ** 0.5  # Glorot & Bengio (2010), of sigmoids
        self.W = nn.Parameter(torch.empty(visible, hidden).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.zeros(visible))
        self.c = nn.Parameter(torch.zeros(hidden))

    def encode(self, x: Tensor) -> Tensor:
        """h, (N, hidden), of x (N, visible)."""
        return affine(x, self.W, self.c).sigmoid()

    def decode(self, h: Tensor) -> Tensor:
        """r, (N, visible), of h (N, hidden)."""
        return affine(h, self.W.T, self.b).sigmoid()

    def contraction(self, h: Tensor) -> Tensor:
        """‖J‖² = Σ_j (h_j (1 − h_j))² Σ_i W_ij², (N,), of h (N, hidden): no J is ever built."""
        return (h * (1 - h)).square() @ self.W.square().sum(0)

    def loss(self, x: Tensor) -> Tensor:
        """The mean over x, (N, visible) in [0, 1], of what is minimised: nats an image."""
        h = self.encode(x)
        logits = affine(h, self.W.T, self.b)
        cross_entropy = binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
        return cross_entropy + self.penalty * self.contraction(h).mean()

    def set_gradient(self, x: Tensor) -> None:
        """The gradient of `loss`, in five products: two there, one back, two for W in one.

        Args:
            x: (N, visible) in [0, 1].
        """
        h = self.encode(x)
        s = h * (1 - h)
        squares = s.square()
        by_r = (self.decode(h) - x) / len(x)  # by r before its sigmoid
        weight = 2 * self.penalty / len(x)
        # ∂‖J‖²/∂(c + Wᵀ x) = 2 s² (1 − 2h) Σ_i W_ij², as ds/dh = 1 − 2h and dh = s d(c + Wᵀ x)
        pull = weight * self.W.square().sum(0) * squares * (1 - 2 * h)
        by_h = (by_r @ self.W).to(s.dtype) * s + pull
        both = torch.cat([x, by_r]).T @ torch.cat([by_h, h])
        # ∂‖J‖²/∂W_ij = 2 s_j² W_ij, where W stands in J itself
        self.W.grad = both.to(s.dtype).addcmul_(self.W, squares.sum(0), value=weight)
        self.b.grad = by_r.sum(0)
        self.c.grad = by_h.sum(0)


class StackedCAE(Rival):
    """Contractive auto-encoders, each of the codes of the one below.

    Args:
        shape: Of an image, (C, H, W).
        hidden: Units of each layer, from the images up.
        penalty: λ, of every layer.

    Raises:
        ValueError: A number cannot be, or there is no layer.
    """

    def __init__(
        self, shape: Sequence[int], hidden: Sequence[int] = (1000, 1000), penalty: float = 0.1
    ):
        super().__init__(shape, hidden=list(hidden), penalty=penalty)
        check_positive(**{"number of layers in hidden": len(hidden)})
        sizes = pairwise([self.pixels, *hidden])
        self.layers = nn.ModuleList(CAE(v, h, penalty) for v, h in sizes)

    @property
    def parts(self) -> nn.ModuleList:
        """The auto-encoders, from the images up."""
        return self.layers

    def inputs(self, number: int, x: Tensor) -> Tensor:
        """The codes of the layer below, given x."""
        h = flat(x, self.layers[0].W.dtype)
        for layer in self.layers[:number]:
            h = layer.encode(h)
        return h

    def start(self, x: Tensor) -> tuple[Tensor]:
        """What the top auto-encoder sees of the images."""
        return (self.inputs(len(self.layers) - 1, x),)

    def move(self, state: tuple[Tensor], sigma: float = 1.0) -> tuple[Tensor, tuple[Tensor]]:
        """z ← g(h + J Jᵀ ε), ε ~ N(0, σ² I), in the top auto-encoder, and the pass down from it.

        There h = f(z) and J = ∂h/∂z. The singular vectors of J with large values lie along the
        data; only there J Jᵀ lets noise through (Rifai et al., 2012, section 3). As in a deep
        belief network the chain runs at the top, where it mixes best (Bengio et al., 2013).

        Args:
            state: (m, units) of what the top auto-encoder sees.
            sigma: σ.

        Returns:
            (m, I) images, and the next state.
        """
        top = self.layers[-1]
        h = top.encode(*state)
        s = h * (1 - h)
        along = (sigma * torch.randn_like(h) * s) @ top.W.T  # Jᵀ ε
        z = x = top.decode(h + (along @ top.W) * s)
        for layer in reversed(self.layers[:-1]):
            x = layer.decode(x)
        return x, (z,)
