// Two linked planes: where a path of each method goes in x, and what it looks like in y. Start and goal are dragged.
"use strict";

moving.define("planes", (frame) => {
  // A simulator P with its Jacobian J = ∂y/∂x, its second derivatives [output][input][input], and its inverse.
  const g = 9.81;
  const sine = { gamma: 10, xi: 1, phi: 0 }; // its dials, as they stand
  const rotate = ([a, b], angle) => [Math.cos(angle) * a - Math.sin(angle) * b, Math.sin(angle) * a + Math.cos(angle) * b];
  const rows = () => { const [c, s] = [Math.cos(sine.phi), Math.sin(sine.phi)]; return [[c, -s], [s, c]]; }; // of R
  const angleOf = (x) => { const [e] = rows(); return (sine.gamma * (e[0] * x[0] + e[1] * x[1])) / sine.xi; }; // x̂₁ / ξ
  const problems = {
    ball: {
      P: ([v, h]) => { const t = Math.sqrt((2 * h) / g); return [v * t, t]; },
      J: ([v, h]) => { const t = Math.sqrt((2 * h) / g); return [[t, v / (g * t)], [0, 1 / (g * t)]]; },
      H: ([v, h]) => {
        const t = Math.sqrt((2 * h) / g);
        const [first, second] = [1 / (g * t), -1 / (g * g * t ** 3)]; // of t in h
        return [[[0, first], [first, v * second]], [[0, 0], [0, second]]];
      },
      inverse: ([d, t]) => [d / t, (g * t * t) / 2],
      inside: ([, h]) => h > 0,
      missed: (x, right) => Math.max(...x.map((value, i) => Math.abs(value / right[i] - 1))),
      misses: (miss) => `misses by ${miss < 1e-3 ? "less than 0.1" : (100 * miss).toFixed(1)} %`,
      eta: 0, part: 1,
      start: [1, 0.5], goal: [3, 1.2], limits: [0.2, 4.6, 0.1, 2.4], limitsY: [0.05, 2.9, 0.05, 0.85], top: 5.2,
      field: [0.02, 5.4, 0.02, 21.6], levels: [0.001, 0.005, 0.02, 0.08, 0.3, 0.8],
      boxX: [-0.7, 5.4, 5.4, -0.7], boxY: [-0.4, 0.9, 3.1, -0.09],
      names: { unit: "units in a metre", x: ["speed v, m/s", "height h, units"], y: ["distance d, m", "time t, s"] },
    },
    square: {
      P: ([x1, x2]) => [x1, x2 ** 2],
      J: ([, x2]) => [[1, 0], [0, 2 * x2]],
      H: () => [[[0, 0], [0, 0]], [[0, 0], [0, 2]]],
      inverse: ([y1, y2], [, x2]) => [y1, x2 < 0 ? -Math.sqrt(y2) : Math.sqrt(y2)], // the closest
      inside: () => true,
      missed: (x, right, y, aim) => Math.hypot(y[0] - aim[0], y[1] - aim[1]),
      misses: (miss) => `ends ${moving.digits(miss)} from the goal in y`,
      eta: -1.7, part: 0.3,
      start: [3, 3], goal: [0, 0], limits: [-0.3, 3.6, 0.1, 3.3], limitsY: [-0.3, 3.6, 0, 10.5], top: 3.6,
      field: [-0.6, 3.8, 0.002, 15], levels: [0.5, 5, 20, 45],
      boxX: [-0.6, 3.8, 3.8, -0.6], boxY: [-0.6, 11, 3.8, -1.4],
      names: { unit: "units of x₂", x: ["x₁", "x₂, units"], y: ["y₁", "y₂"] },
    },
    sine: { // y = (sin(x̂₁ / ξ), ξ x̂₂) with x̂ = γ R x
      P: (x) => { const [, e] = rows(); return [Math.sin(angleOf(x)), sine.xi * sine.gamma * (e[0] * x[0] + e[1] * x[1])]; },
      J: (x) => {
        const [first, second] = [(sine.gamma / sine.xi) * Math.cos(angleOf(x)), sine.gamma * sine.xi];
        return [rows()[0].map((e) => first * e), rows()[1].map((e) => second * e)];
      },
      H: (x) => {
        const [e] = rows();
        const bend = -((sine.gamma / sine.xi) ** 2) * Math.sin(angleOf(x));
        return [[0, 1].map((i) => [0, 1].map((j) => bend * e[i] * e[j])), [[0, 0], [0, 0]]];
      },
      inverse: closest,
      inside: () => true,
      missed: (x, right, y, aim) => [Math.hypot(...minus(y, aim)), Math.hypot(...minus(x, closest(aim, x)))],
      misses: ([inY, inX]) => `ends ${moving.digits(inY)} from the goal in y, ${moving.digits(inX)} from a solution in x`,
      dials: () => {
        const xi = frame.slider("conditioning ξ", { min: 0, max: 0.6, step: 0.02, value: 0.3 }, (t) => 10 ** t);
        const phi = frame.slider("rotation φ in degrees", { min: 0, max: 90, step: 1, value: 30 });
        return () => { // how the start turns with the dial of φ: x̂ stays
          const before = sine.phi;
          Object.assign(sine, { xi: xi(), phi: (phi() * Math.PI) / 180 });
          return before - sine.phi;
        };
      },
      eta: -2.7, rates: [-4.5, 0], part: 0.3,
      start: [-0.11, 0.31], wanted: [0.3, -0.5], round: 0.55, limitsY: [-1, 1, -5, 5],
      field: [-0.6, 0.6, -0.6, 0.6], even: true, levels: [0.03, 0.3, 1.5, 6, 20],
      boxX: [-0.6, 0.6, 0.6, -0.6], boxY: [-1.35, 6.5, 1.35, -6.5],
      sides: { GD: [-28, -10], IG: [12, 4], PG: [-26, -8] },
      names: { x: ["x₁", "x₂"], y: ["y₁", "y₂"] },
    },
  };

  function closest(y, near) { // of the solutions of the sine, over both branches of the arcsine and all periods
    const [arcsine, here] = [Math.asin(moving.clamp(y[0], -1, 1)), angleOf(near)];
    const branches = [arcsine, Math.PI - arcsine].map((branch) => branch + 2 * Math.PI * Math.round((here - branch) / (2 * Math.PI)));
    const angle = Math.abs(branches[0] - here) <= Math.abs(branches[1] - here) ? branches[0] : branches[1];
    const turned = [(sine.xi * angle) / sine.gamma, y[1] / sine.xi / sine.gamma];
    return [0, 1].map((i) => rows()[0][i] * turned[0] + rows()[1][i] * turned[1]); // Rᵀ x̂ / γ
  }

  const problem = problems[frame.problem];
  const { P, J, H, inverse, inside, start, goal, boxX, boxY, names } = problem;

  const readDials = problem.dials?.() ?? (() => 0);
  readDials();
  const unit = names.unit ? frame.slider(names.unit, { min: -0.6, max: 0.6, step: 0.01, value: 0 }, (e) => 10 ** e) : () => 1;
  const [lowest, highest] = problem.rates ?? [-2.5, 1];
  const eta = frame.slider("rate η of GD and Adam", { min: lowest, max: highest, step: 0.02, value: problem.eta }, (e) => 10 ** e);
  const part = frame.slider("part of the way of the others", { min: 0.1, max: 1, step: 0.05, value: problem.part });
  const count = frame.slider("steps", { min: 1, max: 40, step: 1, value: 10 }, (n) => n, String);
  const methods = {
    GD: { color: "blue", side: [8, 10], shown: frame.tick("GD", "blue"), step: descend },
    Adam: { color: "red", side: [-42, 0], shown: frame.tick("Adam", "red", false), step: adam },
    Newton: { color: "orange", side: [-52, 8], shown: frame.tick("Newton", "orange", false), step: newton },
    IG: { color: "purple", side: [-20, 12], shown: frame.tick("IG", "purple"), step: inverseGradient },
    PG: { color: "green", side: [8, -12], shown: frame.tick("PG", "green"), step: physicalGradient },
  };

  // The numbers that are moved are z = (x₁, unit · x₂); every rule returns Δx.
  const scales = () => [1, unit()];
  const minus = (a, b) => [a[0] - b[0], a[1] - b[1]];
  const plus = (a, b) => [a[0] + b[0], a[1] + b[1]];

  function gradient(x, aim) { // r → Jᵀ r
    const [jacobian, r] = [J(x), minus(P(x), aim)];
    return [0, 1].map((i) => jacobian[0][i] * r[0] + jacobian[1][i] * r[1]);
  }

  function descend(x, aim) { // ∂L/∂z = (∂L/∂x) / unit, and Δx = Δz / unit
    return gradient(x, aim).map((slope, i) => (-eta() * slope) / scales()[i] ** 2);
  }

  function adam(x, aim, state, number) { // as in Keras: β = 0.9 and 0.999, ε = 1e-7
    return gradient(x, aim).map((slope, i) => {
      const inUnit = slope / scales()[i];
      state.mean[i] = 0.9 * state.mean[i] + 0.1 * inUnit;
      state.square[i] = 0.999 * state.square[i] + 0.001 * inUnit ** 2;
      const rate = (eta() * Math.sqrt(1 - 0.999 ** number)) / (1 - 0.9 ** number);
      return (-rate * state.mean[i]) / (Math.sqrt(state.square[i]) + 1e-7) / scales()[i];
    });
  }

  function solve([[a, b], [c, d]], [p, q]) { // A⁻¹ (p, q)
    const determinant = a * d - b * c;
    return [(d * p - b * q) / determinant, (a * q - c * p) / determinant];
  }

  function newton(x, aim) { // Hessian of L: Jᵀ J + Σ rₖ ∂²yₖ/∂x²
    const [jacobian, second, r] = [J(x), H(x), minus(P(x), aim)];
    const hessian = [0, 1].map((i) => [0, 1].map((j) => [0, 1].reduce(
      (sum, k) => sum + jacobian[k][i] * jacobian[k][j] + r[k] * second[k][i][j], 0)));
    return solve(hessian, gradient(x, aim)).map((full) => -part() * full);
  }

  const wish = (x, aim) => minus(aim, P(x)).map((full) => part() * full); // Δy

  function inverseGradient(x, aim) { // Δy → J⁻¹ Δy
    return solve(J(x), wish(x, aim));
  }

  function physicalGradient(x, aim) { // Δy → P⁻¹(y + Δy) − x
    return minus(inverse(plus(P(x), wish(x, aim)), x), x);
  }

  function path(step, x, aim) { // ends where the simulator has no value
    const [found, state] = [[x], { mean: [0, 0], square: [0, 0] }];
    for (let number = 1; number <= count(); number += 1) {
      x = plus(x, step(x, aim, state, number));
      if (!x.every(Number.isFinite) || !inside(x)) break;
      found.push(x);
    }
    return found;
  }

  // Level lines of L by marching squares, once for a goal: on a grid of x, as pieces [from, to].
  function contours(aim, levels, n = 96) {
    const [left, right, bottom, top] = problem.field; // even in x₁, even in x₂ or in its logarithm
    const up = problem.even ? (part) => bottom + (top - bottom) * part : (part) => bottom * (top / bottom) ** part;
    const at = (i, j) => [left + ((right - left) * i) / n, up(j / n)];
    const loss = (x) => { const r = minus(P(x), aim); return (r[0] ** 2 + r[1] ** 2) / 2; };
    const grid = Array.from({ length: n + 1 }, (_, i) => Array.from({ length: n + 1 }, (_, j) => loss(at(i, j))));
    const pieces = [];
    for (let i = 0; i < n; i += 1)
      for (let j = 0; j < n; j += 1) {
        const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
        const heights = corners.map(([k, l]) => grid[k][l]);
        const [lowest, highest] = [Math.min(...heights), Math.max(...heights)];
        for (const level of levels) {
          if (level <= lowest || level >= highest) continue;
          const cuts = [];
          for (let side = 0; side < 4; side += 1) {
            const [low, high] = [heights[side] - level, heights[(side + 1) % 4] - level];
            if (low * high >= 0) continue;
            const [from, to, share] = [at(...corners[side]), at(...corners[(side + 1) % 4]), low / (low - high)];
            cuts.push([from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1])]);
          }
          for (let cut = 0; cut + 1 < cuts.length; cut += 2) pieces.push(cuts[cut], cuts[cut + 1], null);
        }
      }
    return pieces;
  }

  frame.hint("Drag the ring (start) and the square (goal).");
  const planeX = frame.board("x: what we change", boxX, { x: names.x[0], y: names.x[1], equal: true });
  const planeY = frame.board("y: what comes out", boxY, { x: names.y[0], y: names.y[1] });
  const inUnits = (x) => x && [x[0], x[1] * unit()];
  if (problem.dials) { // too many ticks between −1 and 1
    planeY.defaultAxes.x.defaultTicks.setAttribute({ insertTicks: false, ticksDistance: 0.5 });
    planeY.fullUpdate();
  }
  function within(at) {
    if (problem.round) { // so that it can be turned
      const [x1, x2] = at.map((value) => value * Math.min(1, problem.round / Math.hypot(...at)));
      return [x1, x1, x2, x2];
    }
    const [left, right, bottom, top] = problem.limits;
    return [left, right, bottom * unit(), Math.min(top * unit(), problem.top)];
  }
  const begin = frame.handle(planeX, start, "start in x", within);
  const wanted = frame.handle(planeY, problem.wanted ?? P(goal), "goal in y", () => problem.limitsY, { face: "[]", size: 6 });
  const aim = () => [wanted.X(), wanted.Y()];
  const from = () => [begin.X(), begin.Y() / unit()];

  let [paths, levels, lastLoss, lastUnit] = [{}, [], null, unit()];
  frame.line(planeX, () => levels.map(inUnits), { strokeColor: moving.paint("ink"), strokeWidth: 0.7 });

  // A marker at every step, as a small square in units of the board.
  const marks = (points, board) => points.flatMap(([x, y]) => {
    const [w, h] = [3 / board.unitX, 3 / board.unitY];
    return [[x - w, y], [x, y + h], [x + w, y], [x, y - h], [x - w, y], null];
  });
  for (const [name, { color, side: usual }] of Object.entries(methods)) {
    const side = problem.sides?.[name] ?? usual;
    for (const [board, show] of [[planeX, inUnits], [planeY, P]]) {
      const points = () => (paths[name] ?? []).map(show);
      frame.line(board, points, { strokeColor: moving.paint(color), strokeWidth: 2 });
      frame.line(board, () => marks(points(), board), { strokeColor: moving.paint(color), strokeWidth: 3 });
      frame.letters(board, () => {
        const points = (paths[name] ?? []).map(show);
        const end = points[Math.min(1, points.length - 1)] ?? [NaN, NaN];
        return moving.beside(board, end, side);
      }, name, color);
    }
  }

  frame.mark(planeY, () => P(from()), "o", "ink");
  frame.mark(planeX, () => inUnits(inverse(aim(), from())), "[]", "ink", { size: 6 });

  function compute() {
    const now = aim();
    const turn = readDials();
    if (turn) begin.setPosition(JXG.COORDS_BY_USER, rotate(from(), turn));
    if (unit() !== lastUnit) begin.setPosition(JXG.COORDS_BY_USER, [begin.X(), (begin.Y() * unit()) / lastUnit]); // the same height
    lastUnit = unit();
    const loss = String([now, sine.xi, sine.phi]);
    if (loss !== lastLoss) levels = contours(now, problem.levels);
    lastLoss = loss;
    paths = {};
    for (const [name, { shown, step }] of Object.entries(methods)) if (shown()) paths[name] = path(step, from(), now);
  }

  function say() {
    const right = inverse(aim(), from());
    const misses = Object.entries(paths).map(([name, points]) => {
      const [last, left] = [points.at(-1), count() - points.length + 1];
      if (left > 0) return `${name} leaves the simulator’s world after ${points.length - 1}`;
      return `${name} ${problem.misses(problem.missed(last, right, P(last), aim()))}`;
    });
    return `After ${count()} steps: ${misses.join(", ")}.`;
  }

  frame.start(compute, say);
  return { shown: () => ({ paths, unit: unit(), eta: eta(), part: part(), steps: count(), start: from(), goal: aim(), ...(problem.dials && sine) }) };
});
