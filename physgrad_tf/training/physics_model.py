"""What all models of a network and a simulator share."""

from __future__ import annotations

import contextlib
import functools
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.binding import distance_map, simulator_map
from physgrad_tf.training import structure
from physgrad_tf.training.precision import floatx, losses_in, precision_of, warn_of_metrics
from physgrad_tf.training.replicas import share_of_loss, summed
from physgrad_tf.training.signature import signature_of

#: Seconds of tracing beyond which a user is told why.
LONG_TRACING = 10.0


class PhysicsModel(keras.Model):  # type: ignore[misc]
    """A network f followed by a simulator P: y = P(f(inputs)).

    Subclasses say how the weights are updated, in `update`. Fitting, callbacks, schedules, evaluation, prediction,
    saving and loading are Keras's.

    Inputs, x and y may be one tensor each, or lists or dictionaries of tensors. Targets are either y* or a dictionary
    {"y": y*, "x": x*} with a known solution x*, which is used for nothing but the reported x-space error; a y that is a
    dictionary with these names is given as {"y": y*}. y may have another dtype than x: y* takes that of y, loss and
    metrics are computed in the precision of the network, the step in that of the weights.

    `History` holds

    * "loss": the compiled loss of y against y*, the error in y-space;
    * "x_error": the error in x-space, not weighted: the mean of |x − x*| over all entries if x* is given, else that of
      the simulator's `distance(x, y*)` or `distance(x, y*, inputs)` over the samples if it has one, else absent.

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
        if not isinstance(network, keras.Layer):
            raise TypeError(f"network must be a Keras model or layer, got {type(network).__name__}.")
        precision = precision_of(network)
        super().__init__(**({"dtype": precision} | options))
        self.network = network
        self.simulator = simulator
        self._simulate = simulator_map(simulator)
        self._xla = False
        self._reported: tuple[str, ...] = ()
        self._y_loss = keras.metrics.Mean(name="loss", dtype=precision)
        self._x_error = keras.metrics.Mean(name="x_error", dtype=precision)
        # What is not finite must be noticed outside of XLA, so Keras must not compile the step as a whole.
        self.supports_jit = False
        self._warned = False
        self._unmade: set[str] = set()
        self.built = network.built  # some callbacks ask before the first batch

    def __init_subclass__(cls, **options: Any) -> None:
        """Let `help` and the pages show the arguments: of a Keras model they would show those of `__new__`."""
        super().__init_subclass__(**options)
        cls.__signature__ = signature_of(cls)

    def compile(self, optimizer: Any = "adam", loss: Any = "mse", jit_compile: Any = False, **options: Any) -> None:
        """Configure training, as `keras.Model.compile`.

        Args:
            optimizer: any Keras optimizer.
            loss: any Keras loss of y* and y; it is reported, and minimised by the models that differentiate it.
            jit_compile: True compiles network, physics and their derivatives by XLA. The check that the step is finite
                and the optimizer stay outside. "auto" is False.
            **options: passed on to Keras.
        """
        precision = precision_of(self.network)
        for name in ("metrics", "weighted_metrics"):
            warn_of_metrics(precision, options.get(name))
        with floatx(precision):  # Keras adds its losses up in this
            super().compile(optimizer=optimizer, loss=losses_in(precision, loss), jit_compile=False, **options)
        self._xla = jit_compile is True
        self._unmade = {"loss", "metrics"}

    @contextlib.contextmanager
    def in_own_precision(self, name: str) -> Iterator[None]:
        """Let the method `name` of Keras work in the precision of the network.

        Raises:
            ValueError: if the model belongs to several processes, where that method of Keras fails in its own code.
        """
        if isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise ValueError(
                f"{name} of Keras does not work with MultiWorkerMirroredStrategy. Loop over the batches of "
                "strategy.experimental_distribute_dataset with strategy.run(model.train_step, args=(batch,)) inside a "
                "tf.function, as in the section on several machines of the package's page."
            )
        with floatx(precision_of(self.network)):
            yield

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.fit`, which gets `args` and `kwargs`; data and metrics have our precision."""
        with self.in_own_precision("fit"):
            return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`, which gets `args` and `kwargs`; data and metrics have our precision."""
        with self.in_own_precision("evaluate"):
            return super().evaluate(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.predict`, which gets `args` and `kwargs`; data have our precision."""
        with self.in_own_precision("predict"):
            return super().predict(*args, **kwargs)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.train_on_batch`, which gets `args` and `kwargs`; data and metrics have our precision."""
        with self.in_own_precision("train_on_batch"):
            return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.test_on_batch`, which gets `args` and `kwargs`; data and metrics have our precision."""
        with self.in_own_precision("test_on_batch"):
            return super().test_on_batch(*args, **kwargs)

    def predict_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.predict_on_batch`, which gets `args` and `kwargs`; data have our precision."""
        with self.in_own_precision("predict_on_batch"):
            return super().predict_on_batch(*args, **kwargs)

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

    def get_metrics_result(self) -> dict[str, Any]:
        """What the kind of step reports that was traced last: over all devices and steps since the last reset."""
        results = super().get_metrics_result()
        return {name: results[name] for name in self._reported if name in results} or results

    def _get_metrics_result_or_logs(self, logs: Any) -> Any:
        """As in Keras, at the end of an epoch: of the metrics those that its last step gave in `logs`.

        On several devices the values in `logs` are means over these alone. Which kind of step was *traced* last, as
        `get_metrics_result` knows, says nothing where training and tests take turns.
        """
        results = super().get_metrics_result()
        return {name: results[name] for name in logs} if isinstance(logs, dict) and set(logs) <= set(results) else logs

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of `compile`, for saving; nothing where it was not called."""
        config = super().get_compile_config()
        return config and config | {"jit_compile": self._xla}

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
        """Return y = P(x), where `inputs` is what the network was given.

        Raises:
            TypeError: if the simulator returns something else than tensors of float32 or float64.
            ValueError: if one of them has no batch, or a number of axes that is not known.
        """
        y = self._simulate(x, self.given(x, inputs))
        for leaf in keras.tree.flatten(y):
            if not tf.is_tensor(leaf):
                raise TypeError(f"simulator must return tensors, got {type(leaf).__name__}.")
            if leaf.dtype not in (tf.float32, tf.float64):
                raise TypeError(
                    f"simulator must return float32 or float64, got {leaf.dtype.name}; of complex numbers return real "
                    "and imaginary parts side by side."
                )
            if not leaf.shape.rank:
                raise ValueError(
                    f"simulator must return the batch first and a known number of axes, got the shape {leaf.shape}; "
                    "tf.ensure_shape tells what TensorFlow cannot see."
                )
        return y

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
        dtype = structure.first(x).dtype
        return keras.tree.map_structure(
            lambda value: tf.cast(value, dtype) if tf.as_dtype(value.dtype).is_floating else value, inputs
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

    @property
    def step_number(self) -> tf.Tensor:
        """How many steps the optimizer has taken."""
        return tf.convert_to_tensor(self.optimizer.iterations)

    def hand_over(self, parts: list[tf.Tensor]) -> None:
        """Give the optimizer the `parts` of a gradient, or what stands in its place, one for each variable.

        An optimizer that asks for a scaled loss will divide what it gets by this scale.
        """
        one = tf.ones([])
        scale = self.optimizer.scale_loss(one)
        if scale is not one:
            parts = [part * tf.cast(scale, part.dtype) for part in parts]
        with tf.control_dependencies(parts):  # known to be finite before the optimizer counts the step
            self.optimizer.apply(parts, self.trainable_variables)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update of the weights from one batch, `data` as Keras hands it over."""
        start = time.thread_time()  # waiting for a busy machine does not count
        inputs, target, solution, sample_weight = unpack(data)
        if not self.built:  # the step calls the network and the physics one by one, never the model as a whole
            with tf.init_scope():  # a weight that is made inside a function has no value before the function runs
                self.build(keras.tree.map_structure(lambda tensor: tensor.shape, inputs))
        before = self.regularisation()
        x, y = self.update(inputs, target, sample_weight)
        if not tf.executing_eagerly():
            self.warn_of_tracing(time.thread_time() - start)
        return self.record(inputs, x, y, target, solution, sample_weight, training=True, regularisation=before)

    def regularisation(self) -> tf.Tensor:
        """The part of the loss that the regularisers of the weights make at present."""
        terms = [weight.regularizer(weight.value) for weight in self.trainable_variables if weight.regularizer]
        return tf.add_n(terms) if terms else tf.zeros([], self.compute_dtype)

    def warn_of_tracing(self, seconds: float) -> None:
        """Warn once where turning a step into a graph took the processor many `seconds`, and say why."""
        if seconds > LONG_TRACING and not self._warned:
            self._warned = True
            warnings.warn(
                f"it took {seconds:.0f} s of the processor to trace a step, which happens once. If "
                "there is a Python loop over time steps, in the physics or around the network, it is written into the "
                "graph round by round, and XLA takes longer still to compile that: tf.while_loop keeps one round. "
                "Recurrent layers are faster with unroll=True.",
                stacklevel=2,
            )

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The errors on one batch, `data` as Keras hands it over, without an update."""
        inputs, target, solution, sample_weight = unpack(data)
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
        regularisation: tf.Tensor | None = None,
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
            regularisation: as it was when y came out; None is as it is.

        Returns:
            The present value of every metric, by name.
        """
        target = self.like_output(target, y)
        loss = self.compute_loss(inputs, target, y, sample_weight, training=training)
        share = share_of_loss(self.loss, target, sample_weight)
        loss = loss if share is None else summed(loss * tf.cast(share, loss.dtype))
        if regularisation is not None:  # the weights have moved since
            loss += tf.cast(regularisation - self.regularisation(), loss.dtype)
        self._y_loss.update_state(loss, sample_weight=structure.n_samples(y))
        logs = {"loss": self._y_loss.result()}
        error = self.x_error(inputs, x, target, solution)
        if error is not None:
            self._x_error.update_state(error)
            logs["x_error"] = self._x_error.result()
        others = self.compute_metrics(inputs, target, y, sample_weight)
        logs = others | logs
        if not training:
            logs = {name: value for name, value in logs.items() if name not in self.training_only}
        self._reported = tuple(logs)
        return logs

    #: Names of metrics that exist in training alone.
    training_only: tuple[str, ...] = ()

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> tf.Tensor:
        """The compiled loss of y* (here `y`) and y (here `y_pred`), with the network's own losses added.

        It is weighted by `sample_weight`; `x` and `training` are not used, as in Keras. On several devices it is that
        of one of them, a mean being divided by their number.
        """
        if not is_like(y, y_pred):
            y, sample_weight = of_y(y, sample_weight)  # whole targets come when Keras builds
        with floatx(precision_of(self.network)):  # what Keras makes at the first call stays in this
            if len(keras.tree.flatten(y_pred)) > 1:  # each output has a mean of its own
                self.make_outside("loss", super().compute_loss, None, y, y_pred, sample_weight)
            return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, tf.Tensor]:
        """The compiled metrics of y* (here `y`) and y (here `y_pred`), weighted by `sample_weight`, by name."""
        if not is_like(y, y_pred):
            y, sample_weight = of_y(y, sample_weight)
        self._reported = ()  # all of them, whatever kind of step was the last
        with floatx(precision_of(self.network)):
            self.make_outside("metrics", super().compute_metrics, None, y, y_pred, sample_weight)
            results = super().compute_metrics(x, y, y_pred, sample_weight)
        return {name: value for name, value in results.items() if name not in ("loss", "x_error")}

    def make_outside(self, name: str, compute: Callable[..., Any], *given: Any) -> None:
        """Let what `compute` makes at its first call be made outside of the graph that is being traced.

        A variable that is made inside costs a second tracing of the whole step. So `compute` is traced alone before, in
        a graph that never runs. Where there is a strategy of `tf.distribute`, Keras has done so.

        Args:
            name: what it makes, "loss" or "metrics": once after `compile`.
            compute: the method of Keras.
            *given: what it will get: tensors, structures of them, or None.
        """
        if tf.executing_eagerly() or tf.distribute.has_strategy() or name not in self._unmade:
            return
        self._unmade.remove(name)
        specs = tf.nest.map_structure(
            lambda tensor: tensor if tensor is None else tf.TensorSpec.from_tensor(tensor), given
        )
        with tf.init_scope():
            tf.function(compute, autograph=False).get_concrete_function(*specs)

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
            difference = keras.tree.map_structure(tf.subtract, x, structure.like('targets["x"]', solution, x, "x"))
            return tf.reduce_mean(tf.abs(structure.columns(difference)), axis=1)
        if hasattr(self.simulator, "distance"):
            return distance_map(self.simulator)(x, self.given(x, target), self.given(x, inputs))
        return None

    def like_output(self, target: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Return y*, `target`, in the dtype of y if it has the shape of y; nothing is broadcast.

        Raises:
            ValueError: if the shapes differ.
        """
        try:
            return structure.like("targets", target, y, "the simulator's output")
        except ValueError as error:
            if isinstance(y, dict) and set(y) <= {"x", "y"}:
                raise ValueError(
                    f'{error} A dictionary of "y", or of "y" and "x", holds y* and a known x*. Where y itself has '
                    'these names, give {"y": y*}.'
                ) from error
            raise

    def refuse_added_losses(self) -> None:
        """Losses that layers add inside of a function that XLA compiles would be missing outside of it.

        Raises:
            ValueError: if there are any, and XLA compiles.
        """
        n_regularisers = sum(variable.regularizer is not None for variable in self.trainable_variables)
        if self._xla and len(self.losses) > n_regularisers:
            raise ValueError("add_loss and activity regularisers are not compiled by XLA here: leave jit_compile out.")

    def through_xla(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` itself, or compiled by XLA if `compile` was told so."""
        return tf.function(function, jit_compile=True, autograph=False) if self._xla else function


PhysicsModel.__signature__ = signature_of(PhysicsModel)


def unpack(data: Any) -> tuple[Any, Any, Any, Any]:
    """Inputs, y*, the known solution x* or None, and sample weights or None, from what Keras hands over."""
    inputs, targets, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    y, sample_weight = of_y(targets, sample_weight)
    name = "targets" if y is targets else 'targets["y"]'
    y = keras.tree.map_structure(functools.partial(validation.floating, name), y)
    return inputs, y, targets.get("x") if holds_solution(targets) else None, sample_weight


def is_like(y: Any, y_pred: Any) -> bool:
    """Whether `y` is y* itself, a dictionary with the tensors of `y_pred`, whose names may be "x" and "y"."""
    return (
        isinstance(y, dict)
        and isinstance(y_pred, dict)
        and set(y) == set(y_pred)
        and not any(isinstance(part, (dict, list, tuple)) for part in y.values())
    )


def holds_solution(targets: Any) -> bool:
    """Whether this is a dictionary of y* and perhaps x*, and not y* itself."""
    return isinstance(targets, dict) and "y" in targets and set(targets) <= {"x", "y"}


def of_y(targets: Any, sample_weight: Any) -> tuple[Any, Any]:
    """y* and its weights. Keras hands weights over once for each of the targets, x* included.

    Raises:
        TypeError: if there are several weights without the names of the targets.
    """
    if not holds_solution(targets):
        return targets, sample_weight
    if isinstance(sample_weight, (list, tuple)):
        raise TypeError(
            'sample_weight must be one tensor or a dictionary like the targets {"y": …, "x": …}, got a '
            f"{type(sample_weight).__name__}."
        )
    if isinstance(sample_weight, dict):
        sample_weight = sample_weight.get("y")
    return targets["y"], sample_weight
