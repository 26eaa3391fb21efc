// The physical gradient as a mean: a rippled curve y = P(x), the step that PG and the one that IG takes for a wish Δy, and
// beside it the inverse gradient ∂x/∂y on the way from y₀ to y₀ + Δy, with its mean. x₀ is dragged along the curve.
"use strict";

moving.define("average", (frame) => {
  const reach = 1.2; // of x₀
  const omega = 20;

  const size = frame.slider("wished change Δy", { min: -3, max: 0.08, step: 0.02, value: -0.04 }, (t) => 10 ** t);
  const ripple = frame.slider("height of the ripple", { min: 0, max: 0.045, step: 0.0025, value: 0.045 });

  let height = ripple();
  const P = (x) => x + height * Math.sin(omega * x);
  const slope = (x) => 1 + omega * height * Math.cos(omega * x); // ∂y/∂x, never below 0.1

  function inverse(y, low = y - 0.046, high = y + 0.046) { // by bisection
    while (high - low > 1e-13) {
      const middle = (low + high) / 2;
      if (P(middle) < y) low = middle;
      else high = middle;
    }
    return (low + high) / 2;
  }

  // The mean over y of ∂x/∂y, from one x to another: Gauss's three points in y, in each of many short pieces of the way.
  const gauss = [[-Math.sqrt(0.6), 5 / 18], [0, 8 / 18], [Math.sqrt(0.6), 5 / 18]];
  function meanOverY(from, to, pieces = 100) {
    let total = 0;
    for (let piece = 0; piece < pieces; piece += 1) {
      const ends = [piece, piece + 1].map((k) => from + ((to - from) * k) / pieces);
      const [low, high] = ends.map(P);
      for (const [place, weight] of gauss)
        total += (weight * (high - low)) / slope(inverse((low + high + place * (high - low)) / 2, ...ends));
    }
    return total / (P(to) - P(from));
  }

  frame.hint("Drag the ring (x₀) along the curve.");
  const curve = frame.board("one wish, two steps in x", [-0.22, 2.5, 2.6, -0.25], { x: "x", y: "y" });
  const rates = frame.board("∂x/∂y on the way", [-0.28, 11, 2.5, -1.1], { x: "y", y: "∂x/∂y" });
  for (const axis of [curve.defaultAxes.x, curve.defaultAxes.y, rates.defaultAxes.x])
    axis.defaultTicks.setAttribute({ insertTicks: false, ticksDistance: 0.5 });
  for (const board of [curve, rates]) board.fullUpdate();
  const here = frame.handle(curve, [0.11, P(0.11)], "x₀, on the curve", () => {
    const x = moving.clamp(here.X(), 0, reach);
    return [x, x, P(x), P(x)];
  });

  const between = (from, to, n) => Array.from({ length: n + 1 }, (_, k) => from + ((to - from) * k) / n);
  let now = {};
  function compute() {
    height = ripple();
    const x = here.X();
    here.setPosition(JXG.COORDS_BY_USER, [x, P(x)]); // the curve moves under the ring when its ripple changes
    const [y, delta] = [P(x), size()];
    const local = inverse(y + delta); // P⁻¹(y₀ + Δy)
    const first = 1 / slope(x); // ∂x/∂y at the start
    const linear = x + first * delta;
    now = {
      x, y, delta, local, first, linear, goal: y + delta,
      PG: local - x,
      IG: linear - x,
      mean: meanOverY(x, local),
      lands: { PG: P(local), IG: P(linear) },
      way: between(x, local, 160).map((at) => [P(at), 1 / slope(at)]),
    };
  }
  compute();

  const ink = { strokeColor: moving.paint("ink"), strokeWidth: 1.2 };
  const dotted = { ...ink, strokeWidth: 1, dash: 1 };
  const FILLED = { size: 6, fillOpacity: 1, strokeWidth: 2 };
  const nowhere = [NaN, NaN];
  const far = () => now.linear > 2.52; // IG has left the board

  frame.line(curve, () => between(-0.2, 2.6, 320).map((x) => [x, P(x)]), ink);
  frame.line(curve, () => [[-0.22, now.goal], [2.6, now.goal]], dotted);
  frame.line(curve, () => [[now.x, now.y], [now.linear, now.goal]], { strokeColor: moving.paint("purple"), strokeWidth: 1.5, dash: 2 });
  frame.line(curve, () => [[now.linear, now.goal], [now.linear, now.lands.IG]], { strokeColor: moving.paint("purple"), strokeWidth: 3 });
  frame.line(curve, () => between(now.x, now.local, 160).map((x) => [x, P(x)]), { strokeColor: moving.paint("blue"), strokeWidth: 3 });
  frame.arrow(curve, () => [now.x, now.y], () => [now.x, now.goal], "ink");
  frame.mark(curve, () => [now.linear, now.goal], "^", "purple", FILLED);
  frame.mark(curve, () => [now.local, now.goal], "<>", "green", FILLED);
  frame.letters(curve, () => moving.beside(curve, [now.local, now.goal], [-12, 18]), "PG", "green");
  frame.letters(curve, () => moving.beside(curve, far() ? [2.6, now.goal] : [now.linear, now.goal], far() ? [-36, 12] : [-8, -16]), () => (far() ? "IG →" : "IG"), "purple");
  frame.letters(curve, () => (now.delta > 0.2 ? moving.beside(curve, [now.x, now.y + 0.6 * now.delta], [6, 0]) : nowhere), "Δy");
  frame.letters(curve, () => moving.beside(curve, [now.x, now.y], [8, -14]), "x₀");

  // The area under ∂x/∂y is the step of PG; so is that of the rectangle under the mean.
  frame.line(rates, () => [[now.y, 0], ...now.way, [now.goal, 0]], { strokeWidth: 0, fillColor: moving.paint("sky"), fillOpacity: 0.3 });
  frame.line(rates, () => between(-0.2, 2.6, 400).map((x) => [P(x), 1 / slope(x)]), ink);
  frame.line(rates, () => now.way, { strokeColor: moving.paint("blue"), strokeWidth: 3 });
  frame.line(rates, () => [[now.y, now.first], [now.goal, now.first]], { strokeColor: moving.paint("purple"), strokeWidth: 2, dash: 2 });
  frame.line(rates, () => [[now.y, 0], [now.y, now.mean], [now.goal, now.mean], [now.goal, 0]], { strokeColor: moving.paint("green"), strokeWidth: 2.5 });
  frame.mark(rates, () => [now.y, now.first], "o", "ink");
  const apart = () => (Math.abs(now.first - now.mean) * rates.unitY < 20 ? Math.sign(now.first - now.mean) * 10 : 0); // so that the letters do not meet
  frame.letters(rates, () => moving.beside(rates, [now.goal, now.first], [8, apart()]), "IG: its start", "purple");
  frame.letters(rates, () => moving.beside(rates, [now.goal, now.mean], [8, -apart()]), "PG: its mean", "green");

  function say() {
    const { digits } = moving;
    const ratio = now.first / now.mean;
    const compared = Math.abs(ratio - 1) < 5e-3 ? "nearly the same" : `${digits(ratio)} times as large`;
    return `The way of Δy = ${digits(now.delta)} is ${digits((now.PG * omega) / (2 * Math.PI))} ripples long. The mean of ∂x/∂y on it is ${digits(now.mean)}; at its start it is ${compared}. ` +
      `PG lands at y₀ + Δy; IG at y₀ + ${digits(now.lands.IG - now.y)}.`;
  }

  frame.start(compute, say);
  return { shown: () => ({ ...now, height }) };
});
