/* Draw: the book's conditional generator, run in the page.

draw.py writes draw-network.js at the book's build. It is loaded when the instrument comes near the
window, by a script element, which also works where a page is opened as a file. The numbers of the
network are what ganlib ships; everything is computed in double precision. */
(() => {
  const NETWORK = new URL("draw-network.js", document.currentScript.src).href;

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  const singles = (text) => new Float32Array(bytes(text));

  /* float16: one bit of sign, five of exponent, ten of fraction; the weights hold no infinity. */
  const number = (bits) => {
    const exponent = (bits >> 10) & 31;
    const size = exponent ? (1024 + (bits & 1023)) * 2 ** (exponent - 25) : (bits & 1023) * 2 ** -24;
    return bits & 0x8000 ? -size : size;
  };
  const halves = (text) => Float32Array.from(new Uint16Array(bytes(text)), number);

  /* (z, y) → the pixels, row by row. A layer with as many biases for each class takes those of y. */
  const generator = (network) => {
    const layers = network.layers.map(({ outputs, weight, bias }) => (
      { outputs, weight: halves(weight), bias: singles(bias) }
    ));
    return (z, y) => layers.reduce((x, { outputs, weight, bias }, n) => {
      const first = bias.length > outputs ? y * outputs : 0;
      const sums = Float64Array.from(bias.subarray(first, first + outputs));
      x.forEach((value, i) => {
        if (value === 0) return; // about half of what a ReLU lets through
        for (let o = 0, w = i * outputs; o < outputs; o++, w++) sums[o] += weight[w] * value;
      });
      return sums.map(n < layers.length - 1 ? (sum) => Math.max(0, sum) : (sum) => 1 / (1 + Math.exp(-sum)));
    }, z);
  };

  /* Uniform numbers in [0, 1) from a seed: Tommy Ettinger's mulberry32. */
  const random = (seed) => () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };

  /* A seed → z, by Box and Muller's method where it is normal. */
  const sampler = ({ dim, distribution }) => (seed) => {
    const uniform = random(seed);
    const draw = distribution === "normal"
      ? () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
      : () => Math.sqrt(3) * (2 * uniform() - 1);
    return Float64Array.from({ length: dim }, draw);
  };

  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const norm = (a) => Math.sqrt(dot(a, a));

  /* ganlib.walk: the straight line, or the arc where `spherical`; both ends to the bit. */
  const walker = (spherical) => (from, to, t) => {
    if (t === 0 || t === 1) return Float64Array.from(t ? to : from);
    let [a, b] = [1 - t, t];
    if (spherical) {
      const [u, v] = [from, to].map((z) => z.map((value) => value / norm(z)));
      const angle = 2 * Math.atan2(norm(u.map((value, i) => value - v[i])), norm(u.map((value, i) => value + v[i])));
      const sine = Math.sin(angle);
      if (sine > 1e-4) [a, b] = [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
    }
    return from.map((value, i) => a * value + b * to[i]);
  };

  const paint = (canvas, pixels, { width, height }) => {
    Object.assign(canvas, { width, height });
    const picture = new ImageData(width, height);
    pixels.forEach((value, i) => picture.data.set([255 * value, 255 * value, 255 * value, 255], 4 * i));
    canvas.getContext("2d").putImageData(picture, 0, 0);
  };

  const add = (parent, tag, settings = {}) => parent.appendChild(Object.assign(document.createElement(tag), settings));
  const two = (value) => value.toFixed(2).replace("-", "−");

  const start = (root, network) => {
    root.querySelector(".draw-sheet").remove();
    root.append(root.querySelector("template").content.cloneNode(true));
    const find = (selector) => root.querySelector(selector);
    const status = find(".draw-status");
    status.classList.add("draw-unseen");
    const [G, noise] = [generator(network), sampler(network.noise)];
    const spherical = network.noise.distribution === "normal";
    const walk = walker(spherical);
    const directions = network.directions.map(singles);
    const [seed, way, caption] = ["[name=seed]", "[name=way]", "figcaption"].map(find);
    const saved = { A: noise(0), B: noise(1) };
    let [z, y, origin, t] = [saved.A, 0, "of seed 0", 0]; // t is null where z is not on the way

    const digits = Array.from({ length: network.classes }, (_, k) => {
      const label = add(find(".draw-digits"), "label");
      const canvas = add(label, "canvas", { ariaHidden: "true" });
      const radio = add(label, "input", { type: "radio", name: "digit", value: k });
      add(label, "span", { textContent: k });
      radio.onchange = () => { y = k; show(); };
      return { canvas, radio };
    });

    const sliders = directions.map((direction, k) => {
      const label = add(find(".draw-moves"), "label");
      add(label, "span", { textContent: `Direction ${k + 1}: ${Math.round(100 * network.shares[k])} % of the change` });
      const place = add(label, "span", { ariaHidden: "true" });
      const slider = add(label, "input", { type: "range", min: -3, max: 3, step: 0.05 });
      slider.oninput = () => {
        const step = slider.value - dot(z, direction);
        const moved = origin.endsWith(", moved") ? origin : `${origin}, moved`;
        move(z.map((value, i) => value + step * direction[i]), moved);
      };
      return { direction, slider, place };
    });

    const show = () => {
      const all = digits.map((_, k) => G(z, k));
      digits.forEach(({ canvas }, k) => paint(canvas, all[k], network));
      digits[y].radio.checked = true;
      paint(find(".draw-picture"), all[y], network);
      find(".draw-picture").ariaLabel = `The generator's picture of a handwritten ${y}`;
      const ink = Math.round(100 * all[y].reduce((sum, value) => sum + value) / all[y].length);
      caption.textContent = `Class ${y}, the z ${origin}. Ink on ${ink} % of the picture.`;
      sliders.forEach(({ direction, slider, place }) => {
        slider.value = dot(z, direction);
        place.textContent = two(dot(z, direction));
        slider.setAttribute("aria-valuetext", place.textContent);
      });
      for (const [name, point] of Object.entries(saved)) {
        const canvas = find(`[data-point=${name}]`);
        paint(canvas, G(point, y), network);
        canvas.ariaLabel = `The picture at ${name}, class ${y}`;
      }
      if (t !== null) way.value = t;
      way.nextElementSibling.textContent = t === null ? "z is not on the way" : `t = ${two(t)}`;
      way.setAttribute("aria-valuetext", way.nextElementSibling.textContent);
      root.z = z;
    };
    const move = (...to) => { [z, origin, t = null] = to; show(); };
    const tell = () => { status.textContent = caption.textContent; };
    const fresh = () => { move(noise(Number(seed.value)), `of seed ${Number(seed.value)}`); tell(); };

    find("form").onsubmit = (event) => { event.preventDefault(); fresh(); };
    find(".draw-new").onclick = () => {
      seed.value = seed.checkValidity() ? (Number(seed.value) + 1) % 2 ** 32 : 0;
      fresh();
    };
    root.querySelectorAll("[data-save]").forEach((button) => {
      const name = button.dataset.save;
      button.onclick = () => {
        saved[name] = z;
        move(z, `saved as ${name}`, name === "A" ? 0 : 1);
        tell();
      };
    });
    way.oninput = () => {
      const to = Number(way.value);
      move(walk(saved.A, saved.B, to), `at t = ${two(to)} from A to B`, to);
    };
    root.addEventListener("change", (event) => { if (event.target !== seed) tell(); });

    const numbers = network.layers.reduce((sum, { weight, bias }) => sum + atob(weight).length / 2 + atob(bias).length / 4, 0);
    const { dim, distribution } = network.noise;
    find(".draw-note").textContent = `The generator takes ${dim} ${distribution} numbers z and a class to `
      + `${network.height}×${network.width} pixels, with ${numbers.toLocaleString("en")} numbers of its own. `
      + (spherical
        ? "The noise is normal, so the way from A to B is an arc, which keeps the length of z."
        : "The noise is uniform in a cube, so the way from A to B is a straight line, which stays in it.");
    Object.assign(root, { G, noise, walk });
    show();
    status.textContent = "The generator is loaded.";
  };

  document.querySelectorAll(".draw").forEach((root) => {
    const load = () => {
      const status = root.querySelector(".draw-status");
      status.textContent = "Loading the generator …";
      const script = document.createElement("script");
      script.src = NETWORK;
      script.onload = () => start(root, script.network);
      script.onerror = () => { status.textContent = "The generator could not be loaded. Load the page again to try once more."; };
      document.head.append(script);
    };
    const near = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      near.disconnect();
      load();
    }, { rootMargin: "300px" });
    near.observe(root);
  });
})();
