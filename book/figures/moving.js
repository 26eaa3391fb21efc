// The frame of every figure that moves: boards side by side, controls below them, and one line that says in words what
// is shown. A figure of its own registers with `moving.define(name, make)`; `make(frame)` builds it and returns what a
// test reads and sets. Without this script, in print and in Colab the still picture stays, which this frame has drawn.
"use strict";

const moving = (() => {
  const makers = new Map();
  const paint = (color) => `var(--moving-${color})`; // the theme chooses, by moving.css

  function node(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  class Frame {
    constructor(figure, name, problem) {
      Object.assign(this, { figure, name, problem, boards: [], inputs: {}, labels: [] });
      this.stored = window.storedForFigures?.[`${name}-${problem}`]; // what a cell of the chapter has computed for it
      this.row = node("div", { class: "moving-boards" });
      this.form = node("form", { class: "moving-controls", "aria-label": "Controls of the figure" });
      this.form.addEventListener("submit", (event) => event.preventDefault());
      this.words = node("p", { class: "moving-words", role: "status", "aria-live": "polite" });
      figure.querySelector("img").after(node("div", { class: "moving-stage" }, this.row, this.form, this.words));
      figure.classList.add("moving-on");
    }

    // What there is to do, in one line above the boards.
    hint(words) {
      this.row.before(node("p", { class: "moving-hint" }, `${words} With the keyboard: Tab, then the arrow keys.`));
    }

    // A plane to draw in; box = [left, top, right, bottom]. `equal`: one unit is as long to the right as upwards.
    // Without `axes` it is a place and not a diagram.
    board(title, box, { x, y, equal = false, axes = true } = {}) {
      const holder = node("div", { class: "moving-board" });
      this.row.append(node("div", { class: "moving-panel" }, node("p", { class: "moving-title" }, title), holder));
      holder.id = `${this.figure.id}-board-${this.boards.length + 1}`;
      const board = JXG.JSXGraph.initBoard(holder.id, {
        boundingBox: box,
        keepAspectRatio: equal,
        axis: axes,
        browserPan: true, // a finger beside all points scrolls the page
        defaultAxes: {
          x: { name: x, withLabel: true, label: { position: "rt", offset: [-8, 14], anchorX: "right", ...LETTERS }, ...AXIS },
          y: { name: y, withLabel: true, label: { position: "rt", offset: [10, -8], ...LETTERS }, ...AXIS },
        },
        keyboard: { enabled: true, dx: 5, dy: 5, panShift: false, panCtrl: false },
        pan: { enabled: false },
        zoom: { enabled: false },
        showCopyright: false, // its licence lies beside the library
        showNavigation: false,
        showInfobox: false,
        description: `${title}. Points can be dragged, or moved with the arrow keys.`,
      });
      this.boards.push(board);
      return board;
    }

    // A point that the reader moves, inside of `limits` = [left, right, bottom, top], which may depend on where it is moved.
    handle(board, at, label, limits, looks = {}) {
      const point = board.create("point", at, {
        name: "", size: 7, face: "circle", fillColor: paint("ink"), fillOpacity: 0.15, strokeColor: paint("ink"), strokeWidth: 2.5,
        highlightFillColor: paint("ink"), highlightStrokeColor: paint("ink"), precision: { touch: 24, mouse: 8 },
        ...looks,
      });
      const say = () => {
        const [x, y] = place(point);
        point.rendNode.setAttribute("aria-label", `${label}, at ${digits(x)} and ${digits(y)}; arrow keys move it`);
      };
      point.rendNode.setAttribute("role", "application");
      point.rendNode.setAttribute("aria-roledescription", "draggable point");
      say();
      this.labels.push(say);
      point.on("drag", () => {
        const [x, y] = place(point);
        const [left, right, bottom, top] = limits([x, y]);
        point.setPosition(JXG.COORDS_BY_USER, [clamp(x, left, right), clamp(y, bottom, top)]);
        this.changed();
      });
      this.inputs[label] = { set: (to) => point.setPosition(JXG.COORDS_BY_USER, to) };
      return point;
    }

    // A slider; `show` turns its position into the number that it stands for. Both are read out.
    slider(label, { min, max, step, value }, show = (t) => t, words = digits) {
      const input = node("input", { type: "range", min, max, step, value });
      const output = node("output");
      const read = () => show(Number(input.value));
      const say = () => {
        output.textContent = words(read());
        input.setAttribute("aria-valuetext", output.textContent);
      };
      input.addEventListener("input", () => { say(); this.changed(); });
      this.form.append(node("label", { class: "moving-slider" }, node("span", {}, label), input, output));
      say();
      this.inputs[label] = { element: input, set: (to) => { input.value = to; say(); } };
      return read;
    }

    // A box to tick, with the colour of what it shows.
    tick(label, color, on = true) {
      const input = node("input", { type: "checkbox" });
      input.checked = on;
      input.addEventListener("change", () => this.changed());
      const swatch = node("span", { class: "moving-swatch", style: `background: ${paint(color)}` });
      this.form.append(node("label", { class: "moving-tick" }, input, swatch, label));
      this.inputs[label] = { set: (to) => { input.checked = to; } };
      return () => input.checked;
    }

    // One of several.
    choice(label, options) {
      const select = node("select", {}, ...options.map((option) => node("option", {}, option)));
      select.addEventListener("change", () => this.changed());
      this.form.append(node("label", { class: "moving-choice" }, node("span", {}, label), select));
      this.inputs[label] = { set: (to) => { select.value = to; } };
      return () => select.value;
    }

    // Something to press.
    button(label, press) {
      const button = node("button", { type: "button" }, label);
      button.addEventListener("click", press);
      this.form.append(button);
      return button;
    }

    // Two buttons that let a slider of whole numbers run to its end, `rate` of them a second, or take a single step. A
    // reader who wants less motion sees one step after the other, slowly, and never more than asked for.
    player(label, rate) {
      const input = this.inputs[label].element;
      const move = (to) => { this.inputs[label].set(to); this.changed(); };
      const atEnd = () => Number(input.value) >= Number(input.max);
      let timer = null;
      const show = () => { play.textContent = timer ? "pause" : "play"; };
      const stop = () => { clearInterval(timer); timer = null; show(); };
      const play = this.button("play", () => {
        if (timer) return stop();
        if (atEnd()) move(Number(input.min));
        const slow = matchMedia("(prefers-reduced-motion: reduce)").matches ? 4 : 1;
        timer = setInterval(() => {
          move(Number(input.value) + 1);
          if (atEnd()) stop();
        }, (slow * 1000) / rate);
        show();
      });
      this.button("step", () => { stop(); move(atEnd() ? Number(input.min) : Number(input.value) + 1); });
      input.addEventListener("input", stop);
    }

    // A line through points that `fill` returns anew as [x, y] at every change; null breaks it.
    line(board, fill, looks = {}) {
      const curve = board.create("curve", [[], []], { strokeWidth: 2, highlight: false, fixed: true, ...looks });
      curve.updateDataArray = () => {
        const points = fill();
        curve.dataX = points.map((point) => (point ? point[0] : NaN));
        curve.dataY = points.map((point) => (point ? point[1] : NaN));
      };
      return curve;
    }

    // An arrow between two places that are computed anew at every change.
    arrow(board, from, to, color, looks = {}) {
      const end = (at) => board.create("point", [() => at()[0], () => at()[1]], { visible: false, name: "" });
      return board.create("arrow", [end(from), end(to)], {
        strokeColor: paint(color), strokeWidth: 2.5, highlight: false, fixed: true, lastArrow: { type: 2, size: 5 }, ...looks,
      });
    }

    // A mark at a place that is computed anew at every change; nobody drags it.
    mark(board, at, face, color, looks = {}) {
      return board.create("point", [() => at()[0], () => at()[1]], {
        name: "", size: 5, face, fillColor: paint(color), fillOpacity: 0, strokeColor: paint(color), strokeWidth: 1.5, fixed: true,
        highlight: false, tabindex: null, ...looks,
      });
    }

    // Letters beside something.
    letters(board, at, text, color = "ink") {
      return board.create("text", [() => at()[0], () => at()[1], text], { ...LETTERS, strokeColor: paint(color) });
    }

    // Called by a figure once everything is there, and after every change. Words follow when the hand rests.
    changed() {
      if (!this.compute) return;
      this.compute();
      for (const say of this.labels) say(); // what is computed may move a point
      for (const board of this.boards) board.update(); // not the axes, which take four times as long
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => { this.waiting = null; this.words.textContent = this.say(); }, 150);
    }

    start(compute, say) {
      Object.assign(this, { compute, say });
      this.changed();
      this.words.textContent = say();
    }

    // The boards side by side as one drawing, with the colours in mid-tones: the still picture.
    still() {
      const roots = this.boards.map((board) => board.renderer.svgRoot);
      const [width, height] = [this.boards[0].canvasWidth, this.boards[0].canvasHeight];
      const colors = getComputedStyle(this.figure);
      const parts = roots.map((root, index) => {
        const copy = root.cloneNode(true);
        for (const part of copy.querySelectorAll("[display=none], [visibility=hidden], foreignObject, filter")) part.remove();
        for (const part of copy.querySelectorAll("text")) part.setAttribute("font-size", part.style.fontSize || 13);
        for (const part of [copy, ...copy.querySelectorAll("*")])
          for (const name of part.getAttributeNames())
            if (/^(aria-|role|tabindex|class|style)/.test(name)) part.removeAttribute(name);
        const title = this.row.querySelectorAll(".moving-title")[index].textContent;
        const inner = copy.innerHTML.replaceAll(/var\((--moving-\w+)\)/g, (_, name) => colors.getPropertyValue(name));
        return `<text x="${(index + 0.5) * (width + 20) - 10}" y="14" text-anchor="middle" font-size="14" fill="${colors.getPropertyValue("--moving-ink")}">${title}</text>` +
          `<svg x="${index * (width + 20)}" y="22" width="${width}" height="${height}" overflow="hidden">${inner.replaceAll(/(\d+\.\d)\d+/g, "$1")}</svg>`;
      });
      const [wide, high] = [roots.length * (width + 20) - 20, height + 22];
      const ids = [...new Set(parts.join("").match(/(?<=url\(["']?#)[^"')]+/g))]; // the library draws lots for them
      const drawn = parts.join("").replaceAll(/ id="([^"]*)"/g, (whole, id) => (ids.includes(id) ? whole : ""));
      const named = ids.reduce((text, id, number) => text.replaceAll(id, `part-${number}`), drawn);
      return `<svg xmlns="http://www.w3.org/2000/svg" width="${wide}" height="${high}" viewBox="0 0 ${wide} ${high}" font-family="DejaVu Sans, sans-serif">${named}</svg>`;
    }
  }

  const LETTERS = { display: "internal", fontSize: 13, fixed: true, highlight: false, strokeColor: paint("ink"), parse: false, useMathJax: false };
  const AXIS = {
    strokeColor: paint("ink"), strokeWidth: 1, highlight: false, lastArrow: false, tabindex: null,
    ticks: {
      strokeColor: paint("ink"), drawZero: true, majorHeight: 6, minorTicks: 0, insertTicks: true, minTicksDistance: 24,
      label: { ...LETTERS, fontSize: 12 },
    },
  };
  const place = (point) => [point.X(), point.Y()];
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  // A place some pixels to the right of and above another one.
  const beside = (board, [x, y], [right, up]) => [x + right / board.unitX, y + up / board.unitY];

  // A network with tanh in all layers but the last, of its weights [kernel, bias, kernel, bias, …]: values → values.
  function network(weights) {
    return (inputs) => {
      let values = inputs;
      for (let layer = 0; layer < weights.length; layer += 2) {
        const [kernel, bias] = [weights[layer], weights[layer + 1]];
        const sums = bias.map((b, j) => values.reduce((sum, value, i) => sum + value * kernel[i][j], b));
        values = layer + 2 < weights.length ? sums.map(Math.tanh) : sums;
      }
      return values;
    };
  }

  // The cubic from a to b with the slopes v and w at its ends, at the part s of the duration dt.
  const bent = (a, b, v, w, dt, s) =>
    a * (1 + 2 * s) * (1 - s) ** 2 + b * s * s * (3 - 2 * s) + dt * s * (1 - s) * (v * (1 - s) - w * s);

  // Three digits, as a person would write them.
  function digits(value) {
    if (!Number.isFinite(value)) return "no number";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(1).replace("e+", "e");
    return String(Number(value.toPrecision(3)));
  }

  function begin() {
    for (const figure of document.querySelectorAll("figure.moving")) {
      const [name, problem] = [...figure.classList].find((entry) => entry.startsWith("moving-of-")).slice(10).split("--");
      const frame = new Frame(figure, name, problem);
      figure.moving = Object.assign(frame, makers.get(name)(frame));
    }
  }

  // For a second the library remembers where a board was. Until the press a reader may scroll, and a line of words or a
  // picture that comes late moves what is below it.
  const forget = () => {
    for (const figure of document.querySelectorAll("figure.moving-on"))
      for (const board of figure.moving?.boards ?? []) board.positionAccessLast = 0;
  };
  for (const happens of ["pointerdown", "scroll"]) addEventListener(happens, forget, { capture: true, passive: true });
  addEventListener("beforeprint", () => {
    for (const still of document.querySelectorAll("figure.moving-on img")) still.loading = "eager";
  });
  document.addEventListener("DOMContentLoaded", begin);
  return { define: (name, make) => makers.set(name, make), begin, paint, digits, clamp, beside, network, bent };
})();
