// A GAN on the line that trains in the page: Algorithm 1 as ganlib plays it, in double precision,
// and figure 1 of Goodfellow et al. (2014) at every step of it.
"use strict";

{
  const { Axes, add, begin, number } = window.instruments.plot;

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

  const bell = (x, mean = 0, sd = 1) =>
    Math.exp(-(((x - mean) / sd) ** 2) / 2) / (sd * Math.sqrt(2 * Math.PI));

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

    forward(x) {
      this.passed = [x]; // what enters each layer, and at last what leaves the network
      this.layers.forEach(({ inputs, outputs }, l) => {
        const [W, b, a] = [this.weights[2 * l], this.weights[2 * l + 1], this.passed[l]];
        const slope = l < this.layers.length - 1 ? this.slope : 1;
        const y = new Float64Array(x.length * outputs);
        for (let i = 0; i < x.length; i++) {
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

  // PyTorch's Adam with betas=(0.5, 0.99), as in the lesson on figure 1.
  class Adam {
    constructor(weights) {
      this.weights = weights;
      this.mean = weights.map((w) => new Float64Array(w.length));
      this.square = weights.map((w) => new Float64Array(w.length));
      this.moves = 0;
    }

    step(gradients, rate) {
      this.moves += 1;
      const size = rate / (1 - 0.5 ** this.moves), root = Math.sqrt(1 - 0.99 ** this.moves);
      this.weights.forEach((w, n) => {
        const [m, v, g] = [this.mean[n], this.square[n], gradients[n]];
        for (let i = 0; i < w.length; i++) {
          m[i] += (1 - 0.5) * (g[i] - m[i]);
          v[i] = 0.99 * v[i] + (1 - 0.99) * g[i] * g[i];
          w[i] -= (size * m[i]) / (Math.sqrt(v[i]) / root + 1e-8);
        }
      });
    }
  }

  // The data of the lesson: share, mean and deviation of each hump.
  const HUMPS = [[0.65, -1, 0.6], [0.35, 1.5, 0.5]];
  const BATCH = 128;

  class Game {
    constructor(seed) {
      this.draw = uniform(seed);
      this.normal = normal(this.draw);
      this.G = new Network([1, 16, 16, 1], 0, this.draw);
      this.D = new Network([1, 32, 32, 1], 0.2, this.draw);
      this.optimizerG = new Adam(this.G.weights);
      this.optimizerD = new Adam(this.D.weights);
      this.step = 0;
      this.pull = null; // the norm of the gradient that G descended in its latest move
    }

    noise() {
      return Float64Array.from({ length: BATCH }, this.normal);
    }

    data() {
      return Float64Array.from({ length: BATCH }, () => {
        const [, mean, sd] = this.draw() < HUMPS[0][0] ? HUMPS[0] : HUMPS[1];
        return mean + sd * this.normal();
      });
    }

    // One iteration of Algorithm 1, or the half of it that is one player's.
    playStep({ k, loss, rate, moves = "both" }) {
      if (moves !== "G") for (let i = 0; i < k; i++) this.moveD(this.data(), this.noise(), rate);
      if (moves !== "D") this.moveG(this.noise(), loss, rate);
      this.step += 1;
    }

    // D descends −V on data and samples; G stands still.
    moveD(x, z, rate) {
      const both = new Float64Array(x.length + z.length);
      both.set(x);
      both.set(this.G.forward(z), x.length);
      const by = this.D.forward(both).map((l, i) =>
        i < x.length ? -sigmoid(-l) / x.length : sigmoid(l) / z.length,
      );
      this.optimizerD.step(this.D.backward(by).gradients, rate);
    }

    // G descends its loss on samples; D stands still.
    moveG(z, loss, rate) {
      const slope = { non_saturating: (l) => -sigmoid(-l), minimax: (l) => -sigmoid(l) }[loss];
      const by = this.D.forward(this.G.forward(z)).map((l) => slope(l) / z.length);
      const { gradients } = this.G.backward(this.D.backward(by).by_x);
      this.pull = Math.hypot(...gradients.map((g) => Math.hypot(...g)));
      this.optimizerG.step(gradients, rate);
    }
  }

  // What can be measured ----------------------------------------------------------------------

  // The line from −6 to 6 in cells. Everything is measured between the two distributions over the
  // cells, the outermost of which hold all that lies beyond; so V ≤ C holds for the numbers shown.
  const FROM = -6, WIDTH = 0.02, CELLS = 600;
  const centres = Float64Array.from({ length: CELLS }, (_, j) => FROM + (j + 0.5) * WIDTH);

  // The share of a density that lies between a and b, by Simpson's rule.
  const share = (p, a, b) => ((b - a) / 6) * (p(a) + 4 * p((a + b) / 2) + p(b));

  const pData = (x) => HUMPS.reduce((sum, [w, mean, sd]) => sum + w * bell(x, mean, sd), 0);
  const dataShares = centres.map((x) => share(pData, x - WIDTH / 2, x + WIDTH / 2));

  const noises = Float64Array.from({ length: 1601 }, (_, i) => -8 + i * 0.01);
  const noiseShares = noises.subarray(1).map((z, i) => share(bell, noises[i], z));

  // The share of G's samples in each cell. No sample is drawn: between two places of a fine grid of
  // noise, G is taken for a straight line, so the noise between them is spread evenly between their
  // images. That is the change of variables, p_g = p_z / |G′|, piece by piece, and it also serves
  // where G falls, or is level and all its noise lands on one point.
  function sampleShares(G) {
    const shares = new Float64Array(CELLS);
    const ends = G.forward(noises).map((x) =>
      Math.min(CELLS - 1e-9, Math.max(0, (x - FROM) / WIDTH)),
    );
    noiseShares.forEach((mass, i) => {
      const low = Math.min(ends[i], ends[i + 1]), high = Math.max(ends[i], ends[i + 1]);
      const first = Math.floor(low), last = Math.floor(high);
      if (first === last) {
        shares[first] += mass;
        return;
      }
      for (let j = first; j <= last; j++) {
        shares[j] += (mass * (Math.min(high, j + 1) - Math.max(low, j))) / (high - low);
      }
    });
    return shares;
  }

  function measure({ G, D }) {
    const q = sampleShares(G), logits = D.forward(centres);
    const best = dataShares.map((p, j) => p / (p + q[j]));
    let JSD = 0, V = 0, least = 1, most = 0;
    dataShares.forEach((p, j) => {
      if (p > 0) JSD += (p * Math.log((2 * p) / (p + q[j]))) / 2;
      if (q[j] > 0) JSD += (q[j] * Math.log((2 * q[j]) / (p + q[j]))) / 2;
      V += p * logSigmoid(logits[j]) + q[j] * logSigmoid(-logits[j]);
      if ((p + q[j]) / WIDTH > 0.05) {
        least = Math.min(least, sigmoid(logits[j]));
        most = Math.max(most, sigmoid(logits[j]));
      }
    });
    const answers = logits.map(sigmoid), density = q.map((mass) => mass / WIDTH);
    return { x: centres, density, best, answers, JSD, V, C: 2 * JSD - Math.log(4), least, most };
  }

  window.instruments.figure_1 = { Game, measure };

  // The instrument ----------------------------------------------------------------------------

  for (const root of document.querySelectorAll('[data-instrument="figure_1"]')) {
    const named = (name) => root.querySelector(`[name="${name}"]`);
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    begin(root);

    const ends = [-4, 4.5], places = [-4, -2, 0, 2, 4];
    let game;
    const picture = new Axes(part("picture"), {
      height: 250, x: ends, y: [0, 1.2], ticks: { x: places, y: [0, [0.5, "½"], 1] },
    });
    const mapping = new Axes(part("mapping"), {
      height: 100, x: ends, y: [0, 1], ticks: { x: places, y: [[0, "z"], [1, "x"]] },
      onLayout: () => game && drawArrows(),
    });
    const course = new Axes(part("course"), {
      height: 170, x: [0, 200], y: [-1.6, 0],
      ticks: { x: [0, 100, 200], y: [-1.5, -1, -0.5, 0] },
    });

    const marks = Float64Array.from({ length: 17 }, (_, i) => -2.4 + 0.3 * i);
    const arrows = Array.from(marks, () => add(mapping.inside, "path", { class: "arrow" }));

    function drawArrows() {
      const images = game.G.forward(marks);
      arrows.forEach((arrow, i) => {
        const [x0, y0] = [mapping.px(marks[i]), mapping.py(0)];
        const [x, y] = [mapping.px(images[i]), mapping.py(1)];
        const direction = Math.atan2(y - y0, x - x0);
        const barb = (turn) =>
          `L${x - 6 * Math.cos(direction + turn)} ${y - 6 * Math.sin(direction + turn)}`;
        arrow.setAttribute("d", `M${x0} ${y0}L${x} ${y}${barb(0.4)}M${x} ${y}${barb(-0.4)}`);
      });
    }

    const KEPT = 400; // points of the curves of V and C; of more, every second goes
    let looks, now, playing = false;

    const settings = () => ({
      k: +named("k").value,
      loss: named("loss").value,
      rate: +named("rate").value,
      moves: named("moves").value,
    });

    // Measure the game as it stands, and show it.
    function look() {
      now = measure(game);
      looks.push({ step: game.step, V: now.V, C: now.C });
      if (looks.length > KEPT) looks = looks.filter((_, i) => i % 2 === 0 || i === KEPT);
      picture.curve("samples", now.x, now.density);
      picture.curve("best", now.x, now.best);
      picture.curve("judge", now.x, now.answers);
      drawArrows();
      if (game.step > course.range.x[1]) stretch(2 * course.range.x[1]);
      const steps = looks.map(({ step }) => step);
      course.curve("best", steps, looks.map(({ C }) => C));
      course.curve("judge", steps, looks.map(({ V }) => V));
      root.querySelector('[data-number="step"]').textContent = game.step;
      for (const name of ["JSD", "V", "C"]) {
        root.querySelector(`[data-number="${name}"]`).textContent = number(now[name], 3);
      }
      const pull = game.pull === null ? "–" : number(game.pull, 3);
      root.querySelector('[data-number="pull"]').textContent = pull;
    }

    function stretch(last) {
      course.show([0, last], [0, last / 2, last]);
      course.curve("level", [0, last], [-Math.log(4), -Math.log(4)]);
    }

    // In words, for those who do not see the picture; said only when the game is at rest.
    function tell() {
      const { JSD, V, C, least, most } = now;
      const apart =
        JSD < 0.02 ? "Samples and data can hardly be told apart"
        : JSD < 0.1 ? "Samples and data are close"
        : JSD < 0.3 ? "Samples and data overlap in part"
        : "Samples and data are far apart";
      root.querySelector("[role=status]").textContent =
        `Step ${game.step}. ${apart}: the JSD is ${number(JSD)} of at most 0.69. ` +
        `D earns V = ${number(V)}, the best D would earn C(G) = ${number(C)}; −log 4 is −1.39. ` +
        `Where data or samples are, D answers between ${number(least)} and ${number(most)}.`;
    }

    function start() {
      pause();
      game = new Game(+named("seed").value);
      looks = [];
      stretch(200);
      look();
      tell();
    }

    function run(steps, milliseconds = Infinity) {
      const chosen = settings(), end = performance.now() + milliseconds;
      for (let i = 0; i < steps; i++) {
        game.playStep(chosen);
        if (performance.now() > end) break;
      }
      look();
    }

    // Up to four steps a frame; where motion is not wanted, a jump of 50 every other second.
    function next() {
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      const again = () => {
        if (!playing) return;
        if (still) run(50);
        else run(4, 10);
        next();
      };
      if (still) setTimeout(again, 2000);
      else requestAnimationFrame(again);
    }

    function play() {
      playing = true;
      named("play").textContent = "Pause";
      next();
    }

    function pause() {
      playing = false;
      named("play").textContent = "Play";
    }

    named("play").addEventListener("click", () => {
      if (!playing) return play();
      pause();
      tell();
    });
    named("step").addEventListener("click", () => {
      pause();
      run(1);
      tell();
    });
    named("reset").addEventListener("click", start);
    named("seed").addEventListener("change", start);
    picture.curve("data", centres, centres.map(pData));
    start();
  }
}
