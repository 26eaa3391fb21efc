"""Scale-invariant physics training: an inverse simulator tells the network where to go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.binding import inverse_map
from physgrad_tf.training.guard import stop_unless_finite
from physgrad_tf.training.physics_model import PhysicsModel
from physgrad_tf.training.replicas import n_replicas, summed, whole_batch_size
from physgrad_tf.training.structure import columns, first, like, like_columns, n_samples


@keras.saving.register_keras_serializable("physgrad_tf")
class ScaleInvariantPhysics(PhysicsModel):
    """Δθ from a proxy loss between x and x̃ = P⁻¹(y + η(y* − y); x), with x̃ held constant.

    Per batch: x = f(inputs; θ) and y = P(x); Δy = η(y* − y), the Newton step of the loss ½|y − y*|²; x̃ by the inverse
    simulator near x; then ordinary backpropagation of the proxy loss through the network alone (Holl, Koltun and
    Thuerey, Scale-invariant Learning by Physics Inversion, NeurIPS 2022). The simulator is not differentiated,
    unless `inverse` is a solver that does so.

    The compiled loss is reported as the error in y-space and not minimised. History also holds "proxy", the proxy loss.
    See `PhysicsModel` for the other arguments, targets and metrics.

    Args:
        network: a Keras model or layer that maps inputs to x.
        simulator: as in `PhysicsModel`, with `local_inverse(y, x_guess, inputs)` unless `inverse` is given.
        eta: step size η in (0, 1] in y-space; as large as the accuracy of the inverse allows.
        proxy: "l2" takes ½|x − x̃|² summed over x, "l1" takes |x − x̃| summed over x; both are averaged over the batch.
        updates_per_solve: how many updates of the network follow each call of the inverse simulator.
        inverse: maps (y, x_guess) or (y, x_guess, inputs) to an x near x_guess with P(x) = y, as `local_inverse` does,
            which None takes. Or a solver that makes such a map of any simulator: `GaussNewtonSolver`,
            `SaddleFreeNewtonSolver`, or an object whose method `of(simulate)` returns a function of (y, x_guess), both
            [batch, n]: whatever the shapes of x and y are, a solver sees all entries of a sample in one row.
        **options: passed on to `keras.Model`.

    Raises:
        TypeError: as `PhysicsModel`, or if there is no inverse, or `updates_per_solve` is not an integer.
        ValueError: if `eta` is not in (0, 1], `proxy` is unknown, or `updates_per_solve` is below 1.
    """

    training_only = ("proxy",)

    def __init__(
        self,
        network: keras.Layer,
        simulator: Any,
        eta: float = 1.0,
        proxy: Literal["l2", "l1"] = "l2",
        updates_per_solve: int = 1,
        inverse: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(network, simulator, **options)
        self.eta = validation.positive("eta", eta)
        if self.eta > 1.0:
            raise ValueError(f"eta must be in (0, 1], got {eta}.")
        if proxy not in ("l2", "l1"):
            raise ValueError(f'proxy must be "l2" or "l1", got {proxy!r}.')
        if inverse is None and not hasattr(simulator, "local_inverse"):
            raise TypeError("simulator has no local_inverse: give a function of (y, x_guess), or a solver, as inverse.")
        self.proxy = proxy
        self.updates_per_solve = validation.count("updates_per_solve", updates_per_solve, minimum=1)
        self.inverse = inverse
        self._inverse = self._inverse_map()
        self._proxy_loss = keras.metrics.Mean(name="proxy", dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Network, simulator, solver and settings, serialised."""
        return super().get_config() | {
            "eta": self.eta,
            "proxy": self.proxy,
            "updates_per_solve": self.updates_per_solve,
            "inverse": None if self.inverse is None else keras.saving.serialize_keras_object(self.inverse),
        }

    def update(self, inputs: Any, target: tf.Tensor, sample_weight: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """One call of the inverse simulator, then `updates_per_solve` updates of the network towards its answer.

        Args:
            inputs: what the network is given.
            target: y*, of the shape of y.
            sample_weight: weights [batch] of the proxy loss, or None. A sample of weight zero needs no inverse.

        Returns:
            x and y as they were before the update.
        """
        n_samples = whole_batch_size(target)
        with self.naming_the_simulator():
            solve = self.through_xla(self.solve)
            x, y, x_wanted, gradients, proxy = solve(inputs, target, sample_weight, n_samples)
        parts = keras.tree.flatten(x_wanted)

        def without_answer(x_wanted: Any = x_wanted) -> list[Any]:
            finite = tf.reduce_all(tf.math.is_finite(columns(x_wanted)), axis=1)
            return ["; for these samples of the batch:", tf.where(~finite)[:, 0]]

        parts = stop_unless_finite("the answer of the inverse simulator", parts, self.step_number, without_answer)
        x_wanted = keras.tree.pack_sequence_as(x_wanted, parts)
        with tf.control_dependencies(parts):  # nothing is updated before it is known to be finite
            self.follow(gradients, proxy, x)
        differentiate = self.through_xla(self.differentiate_proxy)
        for _ in range(self.updates_per_solve - 1):
            gradients, proxy = differentiate(inputs, x_wanted, sample_weight, n_samples)
            self.follow(gradients, proxy, x)
        return x, y

    def follow(self, gradients: list[tf.Tensor], proxy: tf.Tensor, x: tf.Tensor) -> None:
        """Hand the `gradients` of the `proxy` loss of a batch of answers `x` to the optimizer."""
        self.hand_over(stop_unless_finite("the gradient of the proxy", gradients, self.step_number))
        self._proxy_loss.update_state(summed(proxy), sample_weight=n_samples(x))

    def solve(
        self, inputs: Any, target: tf.Tensor, sample_weight: Any, n_samples: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, list[tf.Tensor], tf.Tensor]:
        """x, y, x̃ = P⁻¹(y + η(y* − y); x), the gradient of the proxy loss and its value, from one run of the network.

        Args:
            inputs: what the network is given.
            target: y*, of the shape of y.
            sample_weight: weights [batch] or None.
            n_samples: how many samples the whole batch has, on all devices.

        Returns:
            x, y and x̃ in the dtype of x, one gradient per trainable variable, and the loss.

        Raises:
            ValueError: if the inverse simulator does not return the shape of x, or layers add losses and XLA compiles.
        """
        with tf.GradientTape() as tape:
            x = self.network(inputs, training=True)
            self.refuse_added_losses()
            with tape.stop_recording():
                y = self.simulate(x, inputs)
                # y → y + η(y* − y)
                towards = lambda y, target: y + self.eta * (target - y)  # noqa: E731
                y_wanted = keras.tree.map_structure(towards, y, self.like_output(target, y))
                if sample_weight is None:
                    x_wanted = self.inverse_of(y_wanted, x, inputs)
                else:  # what weighs nothing may have no inverse, and NaN times zero is not zero
                    y_wanted = unless_zero(sample_weight, y_wanted, y)
                    x_wanted = unless_zero(sample_weight, self.inverse_of(y_wanted, x, inputs), x)
            objective, proxy = self.proxy_loss(x, x_wanted, sample_weight, n_samples)
        return x, y, x_wanted, self.gradient_of(objective, tape), proxy

    def inverse_of(self, y_wanted: tf.Tensor, x: tf.Tensor, inputs: Any) -> tf.Tensor:
        """x̃, what the inverse simulator makes of `y_wanted` near `x` for these `inputs`, in the dtype of x.

        Raises:
            ValueError: if it does not have the shape of `x`.
        """
        x_wanted = self._inverse(y_wanted, x, self.given(x, inputs))
        x_wanted = like("the answer of the inverse simulator", x_wanted, x, "x")
        return keras.tree.map_structure(tf.stop_gradient, x_wanted)

    def _inverse_map(self) -> Callable[[tf.Tensor, tf.Tensor, Any], tf.Tensor]:
        if self.inverse is None:
            return inverse_map("simulator.local_inverse", self.simulator.local_inverse)
        if hasattr(self.inverse, "of") and not isinstance(self.inverse, type):
            return self._solved
        return inverse_map("inverse", self.inverse)

    def _solved(self, y: Any, x_guess: Any, inputs: Any) -> Any:
        """What the solver makes of `y` near `x_guess` for these `inputs`: of points [batch, n], in the dtype of y."""

        def simulate(x: tf.Tensor) -> tf.Tensor:
            return columns(self._simulate(like_columns(x, x_guess), inputs))

        guess = tf.cast(columns(x_guess), first(y).dtype)
        return like_columns(self.inverse.of(simulate)(columns(y), guess), x_guess)

    def differentiate_proxy(
        self, inputs: Any, x_wanted: tf.Tensor, sample_weight: Any, n_samples: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The gradient of the proxy loss with respect to the weights, and its value.

        Args:
            inputs: what the network is given.
            x_wanted: x̃, of the shape of x.
            sample_weight: weights [batch] or None.
            n_samples: as in `solve`.

        Returns:
            One gradient per trainable variable, and the loss.
        """
        with tf.GradientTape() as tape:
            x = self.network(inputs, training=True)
            self.refuse_added_losses()
            objective, proxy = self.proxy_loss(x, x_wanted, sample_weight, n_samples)
        return self.gradient_of(objective, tape), proxy

    def proxy_loss(
        self, x: tf.Tensor, x_wanted: tf.Tensor, sample_weight: Any, n_samples: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The mean of ½|x − x̃|² or of |x − x̃|₁ with x̃ = `x_wanted`, weighted by `sample_weight`.

        Returns:
            The part of the mean over all `n_samples` that these samples make, with the network's own losses added and
            without them.
        """
        difference = columns(keras.tree.map_structure(tf.subtract, x, x_wanted))
        per_sample = tf.reduce_sum(difference**2 / 2.0 if self.proxy == "l2" else tf.abs(difference), axis=1)
        if sample_weight is not None:
            per_sample *= tf.cast(tf.reshape(one_weight(sample_weight), tf.shape(per_sample)), per_sample.dtype)
        proxy = tf.reduce_sum(per_sample) / tf.cast(n_samples, per_sample.dtype)
        others = [loss / n_replicas() for loss in self.losses]
        return tf.add_n([proxy, *others]), proxy

    def gradient_of(self, objective: tf.Tensor, tape: tf.GradientTape) -> list[tf.Tensor]:
        """∂`objective`/∂θ, which `tape` has recorded, zero where a weight has no part in it."""
        variables = [variable.value for variable in self.trainable_variables]
        return tape.gradient(objective, variables, unconnected_gradients="zero")


def unless_zero(sample_weight: Any, wanted: Any, present: Any) -> Any:
    """Return what is `wanted`, and for the samples of weight zero what is there at `present`."""
    weighs = tf.cast(tf.reshape(one_weight(sample_weight), [-1, 1]), tf.bool)
    return like_columns(tf.where(weighs, columns(wanted), columns(present)), present)


def one_weight(sample_weight: Any) -> tf.Tensor:
    """The weights of samples, or raise where Keras hands them over for every output."""
    if isinstance(sample_weight, (dict, list, tuple)):
        raise ValueError(
            "ScaleInvariantPhysics weights whole samples in x; for several outputs y Keras hands over weights of each. "
            "Leave sample_weight out, or let the simulator return one tensor."
        )
    return tf.convert_to_tensor(sample_weight)  # run eagerly, train_on_batch hands over arrays
