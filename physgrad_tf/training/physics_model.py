"""What all models of a network and a simulator share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.binding import simulator_map


class PhysicsModel(keras.Model):  # type: ignore[misc]
    """A network f followed by a simulator P: y = P(f(inputs)).

    Subclasses say how the weights are updated, in `update`. Fitting, callbacks, schedules, evaluation, prediction,
    saving and loading are Keras's.

    Targets are either y* or a dictionary {"y": y*, "x": x*} with a known solution x*, which is used for nothing but the
    reported x-space error. `History` holds

    * "loss": the compiled loss of y against y*, the error in y-space;
    * "x_error": the error in x-space, the mean of |x − x*| if x* is given, else of the simulator's
      `distance(x, y*, inputs)` if it has one, else absent.

    Args:
        network: a Keras model or layer that maps inputs to x.
        simulator: what maps x to y: an object with `simulate`, a function, a `tf.function`, or a Keras layer or model,
            whose weights stay as they are. It gets the inputs of the network as well if it asks for them, by a second
            parameter without a default or by one named `inputs`. To be saved, it must be known to Keras
            (`keras.saving.register_keras_serializable`).
        **options: passed on to `keras.Model`.

    Raises:
        TypeError: if `network` is not a Keras layer, `simulator` cannot be called, or a half-precision policy is set.
    """

    def __init__(self, network: keras.Layer, simulator: Any, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(network, keras.Layer):
            raise TypeError(f"network must be a Keras model or layer, got {type(network).__name__}.")
        if network.compute_dtype not in ("float32", "float64"):
            raise TypeError(f"network must compute in float32 or float64, got {network.compute_dtype}.")
        self.network = network
        self.simulator = simulator
        self._simulate = simulator_map(simulator)
        self._xla = False
        self._y_loss = keras.metrics.Mean(name="loss")
        self._x_error = keras.metrics.Mean(name="x_error")
        # What is not finite must be noticed outside of XLA, so Keras must not compile the step as a whole.
        self.supports_jit = False

    def compile(self, optimizer: Any = "adam", loss: Any = "mse", jit_compile: Any = False, **options: Any) -> None:
        """Configure training, as `keras.Model.compile`.

        Args:
            optimizer: any Keras optimizer.
            loss: any Keras loss of y* and y; it is reported, and minimised by the models that differentiate it.
            jit_compile: True compiles network, physics and their derivatives by XLA. The check that the step is finite
                and the optimizer stay outside. "auto" is False.
            **options: passed on to Keras.
        """
        super().compile(optimizer=optimizer, loss=loss, jit_compile=False, **options)
        self._xla = jit_compile is True

    def make_train_function(self, force: bool = False) -> Any:
        """As in Keras, with the optimizer's variables made before: made on the way, they cost a second tracing.

        Args:
            force: make it anew even if there is one.
        """
        if self.network.built and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The weights θ of the network; those of a simulator that is a Keras layer stay as they are."""
        return self.network.trainable_variables if self.trainable else []

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The same as `trainable_variables`."""
        return self.trainable_variables

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """All metrics, one of each name; this model's "loss" stands for Keras's own."""
        return list({metric.name: metric for metric in super().metrics}.values())

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of `compile`, for saving."""
        return super().get_compile_config() | {"jit_compile": self._xla}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile with the saved arguments in `config`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def get_config(self) -> dict[str, Any]:
        """Network and simulator, serialised."""
        parts = {"network": self.network, "simulator": self.simulator}
        return super().get_config() | {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> PhysicsModel:
        """A model from its serialised parts."""
        return cls(
            **{
                name: keras.saving.deserialize_keras_object(value, custom_objects) if isinstance(value, dict) else value
                for name, value in config.items()
            }
        )

    def build(self, input_shape: Any) -> None:
        """Build the network for inputs of shape `input_shape`, unless it is built already."""
        if not self.network.built:
            self.network.build(input_shape)
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Return y = P(f(inputs)); `training` as in Keras."""
        return self.simulate(self.network(inputs, training=training), inputs)

    def simulate(self, x: tf.Tensor, inputs: Any) -> tf.Tensor:
        """Return y = P(x), where `inputs` is what the network was given."""
        return self._simulate(x, self.given(x, inputs))

    @contextlib.contextmanager
    def naming_the_simulator(self) -> Iterator[None]:
        """Say whose fault it is when no gradient arrives.

        Raises:
            ValueError: in the place of one that tells less.
        """
        try:
            yield
        except validation.NoGradient as error:
            name = getattr(self.simulator, "__name__", type(self.simulator).__name__)
            raise validation.NoGradient(
                f"no gradient arrives at the network: the simulator {name} gives y = P(x) that TensorFlow cannot "
                "differentiate with respect to x. Rounding, integers, stop_gradient and NumPy pass none; "
                "ScaleInvariantPhysics with an inverse simulator needs none."
            ) from error

    def given(self, x: tf.Tensor, inputs: Any) -> Any:
        """The `inputs` for the simulator: floating-point ones in the dtype of `x`, whatever Keras has cast them to."""
        return keras.tree.map_structure(
            lambda value: tf.cast(value, x.dtype) if tf.as_dtype(value.dtype).is_floating else value, inputs
        )

    def update(self, inputs: Any, target: tf.Tensor, sample_weight: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Update the weights once, from one batch; subclasses define how.

        Args:
            inputs: what the network is given.
            target: y*, of the shape of y.
            sample_weight: weights [batch] or None.

        Returns:
            x and y as they were before the update.

        Raises:
            NotImplementedError: always, in this class.
        """
        raise NotImplementedError

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update of the weights from one batch, `data` as Keras hands it over."""
        inputs, targets, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        target, solution = split(targets)
        if not self.built:  # the step calls the network and the physics one by one, never the model as a whole
            self.build(keras.tree.map_structure(lambda tensor: tensor.shape, inputs))
        x, y = self.update(inputs, target, sample_weight)
        return self.record(inputs, x, y, target, solution, sample_weight, training=True)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The errors on one batch, `data` as Keras hands it over, without an update."""
        inputs, targets, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        target, solution = split(targets)
        x = self.network(inputs, training=False)
        y = self.simulate(x, inputs)
        return self.record(inputs, x, y, self.like_output(target, y), solution, sample_weight, training=False)

    def record(
        self,
        inputs: Any,
        x: tf.Tensor,
        y: tf.Tensor,
        target: tf.Tensor,
        solution: tf.Tensor | None,
        sample_weight: Any,
        training: bool,
    ) -> dict[str, tf.Tensor]:
        """Bring the metrics up to date, and return those that belong to training or to a test.

        Args:
            inputs: what the network was given.
            x: its answer.
            y: P(x).
            target: y*.
            solution: x* or None.
            sample_weight: weights [batch] or None.
            training: whether the metrics of training alone belong to the answer.

        Returns:
            The present value of every metric, by name.
        """
        target = tf.cast(target, y.dtype)
        loss = self.compute_loss(inputs, target, y, sample_weight, training=training)
        self._y_loss.update_state(loss, sample_weight=tf.shape(y)[0])
        logs = {"loss": self._y_loss.result()}
        error = self.x_error(inputs, x, target, solution)
        if error is not None:
            self._x_error.update_state(error)
            logs["x_error"] = self._x_error.result()
        others = self.compute_metrics(inputs, target, y, sample_weight)
        return others | logs if training else {n: v for n, v in (others | logs).items() if n not in self.training_only}

    #: Names of metrics that exist in training alone.
    training_only: tuple[str, ...] = ()

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, tf.Tensor]:
        """The compiled metrics of y* (here `y`) and y (here `y_pred`), weighted by `sample_weight`, by name."""
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        return {name: value for name, value in results.items() if name not in ("loss", "x_error")}

    def x_error(self, inputs: Any, x: tf.Tensor, target: tf.Tensor, solution: tf.Tensor | None) -> tf.Tensor | None:
        """The error in x-space of every sample, [batch], or None where nothing tells it.

        Args:
            inputs: what the network was given.
            x: its answer.
            target: y*.
            solution: x*, of the shape of x, or None.

        Returns:
            The mean of |x − x*|, or the simulator's own distance.

        Raises:
            ValueError: if `solution` does not have the shape of `x`.
        """
        if solution is not None:
            if not x.shape.is_compatible_with(solution.shape):
                raise ValueError(f'targets["x"] must have the shape of x, {x.shape}, got {solution.shape}.')
            return tf.reduce_mean(tf.abs(x - tf.cast(solution, x.dtype)), axis=range(1, len(x.shape)))
        if hasattr(self.simulator, "distance"):
            return self.simulator.distance(x, tf.cast(target, x.dtype), self.given(x, inputs))
        return None

    def like_output(self, target: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Return y*, `target`, in the dtype of y if it has the shape of y; nothing is broadcast.

        Raises:
            ValueError: if the shapes differ.
        """
        if not y.shape.is_compatible_with(target.shape):
            raise ValueError(f"targets must have the shape of the simulator's output, {y.shape}, got {target.shape}.")
        return tf.cast(target, y.dtype)

    def through_xla(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` itself, or compiled by XLA if `compile` was told so."""
        return tf.function(function, jit_compile=True, autograph=False) if self._xla else function


def split(targets: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
    """y* and, where it is given, the known solution x*."""
    if not isinstance(targets, dict):
        return validation.floating("targets", targets), None
    if "y" not in targets or set(targets) - {"x", "y"}:
        raise ValueError(f'targets must be y* or a dictionary of "y" and perhaps "x", got keys {sorted(targets)}.')
    solution = targets.get("x")
    return validation.floating('targets["y"]', targets["y"]), solution
