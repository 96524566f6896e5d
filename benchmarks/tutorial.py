"""The loop that tutorials teach, to compare with: plain PyTorch, one thing after the other."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

from ganlib.data import as_condition, to_float


class Tutorial:
    """D's step and then G's, on the batches of a DataLoader.

    As PyTorch's DCGAN tutorial goes, on any pair: D ends in a sigmoid, the loss is `nn.BCELoss`, D
    has a backward pass for the data and another for the samples, G is judged on the samples that D
    has just learnt from, G's backward pass also computes gradients of D that nobody uses, and both
    losses are read as numbers each step. Algorithm 1 would draw fresh samples for G: one forward
    pass of G more. A conditional game goes the same way with batches (x, y), and pix2pix with
    `nn.L1Loss` besides.

    Args:
        G, D: The players; D returns logits.
        x: (N, ...) uint8 images, kept as floats in [0, 1] in main memory.
        y: (N, ...) conditions: classes, or uint8 images, kept as x is; or None.
        batch_size: Images in a minibatch.
        optimizer_G, optimizer_D: Their optimisers.
        lambda_l1: Weight of |x − G(z, y)| in G's loss.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        x: Tensor,
        y: Tensor | None,
        batch_size: int,
        optimizer_G: Optimizer,
        optimizer_D: Optimizer,
        lambda_l1: float = 0.0,
    ):
        self.G, self.D = G, D
        self.optimizer_G, self.optimizer_D = optimizer_G, optimizer_D
        self.criterion, self.l1, self.lambda_l1 = nn.BCELoss(), nn.L1Loss(), lambda_l1
        self.device = next(G.parameters()).device
        conditions = () if y is None else (as_condition(y.cpu()),)
        data = TensorDataset(to_float(x.cpu()), *conditions)
        self.loader = DataLoader(data, batch_size, shuffle=True, drop_last=True)
        self.batches = iter(self.loader)

    def play_step(self) -> tuple[float, float]:
        """One step of each player on the next batch; the losses of D and G, in nats."""
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        return self.play_on(*(part.to(self.device) for part in batch))

    def play_on(self, real: Tensor, *y: Tensor) -> tuple[float, float]:
        """One step of each player on m real images and their conditions; both losses, in nats."""
        self.optimizer_D.zero_grad()
        judged = torch.sigmoid(self.D(real, *y))
        ones, zeros = torch.ones_like(judged), torch.zeros_like(judged)
        loss_real = self.criterion(judged, ones)
        loss_real.backward()
        z = None if self.G.noise is None else self.G.noise(len(real), real)
        fake = self.G(z, *y)
        loss_fake = self.criterion(torch.sigmoid(self.D(fake.detach(), *y)), zeros)
        loss_fake.backward()
        self.optimizer_D.step()

        self.optimizer_G.zero_grad()
        loss_G = self.criterion(torch.sigmoid(self.D(fake, *y)), ones)
        loss = loss_G
        if self.lambda_l1:
            loss = loss_G + self.lambda_l1 * self.l1(fake, real)
        loss.backward()
        self.optimizer_G.step()
        return loss_real.item() + loss_fake.item(), loss_G.item()
