// A GAN in the plane that trains in the page, on data that can be drawn: what D answers everywhere,
// where the samples are, and where D pushes them.
"use strict";

{
  const { Axes, Course, add, begin, number } = window.instruments.plot;
  const { chance, controls, logSigmoid, sigmoid } = window.instruments.players;

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

  const point = (modes, { draw, normal }) =>
    modes[Math.floor(draw() * modes.length)].map((place) => place + SD * normal());

  class Game extends window.instruments.players.Game {
    // modes: the centres. noise: how many numbers G is given.
    constructor(seed, { modes, noise }) {
      super(seed, {
        G: [noise, 64, 64, 2],
        D: [2, 64, 64, 1],
        betas: [0, 0.999],
        data: (game) => point(modes, game),
      });
    }
  }

  // What can be measured -----------------------------------------------------------------------

  // Of samples: a good one is within three deviations of its nearest mode; a mode is covered if it
  // has a tenth of its fair share of all samples, or more, as good ones. The lesson on failures
  // counts likewise.
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

  // V, what D answers on average, and what is counted, on these data and the samples of this noise.
  function measure({ G, D }, modes, data, noise) {
    const samples = G.forward(noise);
    const onData = D.forward(data), onSamples = D.forward(samples);
    const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
    return {
      samples,
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
  const NEAREST = 0.08, MOST = 100; // own modes: how near each other, how many

  for (const root of document.querySelectorAll('[data-instrument="plane"]')) {
    const named = (name) => root.querySelector(`[name="${name}"]`);
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    begin(root);

    const range = [-END, END], places = [-1, 0, 1];
    let game, modes, own, data, noise, now;
    const picture = new Axes(part("picture"), {
      x: range, y: range, ticks: { x: places, y: places }, onLayout: () => game && draw(),
    });
    const course = new Course(part("course"), { height: 130, y: [0, 1.04], ticks: [0, 0.5, 1] });
    const ground = add(picture.inside, "image", { preserveAspectRatio: "none" });
    const [half, points, rims, samples, pushes] = [
      "half", "points data", "points rims", "points samples", "arrow",
    ].map((name) => add(picture.inside, "path", { class: name }));
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
      const logits = game.D.forward(cells);
      logits.forEach((logit, i) => {
        const colour = logit > 0 ? [0, 114, 178] : [213, 94, 0];
        image.data.set([...colour, 150 * Math.abs(2 * sigmoid(logit) - 1)], 4 * i);
      });
      pen.putImageData(image, 0, 0);
      const [left, top] = [picture.px(-END), picture.py(END)];
      const box = { x: left, y: top, width: picture.px(END) - left, height: picture.py(-END) - top };
      for (const [key, value] of Object.entries(box)) ground.setAttribute(key, value);
      ground.setAttribute("href", canvas.toDataURL());
      half.setAttribute("d", boundary(logits));
    }

    // Where the logit is 0: in each square of four cells from side to side, by straight lines.
    function boundary(logits) {
      let d = "";
      for (let row = 0; row + 1 < CELLS; row++) {
        for (let column = 0; column + 1 < CELLS; column++) {
          const i = row * CELLS + column;
          const corners = [i, i + 1, i + CELLS + 1, i + CELLS];
          const crossed = corners
            .map((from, n) => [from, corners[(n + 1) % 4]])
            .filter(([from, to]) => logits[from] > 0 !== logits[to] > 0)
            .map(([from, to]) => {
              const share = logits[from] / (logits[from] - logits[to]);
              const [x, y] = [0, 1].map(
                (k) => cells[2 * from + k] + share * (cells[2 * to + k] - cells[2 * from + k]),
              );
              return place([x, y], 0);
            });
          for (let n = 0; n < crossed.length; n += 2) d += `M${crossed[n]}L${crossed[n + 1]}`;
        }
      }
      return d;
    }

    const place = (xy, i) =>
      `${picture.px(xy[2 * i]).toFixed(1)} ${picture.py(xy[2 * i + 1]).toFixed(1)}`;

    // Points are lines without length, with round ends.
    const dots = (xy) =>
      evenly(Math.min(SHOWN, xy.length / 2), (i) => `M${place(xy, i)}h0`).join("");

    // From a sample against the gradient of its loss: the way of its quickest fall.
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
      for (const path of [rims, samples]) path.setAttribute("d", dots(now.samples));
      drawPushes();
    }

    // Measure the game as it stands, and show it.
    function look() {
      now = measure(game, modes, data, noise);
      draw();
      const share = modes.length && now.covered / modes.length;
      course.note(game.step, { samples: now.good, judge: share });
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
    function tell(first = "") {
      const { covered, good, V, onData, onSamples } = now;
      root.querySelector("[role=status]").textContent = first + (!modes.length
        ? "There are no data. Draw some: press and move over the picture, or add modes by number."
        : `Step ${game.step}. Samples cover ${covered} of ${modes.length} modes, and ` +
          `${percent(good)} of them are good. On data D answers ${number(onData)} on average, ` +
          `on samples ${number(onSamples)}; V = ${number(V)}, and −log 4 is −1.39.`);
    }

    // What is measured is drawn anew from the data as they are now, always by the same chance.
    function drawData() {
      const drawn = chance(2 ** 31);
      noise = Float64Array.from({ length: LOOKED_AT * game.G.layers[0].inputs }, drawn.normal);
      const count = modes.length ? LOOKED_AT : 0;
      data = Float64Array.from(evenly(count, () => point(modes, drawn)).flat());
      for (const name of ["play", "step"]) named(name).disabled = !modes.length;
    }

    function start() {
      game = new Game(+named("seed").value, { modes, noise: +named("noise").value });
      drawData();
      course.restart();
      look();
    }

    const { pause, reset, resting } = controls(root, {
      game: () => game, settings, look, tell, start,
    });

    // Your own data start as a copy of those shown, so that there is something to change.
    function choose() {
      const mine = named("data").value === "own";
      if (mine) own ??= [...(modes ?? DATA.ring)];
      modes = mine ? own : DATA[named("data").value];
      root.querySelector(".own").hidden = !mine;
      part("picture").classList.toggle("drawn-on", mine);
      reset();
    }

    // Put a mode there, if it may be; what is wrong, in words, if not. The game goes on.
    function addMode(x, y) {
      if (!(Math.abs(x) <= END && Math.abs(y) <= END)) return "That is beyond the picture. ";
      if (modes.length >= MOST) return `There are ${MOST} modes, and there may be no more. `;
      if (modes.some(([a, b]) => Math.hypot(a - x, b - y) < NEAREST)) return "There is a mode already. ";
      modes.push([x, y]);
      drawData();
      look();
      return "";
    }

    let wrong = null; // with the place just pressed; null where no stroke is being drawn
    const draws = (event) => addMode(picture.xAt(event), picture.yAt(event));
    part("picture").addEventListener("pointerdown", (event) => {
      if (modes !== own || !event.isPrimary || event.button !== 0) return;
      event.preventDefault();
      part("picture").setPointerCapture(event.pointerId);
      wrong = draws(event);
    });
    part("picture").addEventListener("pointermove", (event) => {
      if (wrong !== null && event.isPrimary) draws(event);
    });
    part("picture").addEventListener("lostpointercapture", () => {
      if (wrong || resting()) tell(wrong);
      wrong = null;
    });
    named("add").addEventListener("click", () => {
      if (![named("x"), named("y")].every((input) => input.reportValidity())) return;
      const problem = addMode(+named("x").value, +named("y").value);
      if (problem || resting()) tell(problem);
    });
    named("clear").addEventListener("click", () => {
      pause();
      own.length = 0;
      drawData();
      look();
      tell();
    });
    named("data").addEventListener("change", choose);
    named("loss").addEventListener("change", drawPushes);
    for (const name of ["noise", "seed"]) named(name).addEventListener("change", reset);
    choose();
  }
}
