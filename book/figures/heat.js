// A rod that forgets: two hot pieces x*, what conduction and a camera's noise make of them, y, and what each inverse brings
// back. Beside it, over the wave number, what is in x* and in y, and the gain of each inverse. The two edges in between are dragged.
"use strict";

moving.define("heat", (frame) => {
  const n = 32; // cells of width 1, continued periodically
  const [left, right] = [4.5, 27.5]; // the outer edges of the two pieces
  // The camera's noise, of mean 0 and standard deviation 1; the slider scales it.
  const noises = [
    -0.42, 1.18, -0.03, 0.71, -1.55, 0.44, -0.88, 1.02, 0.16, -0.65, 2.03, -1.21, 0.28, -0.19, -1.07, 0.93,
    -0.31, 1.41, -2.03, 0.55, 0.08, -0.74, 1.27, -0.51, 0.37, -1.33, 1.64, -0.58, 0.87, -1.12, 0.62, -0.9,
  ];

  const spread = frame.slider("conduction νt", { min: 0.1, max: 2, step: 0.05, value: 1.5 });
  const power = (t) => 10 ** t;
  const noise = frame.slider("noise of the camera", { min: -6, max: -1, step: 0.1, value: -4 }, power);
  const sigma = frame.slider("σ of cutoff, probabilistic", { min: -6, max: 0, step: 0.1, value: -3 }, power);
  const steps = frame.slider("steps m of GD", { min: 0, max: 3, step: 0.1, value: 1.3 }, (t) => Math.round(10 ** t), String);

  // The gain g by which each of them multiplies a wave of y − P(x₀) that was damped by d.
  const methods = {
    raw: { color: "red", on: true, gain: (d) => 1 / d },
    cutoff: { color: "purple", on: false, gain: (d) => (d > sigma() ? 1 / d : 0) },
    probabilistic: { color: "green", on: true, gain: (d) => d / (d ** 2 + sigma() ** 2) },
    "gradient descent": { color: "blue", on: true, gain: (d) => -Math.expm1(steps() * Math.log1p(-(d ** 2))) / d }, // (1 − (1 − d²)ᵐ) / d
  };
  for (const [name, method] of Object.entries(methods)) method.shown = frame.tick(name, method.color, method.on);
  const drawn = Object.entries(methods).sort(([a], [b]) => (a === "probabilistic") - (b === "probabilistic")); // it lies on top

  const cells = Array.from({ length: n }, (_, i) => i);
  const waves = Array.from({ length: n / 2 + 1 }, (_, j) => j);
  const number = (j) => (2 * Math.PI * j) / n; // k, in radians per cell
  const [cosine, sine] = [Math.cos, Math.sin].map((of) => cells.map((i) => of(number(i))));
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const mean = (values) => sum(values) / n;

  function transform(field) { // u → û = Σ u e^(−ikx), as [real, imaginary]
    return waves.map((j) => [
      sum(field.map((u, i) => u * cosine[(i * j) % n])),
      -sum(field.map((u, i) => u * sine[(i * j) % n])),
    ]);
  }

  function back(transformed) { // û → u; a wave stands for itself and for its mirror image, but the first and the last
    return cells.map((i) => sum(transformed.map(([re, im], j) =>
      (j % (n / 2) === 0 ? 1 : 2) * (re * cosine[(i * j) % n] - im * sine[(i * j) % n]))) / n);
  }

  const damping = () => waves.map((j) => Math.exp(-(number(j) ** 2) * spread()));
  const scaled = (field, factor) => back(transform(field).map(([re, im], j) => [factor[j] * re, factor[j] * im]));
  const conduct = (x) => scaled(x, damping()); // P
  const heights = (field) => transform(field).map(([re, im]) => Math.hypot(re, im) / Math.sqrt(n)); // noise 1 has height 1 in the mean

  function invert(y, guess, gain) { // x₀ + F⁻¹[g r̂] with r = y − P(x₀)
    const simulated = conduct(guess);
    const change = scaled(y.map((value, i) => value - simulated[i]), gain);
    return guess.map((value, i) => value + change[i]);
  }

  // How much of the cell i, from i − ½ to i + ½, lies between two edges.
  const covered = (i, from, to) => moving.clamp(Math.min(to, i + 0.5) - Math.max(from, i - 0.5), 0, 1);

  frame.hint("Drag the ring and the square: each is the inner edge of a hot piece, and its height.");
  const rod = frame.board("temperature along the rod", [-4, 2.3, 33, -0.75], { x: "cell", y: "temperature" });
  const spectrum = frame.board("its waves: height in x* and in y, and gains", [-0.42, 6.6, 3.3, -7.6], { x: "k", y: "" });
  rod.defaultAxes.y.defaultTicks.setAttribute({ insertTicks: false, ticksDistance: 0.5 });
  const decades = spectrum.defaultAxes.y.defaultTicks;
  decades.setAttribute({ insertTicks: false, ticksDistance: 2 });
  decades.generateLabelText = (tick) => `10${[...String(Math.round(tick.usrCoords[2]))].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("")}`;
  rod.fullUpdate();
  spectrum.fullUpdate();

  const first = frame.handle(rod, [12.5, 1], "edge and height of the left piece", () => [left + 1, second.X(), 0.1, 1.4]);
  const second = frame.handle(rod, [16.5, 0.7], "edge and height of the right piece", () => [first.X(), right - 1, 0.1, 1.4], { face: "[]", size: 6 });

  let now = {};
  function compute() {
    const [edge, other] = [[first.X(), first.Y()], [second.X(), second.Y()]];
    const truth = cells.map((i) => edge[1] * covered(i, left, edge[0]) + other[1] * covered(i, other[0], right));
    const blurred = conduct(truth);
    const y = blurred.map((value, i) => value + noise() * noises[i]);
    const guess = cells.map(() => mean(y));
    const shown = drawn.filter(([, method]) => method.shown());
    const gains = Object.fromEntries(shown.map(([name, { gain }]) => [name, damping().map(gain)]));
    now = {
      truth, y, gains,
      found: Object.fromEntries(Object.entries(gains).map(([name, gain]) => [name, invert(y, guess, gain)])),
      heights: { truth: heights(truth), y: heights(y) },
      meets: Math.sqrt(-Math.log(noise()) / spread()), // the k at which d is as small as the noise
    };
  }
  compute();

  const stairs = (field) => field.flatMap((u, i) => [[i - 0.5, u], [i + 0.5, u]]);
  const curve = (field) => field.map((u, i) => [i, moving.clamp(u, -50, 50)]);
  const decade = (values) => values.map((value, j) => (value > 1e-12 ? [number(j), Math.log10(value)] : null));

  frame.line(rod, () => stairs(now.truth), { strokeColor: moving.paint("ink"), strokeWidth: 1.5 });
  frame.line(rod, () => curve(now.y), { strokeColor: moving.paint("orange"), strokeWidth: 2, dash: 2 });
  frame.line(spectrum, () => decade(now.heights.truth), { strokeColor: moving.paint("ink"), strokeWidth: 1.5 });
  frame.line(spectrum, () => decade(now.heights.y), { strokeColor: moving.paint("orange"), strokeWidth: 2, dash: 2 });
  for (const [name, { color }] of drawn) {
    const looks = { strokeColor: moving.paint(color), strokeWidth: name === "probabilistic" ? 3.5 : 2 };
    frame.line(rod, () => (now.found[name] ? curve(now.found[name]) : []), name === "raw" ? { ...looks, strokeWidth: 1, strokeOpacity: 0.6 } : looks);
    frame.line(spectrum, () => (now.gains[name] ? decade(now.gains[name]) : []), looks);
  }
  const dotted = { strokeColor: moving.paint("ink"), strokeWidth: 1, dash: 1 };
  const level = () => Math.log10(noise());
  frame.line(spectrum, () => [[0, level()], [Math.PI, level()]], dotted);
  frame.line(spectrum, () => [[now.meets, -7], [now.meets, 4.4]], dotted);

  // What is drawn, in two rows at the top of each board.
  const places = { "x*": [0, 0], y: [42, 0], raw: [75, 0], cutoff: [125, 0], probabilistic: [0, -18], "gradient descent": [105, -18] };
  for (const [board, at] of [[rod, [1, 1.98]], [spectrum, [0.55, 6]]])
    for (const [name, place] of Object.entries(places))
      frame.letters(board, () => (!methods[name] || now.gains[name] ? moving.beside(board, at, place) : [NaN, NaN]), name,
        methods[name]?.color ?? { "x*": "ink", y: "orange" }[name]);
  frame.letters(spectrum, () => moving.beside(spectrum, [Math.min(now.meets, Math.PI), -6.6], [-66, 0]), "d = noise");
  frame.letters(spectrum, () => moving.beside(spectrum, [0.05, level()], [0, -9]), "noise");

  function say() {
    const { digits } = moving;
    const far = (field) => digits(mean(field.map((u, i) => Math.abs(u - now.truth[i]))));
    const lost = now.meets < Math.PI ? `waves shorter than ${digits((2 * Math.PI) / now.meets)} cells are damped below the noise` : "no wave is damped below the noise";
    const errors = Object.keys(methods).filter((name) => now.found[name]).map((name) => `${name} ${far(now.found[name])}`);
    return `At νt = ${digits(spread())}, ${lost}. Mean distance from x*: ${[`y itself ${far(now.y)}`, ...errors].join(", ")}.`;
  }

  frame.start(compute, say);
  return { shown: () => ({ ...now, noises }) };
});
