// Axes in SVG, as wide as the page lets them be. The colours and dashes of curves are the style
// sheet's, by class: data, samples, judge, best, level, area.
"use strict";

{
  const MARGIN = { left: 40, right: 14, top: 8, bottom: 22 };

  function add(parent, tag, attributes = {}, text = "") {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    return parent.appendChild(made);
  }

  const written = (number) => String(number).replace("-", "−");

  class Axes {
    // x, y: the range shown, [from, to]. ticks: {x, y}, lists of places, or of [place, name].
    // height: in pixels; without one, what makes the window a square.
    // onLayout: called whenever the scale has changed and the curves have been drawn again.
    constructor(svg, { height, x, y, ticks, onLayout = () => {} }) {
      Object.assign(this, { svg, fixed: height, range: { x, y }, ticks, onLayout });
      this.grid = add(svg, "g", { class: "axes" });
      const clip = add(add(svg, "defs"), "clipPath", { id: `${svg.id}-clip` });
      this.window = add(clip, "rect");
      this.inside = add(svg, "g", { "clip-path": `url(#${svg.id}-clip)` });
      this.curves = new Map();
      new ResizeObserver(() => this.layout()).observe(svg.parentElement);
      this.layout();
    }

    px(x) {
      const [from, to] = this.range.x;
      return MARGIN.left + ((x - from) / (to - from)) * (this.width - MARGIN.left - MARGIN.right);
    }

    py(y) {
      const [from, to] = this.range.y;
      const inside = this.height - MARGIN.top - MARGIN.bottom;
      return this.height - MARGIN.bottom - ((y - from) / (to - from)) * inside;
    }

    // The x under a pointer.
    xAt(event) {
      const [from, to] = this.range.x;
      const inside = event.clientX - this.svg.getBoundingClientRect().left - MARGIN.left;
      return from + (inside / (this.width - MARGIN.left - MARGIN.right)) * (to - from);
    }

    // The y under a pointer.
    yAt(event) {
      const [from, to] = this.range.y;
      const inside = event.clientY - this.svg.getBoundingClientRect().top - MARGIN.top;
      return to - (inside / (this.height - MARGIN.top - MARGIN.bottom)) * (to - from);
    }

    // Draw (xs, ys) as the curve of this class, or as the area under it. NaN is a gap.
    curve(name, xs, ys) {
      if (!this.curves.has(name)) {
        this.curves.set(name, { path: add(this.inside, "path", { class: `curve ${name}` }) });
      }
      Object.assign(this.curves.get(name), { xs, ys });
      this.draw(name);
    }

    draw(name) {
      const { path, xs, ys } = this.curves.get(name);
      const far = 2 * this.height; // beyond the window; no number that SVG cannot take
      let d = "", pen = "M";
      for (let i = 0; i < xs.length; i++) {
        if (Number.isNaN(ys[i])) {
          pen = "M";
          continue;
        }
        d += `${pen}${this.px(xs[i]).toFixed(1)} ${Math.max(-far, this.py(ys[i])).toFixed(1)}`;
        pen = "L";
      }
      if (name === "area") {
        d += `L${this.px(xs.at(-1)).toFixed(1)} ${this.py(0)}L${this.px(xs[0]).toFixed(1)} ${this.py(0)}Z`;
      }
      path.setAttribute("d", d);
    }

    show(x, ticks) {
      this.range.x = x;
      this.ticks.x = ticks;
      this.layout();
    }

    layout() {
      this.width = Math.max(240, this.svg.parentElement.clientWidth);
      const around = MARGIN.top + MARGIN.bottom - MARGIN.left - MARGIN.right;
      this.height = this.fixed ?? this.width + around;
      const { svg, grid, width, height } = this;
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.setAttribute("height", height);
      const [left, right] = [MARGIN.left, width - MARGIN.right];
      const [top, bottom] = [MARGIN.top, height - MARGIN.bottom];
      const box = { x: left, y: top, width: right - left, height: bottom - top };
      for (const [key, value] of Object.entries(box)) this.window.setAttribute(key, value);
      grid.replaceChildren();
      for (const tick of this.ticks.y) {
        const [place, name] = [tick].flat().concat(written(tick));
        const y = this.py(place);
        add(grid, "path", { d: `M${left} ${y}H${right}` });
        add(grid, "text", { x: left - 6, y: y + 4, "text-anchor": "end" }, name);
      }
      for (const tick of this.ticks.x) {
        const [place, name] = [tick].flat().concat(written(tick));
        const x = this.px(place);
        add(grid, "path", { d: `M${x} ${top}V${bottom}` });
        add(grid, "text", { x, y: bottom + 16, "text-anchor": "middle" }, name);
      }
      for (const name of this.curves.keys()) this.draw(name);
      this.onLayout();
    }
  }

  // Curves over the steps of a game. The axis of steps doubles whenever they come to its end.
  class Course extends Axes {
    static KEPT = 400; // places kept; of more, every second goes

    // level: where a line is drawn for comparison.
    constructor(svg, { height, y, ticks, level }) {
      super(svg, { height, x: [0, 200], y, ticks: { x: [], y: ticks } });
      this.level = level;
      this.restart();
    }

    restart() {
      this.noted = [];
      this.stretch(200);
    }

    stretch(last) {
      this.show([0, last], [0, last / 2, last]);
      if (this.level !== undefined) this.curve("level", [0, last], [this.level, this.level]);
    }

    // values: of each curve at this step, by its class.
    note(step, values) {
      const { KEPT } = Course;
      if (this.noted.at(-1)?.step === step) this.noted.pop();
      this.noted.push({ step, values });
      if (this.noted.length > KEPT) this.noted = this.noted.filter((_, i) => i % 2 === 0);
      while (step > this.range.x[1]) this.stretch(2 * this.range.x[1]);
      const steps = this.noted.map((noted) => noted.step);
      for (const name of Object.keys(values)) {
        this.curve(name, steps, this.noted.map((noted) => noted.values[name]));
      }
    }
  }

  // −1.39, with a sign that is read as one
  const number = (value, digits = 2) => value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");

  // Show the instrument in place of the picture that stands for it.
  function begin(root) {
    root.querySelector(".instrument-still").remove();
    root.querySelector(".instrument-live").hidden = false;
  }

  window.instruments = { plot: { Axes, Course, add, begin, number } };
}
