"""The rivals as a textbook writes them in PyTorch, to compare with: autograd, one step at a time.

Each takes the weights of a part of ganlib's and does one step of training on a batch. They draw the
numbers that ganlib draws, in the same order, so that both can be held to the same step.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits, softplus
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

from ganlib.data import to_float
from ganlib.rivals import GSN
from ganlib.rivals.cae import CAE
from ganlib.rivals.dbn import RBM


def bernoulli(p: Tensor) -> Tensor:
    """Binary draws, by the function that PyTorch has for them."""
    return torch.bernoulli(p)


class _Textbook:
    """Backward passes through `loss`, and the optimiser's steps, on the batches of a DataLoader.

    Args:
        part: Whose weights to train.
        x: (N, ...) uint8 images, kept as floats in [0, 1] in main memory.
        batch_size: Images in a minibatch.
        optimizer: Of the part's parameters.
    """

    def __init__(self, part: nn.Module, x: Tensor, batch_size: int, optimizer: Optimizer):
        self.part, self.optimizer = part, optimizer
        data = TensorDataset(to_float(x).flatten(1))
        self.loader = DataLoader(data, batch_size, shuffle=True, drop_last=True)
        self.batches = iter(self.loader)

    def play_step(self) -> float:
        """One step on the next batch; the loss, in nats."""
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        return self.play_on(batch[0].to(next(self.part.parameters()).device))

    def play_on(self, x: Tensor) -> float:
        """One step on m inputs, (m, I) in [0, 1]; the loss, in nats."""
        self.optimizer.zero_grad()
        loss = self.loss(x)
        loss.backward()
        self.optimizer.step()
        return loss.item()


class TextbookRBM(_Textbook):
    """CD-k as the gradient of a difference of free energies, the chain's end held fixed."""

    part: RBM

    def free_energy(self, v: Tensor) -> Tensor:
        """−b·v − Σ log(1 + exp(c + Wᵀ v)), (m,)."""
        return -v @ self.part.b - softplus(v @ self.part.W + self.part.c).sum(1)

    def loss(self, v: Tensor) -> Tensor:
        """F(data) − F(chain), means over the batch."""
        W, b, c = self.part.W, self.part.b, self.part.c
        with torch.no_grad():
            chain = v
            for _ in range(self.part.k):
                h = bernoulli(torch.sigmoid(chain @ W + c))
                chain = bernoulli(torch.sigmoid(h @ W.T + b))
        return self.free_energy(v).mean() - self.free_energy(chain).mean()


class TextbookCAE(_Textbook):
    """The textbook's formula of ‖J‖², and autograd."""

    part: CAE

    def loss(self, x: Tensor) -> Tensor:
        """Cross-entropy and penalty, a mean over the batch."""
        W, b, c = self.part.W, self.part.b, self.part.c
        h = torch.sigmoid(x @ W + c)
        r = torch.sigmoid(h @ W.T + b)
        cross_entropy = binary_cross_entropy(r, x, reduction="none").sum(1).mean()
        penalty = ((h * (1 - h)) ** 2 @ (W**2).sum(0)).mean()
        return cross_entropy + self.part.penalty * penalty


class JacobianCAE(TextbookCAE):
    """‖J‖² from J itself, as the authors' released code computes it."""

    def loss(self, x: Tensor) -> Tensor:
        """Cross-entropy and penalty, a mean over the batch."""
        W, b, c = self.part.W, self.part.b, self.part.c
        h = torch.sigmoid(x @ W + c)
        r = torch.sigmoid(h @ W.T + b)
        J = (h * (1 - h))[:, :, None] * W.T  # (m, hidden, visible)
        cross_entropy = binary_cross_entropy(r, x, reduction="none").sum(1).mean()
        return cross_entropy + self.part.penalty * (J**2).sum((1, 2)).mean()


class TextbookGSN(_Textbook):
    """The walk layer by layer, each with its own product, as the released code writes it."""

    part: GSN

    def corrupt(self, x: Tensor) -> Tensor:
        """Salt and pepper."""
        r = torch.rand_like(x)
        noise = (r >= 1 - self.part.rate / 2).to(x.dtype)
        return torch.where(r < 1 - self.part.rate, x, noise)

    def loss(self, x: Tensor) -> Tensor:
        """The cross-entropies of x and p(x), summed over the walk."""
        gsn, n = self.part, x.shape[1]
        W1, W2 = gsn.U[:n], gsn.U[n:].T
        b, b1, b2 = gsn.even[:n], gsn.odd, gsn.even[n:]
        noisy, h2 = self.corrupt(x), torch.zeros(len(x), len(b2), dtype=x.dtype, device=x.device)
        losses = []
        for _ in range(gsn.walkback):
            h1 = torch.tanh(noisy @ W1 + h2 @ W2.T + b1)
            logits = h1 @ W1.T + b
            a2 = h1 @ W2 + b2
            h2 = torch.tanh(a2 + gsn.sigma * torch.randn_like(a2))
            h2 = h2 + gsn.sigma * torch.randn_like(a2)
            losses.append(binary_cross_entropy_with_logits(logits, x))
            noisy = self.corrupt(bernoulli(torch.sigmoid(logits)))
        return sum(losses)
