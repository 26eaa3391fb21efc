// One update of SIP on the stirred cup, y = R(κ|x|²) x: the network proposes x, the stirred fleck is y, the wish in y is
// taken back by the inverse, and the network is pulled from x to x̃. Beside it: what the gradient of the loss says.
"use strict";

moving.define("cup", (frame) => {
  const start = [0.65, -0.65];
  const goal = [0, 0.55];

  const eta = frame.slider("part η of the way", { min: 0.05, max: 1, step: 0.05, value: 0.6 });
  const kappa = frame.slider("turn at the rim, κ", { min: 0, max: 4, step: 0.1, value: 1 });

  // The simulator, its inverse, and its Jacobian R(α) (1 + 2κ (Qx) xᵀ) with α = κ|x|² and Q a right angle.
  const turn = ([a, b], angle) => [Math.cos(angle) * a - Math.sin(angle) * b, Math.sin(angle) * a + Math.cos(angle) * b];
  const square = ([a, b]) => a * a + b * b;
  const P = (x) => turn(x, kappa() * square(x));
  const inverse = (y) => turn(y, -kappa() * square(y));
  const minus = (a, b) => [a[0] - b[0], a[1] - b[1]];
  const along = (from, step, part) => [from[0] + part * step[0], from[1] + part * step[1]];
  const length = (a) => Math.sqrt(square(a));

  function transposed(x, v) { // v → Jᵀ v = (1 + 2κ x (Qx)ᵀ) R(−α) v
    const back = turn(v, -kappa() * square(x));
    const aside = -x[1] * back[0] + x[0] * back[1]; // (Qx)·back
    return along(back, x, 2 * kappa() * aside);
  }

  frame.hint("Drag the ring (the network's proposal x) and the square (the outcome y* that is wanted).");
  const size = 1.3;
  const box = [-size, size, size, -size];
  const planeX = frame.board("x: before the stirring", box, { x: "x₁", y: "x₂", equal: true });
  const planeY = frame.board("y: after it", box, { x: "y₁", y: "y₂", equal: true });
  for (const board of [planeX, planeY])
    for (const axis of [board.defaultAxes.x, board.defaultAxes.y]) axis.defaultTicks.setAttribute({ insertTicks: false, ticksDistance: 0.5 });
  const limits = () => [-0.9, 0.9, -0.9, 0.9];
  const proposal = frame.handle(planeX, start, "proposal x", limits);
  const wanted = frame.handle(planeY, goal, "wanted y*", limits, { face: "[]", size: 6 });

  let now = {};
  function compute() {
    const [x, aim] = [[proposal.X(), proposal.Y()], [wanted.X(), wanted.Y()]];
    const y = P(x);
    const deltaY = along([0, 0], minus(aim, y), eta()); // Δy = η (y* − y)
    const target = inverse(along(y, deltaY, 1)); // x̃ = P⁻¹(y + Δy; x)
    const slope = transposed(x, minus(y, aim)); // ∂L/∂x = Jᵀ (y − y*), of L = ½|y − y*|²
    const gradient = along([0, 0], slope, -eta()); // Δx = −η ∂L/∂x
    now = {
      x, y, aim, deltaY, target, gradient,
      pull: minus(target, x), // x̃ − x
      solution: inverse(aim),
      reached: P(target),
      landed: P(along(x, gradient, 1)),
    };
  }
  compute();

  // Flecks that stood on straight lines before the stirring, and the rim.
  const rays = Array.from({ length: 8 }, (_, k) => Array.from({ length: 25 }, (_, i) => turn([i / 24, 0], (k * Math.PI) / 4)));
  const rims = [0.5, 1].map((radius) => Array.from({ length: 73 }, (_, i) => turn([radius, 0], (i * Math.PI) / 36)));
  const still = [...rays, ...rims].flatMap((points) => [...points, null]);
  const faint = { strokeColor: moving.paint("ink"), strokeWidth: 0.7, strokeOpacity: 0.7 };
  const way = (from, step, show) => Array.from({ length: 41 }, (_, i) => show(along(from, step, i / 40)));
  const inside = (right, up) => [right > 0.4 ? -58 : 8, up]; // so that the letters stay on the board

  frame.line(planeX, () => still, faint);
  frame.line(planeY, () => still.map((point) => point && P(point)), faint);
  // What is straight in one plane is bent in the other.
  frame.line(planeX, () => way(now.y, now.deltaY, inverse), { strokeColor: moving.paint("green"), strokeWidth: 1.5, dash: 2 });
  frame.line(planeY, () => way(now.x, now.gradient, P), { strokeColor: moving.paint("blue"), strokeWidth: 1.5, dash: 2 });

  frame.mark(planeX, () => now.solution, "[]", "ink");
  frame.mark(planeY, () => now.y, "o", "ink");
  frame.mark(planeX, () => now.target, "<>", "green");
  frame.mark(planeY, () => now.reached, "<>", "green");
  frame.mark(planeY, () => now.landed, "o", "blue");
  frame.arrow(planeX, () => now.x, () => now.target, "green");
  frame.arrow(planeX, () => now.x, () => along(now.x, now.gradient, 1), "blue");
  frame.arrow(planeY, () => now.y, () => along(now.y, now.deltaY, 1), "ink");

  frame.letters(planeX, () => moving.beside(planeX, now.x, [10, -16]), "x");
  frame.letters(planeX, () => moving.beside(planeX, now.target, [9, 8]), "x̃", "green");
  frame.letters(planeX, () => moving.beside(planeX, along(now.x, now.pull, 0.5), [-32, 0]), "pull", "green");
  frame.letters(planeX, () => moving.beside(planeX, now.solution, [9, 12]), "x*");
  frame.letters(planeX, () => moving.beside(planeX, along(now.x, now.gradient, 1), inside(now.x[0] + now.gradient[0], 8)), "gradient", "blue");
  frame.letters(planeY, () => moving.beside(planeY, now.y, [10, 13]), "y");
  frame.letters(planeY, () => moving.beside(planeY, now.aim, [10, 12]), "y*");
  frame.letters(planeY, () => moving.beside(planeY, along(now.y, now.deltaY, 0.5), [-14, -14]), "Δy");
  frame.letters(planeY, () => moving.beside(planeY, now.reached, [-10, 14]), "SIP", "green");
  frame.letters(planeY, () => moving.beside(planeY, now.landed, inside(now.landed[0], -16)), "gradient", "blue");

  function say() {
    const { digits } = moving;
    const missing = (point) => digits(length(minus(now.aim, point)));
    const lengths = length(now.pull) * length(now.gradient);
    const cosine = (now.pull[0] * now.gradient[0] + now.pull[1] * now.gradient[1]) / lengths;
    const between = lengths > 1e-12 ? Math.round((Math.acos(moving.clamp(cosine, -1, 1)) * 180) / Math.PI) : 0;
    return `Now y is ${missing(now.y)} from y*. SIP pulls the network by ${digits(length(now.pull))}, to where ${missing(now.reached)} would be left. ` +
      `The gradient points ${between} degrees beside it and would leave ${missing(now.landed)}.`;
  }

  frame.start(compute, say);
  return { shown: () => ({ ...now }) };
});
