"""A short game of ganlib's, with all that chance put into it, to be played again elsewhere."""

import torch

import ganlib
from ganlib.data import minibatches


class Recorded(ganlib.Noise):
    """Noise that remembers what it drew."""

    drawn = []  # noqa: RUF012

    def __call__(self, *arguments, **settings):
        self.drawn.append(super().__call__(*arguments, **settings))
        return self.drawn[-1]


def lists(network):
    """A network's parameters as flat lists, in PyTorch's order."""
    return [parameter.detach().flatten().tolist() for parameter in network.parameters()]


def play(G, D, data, *, steps, batch_size, k, loss, rates, betas):
    """Train both by `ganlib.train` with Adam: the game, their weights before, each move's x and z.

    Args:
        G: Generator in float64, whose noise is `Recorded`.
        D: Discriminator in float64.
        data: Float64.
        steps: Moves of G.
        batch_size: Of both players.
        k: Moves of D in a step.
        loss: Of G.
        rates: Of G and of D.
        betas: Of both.
    """
    before = lists(G), lists(D)
    Recorded.drawn.clear()
    game = ganlib.train(
        G,
        D,
        data,
        steps=steps,
        batch_size=batch_size,
        k=k,
        loss=loss,
        optimizer_G=torch.optim.Adam(G.parameters(), rates[0], betas),
        optimizer_D=torch.optim.Adam(D.parameters(), rates[1], betas),
        log_every=1,
    )
    batches = minibatches(data, None, batch_size, 0, torch.float64)
    x = [batches[n][0].flatten().tolist() for n in range(steps * k)]
    tried, *played = Recorded.drawn  # `train` tries G on two points before it plays
    z = [noise.flatten().tolist() for noise in played]
    assert len(tried) == 2
    assert len(z) == steps * (k + 1)
    return game, before, x, z


# The same game in a page: (game, weights of G and D, x, z, settings) → nothing.
REPLAY = """(game, [G, D], x, z, { k, loss, rateG, rateD }) => {
  const set = (network, weights) => network.weights.forEach((w, i) => {
    if (w.length !== weights[i].length) throw new Error("another shape");
    w.set(weights[i]);
  });
  set(game.G, G);
  set(game.D, D);
  x = x.map((batch) => Float64Array.from(batch));
  z = z.map((batch) => Float64Array.from(batch));
  while (z.length) {
    for (let move = 0; move < k; move++) game.moveD(x.shift(), z.shift(), rateD);
    game.moveG(z.shift(), loss, rateG);
  }
}"""
