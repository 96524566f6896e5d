// Two Gaussians: their densities, D*, and what the theory measures between them, by quadrature.
"use strict";

{
  const { Axes, add, begin, number } = window.instruments.plot;
  const { logSigmoid } = window.instruments.players;

  // The trapezoid rule on this grid is exact to ten digits for every place of the sliders: the
  // largest deviation is 3, the outermost mean 4, and the smallest deviation 15 steps of the grid.
  const STEP = 0.02, END = 44;
  const line = Float64Array.from({ length: (2 * END) / STEP + 1 }, (_, i) => i * STEP - END);

  const logDensity = ({ mean, sd }) => (x) =>
    -(((x - mean) / sd) ** 2) / 2 - Math.log(sd * Math.sqrt(2 * Math.PI));
  const integral = (f) => STEP * f.reduce((sum, value) => sum + value, 0); // f is 0 at both ends

  // Everything shown, from {mean, sd} of the data and of the samples; nats.
  function measure(data, samples) {
    const logP = line.map(logDensity(data)), logQ = line.map(logDensity(samples));
    const p = logP.map(Math.exp), q = logQ.map(Math.exp);
    const logit = logP.map((log, i) => log - logQ[i]); // of D*
    const logD = logit.map(logSigmoid), logNotD = logit.map((l) => logSigmoid(-l));
    // With m = (p + q)/2: log p/m = log 2D*, log q/m = log 2(1 − D*).
    const jsd = p.map((_, i) => (p[i] * (Math.LN2 + logD[i]) + q[i] * (Math.LN2 + logNotD[i])) / 2);
    return {
      x: line,
      p,
      q,
      best: logD.map(Math.exp),
      share: jsd,
      KL: integral(p.map((_, i) => p[i] * logit[i])),
      reverse: integral(q.map((_, i) => -q[i] * logit[i])),
      JSD: integral(jsd),
      C: integral(p.map((_, i) => p[i] * logD[i] + q[i] * logNotD[i])), // V(D*, G)
    };
  }

  window.instruments.gaussians = { measure };

  for (const root of document.querySelectorAll('[data-instrument="gaussians"]')) {
    const named = (name) => root.querySelector(`[name="${name}"]`);
    const sliders = {
      data: { mean: named("mean_data"), sd: named("sd_data") },
      samples: { mean: named("mean_samples"), sd: named("sd_samples") },
    };
    const all = [sliders.data, sliders.samples].flatMap(({ mean, sd }) => [mean, sd]);
    const value = ({ mean, sd }) => ({ mean: +mean.value, sd: +sd.value });
    const values = () => ({ data: value(sliders.data), samples: value(sliders.samples) });
    begin(root);

    const ends = [-8, 8], places = [-8, -4, 0, 4, 8];
    const shown = [Math.round((ends[0] + END) / STEP), Math.round((ends[1] + END) / STEP) + 1];
    const axes = (part, height, top, ticks, onLayout) =>
      new Axes(root.querySelector(`[data-part="${part}"]`), {
        height, x: ends, y: [0, top], ticks: { x: places, y: ticks }, onLayout,
      });
    const handles = [];
    const densities = axes("densities", 240, 1.4, [0, 0.5, 1], placeHandles);
    const best = axes("best", 120, 1.02, [0, [0.5, "½"], 1]);
    const share = axes("share", 100, 0.5, [0, 0.25, 0.5]);

    // A dot on the peak moves the mean; a square one deviation away, outside, the width.
    for (const [who, side] of [["data", -1], ["samples", 1]]) {
      for (const what of ["mean", "sd"]) {
        const at = ({ mean, sd }) => (what === "mean" ? mean : mean + side * sd);
        const group = add(densities.svg, "g", { class: `handle ${who}` });
        group.dataset.handle = `${what}_${who}`;
        add(group, "circle", { r: 18, class: "reach" });
        if (what === "mean") add(group, "circle", { r: 7 });
        else add(group, "rect", { x: -6, y: -6, width: 12, height: 12 });
        group.addEventListener("pointerdown", (event) => {
          event.preventDefault();
          group.setPointerCapture(event.pointerId);
        });
        group.addEventListener("pointermove", (event) => {
          if (!group.hasPointerCapture(event.pointerId)) return;
          const { mean, sd } = sliders[who], x = densities.xAt(event);
          if (what === "mean") mean.value = x;
          else sd.value = side * (x - mean.value);
          update();
        });
        handles.push({ group, who, at });
      }
    }

    function placeHandles() {
      const now = values();
      for (const { group, who, at } of handles) {
        const x = at(now[who]), y = Math.exp(logDensity(now[who])(x));
        group.setAttribute("transform", `translate(${densities.px(x)} ${densities.py(y)})`);
      }
    }

    let atRest;
    function update() {
      const { data, samples } = values(), now = measure(data, samples);
      const cut = (curve) => curve.subarray(...shown);
      const x = cut(now.x);
      densities.curve("data", x, cut(now.p));
      densities.curve("samples", x, cut(now.q));
      best.curve("level", ends, [0.5, 0.5]);
      best.curve("best", x, cut(now.best));
      share.curve("area", x, cut(now.share));
      placeHandles();
      for (const slider of all) slider.nextElementSibling.value = number(+slider.value);
      for (const name of ["KL", "reverse", "JSD", "C"]) {
        root.querySelector(`[data-number="${name}"]`).textContent = number(now[name], 3);
      }
      const say = () => {
        root.querySelector("[role=status]").textContent = inWords(data, samples, now);
      };
      clearTimeout(atRest);
      if (atRest === undefined) say(); // as the page opens, when nobody is listening yet
      atRest = setTimeout(say, 600);
    }

    function inWords(data, samples, { KL, reverse, JSD, C }) {
      const judged =
        data.mean === samples.mean && data.sd === samples.sd
          ? "The densities are equal, and D* is one half everywhere."
          : JSD > 0.65
            ? "The densities hardly overlap, and D* is near 0 or 1 almost everywhere they are."
            : data.sd === samples.sd
              ? "The widths are equal: D* crosses one half once, midway between the means."
              : "The widths differ: D* crosses one half twice.";
      return (
        `${judged} KL(data‖samples) ${number(KL)}, KL(samples‖data) ${number(reverse)}, ` +
        `JSD ${number(JSD)} of at most 0.69, C(G) ${number(C)} between −1.39 and 0 nats.`
      );
    }

    root.addEventListener("input", update);
    named("reset").addEventListener("click", () => {
      for (const slider of all) slider.value = slider.defaultValue;
      update();
    });
    named("swap").addEventListener("click", () => {
      const { data, samples } = sliders;
      for (const what of ["mean", "sd"]) {
        [data[what].value, samples[what].value] = [samples[what].value, data[what].value];
      }
      update();
    });
    update();
  }
}
