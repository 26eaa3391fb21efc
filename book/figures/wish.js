// A wish Δy in y, and the steps that three methods make of it in x: where does each of them land? x and the tip are dragged.
"use strict";

moving.define("wish", (frame) => {
  const turn = (x, angle) => [Math.cos(angle) * x[0] - Math.sin(angle) * x[1], Math.sin(angle) * x[0] + Math.cos(angle) * x[1]];
  const square = (x) => x[0] ** 2 + x[1] ** 2;
  const kappa = 0.3;

  // A simulator P with its Jacobian J = ∂y/∂x and its inverse.
  const problems = {
    mixer: {
      P: ([hot, cold]) => [hot + cold, (60 * hot + 10 * cold) / (hot + cold)],
      J: ([hot, cold]) => { const flow = hot + cold; return [[1, 1], [(50 * cold) / flow ** 2, (-50 * hot) / flow ** 2]]; },
      inverse: ([flow, warm]) => [(flow * (warm - 10)) / 50, (flow * (60 - warm)) / 50],
      inside: ([hot, cold]) => hot + cold > 0,
      start: [3, 3], tip: [10, 45], limitsX: [0.3, 8.5, 0.3, 8.5], limitsY: [1, 12, 12, 58],
      boxX: [-1.2, 9.2, 9.2, -1.2], boxY: [-1.7, 62, 13.2, -7], equal: false,
      eta: { min: -3, max: -0.5, step: 0.02, value: -1.5 },
      titles: ["x: the taps", "y: what arrives"],
      names: { x: ["hot, L/min", "cold, L/min"], y: ["flow, L/min", "temperature, °C"] },
      told: ([flow, warm]) => `${flow} L/min and ${warm} K`, besideGD: [-11, -15], besideWish: 24,
      note: (x) => (Math.min(...x) < 0 ? ", with a tap below zero" : ""),
    },
    swirl: {
      P: (x) => turn(x, kappa * square(x)), // y = R(κ|x|²) x
      J: (x) => { // R(κ|x|²) (1 + 2κ x⊥ xᵀ), with x⊥ = x turned by a right angle
        const columns = [0, 1].map((j) => turn([(j === 0) - 2 * kappa * x[1] * x[j], (j === 1) + 2 * kappa * x[0] * x[j]], kappa * square(x)));
        return [0, 1].map((i) => columns.map((column) => column[i]));
      },
      inverse: (y) => turn(y, -kappa * square(y)),
      inside: () => true,
      start: [1, 0], tip: [1.75, 0.75], limitsX: [-2, 2, -2, 2], limitsY: [-2, 2, -2, 2],
      boxX: [-2.3, 2.3, 2.3, -2.3], boxY: [-2.3, 2.3, 2.3, -2.3], equal: true,
      eta: { min: -2, max: 0.5, step: 0.02, value: -0.3 },
      titles: ["x: what we change", "y: what comes out"],
      names: { x: ["x₁", "x₂"], y: ["y₁", "y₂"] },
      told: ([first, second]) => `(${first}, ${second})`, besideGD: [-14, 14], besideWish: -10,
      note: () => "",
    },
  };
  const { P, J, inverse, inside, start, tip, limitsX, limitsY, boxX, boxY, equal, eta: rates, titles, names, told, besideGD, besideWish, note } = problems[frame.problem];

  const eta = frame.slider("rate η of GD", rates, (e) => 10 ** e);
  const methods = { // where its letters stand beside the end of its step, in pixels
    GD: { color: "blue", step: descend, beside: besideGD, shown: frame.tick("GD: η JᵀΔy", "blue") },
    IG: { color: "purple", step: inverseGradient, beside: [13, -14], shown: frame.tick("IG: J⁻¹Δy", "purple") },
    PG: { color: "green", step: physicalGradient, beside: [15, 13], shown: frame.tick("PG: P⁻¹(y + Δy) − x", "green") },
  };

  const minus = (a, b) => [a[0] - b[0], a[1] - b[1]];
  const plus = (a, b, part = 1) => [a[0] + part * b[0], a[1] + part * b[1]];

  function descend(x, wish) { // Δy → η Jᵀ Δy = −η ∂L/∂x of L = ½ |y − tip|²
    const jacobian = J(x);
    return [0, 1].map((i) => eta() * (jacobian[0][i] * wish[0] + jacobian[1][i] * wish[1]));
  }

  function inverseGradient(x, [p, q]) { // Δy → J⁻¹ Δy
    const [[a, b], [c, d]] = J(x);
    const determinant = a * d - b * c;
    return [(d * p - b * q) / determinant, (a * q - c * p) / determinant];
  }

  function physicalGradient(x, wish) { // Δy → P⁻¹(y + Δy) − x
    return minus(inverse(plus(P(x), wish)), x);
  }

  // What the straight step looks like in y: P at equal parts of it, as far as there is a value.
  function image(x, step, n = 40) {
    const found = [];
    for (let k = 0; k <= n; k += 1) {
      const at = plus(x, step, k / n);
      if (!inside(at)) break;
      found.push(P(at));
    }
    return found;
  }
  const lands = (name) => (images[name]?.length === 41 ? images[name][40] : null);

  frame.hint("Drag the ring (the present x) and the square (the tip of the wish).");
  const planeX = frame.board(titles[0], boxX, { x: names.x[0], y: names.x[1], equal: true });
  const planeY = frame.board(titles[1], boxY, { x: names.y[0], y: names.y[1], equal });
  const present = frame.handle(planeX, start, "present x", () => limitsX);
  const wanted = frame.handle(planeY, tip, "tip of the wish in y", () => limitsY, { face: "[]", size: 7 });
  const here = () => [present.X(), present.Y()];
  const end = () => [wanted.X(), wanted.Y()];

  let [steps, images] = [{}, {}];
  const nowhere = [NaN, NaN];
  const mark = (board, at) => (at ? [[-4, 0], [0, 4], [4, 0], [0, -4], [-4, 0]].map((side) => moving.beside(board, at, side)) : []);

  frame.arrow(planeY, () => P(here()), end, "ink", { strokeWidth: 3, dash: 2 });
  for (const [name, { color, beside, shown }] of Object.entries(methods)) {
    const paint = moving.paint(color);
    frame.arrow(planeX, here, () => plus(here(), steps[name] ?? [0, 0]), color, { visible: shown });
    frame.letters(planeX, () => (steps[name] ? moving.beside(planeX, plus(here(), steps[name]), beside) : nowhere), name, color);
    frame.line(planeY, () => images[name] ?? [], { strokeColor: paint, strokeWidth: 2 });
    frame.line(planeY, () => mark(planeY, lands(name)), { strokeColor: paint, strokeWidth: 3 });
    frame.letters(planeY, () => (lands(name) ? moving.beside(planeY, lands(name), beside) : nowhere), name, color);
  }
  frame.letters(planeX, () => moving.beside(planeX, here(), [-18, 0]), "x");
  frame.letters(planeY, () => moving.beside(planeY, P(here()), [-16, 0]), "y");
  frame.letters(planeY, () => {
    const [from, to] = [P(here()), end()];
    const along = [(to[0] - from[0]) * planeY.unitX, (to[1] - from[1]) * planeY.unitY];
    const length = Math.hypot(...along) || 1;
    return moving.beside(planeY, plus(from, minus(to, from), 0.5), [(-besideWish * along[1]) / length - 6, (besideWish * along[0]) / length]);
  }, "Δy");
  frame.mark(planeY, () => P(here()), "o", "ink");

  function compute() {
    const [x, wish] = [here(), minus(end(), P(here()))];
    [steps, images] = [{}, {}];
    for (const [name, { shown, step }] of Object.entries(methods)) {
      if (!shown()) continue;
      steps[name] = step(x, wish);
      images[name] = image(x, steps[name]);
    }
  }

  const amount = (change) => told(change.map((value) => moving.digits(Math.abs(value) < 5e-4 ? 0 : value).replace("-", "−")));

  function say() {
    const y = P(here());
    const brought = Object.keys(steps).map((name) => {
      const landed = lands(name);
      if (!landed) return `${name} turns the water off`;
      const arrived = Math.hypot(...minus(landed, end())) < 1e-9 * (1 + Math.hypot(...end()));
      return `${name} brings ${arrived ? "just that" : amount(minus(landed, y)) + note(plus(here(), steps[name]))}`;
    });
    return `The wish: ${amount(minus(end(), y))}. ${brought.join("; ")}.`;
  }

  frame.start(compute, say);
  return { shown: () => ({ steps, images, present: here(), tip: end(), eta: eta() }) };
});
