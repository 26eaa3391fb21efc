// Two trolleys on springs and the network that steers them: the reader chooses the start, the network answers with all
// pushes at once, and the system runs. A gust on the first trolley, which no push has foreseen, shows what is missing.
"use strict";

moving.define("oscillators", (frame) => {
  const { system, weights, start } = frame.stored;
  const { n_steps: nSteps, dt } = system;

  const network = moving.network(weights); // state → pushes

  // The forces, and one step of the classical Runge-Kutta scheme with the push u held.
  function velocity([q1, q2, p1, p2], u) {
    const d = q2 - q1;
    const pull = system.spring * d + system.cubic * d ** 3; // of the second on the first
    return [p1, p2, -q1 + pull, -q2 - pull + system.control_weight * u];
  }
  const along = (state, change, part) => state.map((value, i) => value + part * change[i]);
  function step(state, u) {
    const k1 = velocity(state, u);
    const k2 = velocity(along(state, k1, dt / 2), u);
    const k3 = velocity(along(state, k2, dt / 2), u);
    const k4 = velocity(along(state, k3, dt), u);
    return state.map((value, i) => value + (dt / 6) * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]));
  }
  // All states; before step `hit` a gust adds to the momentum of the first trolley.
  function run(state, pushes, hit, gust) {
    const states = [state];
    pushes.forEach((u, k) => {
      const [q1, q2, p1, p2] = states[k];
      states.push(step(k === hit ? [q1, q2, p1 + gust, p2] : states[k], u));
    });
    return states;
  }

  // Between two states the curves are bent as the velocities at both say.
  function smooth(states, pushes) {
    const parts = states.slice(1).map((next, k) => {
      const [from, u] = [states[k], pushes[k]];
      const [v, w] = [velocity(from, u), velocity(next, u)];
      return [0, 0.25, 0.5, 0.75, 1].map((s) => [
        (k + s) * dt,
        ...from.map((a, i) => moving.bent(a, next[i], v[i], w[i], dt, s)),
      ]);
    });
    return parts.flat(); // [time, q₁, q₂, p₁, p₂]
  }

  const seconds = (k) => k * dt;
  const time = frame.slider("time", { min: 0, max: nSteps, step: 1, value: 15 }, (k) => k, (k) => moving.digits(seconds(k)));
  const gust = frame.slider("gust on the first trolley", { min: -0.5, max: 0.5, step: 0.05, value: 0 });
  const hit = frame.slider("time of the gust", { min: 0, max: nSteps - 1, step: 1, value: 8 }, (k) => k, (k) => moving.digits(seconds(k)));
  frame.player("time", 6);
  frame.button("gust now", () => {
    if (gust() === 0) frame.inputs["gust on the first trolley"].set(0.4);
    frame.inputs["time of the gust"].set(time());
    frame.changed();
  });

  frame.hint("Drag the circle (start of the first trolley) and the square (start of the second), then press play.");
  const phase = frame.board("position and momentum", [-2, 2, 2, -2], { x: "q", y: "p", equal: true });
  const clock = frame.board("positions and pushes over time", [-1.4, 1.8, nSteps * dt + 0.9, -1.8], { x: "t", y: "q" });
  const limits = () => [-0.4, 1.4, -0.4, 1.4];
  const first = frame.handle(phase, [start[0], start[2]], "start of the first trolley", limits, { strokeColor: moving.paint("blue") });
  const second = frame.handle(phase, [start[1], start[3]], "start of the second trolley", limits, {
    face: "[]", size: 6, strokeColor: moving.paint("red"),
  });

  let [now, curves] = [{}, {}];
  function compute() {
    const state = [first.X(), second.X(), first.Y(), second.Y()];
    const pushes = network(state);
    const steered = run(state, pushes, hit(), gust());
    const free = run(state, pushes.map(() => 0), -1, 0);
    const miss = (states) => Math.hypot(...states[nSteps].map((value, i) => value - state[i]));
    now = { state, pushes, steered, free, missSteered: miss(steered), missFree: miss(free) };
    const none = pushes.map(() => 0);
    const kicked = steered.map((state, k) => (k === hit() ? along(state, [0, 0, 1, 0], gust()) : state));
    curves = { steered: smooth(kicked, pushes), free: smooth(free, none) };
  }
  compute();

  const unitSquare = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]; // where the network was trained
  frame.line(phase, () => unitSquare, { strokeColor: moving.paint("ink"), strokeWidth: 1, dash: 1 });
  frame.letters(phase, () => moving.beside(phase, [0.5, 1], [-4, 10]), "trained here");
  const steps = () => now.pushes.flatMap((u, k) => [[seconds(k), u], [seconds(k + 1), u]]);
  frame.line(clock, steps, { strokeColor: moving.paint("ink"), strokeWidth: 1.2 });
  [["blue", "o", "q₁"], ["red", "[]", "q₂"]].forEach(([color, face, name], i) => {
    const stroke = { strokeColor: moving.paint(color) };
    const [turning, swinging] = [([, ...state]) => [state[i], state[i + 2]], ([t, ...state]) => [t, state[i]]];
    const head = () => now.steered[time()];
    frame.line(phase, () => curves.free.map(turning), { ...stroke, dash: 1, strokeWidth: 1.5 });
    frame.line(phase, () => curves.steered.map(turning), stroke);
    frame.mark(phase, () => [head()[i], head()[i + 2]], face, color, { fillOpacity: 1 });
    frame.line(clock, () => curves.free.map(swinging), { ...stroke, dash: 1, strokeWidth: 1.5 });
    frame.line(clock, () => curves.steered.map(swinging), stroke);
    frame.mark(clock, () => [seconds(time()), head()[i]], face, color, { fillOpacity: 1 });
    frame.mark(clock, () => [seconds(nSteps), now.state[i]], face, color, { size: 7 });
    frame.letters(clock, () => moving.beside(clock, [0, now.state[i]], [-24, 0]), name, color);
  });
  frame.letters(clock, () => moving.beside(clock, [0, now.pushes[0]], [-20, 0]), "u");
  frame.arrow(clock, () => [seconds(hit()), now.steered[hit()][0]], () => [seconds(hit()), now.steered[hit()][0] + gust()], "purple");

  function say() {
    const { digits } = moving;
    const blown = gust() ? ` The gust at time ${digits(seconds(hit()))} was not foreseen when the pushes were chosen.` : "";
    const far = now.state.some((value) => value < 0 || value > 1) ? " This start lies outside of the trained square." : "";
    const at = now.steered[time()];
    const where = `At time ${digits(seconds(time()))} the first trolley is at ${digits(at[0])}, the second at ${digits(at[1])}. `;
    return `${where}Without a push the state ends ${digits(now.missFree)} away from its start, with the network's pushes ${digits(now.missSteered)}.${blown}${far}`;
  }

  frame.start(compute, say);
  return { shown: () => ({ ...now, time: time() }) };
});
