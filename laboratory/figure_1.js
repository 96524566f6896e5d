// A GAN on the line that trains in the page, and figure 1 of Goodfellow et al. (2014) at every step
// of it.
"use strict";

{
  const { Axes, Course, add, begin, number } = window.instruments.plot;
  const { controls, logSigmoid, sigmoid } = window.instruments.players;

  // The game of the lesson on figure 1: share, mean and deviation of each hump of its data.
  const HUMPS = [[0.65, -1, 0.6], [0.35, 1.5, 0.5]];

  class Game extends window.instruments.players.Game {
    constructor(seed) {
      super(seed, {
        G: [1, 16, 16, 1],
        D: [1, 32, 32, 1],
        betas: [0.5, 0.99],
        data: ({ draw, normal }) => {
          const [, mean, sd] = draw() < HUMPS[0][0] ? HUMPS[0] : HUMPS[1];
          return mean + sd * normal();
        },
      });
    }
  }

  const bell = (x, mean = 0, sd = 1) =>
    Math.exp(-(((x - mean) / sd) ** 2) / 2) / (sd * Math.sqrt(2 * Math.PI));

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
    const course = new Course(part("course"), {
      height: 170, y: [-1.6, 0], ticks: [-1.5, -1, -0.5, 0], level: -Math.log(4),
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

    let now;

    const settings = () => ({
      k: +named("k").value,
      loss: named("loss").value,
      rateG: +named("rate").value,
      rateD: +named("rate").value,
      moves: named("moves").value,
    });

    // Measure the game as it stands, and show it.
    function look() {
      now = measure(game);
      picture.curve("samples", now.x, now.density);
      picture.curve("best", now.x, now.best);
      picture.curve("judge", now.x, now.answers);
      drawArrows();
      course.note(game.step, { best: now.C, judge: now.V });
      root.querySelector('[data-number="step"]').textContent = game.step;
      for (const name of ["JSD", "V", "C"]) {
        root.querySelector(`[data-number="${name}"]`).textContent = number(now[name], 3);
      }
      const pull = game.pull === null ? "–" : number(game.pull, 3);
      root.querySelector('[data-number="pull"]').textContent = pull;
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
      game = new Game(+named("seed").value);
      course.restart();
      look();
    }

    picture.curve("data", centres, centres.map(pData));
    const { reset } = controls(root, { game: () => game, settings, look, tell, start });
    named("seed").addEventListener("change", reset);
    reset();
  }
}
