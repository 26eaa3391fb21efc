// Two figures. `square` and `cube`: a local inverse on a curve y = P(x), which x it takes for a wished y, and which the
// tangent would take; to its right the curve is turned over, and local inverse and tangent touch at (y₀, x₀). `loop`: a
// closed way in the plane of y = x², read as complex numbers, and where x goes if it follows.
"use strict";

moving.define("local-inverse", (frame) => {
  const FILLED = { size: 6, fillOpacity: 1, strokeWidth: 2 };

  return frame.problem === "loop" ? loop() : curves();

  function curves() {
    // P with its slope, its pre-images of y, and the x (from, to) on the branch through x₀; a tie at x₀ = 0 goes to +, as in the package.
    const problems = {
      square: {
        P: (x) => x ** 2,
        slope: (x) => 2 * x,
        preImages: (y) => (y < 0 ? [] : [-Math.sqrt(y), Math.sqrt(y)]),
        branch: (x) => (x < 0 ? [-2.4, 0] : [0, 2.4]),
        start: -1.5, wanted: 0.5, reach: 2.1, low: -0.8, high: 4.4,
        boxX: [-2.5, 5.2, 2.5, -1.1], boxY: [-1.1, 2.5, 5.2, -2.5],
        title: "y = x²", byPG: [8, 12],
      },
      cube: {
        P: (x) => x ** 3,
        slope: (x) => 3 * x ** 2,
        preImages: (y) => [Math.cbrt(y)],
        branch: () => [-1.7, 1.7],
        start: 0.38, wanted: -0.6, reach: 1.25, low: -1.9, high: 1.9,
        boxX: [-1.8, 2.2, 1.8, -2.2], boxY: [-2.2, 1.8, 2.2, -1.8],
        title: "y = x³", byPG: [-26, 12],
      },
    };
    const { P, slope, preImages, branch, start, wanted, reach, low, high, boxX, boxY, title, byPG } = problems[frame.problem];
    const LIMITS = [boxX[0], boxX[2]];

    const part = frame.slider("part η of the way", { min: 0.1, max: 1, step: 0.05, value: 1 });
    frame.hint("Drag the ring along the curve (x₀), and the square up and down (the wished y*).");
    const curve = frame.board(`${title}: two ways back to the wished y`, boxX, { x: "x", y: "y" });
    const inverse = frame.board("the same answers, as functions of y", boxY, { x: "y", y: "x" });

    const here = frame.handle(curve, [start, P(start)], "x₀, on the curve", () => {
      const x = moving.clamp(here.X(), -reach, reach);
      const caught = Math.abs(x) < 0.03 ? 0 : x; // the turning point can be met exactly
      return [caught, caught, P(caught), P(caught)];
    });
    const edge = boxX[0] + 0.86 * (boxX[2] - boxX[0]);
    const aim = frame.handle(curve, [edge, wanted], "wished y", () => [edge, edge, low, high], { face: "[]", size: 6 });

    let now = {};
    function compute() {
      const x = here.X();
      const y = P(x);
      const step = part() * (aim.Y() - y); // Δy
      const goal = y + step;
      const sorted = preImages(goal).sort((a, b) => Math.abs(a - x) - Math.abs(b - x) || b - a);
      const local = sorted[0] ?? null; // P⁻¹(y₀ + Δy; x₀), the closest pre-image
      const linear = slope(x) === 0 ? null : x + step / slope(x); // x₀ + (∂x/∂y) Δy
      now = {
        start: [x, y], step, goal, local, linear,
        other: sorted.length > 1 && sorted[1] !== local ? sorted[1] : null,
        tie: sorted.length > 1 && x === 0 && goal > 0,
        lands: linear === null ? null : P(linear),
        branch: branch(x),
      };
    }
    compute();

    // Everything is drawn twice: in the curve at (x, y), in the inverse at (y, x).
    const sides = [[curve, (x, y) => [x, y]], [inverse, (x, y) => [y, x]]];
    const nowhere = [NaN, NaN];
    const given = (x, y, show) => (x === null ? nowhere : show(x, y));
    const between = ([from, to], n = 160) => Array.from({ length: n + 1 }, (_, i) => from + ((to - from) * i) / n);

    for (const [board, show] of sides) {
      const onCurve = board === curve;
      frame.line(board, () => between(LIMITS).map((x) => show(x, P(x))), { strokeColor: moving.paint("ink"), strokeWidth: 1.2 });
      frame.line(board, () => between(now.branch).map((x) => show(x, P(x))), { strokeColor: moving.paint("green"), strokeWidth: 4, strokeOpacity: 0.75 });
      frame.line(board, () => { // the tangent at (x₀, y₀)
        const [x, y] = now.start;
        return between([-4, 4], 1).map((away) => show(x + away, y + slope(x) * away));
      }, { strokeColor: moving.paint("purple"), strokeWidth: 1.5, dash: 2 });
      frame.line(board, () => LIMITS.map((x) => show(2 * x, now.goal)), { strokeColor: moving.paint("ink"), strokeWidth: 1, dash: 1 });
      // From where the tangent's answer is to where the curve is.
      frame.line(board, () => (now.linear === null ? [] : [show(now.linear, now.goal), show(now.linear, now.lands)]), { strokeColor: moving.paint("purple"), strokeWidth: 3 });
      frame.mark(board, () => given(now.other, now.goal, show), "x", "red", FILLED);
      frame.mark(board, () => given(now.linear, now.goal, show), "^", "purple", FILLED);
      frame.mark(board, () => given(now.local, now.goal, show), "<>", "green", FILLED);
      if (!onCurve) frame.mark(board, () => show(...now.start), "o", "ink");
      frame.letters(board, () => moving.beside(board, given(now.local, now.goal, show), onCurve ? [-8, -16] : byPG), "PG", "green");
      frame.letters(board, () => moving.beside(board, given(now.linear, now.goal, show), onCurve ? [-22, 10] : [8, -16]), "IG", "purple");
      frame.letters(board, () => moving.beside(board, given(now.other, now.goal, show), [8, onCurve ? -14 : 12]), () => (now.tie ? "as near" : "other"), "red");
    }
    frame.arrow(curve, () => now.start, () => [now.start[0], now.goal], "ink");
    frame.letters(curve, () => moving.beside(curve, [now.start[0], now.start[1] + 0.5 * now.step], [6, 0]), "Δy");
    frame.letters(curve, () => moving.beside(curve, now.start, now.start[0] < 0 ? [12, 8] : [-26, 14]), "x₀");
    frame.letters(curve, () => (now.local === null ? moving.beside(curve, [0, now.goal], [8, -12]) : nowhere), "no x has this y", "red");
    frame.letters(curve, () => moving.beside(curve, [edge, aim.Y()], [-4, 17]), "y*");
    frame.letters(inverse, () => moving.beside(inverse, [now.start[1], now.start[0]], [-4, -18]), "(y₀, x₀)");

    function say() {
      const { local, linear, other, tie, goal, lands, start: [x] } = now;
      const { digits } = moving;
      const tangent = linear === null ? "The slope at x₀ is 0, so IG has no answer."
        : `IG goes to x = ${digits(linear)}, where y = ${digits(lands)}` +
          (local === null ? "." : `: ${digits(Math.abs(linear - local))} beside it in x, ${digits((100 * Math.abs(linear - local)) / Math.max(Math.abs(now.step), 1e-9))} % of the step in y.`);
      if (local === null) return `Wished: y = ${digits(goal)}. No x has this value: the local inverse does not reach so far. ${tangent}`;
      if (tie) return `Wished: y = ${digits(goal)}. A tie: x = ${digits(other)} and x = ${digits(local)} are equally near, the package takes the positive one. ${tangent}`;
      return `Wished: y = ${digits(goal)}. The local inverse takes x = ${digits(local)}${other === null ? "" : `; the other pre-image, ${digits(other)}, is ${digits(Math.abs(other - x))} away from x₀`}. ${tangent}`;
    }

    frame.start(compute, say);
    return { shown: () => ({ ...now }) };
  }

  function loop() {
    const BEGIN = [1, 0];
    const PIECES = 100; // of each leg
    const part = frame.slider("part of the way", { min: 0.02, max: 1, step: 0.02, value: 1 });
    frame.hint("Drag the three squares: draw the loop around the cross, or beside it.");
    const planeY = frame.board("y: a way that comes back", [-1.9, 1.9, 1.9, -1.9], { x: "y₁", y: "y₂", equal: true });
    const planeX = frame.board("x: where it takes the inverse", [-1.9, 1.9, 1.9, -1.9], { x: "x₁", y: "x₂", equal: true });
    for (const board of [planeY, planeX])
      for (const axis of [board.defaultAxes.x, board.defaultAxes.y]) axis.defaultTicks.setAttribute({ insertTicks: false, ticksDistance: 0.5 });
    const limits = () => [-1.7, 1.7, -1.7, 1.7];
    const stops = [[0.2, -1.3], [-1.4, -0.3], [-0.1, 1.2]].map((at, i) => frame.handle(planeY, at, `way point ${i + 1} in y`, limits, { face: "[]", size: 6 }));

    function nearest([a, b], near) { // the root of x² = y on the side of `near`
      const size = Math.hypot(a, b);
      const root = [Math.sqrt(Math.max(size + a, 0) / 2), Math.sign(b || 1) * Math.sqrt(Math.max(size - a, 0) / 2)];
      return root[0] * near[0] + root[1] * near[1] < 0 ? [-root[0], -root[1]] : root;
    }

    let now = {};
    function compute() {
      const corners = [BEGIN, ...stops.map((stop) => [stop.X(), stop.Y()]), BEGIN];
      const way = [BEGIN];
      for (let i = 0; i + 1 < corners.length; i += 1)
        for (let j = 1; j <= PIECES; j += 1)
          way.push([0, 1].map((k) => corners[i][k] + ((corners[i + 1][k] - corners[i][k]) * j) / PIECES));
      const follow = [BEGIN]; // P(1) = 1
      let turns = 0; // around y = 0, in radians
      for (let i = 1; i < way.length; i += 1) {
        const [[a, b], [c, d]] = [way[i - 1], way[i]];
        turns += Math.atan2(a * d - b * c, a * c + b * d);
        follow.push(nearest(way[i], follow[i - 1]));
      }
      const at = Math.round(part() * (way.length - 1));
      now = { way, follow, at, end: follow.at(-1), rounds: Math.round(turns / (2 * Math.PI)) };
    }
    compute();

    const thin = { strokeColor: moving.paint("ink"), strokeWidth: 1, dash: 2 };
    const thick = { strokeColor: moving.paint("green"), strokeWidth: 3 };
    frame.line(planeY, () => now.way, thin);
    frame.line(planeX, () => now.follow, thin);
    frame.line(planeX, () => now.follow.map(([a, b]) => [-a, -b]), { ...thin, strokeColor: moving.paint("red"), dash: 1 });
    frame.line(planeY, () => now.way.slice(0, now.at + 1), thick);
    frame.line(planeX, () => now.follow.slice(0, now.at + 1), thick);
    for (const board of [planeY, planeX]) frame.mark(board, () => [0, 0], "x", "red", FILLED);
    frame.mark(planeY, () => BEGIN, "o", "ink");
    frame.mark(planeX, () => BEGIN, "o", "ink");
    frame.mark(planeX, () => [-1, 0], "o", "ink");
    frame.mark(planeY, () => now.way[now.at], "<>", "green", FILLED);
    frame.mark(planeX, () => now.follow[now.at], "<>", "green", FILLED);
    frame.letters(planeY, () => moving.beside(planeY, [0, 0], [8, -14]), "y = 0", "red");
    frame.letters(planeY, () => moving.beside(planeY, BEGIN, [8, -32]), "start = end");
    frame.letters(planeX, () => moving.beside(planeX, BEGIN, [8, -32]), "start");
    frame.letters(planeX, () => moving.beside(planeX, now.follow[now.at], [-30, 16]), () => (now.at + 1 < now.way.length ? "x" : "end"), "green");
    stops.forEach((stop, i) => frame.letters(planeY, () => moving.beside(planeY, [stop.X(), stop.Y()], [10, 12]), String(i + 1)));

    function say() {
      const { digits } = moving;
      const place = ([a, b]) => `(${digits(a + 0)}, ${digits(b + 0)})`;
      const times = ["does not go around y = 0", "goes once around y = 0", "goes twice around y = 0"][Math.abs(now.rounds)];
      const where = now.at + 1 < now.way.length ? `Here y = ${place(now.way[now.at])} and x = ${place(now.follow[now.at])}. ` : "";
      return `${where}The loop ${times}. At its end y is back at (1, 0), and x ` +
        (now.end[0] > 0 ? "is back at (1, 0)." : "is at (-1, 0), the other pre-image.");
    }

    frame.start(compute, say);
    return { shown: () => ({ ...now }) };
  }
});
