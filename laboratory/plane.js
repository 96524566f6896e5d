// A GAN in the plane that trains in the page, on data that can be drawn: what D answers everywhere,
// where the samples are, and where D pushes them.
"use strict";

{
  const { Axes, Course, add, begin, number } = window.instruments.plot;
  const { controls, logSigmoid, sigmoid } = window.instruments.players;

  // The data -----------------------------------------------------------------------------------

  // A mode is a round Gaussian of this deviation, as in the lesson on failures; all weigh the same.
  const SD = 0.05;
  const END = 1.75; // the picture goes from −END to END both ways

  const evenly = (n, place) => Array.from({ length: n }, (_, i) => place(i));
  const DATA = {
    ring: evenly(8, (i) => [Math.cos((i * Math.PI) / 4), Math.sin((i * Math.PI) / 4)]),
    grid: evenly(9, (i) => [(i % 3) - 1, Math.floor(i / 3) - 1]),
    spiral: evenly(40, (i) => {
      const turn = 1.2 + 0.2 * i;
      return [(0.145 * turn) * Math.cos(turn), (0.145 * turn) * Math.sin(turn)];
    }),
  };

  class Game extends window.instruments.players.Game {
    // modes: the centres. noise: how many numbers G is given.
    constructor(seed, { modes, noise }) {
      super(seed, {
        G: [noise, 64, 64, 2],
        D: [2, 64, 64, 1],
        betas: [0, 0.999],
        data: ({ draw, normal }) =>
          modes[Math.floor(draw() * modes.length)].map((place) => place + SD * normal()),
      });
    }
  }

  // What can be measured -----------------------------------------------------------------------

  // Of samples: a good one is within three deviations of a mode; a mode is covered if a tenth of
  // its fair share of the samples, or more, is good there. The lesson on failures counts likewise.
  function count(samples, modes) {
    const counts = new Int32Array(modes.length), n = samples.length / 2;
    let good = 0;
    for (let i = 0; i < n; i++) {
      let nearest = Infinity, which = 0;
      modes.forEach(([x, y], m) => {
        const far = Math.hypot(samples[2 * i] - x, samples[2 * i + 1] - y);
        if (far < nearest) [nearest, which] = [far, m];
      });
      if (nearest >= 3 * SD) continue;
      good += 1;
      counts[which] += 1;
    }
    return {
      covered: counts.filter((times) => times >= n / (10 * modes.length)).length,
      good: good / n,
    };
  }

  // The means of V and of D's answers over data and samples, which the same draws make each time.
  function measure({ G, D }, modes, data, noise) {
    const samples = G.forward(noise), n = noise.length / G.layers[0].inputs;
    const onData = D.forward(data), onSamples = D.forward(samples);
    const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
    return {
      samples,
      n,
      V: mean(onData.map(logSigmoid)) + mean(onSamples.map((l) => logSigmoid(-l))),
      onData: mean(onData.map(sigmoid)),
      onSamples: mean(onSamples.map(sigmoid)),
      ...count(samples, modes),
    };
  }

  window.instruments.plane = { Game, DATA, count, measure };

  // The instrument ----------------------------------------------------------------------------

  const CELLS = 48; // of the ground, each way
  const SHOWN = 250; // points of data, and samples
  const PUSHED = 50; // samples with an arrow
  const LOOKED_AT = 1000; // points of data, and samples, that are measured
  const DENSEST = 0.08, MOST = 300; // of modes that are drawn: how near, how many

  for (const root of document.querySelectorAll('[data-instrument="plane"]')) {
    const named = (name) => root.querySelector(`[name="${name}"]`);
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    begin(root);

    const range = [-END, END], places = [-1, 0, 1];
    let game, modes, data, noise, now;
    const picture = new Axes(part("picture"), {
      x: range, y: range, ticks: { x: places, y: places }, onLayout: () => game && draw(),
    });
    const course = new Course(part("course"), { height: 130, y: [0, 1.04], ticks: [0, 0.5, 1] });
    const ground = add(picture.inside, "image", { preserveAspectRatio: "none" });
    const [points, samples, pushes] = ["points data", "points samples", "arrow"].map((name) =>
      add(picture.inside, "path", { class: name }),
    );
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = CELLS;

    const settings = () => ({
      k: +named("k").value,
      loss: named("loss").value,
      rateG: +named("rate_G").value,
      rateD: +named("rate_D").value,
      moves: named("moves").value,
    });

    // The middles of the cells of the ground, row by row from the top.
    const middle = (i) => -END + ((i + 0.5) * 2 * END) / CELLS;
    const cells = Float64Array.from({ length: 2 * CELLS ** 2 }, (_, i) =>
      i % 2 ? -middle(Math.floor(i / 2 / CELLS)) : middle((i / 2) % CELLS),
    );

    // Blue where D answers more than one half, orange where less, the stronger the further off.
    function drawGround() {
      const pen = canvas.getContext("2d"), image = pen.createImageData(CELLS, CELLS);
      game.D.forward(cells).forEach((logit, i) => {
        const answer = sigmoid(logit), colour = answer > 0.5 ? [0, 114, 178] : [213, 94, 0];
        image.data.set([...colour, 150 * Math.abs(2 * answer - 1)], 4 * i);
      });
      pen.putImageData(image, 0, 0);
      const [left, top] = [picture.px(-END), picture.py(END)];
      const box = { x: left, y: top, width: picture.px(END) - left, height: picture.py(-END) - top };
      for (const [key, value] of Object.entries(box)) ground.setAttribute(key, value);
      ground.setAttribute("href", canvas.toDataURL());
    }

    const place = (xy, i) =>
      `${picture.px(xy[2 * i]).toFixed(1)} ${picture.py(xy[2 * i + 1]).toFixed(1)}`;

    // Points are lines without length, with round ends.
    const dots = (xy) =>
      evenly(Math.min(SHOWN, xy.length / 2), (i) => `M${place(xy, i)}h0`).join("");

    // From a sample against the gradient of its loss, the way of its quickest fall.
    function drawPushes() {
      const pushed = now.samples.subarray(0, 2 * PUSHED);
      const by = game.push(pushed, named("loss").value);
      const tips = pushed.map((from, i) => {
        const [dx, dy] = [by[i - (i % 2)], by[i - (i % 2) + 1]].map((g) => -0.06 * PUSHED * g);
        const cut = Math.min(1, 0.35 / Math.hypot(dx, dy));
        return from + cut * (i % 2 ? dy : dx);
      });
      pushes.setAttribute(
        "d",
        evenly(PUSHED, (i) => `M${place(pushed, i)}L${place(tips, i)}`).join(""),
      );
    }

    function draw() {
      drawGround();
      points.setAttribute("d", dots(data));
      samples.setAttribute("d", dots(now.samples));
      drawPushes();
    }

    // Measure the game as it stands, and show it.
    function look() {
      now = measure(game, modes, data, noise);
      draw();
      course.note(game.step, { samples: now.good, best: modes.length && now.covered / modes.length });
      const shown = {
        step: game.step,
        covered: `${now.covered} of ${modes.length}`,
        good: percent(now.good),
        V: modes.length ? number(now.V, 3) : "–",
        pull: game.pull === null ? "–" : number(game.pull, 3),
      };
      for (const [name, text] of Object.entries(shown)) {
        root.querySelector(`[data-number="${name}"]`).textContent = text;
      }
    }

    const percent = (share) => `${Math.round(100 * share)}\u00a0%`;

    // In words, for those who do not see the picture; said only when the game is at rest.
    function tell() {
      const { covered, good, V, onData, onSamples } = now;
      root.querySelector("[role=status]").textContent = !modes.length
        ? "There are no data. Draw some: press and move over the picture, or add modes by number."
        : `Step ${game.step}. Samples cover ${covered} of ${modes.length} modes, and ` +
          `${percent(good)} of them are good. On the data D answers ${number(onData)} in the ` +
          `mean, on samples ${number(onSamples)}; V = ${number(V)}, and −log 4 is −1.39.`;
    }

    // What is measured is drawn anew from the data as they are now, always by the same chance.
    function drawData() {
      const chance = new Game(2 ** 31, { modes, noise: game.G.layers[0].inputs });
      const point = modes.length ? () => chance.dataPoint(chance) : () => [];
      data = Float64Array.from(evenly(LOOKED_AT, point).flat());
      noise = Float64Array.from({ length: LOOKED_AT * game.G.layers[0].inputs }, chance.normal);
      for (const name of ["play", "step"]) named(name).disabled = !modes.length;
    }

    function start() {
      game = new Game(+named("seed").value, { modes, noise: +named("noise").value });
      drawData();
      course.restart();
      look();
    }

    function run(steps, milliseconds = Infinity) {
      const chosen = settings(), end = performance.now() + milliseconds;
      for (let i = 0; i < steps; i++) {
        game.playStep(chosen);
        if (performance.now() > end) break;
      }
      look();
    }

    const { pause, reset } = controls(root, { atOnce: 4, start, run, tell });

    // Your own data start as a copy of those that were shown, so there is something to change.
    function choose() {
      const own = named("data").value === "own";
      modes = own ? [...(modes ?? [])] : DATA[named("data").value];
      root.querySelector(".own").hidden = !own;
      part("picture").classList.toggle("drawn-on", own);
      reset();
    }

    function addMode(x, y) {
      if (modes.length >= MOST || !(Math.abs(x) <= END && Math.abs(y) <= END)) return;
      modes.push([x, y]);
      changed();
    }

    // The game goes on with the changed data.
    function changed() {
      drawData();
      look();
    }

    let last;
    part("picture").addEventListener("pointerdown", (event) => {
      if (named("data").value !== "own") return;
      event.preventDefault();
      part("picture").setPointerCapture(event.pointerId);
      last = [picture.xAt(event), picture.yAt(event)];
      addMode(...last);
    });
    part("picture").addEventListener("pointermove", (event) => {
      if (!part("picture").hasPointerCapture(event.pointerId)) return;
      const [x, y] = [picture.xAt(event), picture.yAt(event)];
      if (Math.hypot(x - last[0], y - last[1]) < DENSEST) return;
      last = [x, y];
      addMode(x, y);
    });
    part("picture").addEventListener("pointerup", tell);
    named("add").addEventListener("click", () => {
      addMode(+named("x").value, +named("y").value);
      tell();
    });
    named("clear").addEventListener("click", () => {
      pause();
      modes.length = 0;
      changed();
      tell();
    });
    named("data").addEventListener("change", choose);
    for (const name of ["noise", "seed"]) named(name).addEventListener("change", reset);
    choose();
  }
}
