// One exponent for all: the circle of wishes −g in y, the ellipse of steps V f(Σ) Uᵀ(−g) in the weights, and J times it.
"use strict";

moving.define("family", (frame) => {
  const { digits } = moving;

  // J = U Σ Vᵀ of two outputs and two weights: Σ = (1, λ), U = 1, so that u₁ and u₂ are the axes y₁ and y₂.
  const V = [[Math.cos(Math.PI / 6), Math.sin(Math.PI / 6)], [-Math.sin(Math.PI / 6), Math.cos(Math.PI / 6)]]; // v₁, v₂

  const exponent = frame.slider("exponent p", { min: -1, max: 1, step: 0.05, value: -0.5 });
  const ratio = frame.slider("λ = σ₂ / σ₁", { min: -2, max: 0, step: 0.02, value: -0.6 }, (e) => 10 ** e);
  const threshold = frame.slider("threshold τ / σ₁", { min: -3, max: -0.02, step: 0.02, value: -2 }, (e) => 10 ** e);
  const mode = frame.choice("values below τ", ["truncate", "clamp"]);
  const members = {
    GD: { color: "blue", p: 1 }, "p = 0": { color: "green", p: 0 }, HIG: { color: "purple", p: -0.5 }, GN: { color: "orange", p: -1 },
  };

  function filter(sigma, p, tau) { // σ → f(σ), with σ₁ = 1
    if (mode() === "clamp") return sigma * Math.max(sigma, tau) ** (p - 1);
    return sigma > tau ? sigma ** p : 0;
  }

  const factors = (p, tau) => [filter(1, p, tau), filter(ratio(), p, tau)];
  const along = ([a, b]) => [a * V[0][0] + b * V[1][0], a * V[0][1] + b * V[1][1]]; // w → V w
  const step = (f, wish) => along([f[0] * wish[0], f[1] * wish[1]]); // −g → V f(Σ) Uᵀ (−g)
  const progress = (f, wish) => [f[0] * wish[0], f[1] * ratio() * wish[1]]; // −g → J V f(Σ) Uᵀ (−g) = U Σ f(Σ) Uᵀ (−g)
  const circle = Array.from({ length: 97 }, (_, k) => [Math.cos((Math.PI * k) / 48), Math.sin((Math.PI * k) / 48)]);
  const unit = ([a, b]) => { const length = Math.hypot(a, b) || 1; return [a / length, b / length]; };

  frame.hint("Drag the ring, the direction of the wish −g, round the circle.");
  const planeY = frame.board("y: the wish, and what the step brings", [-1.35, 1.35, 1.35, -1.35], { x: "y₁", y: "y₂", equal: true });
  const planeW = frame.board("θ: the step in the weights", [-5, 5, 5, -5], { x: "θ₁", y: "θ₂", equal: true });
  for (const axis of Object.values(planeY.defaultAxes)) axis.defaultTicks.setAttribute({ minTicksDistance: 36 });
  const wanted = frame.handle(planeY, unit([0.6, 0.8]), "direction of −g", (at) => { const [a, b] = unit(at); return [a, a, b, b]; });

  let now = {}; // what is drawn, of the present exponent and of the members
  compute();
  const origin = () => [0, 0];

  for (const [k, name] of [[0, "v₁"], [1, "v₂"]]) {
    const far = () => 0.9 * planeW.getBoundingBox()[2];
    frame.line(planeW, () => [-far(), far()].map((t) => [t * V[k][0], t * V[k][1]]), { strokeColor: moving.paint("ink"), strokeWidth: 1, dash: 1 });
    frame.letters(planeW, () => moving.beside(planeW, [far() * V[k][0], far() * V[k][1]], k ? [8, 6] : [4, -14]), name);
  }

  frame.line(planeY, () => now.progress, { strokeColor: moving.paint("ink"), strokeWidth: 4 });
  frame.line(planeW, () => now.steps, { strokeColor: moving.paint("ink"), strokeWidth: 4 });

  // Letters stand at the end of the second half-axis, from the longest inwards, as far as there is room.
  const names = Object.keys(members);
  function room(board, name, lengths) {
    let last = Infinity;
    for (const other of [...names].sort((a, b) => lengths[b] - lengths[a])) {
      const free = (last - lengths[other]) * board.unitY > 15;
      if (free) last = lengths[other];
      if (other === name) return free;
    }
    return false;
  }
  for (const [name, { color }] of Object.entries(members)) {
    const looks = { strokeColor: moving.paint(color), strokeWidth: 1.5 };
    frame.line(planeY, () => now.members[name].progress, looks);
    frame.line(planeW, () => now.members[name].steps, looks);
    for (const [board, end, beside] of [
      [planeY, (one) => [0, -one.along[1]], [7, -8]],
      [planeW, (one) => along([0, -one.factors[1]]), [7, -6]],
    ]) {
      const lengths = () => Object.fromEntries(names.map((other) => [other, Math.hypot(...end(now.members[other]))]));
      frame.letters(board, () => (room(board, name, lengths()) ? moving.beside(board, end(now.members[name]), beside) : [NaN, NaN]), name, color);
    }
  }
  frame.arrow(planeY, origin, () => now.wish, "ink", { dash: 2 });
  frame.arrow(planeY, origin, () => now.change, "ink", { strokeWidth: 3.5 });
  frame.arrow(planeW, origin, () => now.step, "ink", { strokeWidth: 3.5 });
  frame.letters(planeY, () => moving.beside(planeY, now.wish, [20 * now.wish[0] - 8, 20 * now.wish[1]]), "−g");
  const beside = (board, at) => { const [a, b] = unit(at); return moving.beside(board, at.map((end) => 0.75 * end), [16 * b - 8, -14 * a]); };
  frame.letters(planeY, () => beside(planeY, now.change), "Δy");
  frame.letters(planeW, () => beside(planeW, now.step), "Δθ");

  function ellipses(p, tau) {
    const f = factors(p, tau);
    return { factors: f, along: progress(f, [1, 1]), steps: circle.map((wish) => step(f, wish)), progress: circle.map((wish) => progress(f, wish)) };
  }

  function compute() {
    const wish = unit([wanted.X(), wanted.Y()]);
    now = { wish, ...ellipses(exponent(), threshold()) };
    Object.assign(now, { step: step(now.factors, wish), change: progress(now.factors, wish) });
    now.members = Object.fromEntries(Object.entries(members).map(([name, { p }]) => [name, ellipses(p, 0)])); // without a threshold
    const half = 5 * 2 ** Math.max(0, Math.ceil(Math.log2(now.factors[1] / 4.2))); // the plane of the weights grows by doubling
    if (planeW.getBoundingBox()[2] !== half) planeW.setBoundingBox([-half, half, half, -half], true);
  }

  function say() {
    const name = names.find((one) => Math.abs(members[one].p - exponent()) < 1e-9);
    const small = ratio() > threshold() ? "" : ` σ₂ is below τ and ${mode() === "clamp" ? "clamped" : "left out"}.`;
    const speed = now.along[1] / now.along[0];
    const times = Math.abs(speed - 1) < 5e-4 ? "" : `${digits(speed)} times `;
    const told = speed === 0 ? "along y₂ nothing shrinks" : `the residual along y₂ shrinks ${times}as fast as along y₁`;
    return `p = ${digits(exponent()).replace("-", "−")}${name && name !== "p = 0" ? `, ${name}` : ""}, λ = ${digits(ratio())}.${small} ` +
      `The step is ${digits(Math.hypot(...now.step))} long, and ${told}.`;
  }

  frame.start(compute, say);
  return { shown: () => ({ ...now, exponent: exponent(), ratio: ratio(), threshold: threshold(), mode: mode(), seen: planeW.getBoundingBox()[2] }) };
});
