"""The loop that tutorials teach, to compare with: plain PyTorch, one thing after the other."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

from ganlib.data import to_float


class Tutorial:
    """D's step and then G's, on the batches of a DataLoader.

    As PyTorch's DCGAN tutorial goes, on any pair: D ends in a sigmoid, the loss is `nn.BCELoss`, D
    has a backward pass for the data and another for the samples, G is judged on the samples that D
    has just learnt from, G's backward pass also computes gradients of D that nobody uses, and both
    losses are read as numbers each step. Algorithm 1 would draw fresh samples for G: one forward
    pass of G more.

    Args:
        G, D: The players; D returns logits.
        x: (N, ...) uint8 images, kept as floats in [0, 1] in main memory.
        batch_size: Images in a minibatch.
        optimizer_G, optimizer_D: Their optimisers.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        x: Tensor,
        batch_size: int,
        optimizer_G: Optimizer,
        optimizer_D: Optimizer,
    ):
        self.G, self.D = G, D
        self.optimizer_G, self.optimizer_D = optimizer_G, optimizer_D
        self.criterion = nn.BCELoss()
        self.device = next(G.parameters()).device
        data = TensorDataset(to_float(x.cpu()))
        self.loader = DataLoader(data, batch_size, shuffle=True, drop_last=True)
        self.batches = iter(self.loader)

    def play_step(self) -> tuple[float, float]:
        """One step of each player on the next batch; the losses of D and G, in nats."""
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        return self.play_on(batch[0].to(self.device))

    def play_on(self, real: Tensor) -> tuple[float, float]:
        """One step of each player on m real images; the losses of D and G, in nats."""
        ones = torch.ones(len(real), 1, dtype=real.dtype, device=self.device)
        zeros = torch.zeros(len(real), 1, dtype=real.dtype, device=self.device)

        self.optimizer_D.zero_grad()
        loss_real = self.criterion(torch.sigmoid(self.D(real)), ones)
        loss_real.backward()
        fake = self.G(self.G.noise(len(real), real))
        loss_fake = self.criterion(torch.sigmoid(self.D(fake.detach())), zeros)
        loss_fake.backward()
        self.optimizer_D.step()

        self.optimizer_G.zero_grad()
        loss_G = self.criterion(torch.sigmoid(self.D(fake)), ones)
        loss_G.backward()
        self.optimizer_G.step()
        return loss_real.item() + loss_fake.item(), loss_G.item()
