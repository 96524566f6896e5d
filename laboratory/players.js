// Small GANs that train in the page: Algorithm 1 as ganlib plays it, in double precision, and the
// buttons that let it run. The instruments "Figure 1, live" and "In the plane" share them.
"use strict";

{
  // Chance ------------------------------------------------------------------------------------

  // Numbers in [0, 1), the same for the same seed: the generator mulberry32.
  function uniform(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  // Draws from N(0, 1), by Box and Muller.
  const normal = (draw) => () =>
    Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());

  const chance = (seed) => {
    const draw = uniform(seed);
    return { draw, normal: normal(draw) };
  };

  const sigmoid = (l) => (l > 0 ? 1 / (1 + Math.exp(-l)) : Math.exp(l) / (1 + Math.exp(l)));
  const logSigmoid = (l) => (l > 0 ? -Math.log1p(Math.exp(-l)) : l - Math.log1p(Math.exp(l)));

  // The players -------------------------------------------------------------------------------

  // Fully connected layers, ReLU between them (leaky where slope is not 0). `weights` are PyTorch's
  // parameters in PyTorch's order: weight (outputs × inputs, row by row) and bias of each layer.
  class Network {
    constructor(widths, slope, draw) {
      this.slope = slope;
      this.layers = widths.slice(1).map((outputs, l) => ({ inputs: widths[l], outputs }));
      this.weights = this.layers.flatMap(({ inputs, outputs }) =>
        [inputs * outputs, outputs].map((length) =>
          // PyTorch's default: U(−1/√inputs, 1/√inputs)
          Float64Array.from({ length }, () => (2 * draw() - 1) / Math.sqrt(inputs)),
        ),
      );
    }

    // x holds its points one after the other, as a PyTorch tensor (N, inputs) does in memory.
    forward(x) {
      this.passed = [x]; // what enters each layer, and at last what leaves the network
      this.layers.forEach(({ inputs, outputs }, l) => {
        const [W, b, a] = [this.weights[2 * l], this.weights[2 * l + 1], this.passed[l]];
        const slope = l < this.layers.length - 1 ? this.slope : 1;
        const n = a.length / inputs, y = new Float64Array(n * outputs);
        for (let i = 0; i < n; i++) {
          for (let o = 0; o < outputs; o++) {
            let sum = b[o];
            for (let j = 0; j < inputs; j++) sum += W[o * inputs + j] * a[i * inputs + j];
            y[i * outputs + o] = sum > 0 ? sum : slope * sum;
          }
        }
        this.passed.push(y);
      });
      return this.passed.at(-1);
    }

    // From the gradient by what `forward` returned to those by the weights and by x.
    backward(gradient) {
      const gradients = this.weights.map((w) => new Float64Array(w.length));
      for (let l = this.layers.length - 1; l >= 0; l--) {
        const { inputs, outputs } = this.layers[l];
        const [W, a, y] = [this.weights[2 * l], this.passed[l], this.passed[l + 1]];
        const [byW, byB] = [gradients[2 * l], gradients[2 * l + 1]];
        const slope = l < this.layers.length - 1 ? this.slope : 1;
        const below = new Float64Array(a.length);
        for (let i = 0; i * outputs < y.length; i++) {
          for (let o = 0; o < outputs; o++) {
            const by = gradient[i * outputs + o] * (y[i * outputs + o] > 0 ? 1 : slope);
            if (by === 0) continue;
            byB[o] += by;
            for (let j = 0; j < inputs; j++) {
              byW[o * inputs + j] += by * a[i * inputs + j];
              below[i * inputs + j] += by * W[o * inputs + j];
            }
          }
        }
        gradient = below;
      }
      return { gradients, by_x: gradient };
    }
  }

  // PyTorch's Adam.
  class Adam {
    constructor(weights, betas) {
      this.weights = weights;
      this.betas = betas;
      this.mean = weights.map((w) => new Float64Array(w.length));
      this.square = weights.map((w) => new Float64Array(w.length));
      this.moves = 0;
    }

    step(gradients, rate) {
      this.moves += 1;
      const [beta1, beta2] = this.betas;
      const size = rate / (1 - beta1 ** this.moves), root = Math.sqrt(1 - beta2 ** this.moves);
      this.weights.forEach((w, n) => {
        const [m, v, g] = [this.mean[n], this.square[n], gradients[n]];
        for (let i = 0; i < w.length; i++) {
          m[i] += (1 - beta1) * (g[i] - m[i]);
          v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
          w[i] -= (size * m[i]) / (Math.sqrt(v[i]) / root + 1e-8);
        }
      });
    }
  }

  const BATCH = 128;

  class Game {
    // G, D: the players' widths. data: a function that draws one point of them, a number or a list,
    // from the game's own `draw` and `normal`.
    constructor(seed, { G, D, betas, data }) {
      Object.assign(this, chance(seed), { dataPoint: data });
      this.G = new Network(G, 0, this.draw);
      this.D = new Network(D, 0.2, this.draw);
      this.optimizerG = new Adam(this.G.weights, betas);
      this.optimizerD = new Adam(this.D.weights, betas);
      this.step = 0;
      this.pull = null; // the norm of the gradient that G descended in its latest move
    }

    noise() {
      return Float64Array.from({ length: BATCH * this.G.layers[0].inputs }, this.normal);
    }

    data() {
      return Float64Array.from(Array.from({ length: BATCH }, () => this.dataPoint(this)).flat());
    }

    // One iteration of Algorithm 1, or the half of it that is one player's.
    playStep({ k, loss, rateG, rateD, moves = "both" }) {
      if (moves !== "G") for (let i = 0; i < k; i++) this.moveD(this.data(), this.noise(), rateD);
      if (moves !== "D") this.moveG(this.noise(), loss, rateG);
      this.step += 1;
    }

    // D descends −V on data and samples; G stands still.
    moveD(x, z, rate) {
      const samples = this.G.forward(z), both = new Float64Array(x.length + samples.length);
      both.set(x);
      both.set(samples, x.length);
      const n = x.length / this.D.layers[0].inputs;
      const by = this.D.forward(both).map((l, i, all) =>
        i < n ? -sigmoid(-l) / n : sigmoid(l) / (all.length - n),
      );
      this.optimizerD.step(this.D.backward(by).gradients, rate);
    }

    // The gradient of G's loss by each of these samples.
    push(samples, loss) {
      const slope = { non_saturating: (l) => -sigmoid(-l), minimax: (l) => -sigmoid(l) }[loss];
      const by = this.D.forward(samples).map((l, _, all) => slope(l) / all.length);
      return this.D.backward(by).by_x;
    }

    // G descends its loss on samples; D stands still.
    moveG(z, loss, rate) {
      const { gradients } = this.G.backward(this.push(this.G.forward(z), loss)); // G's last forward
      this.pull = Math.hypot(...gradients.map((g) => Math.hypot(...g)));
      this.optimizerG.step(gradients, rate);
    }
  }

  // The buttons -------------------------------------------------------------------------------

  // Play or pause, step and reset. `game` gives the game, `settings` those of its next step; `look`
  // shows how it stands, `tell` says so in words, `start` begins a new one. While it plays, there
  // are up to four steps a frame; where motion is not wanted, 50 in a jump every other second.
  function controls(root, { game, settings, look, tell, start }) {
    const button = (name) => root.querySelector(`button[name="${name}"]`);
    let stop = null; // what ends the playing; null while the game is at rest

    function run(steps, milliseconds) {
      const chosen = settings(), end = performance.now() + milliseconds;
      for (let i = 0; i < steps; i++) {
        game().playStep(chosen);
        if (performance.now() > end) break;
      }
      look();
    }

    function next() {
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      const again = () => {
        if (still) run(50, Infinity);
        else run(4, 10);
        next();
      };
      const waiting = still ? setTimeout(again, 2000) : requestAnimationFrame(again);
      stop = () => (still ? clearTimeout(waiting) : cancelAnimationFrame(waiting));
    }

    const resting = () => stop === null;

    function pause() {
      stop?.();
      stop = null;
      button("play").textContent = "Play";
    }

    function reset() {
      pause();
      start();
      tell();
    }

    button("play").addEventListener("click", () => {
      if (resting()) {
        button("play").textContent = "Pause";
        next();
      } else {
        pause();
        tell();
      }
    });
    button("step").addEventListener("click", () => {
      pause();
      run(1, Infinity);
      tell();
    });
    button("reset").addEventListener("click", reset);
    return { pause, reset, resting };
  }

  window.instruments.players = { Game, chance, controls, logSigmoid, sigmoid };
}
