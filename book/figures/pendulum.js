// A pendulum with a motor, and the network that steers it: a closed loop, asked anew in every step. Beside it runs the
// plan, the pushes of a calm run that nobody changes any more. A gust tells the two apart.
"use strict";

moving.define("pendulum", (frame) => {
  const { n_steps: nSteps, dt, weights, start, goal: firstGoal } = frame.stored;
  const network = moving.network(weights);
  const perStep = 6; // pictures between two decisions

  // The push, from the state, the goal and the time that is left.
  const decide = ([q, p], goal, k) => network([q, p, goal, 1 - k / nSteps])[0];

  // Half a kick, a drift, half a kick, with the push u held.
  function step([q, p], u) {
    const half = p + (dt / 2) * (u - Math.sin(q));
    const next = q + dt * half;
    return [next, half + (dt / 2) * (u - Math.sin(next))];
  }
  const kick = ([q, p], k, hit, gust) => (k === hit ? [q, p + gust] : [q, p]); // before step `hit`

  // All states, those from which each step sets out, and the pushes.
  function run(state, push, hit, gust) {
    const [states, kicked, pushes] = [[state], [], []];
    for (let k = 0; k < nSteps; k++) {
      kicked.push(kick(states[k], k, hit, gust));
      pushes.push(push(kicked[k], k));
      states.push(step(kicked[k], pushes[k]));
    }
    return { states, kicked, pushes };
  }

  // Within step k, at its part s. Between two states the curve is bent as the velocities (p, u − sin q) at both say.
  function within({ states, kicked, pushes }, k, s) {
    const [from, to, u] = [kicked[k], states[k + 1], pushes[k]];
    const velocity = ([q, p]) => [p, u - Math.sin(q)];
    const [v, w] = [velocity(from), velocity(to)];
    return from.map((a, i) => moving.bent(a, to[i], v[i], w[i], dt, s));
  }
  function at(found, time) {
    const k = Math.min(Math.floor(time), nSteps - 1);
    return within(found, k, time - k);
  }
  // The whole way; a gust makes it jump between two steps.
  const parts = Array.from({ length: perStep + 1 }, (_, i) => i / perStep);
  const way = (found) => found.pushes.flatMap((_, k) => parts.map((s) => within(found, k, s)));

  const seconds = (k) => k * dt;
  const time = frame.slider("time", { min: 0, max: nSteps * perStep, step: 1, value: 4 * perStep }, (i) => i / perStep, (k) => moving.digits(seconds(k)));
  const gust = frame.slider("gust", { min: -0.8, max: 0.8, step: 0.1, value: 0.5 });
  const hit = frame.slider("time of the gust", { min: 0, max: nSteps - 1, step: 1, value: 3 }, (k) => k, (k) => moving.digits(seconds(k)));
  frame.player("time", 2 * perStep);

  frame.hint("Drag the ring (goal) along the circle, and the start in the plane of angle and momentum. Then press play.");
  const room = frame.board("the pendulum", [-1.2, 0.7, 1.2, -1.7], { equal: true, axes: false });
  const phase = frame.board("angle and momentum", [-1.6, 1.6, 1.6, -1.6], { x: "q", y: "p", equal: true });
  const bob = (q) => [Math.sin(q), -Math.cos(q)];
  const angle = (x, y) => moving.clamp(Math.atan2(x, -y), -1.4, 1.4);
  const onCircle = ([x, y]) => { const [u, v] = bob(angle(x, y)); return [u, u, v, v]; };
  const ring = frame.handle(room, bob(firstGoal), "goal on the circle", onCircle, { size: 10, strokeColor: moving.paint("ink") });
  const first = frame.handle(phase, start, "start", () => [-1.4, 1.4, -1.4, 1.4], { strokeColor: moving.paint("green") });

  let now = {};
  function compute() {
    const [state, goal] = [[first.X(), first.Y()], angle(ring.X(), ring.Y())];
    const calm = run(state, (s, k) => decide(s, goal, k), -1, 0);
    const loop = run(state, (s, k) => decide(s, goal, k), hit(), gust());
    const plan = run(state, (_, k) => calm.pushes[k], hit(), gust());
    const miss = ({ states }) => Math.hypot(states[nSteps][0] - goal, states[nSteps][1]);
    now = { goal, calm, loop, plan, missLoop: miss(loop), missPlan: miss(plan) };
  }
  compute();

  const trained = [[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]];
  frame.line(phase, () => trained, { strokeColor: moving.paint("ink"), strokeWidth: 1, dash: 1 });
  frame.letters(phase, () => moving.beside(phase, [-1, 1], [4, -10]), "trained here");
  frame.mark(phase, () => [now.goal, 0], "x", "ink", { size: 7, strokeWidth: 2.5 });
  frame.letters(phase, () => moving.beside(phase, [now.goal, 0], [-4, -20]), "goal");
  frame.line(room, () => Array.from({ length: 41 }, (_, i) => bob(-1.4 + 0.07 * i)), { strokeColor: moving.paint("ink"), strokeWidth: 1, dash: 1 });
  for (const [name, color, face, dash] of [["plan", "orange", "[]", 2], ["loop", "green", "o", 0]]) {
    const looks = { strokeColor: moving.paint(color), dash };
    const head = () => at(now[name], time());
    frame.line(phase, () => way(now[name]), looks);
    frame.mark(phase, head, face, color, { fillOpacity: 1 });
    frame.line(room, () => [[0, 0], bob(head()[0])], { ...looks, strokeWidth: 3 });
    frame.mark(room, () => bob(head()[0]), face, color, { size: 9, fillOpacity: 1 });
  }
  frame.letters(room, () => moving.beside(room, bob(now.goal), [-14, -26]), "goal");
  frame.mark(room, () => [0, 0], "o", "ink", { size: 3, fillOpacity: 1 });
  const struck = () => now.loop.states[hit()];
  frame.arrow(phase, struck, () => [struck()[0], struck()[1] + gust()], "purple");
  frame.letters(room, () => moving.beside(room, [-1.15, 0.55], [0, 0]), "closed loop", "green");
  frame.letters(room, () => moving.beside(room, [-1.15, 0.55], [0, -18]), "plan", "orange");

  function say() {
    const { digits } = moving;
    const blown = gust() ? `A gust of ${digits(gust())} hits at time ${digits(seconds(hit()))}.` : "There is no gust: both take the same way.";
    const far = [...first.coords.usrCoords.slice(1), now.goal].some((value) => Math.abs(value) > 1) ? " This start or goal lies outside of what was trained." : "";
    const [q] = at(now.loop, time());
    return `At time ${digits(seconds(time()))} the closed loop stands at the angle ${digits(q)}; the goal is ${digits(now.goal)}. ${blown} In the end the closed loop is ${digits(now.missLoop)} away from rest at the goal, the plan ${digits(now.missPlan)}.${far}`;
  }

  frame.start(compute, say);
  return { shown: () => ({ ...now, time: time(), here: at(now.loop, time()) }) };
});
