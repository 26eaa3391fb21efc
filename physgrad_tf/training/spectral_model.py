"""Training with a spectral power of the joint Jacobian of network and physics: half-inverse gradients and their kin."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

import keras
import tensorflow as tf

from physgrad_tf import spectral, validation
from physgrad_tf.jacobians import StackedJacobian, unflatten_weights
from physgrad_tf.jacobians.kind import Kind, fitting_kind
from physgrad_tf.jacobians.samples import OneByOne, dependent, samples_like, why_outputs_dependent
from physgrad_tf.jacobians.tapping import everything_below, generators
from physgrad_tf.spectral.bidiagonal import agreeing
from physgrad_tf.spectral.step import SMALLEST_LANCZOS_RCOND, reduced, step_by_products, step_of_reduced
from physgrad_tf.training.guard import stop_unless_finite
from physgrad_tf.training.jacobian_size import (
    MOST_SAMPLES,
    JacobianSize,
    ProductsCost,
    StepCost,
    in_words,
    route,
    with_samples,
)
from physgrad_tf.training.physics_model import PhysicsModel
from physgrad_tf.training.replicas import gathered, n_replicas, share_of_loss, summed
from physgrad_tf.training.rows import one_per_output, samples_of, unweighted
from physgrad_tf.training.structure import columns, first
from physgrad_tf.training.trust_region import TrustRegion, loss_along, refuse_unless_plain

#: What the argument `jacobian` may be.
KINDS = ("auto", "kernel", "layerwise", "reverse", "products")
#: With more outputs per sample "auto" takes products: the other kinds run n_out copies of every sample.
MANY_OUTPUTS = 256
#: The number of products if nothing is said.
N_PRODUCTS = 32


@keras.saving.register_keras_serializable("physgrad_tf")
class SpectralModel(PhysicsModel):
    """Δθ = −V f(Σ) Uᵀ ∂L/∂y with f(σ) = σᵖ and J = ∂y/∂θ = U Σ Vᵀ, the Jacobian of all samples of a batch at once.

    ======== ==================== ===========================================================
    exponent step                 known as
    ======== ==================== ===========================================================
    −1/2     V Σ^(−1/2) Uᵀ ∂L/∂y  half-inverse gradient (Schnell, Holl and Thuerey, ICLR 2022)
    −1       J⁺ ∂L/∂y             Gauss-Newton
    0        V Uᵀ ∂L/∂y           orthogonalised: all directions equally long
    +1       Jᵀ ∂L/∂y             gradient descent
    ======== ==================== ===========================================================

    The step is handed to the compiled optimizer in the place of a gradient. The default is `SGD(1.0)`, which takes it
    as it is; momentum, schedules and clipping work as ever, optimizers that normalise a gradient undo its length.

    *The loss* enters through ∂L/∂y alone and J not at all, so that the step is linear in it: c·L steps c times as far,
    whatever the exponent. Keras averages over the batch, and its "mse" over the outputs of a sample as well. With b
    copies of one sample the step goes with b^((p−1)/2) under a mean over the batch and with b^((p+1)/2) under a sum;
    with b equally important samples whose rows are orthogonal, it goes with b^(−1/2) and b^(1/2). A mean therefore
    makes the Gauss-Newton step on copies shrink like 1/b. `HalfSquaredError(reduction="sum")` gives the textbook step,
    with ∂L/∂y = y − y*.
    Regularisers and `add_loss` raise: this step does not see them.

    *Weights*: a sample of weight w counts like w copies of it, and one of weight zero not at all: its rows of J and its
    part of ∂L/∂y are multiplied by √w. For Gauss-Newton that is weighted least squares. Not negative.

    *The route*: for `rcond` ≥ 1e-7 by the eigenvalues of J Jᵀ or JᵀJ, whichever is smaller; below that, 0 included, by
    the SVD of J, slower and exact. Both in float64, outside of XLA. `jit_compile=True` compiles network, physics and
    their derivatives, except with `jacobian="reverse"`, which XLA cannot compile through a loop. Recurrent layers are
    called again for the columns of their weights: with `unroll=True` the first step of an `LSTM(4)` on six time steps
    took a fifth of the time (2.3 and 10.9 s), and only so does XLA compile it.

    *Products*: with `n_products` = k nothing of the size of J Jᵀ is decomposed. k products reduce J to a small
    bidiagonal matrix in the directions that start at ∂L/∂y, see `spectral.golub_kahan`, and f is applied to that. For
    p = −1 this is the step of LSQR after k rounds. Directions of large singular values come first, so that a small k
    damps, as `rcond` does; "changed" tells how much the last product still mattered. With `jacobian="products"` J is
    never there at all: memory is that of a gradient and of k vectors of weights and of outputs, and layers may mix
    samples, as BatchNormalization does in training, since the network runs on the batch itself. With the other kinds,
    the k products are those of J Jᵀ, in place of its eigenvalues, if `rcond` ≥ 1e-3. Below, J Jᵀ would overlook small
    singular values; its eigenvalues are computed as well, and the products damp but save no time. XLA takes long for
    convolutions in the loop over the products; there, leave `jit_compile` out.

    Three things damp, then. "truncate" leaves directions below the threshold out, whatever the data say there; "clamp"
    keeps them, as far as gradient descent would go with the step size τ^(p−1); few products leave out, along every
    direction, what it takes many products to tell from its neighbours.

    `History` also holds means over the epoch: "rank", the number of singular values above rcond·σ_max; "sigma_max" and
    "sigma_min", the largest of all and the smallest of those; "step_norm", the length of the step before the optimizer;
    "changed", where products are taken, the part of the step that the last of k changed. With `trust_region`
    also "ratio", of the decrease that came out to the predicted one, and the "fraction" and "n_products" of the steps.
    See `PhysicsModel` for the other arguments, targets and metrics.

    Args:
        network: a Keras model or layer that maps inputs to x.
        simulator: as in `PhysicsModel`; differentiable.
        exponent: the power p in f(σ) = σᵖ.
        rcond: singular values at or below rcond·σ_max count as noise; in [0, 1).
        mode: "truncate" leaves these directions out, "clamp" takes σ·max(σ, τ)^(p−1) with τ = rcond·σ_max.
        jacobian: how J is computed, "kernel", "layerwise", "reverse" or "products", see `jacobians.StackedJacobian`.
            "auto" is "products" if a sample has more than 256 outputs, unless `samples_at_once` is given; else
            "reverse" if network or simulator do not treat samples one by one (Dropout, BatchNormalization, a mean over
            the batch), "kernel" if most weights belong to Dense layers and plain convolutions, and else "layerwise";
            `jacobian_size` tells which. Whether samples are treated one by one is told by the layers, and by small
            batches of random inputs when a step is traced. "kernel" and "layerwise" run both on as many copies of every
            sample as it has outputs: nothing in them may have the size of the batch built in.
        max_jacobian_bytes: a batch whose step takes more memory is refused, see `jacobian_size`; for that the making
            of J is traced once more. None asks nothing and refuses nothing.
        samples_at_once: the simulation of how many samples, n_out times each, is kept in memory at a time; None takes
            the whole batch at once, "auto" as many as keep the step below `max_jacobian_bytes`. The step is the same.
            Not used by "reverse" and "products".
        n_products: the number k of products; None is 32 for "products", and decomposes what the other kinds store.
        trust_region: choose the length of every step, and the number of products up to `n_products`. The length is
            that of the smallest loss along the step in the linear model y − tJs. Where the loss falls by less than a
            quarter of what that predicts, the next step takes half as many products, or, with one, a quarter of the
            length; by more than three quarters, twice as many. A step that makes the loss of its batch larger is taken
            back. Of the optimizer, a plain `SGD`, the learning rate is left, as a factor. Costs another run of network
            and physics; not on several devices (Conn, Gould and Toint, Trust-Region Methods, SIAM 2000).
        **options: passed on to `keras.Model`.

    Raises:
        TypeError: as `PhysicsModel`, or if a number is not a number.
        ValueError: if `rcond` is not in [0, 1), `mode` or `jacobian` is unknown, or `samples_at_once` is "auto" without
            a limit. When trained: if a step takes more than `max_jacobian_bytes`, or there are regularisers or other
            losses.
    """

    training_only: tuple[str, ...] = ("rank", "sigma_max", "sigma_min", "step_norm", "changed")

    def __init__(
        self,
        network: keras.Layer,
        simulator: Any,
        exponent: float = -0.5,
        rcond: float = 1e-6,
        mode: Literal["truncate", "clamp"] = "truncate",
        jacobian: Literal["auto", "kernel", "layerwise", "reverse", "products"] = "auto",
        max_jacobian_bytes: float | None = 2**31,
        samples_at_once: int | Literal["auto"] | None = None,
        n_products: int | None = None,
        trust_region: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(network, simulator, **options)
        self.exponent = validation.real("exponent", exponent)
        self.rcond = validation.real("rcond", rcond)
        spectral.spectral_filter(
            tf.ones([1]), self.exponent, rcond=self.rcond, mode=mode
        )  # refuses what is out of range
        self.mode = mode
        if jacobian not in KINDS:
            raise ValueError(f"jacobian must be one of {', '.join(KINDS)}, got {jacobian!r}.")
        self.jacobian = jacobian
        self.max_jacobian_bytes: int | None = None
        if max_jacobian_bytes is not None:
            self.max_jacobian_bytes = int(validation.positive("max_jacobian_bytes", max_jacobian_bytes))
        self.samples_at_once = samples_at_once
        if samples_at_once == "auto":
            if max_jacobian_bytes is None:
                raise ValueError('samples_at_once="auto" needs max_jacobian_bytes, got None.')
        elif samples_at_once is not None:
            validation.count("samples_at_once", samples_at_once, minimum=1)
        self.n_products = n_products
        if n_products is not None:
            validation.count("n_products", n_products, minimum=1)
        self._costs: dict[Any, StepCost] = {}
        self._outputs: dict[Any, int] = {}
        self._dependence: dict[Any, str | None] = {}
        self.trust_region = trust_region
        self._by_products = False
        self._region: TrustRegion | None = None
        if trust_region:
            self._region = TrustRegion(self, n_products or (N_PRODUCTS if jacobian in ("auto", "products") else 1))
            self.training_only = (*self.training_only, "ratio", "fraction", "n_products")
        self._spectrum = {name: keras.metrics.Mean(name=name, dtype=self.compute_dtype) for name in self.training_only}

    def compile(self, optimizer: Any = None, loss: Any = "mse", jit_compile: Any = False, **options: Any) -> None:
        """Configure training, as `PhysicsModel.compile`, with another default optimizer.

        Args:
            optimizer: any Keras optimizer; None is `SGD(1.0)`, which takes the step as it is.
            loss: any Keras loss of y* and y that can be differentiated by y.
            jit_compile: as in `PhysicsModel.compile`.
            **options: passed on to Keras.

        Raises:
            ValueError: with `trust_region`, unless the optimizer is a plain `SGD`.
        """
        super().compile(keras.optimizers.SGD(1.0) if optimizer is None else optimizer, loss, jit_compile, **options)
        if self.trust_region:
            refuse_unless_plain(self.optimizer)

    def get_config(self) -> dict[str, Any]:
        """Network, simulator and settings, serialised."""
        return super().get_config() | {
            "exponent": self.exponent,
            "rcond": self.rcond,
            "mode": self.mode,
            "jacobian": self.jacobian,
            "max_jacobian_bytes": self.max_jacobian_bytes,
            "samples_at_once": self.samples_at_once,
            "n_products": self.n_products,
            "trust_region": self.trust_region,
        }

    def jacobian_size(self, inputs: Any) -> JacobianSize:
        """The size of J for a batch of inputs, and what a step takes.

        J is not computed. A network that is not built runs once, and the trials of "auto" take five random samples.

        Args:
            inputs: one batch, as the network takes it.

        Returns:
            Rows, weights, kind, route, peak memory and operations.
        """
        if not self.network.built:
            self(inputs)
        kind, n_samples = self.kind(inputs), len(keras.tree.flatten(inputs)[0])
        cost = self._step_cost(kind, inputs)
        n_rows, n_weights = n_samples * cost.n_out, cost.n_weights
        n_products = self.n_products or (N_PRODUCTS if kind == "products" else None)
        return JacobianSize(
            n_rows,
            n_weights,
            8 * n_rows * n_weights,
            kind,
            route(kind, n_rows, n_weights, self.rcond, n_products),
            cost.memory(n_samples, self._at_once(kind, inputs, n_samples)),
            cost.operations(n_samples),
        )

    def _step_cost(self, kind: Kind, inputs: Any) -> StepCost:
        """What a step with a Jacobian of this `kind` takes for any number of samples like `inputs`."""
        key = (kind, samples_like(inputs), tuple(variable.path for variable in self.trainable_variables))
        if key not in self._costs:
            with self.naming_the_simulator():
                if kind == "products":
                    self._costs[key] = ProductsCost(self._trial_reduction, inputs)
                else:
                    self._costs[key] = StepCost(
                        lambda inputs: self.stacked_jacobian(kind, inputs, None)[0], self.spectral_step, inputs, kind
                    )
        return self._costs[key]

    def _at_once(self, kind: Kind, inputs: Any, n_samples: int | None) -> int | None:
        """The copies of how many samples are made at a time; `n_samples` is None where it is not known."""
        if kind in ("reverse", "products") or self.samples_at_once is None:
            return None
        if isinstance(self.samples_at_once, str):  # "auto", which needs a limit
            return self._step_cost(kind, inputs).at_once_that_fits(n_samples, int(self.max_jacobian_bytes or 0))
        return self.samples_at_once

    def kind(self, inputs: Any = None) -> Kind:
        """How J is computed: the argument `jacobian`, or what "auto" makes of it for a batch of `inputs`.

        Without inputs only the layers of the network tell, and no trial.
        """
        if self.jacobian != "auto":
            return self.jacobian
        if inputs is not None and self.samples_at_once is None and self.n_outputs(inputs) > MANY_OUTPUTS:
            return "products"
        kind = fitting_kind(self.network, inputs)
        if kind != "reverse" and inputs is not None and self._why_dependent(inputs) is not None:
            return "reverse"
        return kind

    def _why_dependent(self, inputs: Any) -> str | None:
        """Why the simulator does not treat samples one by one, asked once for all batches like `inputs`; else None."""
        # With what is frozen: behind a network that mixes samples the simulator is not asked.
        key = (samples_like(inputs), tuple(layer.trainable for layer in everything_below(self.network)))
        if key not in self._dependence:
            self._dependence[key] = why_outputs_dependent(
                self.network,
                lambda inputs: columns(self.simulate(self.network(inputs, training=True), inputs)),
                inputs,
                training=True,
            )
        return self._dependence[key]

    def n_outputs(self, inputs: Any) -> int:
        """How many outputs y has for each sample of `inputs`; 0 if only a run tells."""
        key = samples_like(inputs)
        if key not in self._outputs:
            run = tf.function(lambda inputs: columns(self.simulate(self.network(inputs), inputs)), autograph=False)
            with keras.StatelessScope():
                try:
                    y = run.get_concrete_function(with_samples(inputs, 1)).structured_outputs
                    self._outputs[key] = y.shape[1]
                except Exception:  # noqa: BLE001 (such as a simulator that only runs eagerly; a step will tell)
                    self._outputs[key] = 0
        return self._outputs[key]

    def update(self, inputs: Any, target: tf.Tensor, sample_weight: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """One step V f(Σ) Uᵀ ∂L/∂y for the optimizer; `inputs`, `target`, `sample_weight` as in `PhysicsModel`.

        Raises:
            ValueError: if there are several devices and a trust region.
        """
        kind = self.kind(inputs)
        self._by_products = kind == "products" or self.n_products is not None
        if self._xla and kind in ("kernel", "layerwise"):
            refuse_rolled(self.network)
        at_once, checks = self.refuse_large(kind, inputs)
        with tf.control_dependencies(checks):
            inputs = keras.tree.map_structure(tf.identity, inputs)
        for weight in filter(tf.is_tensor, keras.tree.flatten(sample_weight)):
            tf.debugging.assert_non_negative(tf.cast(weight, self.compute_dtype), "sample_weight must not be negative.")
        share = share_of_loss(self.loss, target, sample_weight)
        if self.trust_region and n_replicas() > 1:
            raise ValueError("trust_region works on one device: it reads the loss of a whole batch.")
        seeds = [tf.identity(state.value) for state in seed_states(self.network)] if self.trust_region else []
        take = self._step_by_products if kind == "products" else functools.partial(self._step_by_rows, kind, at_once)
        found, x, y = take(inputs, target, sample_weight, share)
        step = found.step
        if self._region is not None:
            loss = functools.partial(self._loss_of, inputs, target, sample_weight)
            expected = functools.partial(loss_along, loss, y, unweighted(found.image, sample_weight, y))
            length = self._region.length(expected, first(y).dtype)
            step *= tf.cast(length, step.dtype)
            rate = tf.cast(self.optimizer.learning_rate, length.dtype)  # of this step: a schedule moves on with it
            before = [tf.identity(variable.value) for variable in self.trainable_variables]
        parts = unflatten_weights(step / n_replicas(), self.trainable_variables)
        parts = [tf.cast(part, variable.dtype) for part, variable in zip(parts, self.trainable_variables, strict=True)]
        parts = stop_unless_finite(
            "the spectral step",
            parts,
            self.step_number,
            ["; rank:", found.rank, "largest and smallest singular value kept:", found.largest, found.smallest],
        )
        self.hand_over(parts)
        values = [found.rank, found.largest, found.smallest, tf.norm(step), found.changed]
        if self._region is not None:
            was, now = expected(tf.zeros_like(length)), loss(self.through_xla(self._y_now)(inputs, seeds))
            for variable, value in zip(self.trainable_variables, before, strict=True):
                variable.assign(tf.where(now <= was, variable.value, value))  # taken back if the loss has grown
            chosen = self._by_products and self.exponent < 1.0
            relative = tf.math.divide_no_nan(tf.norm(step), tf.cast(tf.linalg.global_norm(before), step.dtype))
            values += self._region.learn(was, expected(rate * length), now, relative, found.rank if chosen else None)
        for metric, value in zip(self._spectrum.values(), values, strict=True):
            metric.update_state(tf.cast(value, metric.dtype))
        return x, y

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, tf.Tensor]:
        """As in `PhysicsModel`, of `x`, `y`, `y_pred` and `sample_weight`; "changed" only where products are taken."""
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        return {name: value for name, value in results.items() if name != "changed" or self._by_products}

    def _loss_of(self, inputs: Any, target: tf.Tensor, sample_weight: Any, y: Any) -> tf.Tensor:
        """The loss of outputs `y`, with `inputs`, `target` and `sample_weight` as in `PhysicsModel`."""
        with keras.StatelessScope():  # Keras counts a mean for every output whenever it computes a loss
            return self.compute_loss(inputs, self.like_output(target, y), y, sample_weight, training=True)

    def _y_now(self, inputs: Any, seeds: list[tf.Tensor]) -> Any:
        """What y is now, as in training and with the random numbers of the step; means over batches do not count it."""
        with keras.StatelessScope(list(zip(seed_states(self.network), seeds, strict=True))):
            return self.simulate(self.network(inputs, training=True), inputs)

    def _step_by_products(
        self, inputs: Any, target: tf.Tensor, sample_weight: Any, share: tf.Tensor | None
    ) -> tuple[spectral.SpectralStep, tf.Tensor, tf.Tensor]:
        """The step from products alone, x and y. Several devices exchange sums in it, which XLA cannot compile."""
        reduce = self._reduce if n_replicas() > 1 else self.through_xla(self._reduce)
        with self.naming_the_simulator():
            found, gradient, x, y = reduce(inputs, target, sample_weight, share)
        bad = samples_of(tf.where(~tf.math.is_finite(gradient))[:, 0], columns(y).shape[1])
        finite = stop_unless_finite(
            "the Jacobian or the gradient of the loss in y",
            [gradient, found.diagonal, found.below],
            self.step_number,
            ["; samples of the batch whose gradient is not:", bad, "; there is no spectrum yet"],
        )
        with tf.control_dependencies([*finite, *agreeing(found)]):
            found = tf.nest.map_structure(tf.identity, found)
        return step_of_reduced(found, None, self.exponent, self.rcond, self.mode), x, y

    def _reduce(
        self, inputs: Any, target: tf.Tensor, sample_weight: Any, share: tf.Tensor | None
    ) -> tuple[spectral.Bidiagonal, tf.Tensor, tf.Tensor, tf.Tensor]:
        """J in the directions of a few products, ∂L/∂y as one vector, x and y; arguments as in `differentiate`."""
        stacked, gradient, x, y = self.differentiate("products", None, inputs, target, sample_weight, share)
        over_devices = summed if n_replicas() > 1 else None
        most = self.n_products or N_PRODUCTS
        return reduced(stacked, gradient, self.rcond, most, over_devices, self._limit()), gradient, x, y

    def _limit(self) -> tf.Tensor | None:
        """How many products to take at present; None is as many as there may be."""
        return None if self._region is None else self._region.n_products.value

    def _trial_reduction(self, inputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """What a step takes, from an arbitrary ∂L/∂y: y and the step, for the counting of memory and operations."""
        stacked, _, y = self.stacked_jacobian("products", inputs, None)
        found = reduced(stacked, tf.reshape(columns(y), [-1]), self.rcond, self.n_products or N_PRODUCTS)
        return columns(y), step_of_reduced(found, None, self.exponent, self.rcond, self.mode).step

    def _step_by_rows(
        self,
        kind: Kind,
        at_once: int | None,
        inputs: Any,
        target: tf.Tensor,
        sample_weight: Any,
        share: tf.Tensor | None,
    ) -> tuple[spectral.SpectralStep, tf.Tensor, tf.Tensor]:
        """The step from a J of this `kind` that is stored, x and y; other arguments as in `differentiate`."""
        differentiate: Callable[..., Any] = functools.partial(self.differentiate, kind, at_once)
        differentiate = differentiate if kind == "reverse" else self.through_xla(differentiate)
        with self.naming_the_simulator():
            stacked, gradient, x, y = differentiate(inputs, target, sample_weight, share)
        number = self.step_number
        rows = tf.math.is_finite(gradient) & stacked.finite_rows()
        bad = samples_of(tf.where(~rows)[:, 0], columns(y).shape[1])
        (gradient,) = stop_unless_finite(
            "the Jacobian or the gradient of the loss in y",
            [tf.where(rows, gradient, math.nan)],
            number,
            [
                "; in these samples of the batch:",
                bad,
                "; there is no spectrum yet",
            ],
        )
        with tf.control_dependencies([gradient]):  # decomposed only if finite
            stacked = tf.nest.map_structure(tf.identity, stacked)
        # Every device takes the step of the whole batch, and hands over its part of it.
        stacked, gradient = tf.nest.map_structure(gathered, stacked), gathered(gradient)
        return self.spectral_step(stacked, gradient), x, y

    def spectral_step(self, stacked: StackedJacobian, gradient: tf.Tensor) -> spectral.SpectralStep:
        """V f(Σ) Uᵀ `gradient` of `stacked`, which is stored, by the route that `rcond` and `n_products` ask for."""
        if self.n_products is not None:
            if self.rcond < SMALLEST_LANCZOS_RCOND:  # by eigenvalues, which stay outside of XLA
                settings = (self.exponent, self.rcond, self.mode, self.n_products, self._limit())
                return step_by_products(stacked, gradient, *settings)
            reduce = self.through_xla(
                functools.partial(reduced, rcond=self.rcond, n_products=self.n_products, limit=self._limit())
            )
            return step_of_reduced(reduce(stacked, gradient), stacked, self.exponent, self.rcond, self.mode)
        return spectral.spectral_step(
            stacked if self.rcond >= spectral.SMALLEST_GRAM_RCOND else stacked.to_dense(tf.float64),
            gradient,
            self.exponent,
            rcond=self.rcond,
            mode=self.mode,
        )

    def differentiate(
        self,
        kind: Kind,
        at_once: int | None,
        inputs: Any,
        target: tf.Tensor,
        sample_weight: Any,
        share: tf.Tensor | None,
    ) -> tuple[StackedJacobian, tf.Tensor, tf.Tensor, tf.Tensor]:
        """The stacked Jacobian of this `kind`, ∂L/∂y as one vector, x and y for `inputs` and y* = `target`.

        On several devices `share` makes ∂L/∂y that of the whole batch, see `replicas.share_of_loss`. With weights w =
        `sample_weight`, row and gradient are √w J and ∂L/∂y / √w, whose product is the gradient ∂L/∂θ. The copies of
        `at_once` samples are in memory at a time, of all if it is None.

        Raises:
            ValueError: if there are regularisers or other losses that do not come from y, or y carries a mask.
        """
        stacked, x, y = self.stacked_jacobian(kind, inputs, at_once)
        if self.losses:
            raise ValueError(
                "regularisers and add_loss do not depend on y, so that SpectralModel cannot take them into its step: "
                f"remove them, got {len(self.losses)}. Weight decay of the optimizer works."
            )
        with tf.GradientTape() as tape:
            tape.watch(y)
            loss = self.compute_loss(inputs, self.like_output(target, y), y, sample_weight, training=True)
            loss = loss if share is None else loss * tf.cast(share, loss.dtype)
        leaves = tape.gradient(loss, keras.tree.flatten(y), unconnected_gradients="zero")
        gradient = tf.cast(tf.reshape(columns(leaves), [-1]), stacked.dtype)
        if sample_weight is not None:
            root = tf.cast(tf.sqrt(one_per_output(sample_weight, y)), stacked.dtype)
            stacked, gradient = stacked.scaled_rows(root), tf.math.divide_no_nan(gradient, root)
        return stacked, gradient, x, y

    def stacked_jacobian(
        self, kind: Kind, inputs: Any, at_once: int | None
    ) -> tuple[StackedJacobian, tf.Tensor, tf.Tensor]:
        """The stacked Jacobian of this `kind`, x and y for `inputs`, with the copies of `at_once` samples at a time.

        Raises:
            ValueError: if y carries a mask.
        """
        found: list[tuple[tf.Tensor, tf.Tensor]] = []

        def outputs(inputs: Any) -> tf.Tensor:
            x = self.network(inputs, training=True)
            y = self.simulate(x, inputs)
            if any(getattr(leaf, "_keras_mask", None) is not None for leaf in keras.tree.flatten(y)):
                raise ValueError(
                    "y carries a mask of Keras, and SpectralModel has no place for one. Let the loss leave these "
                    "outputs out by sample_weight, of the shape of y or [batch]."
                )
            found.append((x, y))
            # J has the dtype of the weights, whatever y has.
            return tf.cast(columns(y), next((weight.dtype for weight in self.trainable_variables), first(y).dtype))

        if kind in ("reverse", "products"):
            whole = StackedJacobian.reverse if kind == "reverse" else StackedJacobian.products
            return whole(lambda: outputs(inputs), self.trainable_variables), *found[0]
        make = StackedJacobian.kernel if kind == "kernel" else StackedJacobian.layerwise
        reason = self._why_dependent(inputs)
        if reason is not None:
            raise dependent(reason)
        if at_once is None:
            stacked = make(self.network, OneByOne(outputs), inputs)
            # `outputs` ran last on n_out copies of every sample; with x and y of the first copies, nothing but a shape
            # is needed of the run on the samples themselves, so that it is neither compiled nor executed.
            n_out = columns(found[-1][1]).shape[1]
            x, y = keras.tree.map_structure(lambda leaf: leaf[::n_out], found[-1])
            return stacked, x, y
        outputs(inputs)  # for x and y: in portions the whole batch is never seen at once
        x, y = found[0]
        return make(self.network, OneByOne(outputs), inputs, at_once), x, y

    def refuse_large(self, kind: Kind, inputs: Any) -> tuple[int | None, list[tf.Operation]]:
        """Raise if a step of this `kind` for `inputs` takes too much memory, or return the check if only the run tells.

        Returns:
            The copies of how many samples to make at a time, None for all, and the check.

        Raises:
            ValueError: if it takes too much.
        """
        limit = self.max_jacobian_bytes
        if limit is None:
            return self._at_once(kind, inputs, None), []
        leaf = keras.tree.flatten(inputs)[0]
        known = leaf.shape[0] if n_replicas() == 1 else None
        try:
            cost = self._step_cost(kind, inputs)
        except ValueError:
            raise
        except Exception as error:
            if not tf.executing_eagerly():
                raise
            warnings.warn(  # code that only runs eagerly, such as a simulator that asks for x.numpy()
                f"network and simulator cannot be traced ({type(error).__name__}: {error}), so that nobody knows what "
                "a step takes. max_jacobian_bytes=None asks nothing.",
                stacklevel=2,
            )
            return 1 if self.samples_at_once == "auto" else self.samples_at_once, []
        at_once = self._at_once(kind, inputs, known)
        if known is not None and (not known or cost.memory(known, at_once) <= limit):
            return at_once, []
        most = cost.samples_that_fit(limit, at_once)
        if known is None and most == MOST_SAMPLES:
            return at_once, []
        way_out = [f"Take a smaller batch_size, of at most {most}" if most else "Take fewer outputs per sample"]
        if kind in ("kernel", "layerwise") and self.samples_at_once is None and cost.samples_that_fit(limit, 1) > most:
            way_out.append('samples_at_once="auto"')
        if kind == "reverse" or self.rcond < spectral.SMALLEST_GRAM_RCOND:
            way_out.append('jacobian="kernel" with rcond ≥ 1e-7')
        if kind != "products":
            way_out.append('jacobian="products"')
        message = (
            f"a step for this batch, with J by {kind!r} and {cost.n_weights} weights, "
            f"takes more memory than max_jacobian_bytes = {limit}. {', '.join(way_out)}, or raise max_jacobian_bytes "
            "(jacobian_size tells)."
        )
        if known is not None:
            raise ValueError(f"{message} It takes about {in_words(cost.memory(known, at_once))}. Its samples: {known}.")
        n_samples = summed(tf.shape(leaf)[0])
        return at_once, [tf.debugging.Assert(n_samples <= most, [message, "Its samples:", n_samples])]


def seed_states(network: keras.Layer) -> list[keras.Variable]:
    """The states of all random generators in the layers of a network."""
    return [generator.state for layer in everything_below(network) for generator in generators(layer)]


def refuse_rolled(network: keras.Layer) -> None:
    """Raise where XLA would fail: the columns of a recurrent layer come from its loop, differentiated row by row."""
    for layer in everything_below(network):
        if isinstance(layer, keras.layers.RNN) and not layer.unroll:
            raise ValueError(
                f"layer {layer.name} runs its time steps in a loop, whose columns of J XLA cannot compile: build it "
                'with unroll=True, or leave jit_compile out, or take jacobian="reverse".'
            )
