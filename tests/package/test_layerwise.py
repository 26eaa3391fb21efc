"""The layerwise and kernel kinds of the stacked Jacobian against the textbook one, over layers, calls and shapes."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from physgrad_tf import training
from physgrad_tf.jacobians import StackedJacobian, parts, stacked, tapping


@pytest.fixture(autouse=True)
def _in_float64():
    before, floatx = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")  # else Keras cuts inputs to float32, whatever the policy
    keras.utils.set_random_seed(5)
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(before)


def physics(x):
    """A differentiable simulator that mixes the entries of a sample; the output has two columns."""
    flat = tf.reshape(x, [tf.shape(x)[0], int(np.prod(x.shape[1:]))])
    return tf.stack([tf.reduce_sum(tf.sin(flat), axis=1), tf.reduce_prod(1.0 + flat**2, axis=1)], axis=1)


class Scaled(keras.Model):
    """A subclassed model with a weight of its own beside those of its layers, one of which is called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.again = layers.Dense(4, "tanh"), layers.Dense(4, "elu")

    def build(self, shape):
        self.scale = self.add_weight(shape=(4,), initializer="random_normal")
        self.first.build(shape)
        self.again.build((shape[0], 4))

    def call(self, x):
        return self.again(self.again(self.first(x)) * self.scale)


def shared_and_nested():
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3, "tanh"), layers.Dense(3, "softplus")])
    x = keras.Input((3,))
    return keras.Model(x, layers.Concatenate()([inner(inner(x)), layers.Dense(2)(x)]))


class Transposed(layers.Layer):
    """A layer that shares the kernel of another one."""

    def __init__(self, kernel):
        super().__init__()
        self.kernel = kernel

    def call(self, x):
        return keras.ops.matmul(x, keras.ops.transpose(self.kernel))


def tied_kernels():
    encoder = layers.Dense(2, "tanh")
    encoder.build((None, 3))
    return sequential((3,), encoder, Transposed(encoder.kernel))


def twice(layer):
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2)(layer(layers.Activation("exponential")(layer(inputs)))))


def sequential(shape, *parts):
    return keras.Sequential([keras.Input(shape), *parts])


NETWORKS = {
    "dense": lambda: sequential(
        (3,), layers.Dense(4, "tanh"), layers.Dense(5, "relu", use_bias=False), layers.Dense(2)
    ),
    "dense with a softmax": lambda: sequential((3,), layers.Dense(4, "softmax"), layers.Activation("tanh")),
    "dense on rank 3": lambda: sequential((6, 3), layers.Dense(4, "gelu"), layers.Flatten(), layers.Dense(2)),
    "dense on rank 4": lambda: sequential((2, 3, 2), layers.Dense(4, "selu"), layers.GlobalAveragePooling2D()),
    "activation with weights": lambda: sequential((3,), layers.Dense(4, activation=layers.PReLU()), layers.Dense(2)),
    "convolution 1d": lambda: sequential(
        (9, 2), layers.Conv1D(3, 3, 2, "same", activation="tanh"), layers.Conv1D(2, 2, dilation_rate=2, use_bias=False)
    ),
    "convolution 2d": lambda: sequential(
        (6, 7, 2), layers.Conv2D(3, (3, 2), (2, 1), "same", activation="elu"), layers.Conv2D(2, 3), layers.Dense(2)
    ),
    "convolution 2d with two dilations": lambda: sequential(
        (5, 6, 2), layers.Conv2D(2, 2, dilation_rate=(1, 3), activation="tanh"), layers.Dense(2)
    ),
    "normalisation called twice": lambda: twice(layers.LayerNormalization()),
    "convolution that is replayed": lambda: sequential((6, 2), layers.Conv1D(2, 3, padding="causal"), layers.Dense(1)),
    "normalisation and einsum": lambda: sequential(
        (4, 3), layers.LayerNormalization(), layers.EinsumDense("bti,tio->bto", (4, 2), bias_axes="o")
    ),
    "recurrent": lambda: sequential((3, 2), layers.SimpleRNN(2, unroll=True), layers.Dense(2)),
    "subclassed, called twice, own weight": Scaled,
    "shared and nested": shared_and_nested,
    "tied kernels": tied_kernels,
    "a single layer": lambda: layers.Dense(2, "tanh"),
}


def batch_for(network, rng, size=3):
    shape = network.input_shape[1:] if hasattr(network, "input_shape") else (3,)
    return tf.constant(rng.normal(size=(size, *shape)))


def both_kinds(network, outputs, inputs):
    """The two matrices, each traced once."""

    @tf.function(autograph=False)
    def compute():
        layerwise = StackedJacobian.layerwise(network, outputs, inputs)
        return layerwise, StackedJacobian.reverse(lambda: outputs(inputs), network.trainable_variables)

    return compute()


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_reverse(name, rng):
    network = NETWORKS[name]()
    if not hasattr(network, "input_shape"):
        network.build((None, 3))
    inputs = batch_for(network, rng)
    network(inputs)
    layerwise, reverse = both_kinds(network, lambda inputs: physics(network(inputs, training=True)), inputs)
    dense = reverse.to_dense().numpy()
    size = np.abs(dense).max()
    assert layerwise.kind == "layerwise"
    assert layerwise.shape == reverse.shape == dense.shape
    np.testing.assert_allclose(layerwise.to_dense(), dense, rtol=1e-9, atol=1e-12 * size)
    np.testing.assert_allclose(layerwise.weight_gram(), dense.T @ dense, rtol=1e-9, atol=1e-12 * size**2)
    for kind in (layerwise, dataclasses.replace(layerwise, kind="kernel"), reverse):
        np.testing.assert_allclose(kind.gram(), dense @ dense.T, rtol=1e-9, atol=1e-12 * size**2)
    w = rng.normal(size=len(dense))
    np.testing.assert_allclose(layerwise.transpose_matvec(w), dense.T @ w, rtol=1e-9, atol=1e-11 * size)
    assert all(layer.__dict__.get("call") is None for layer in getattr(network, "layers", [network]))


@pytest.mark.parametrize(("options", "linear"), [({}, True), ({"groups": 2}, False)])
def test_a_convolution_in_groups_is_replayed(options, linear):
    """Its kernel meets a part of the channels only. (TensorFlow has no gradient of it on a CPU to compare with.)"""
    network = sequential((5, 4, 2), layers.Conv2D(4, 2, **options))
    assert tapping.is_linear(network.layers[0]) == linear


def test_a_network_asked_at_every_step_of_a_loop(rng):
    """The weights meet a sample once per time step, and every later state depends on them."""

    def step(state, control):
        return tf.stack([state[:, 1], tf.sin(state[:, 0]) + control[:, 0]], axis=1)

    loop = training.ClosedLoop(sequential((3,), layers.Dense(4, "tanh"), layers.Dense(1)), step, n_steps=4, n_state=2)
    inputs = tf.constant(rng.normal(size=(3, 2)))
    loop(inputs)
    layerwise, reverse = both_kinds(loop, lambda inputs: physics(loop(inputs)), inputs)
    np.testing.assert_allclose(layerwise.to_dense(), reverse.to_dense(), rtol=1e-9, atol=1e-10)


def test_several_inputs(rng):
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    network = keras.Model({"a": a, "b": b}, layers.Dense(2, "tanh")(layers.Concatenate()([a, layers.Dense(3)(b)])))
    inputs = {"a": tf.constant(rng.normal(size=(3, 2))), "b": tf.constant(rng.normal(size=(3, 3)))}
    layerwise, reverse = both_kinds(network, lambda i: network(i) * i["a"] + i["b"][:, :2], inputs)
    np.testing.assert_allclose(layerwise.to_dense(), reverse.to_dense(), rtol=1e-10, atol=1e-13)


class WithSpare(keras.Model):
    """A network and a layer that is never called."""

    def __init__(self, network):
        super().__init__()
        self.network, self.spare = network, layers.Dense(2)
        self.spare.build((None, 3))
        self.built = True

    def call(self, inputs):
        return self.network(inputs)


def test_frozen_weights_are_left_out_and_unused_ones_are_zero(rng):
    network = sequential((3,), layers.Dense(4, "tanh"), layers.Dense(4, "tanh"), layers.Dense(2))
    network.layers[1].trainable = False
    network.layers[2].kernel.trainable = False
    whole = WithSpare(network)
    inputs = tf.constant(rng.normal(size=(3, 3)))
    layerwise, reverse = both_kinds(whole, lambda inputs: physics(whole(inputs)), inputs)
    assert layerwise.n_weights == 3 * 4 + 4 + 2 + 3 * 2 + 2
    np.testing.assert_allclose(layerwise.to_dense(), reverse.to_dense(), rtol=1e-10, atol=1e-13)


def through_a_loop(x):
    """Physics as a tf.while_loop."""
    return tf.while_loop(lambda i, y: i < 5, lambda i, y: (i + 1, y + 0.1 * tf.sin(y)), (0, x), maximum_iterations=5)[1]


@pytest.mark.parametrize("xla", [False, True])
def test_compiles_with_a_loop_in_the_physics_and_an_unknown_batch(rng, xla):
    network = sequential((3,), layers.Dense(4, "tanh"), layers.Dense(2))

    @tf.function(autograph=False, jit_compile=xla)
    def inner(inputs):
        return StackedJacobian.layerwise(network, lambda i: through_a_loop(network(i)), inputs)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 3], tf.float64)])
    def outer(inputs):
        found = inner(inputs)
        assert found.shape == (None, 26)
        assert found.n_bytes is None
        return found.to_dense(), found.transpose_matvec(tf.ones([2 * tf.shape(inputs)[0]], tf.float64))

    for size in (4, 2):
        inputs = tf.constant(rng.normal(size=(size, 3)))
        expected = StackedJacobian.reverse(lambda i=inputs: through_a_loop(network(i)), network.trainable_variables)
        dense, column_sums = outer(inputs)
        np.testing.assert_allclose(dense, expected.to_dense(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(column_sums, expected.to_dense().numpy().sum(axis=0), rtol=1e-9, atol=1e-11)


def test_it_stores_less_than_the_matrix_and_tells(rng):
    network = sequential((3,), layers.Dense(64, "tanh"), layers.Dense(64, "tanh"), layers.Dense(2))
    inputs = tf.constant(rng.normal(size=(4, 3)))
    found = StackedJacobian.layerwise(network, network, inputs)
    a, delta = 4 * (3 + 64 + 64), 8 * (64 + 64 + 2)
    assert found.n_bytes == 8 * (a + delta)
    assert repr(found) == f"StackedJacobian(kind='layerwise', shape=(8, 4546), n_bytes={8 * (a + delta)})"
    assert StackedJacobian.of_matrix(found.to_dense()).n_bytes == 8 * 8 * 4546


@pytest.mark.parametrize("name", ["dense", "dense on rank 3", "convolution 2d", "tied kernels"])
@pytest.mark.parametrize("by_pairs", [True, False])
@pytest.mark.parametrize("at_once", [1, 3])
def test_both_ways_to_the_kernel_and_its_portions(name, by_pairs, at_once, rng, monkeypatch):
    """Pairs of positions, or columns of a few units; JᵀJ of a few samples, 3 of 5 among them: the same sums."""
    network = NETWORKS[name]()
    inputs = batch_for(network, rng, 5)
    found = StackedJacobian.kernel(network, lambda inputs: physics(network(inputs)), inputs)
    dense = found.to_dense().numpy()
    size = np.abs(dense).max() ** 2
    monkeypatch.setattr(parts, "COLUMNS_AT_ONCE", at_once * found.parts[0].tensors[0].shape[-1])
    monkeypatch.setattr(parts, "pairs_are_cheaper", lambda *sizes: by_pairs)
    monkeypatch.setattr(stacked, "ENTRIES_AT_ONCE", at_once * dense.shape[1] * found.n_rows // 5)
    np.testing.assert_allclose(found.gram(), dense @ dense.T, rtol=1e-10, atol=1e-12 * size)
    np.testing.assert_allclose(found.weight_gram(), dense.T @ dense, rtol=1e-10, atol=1e-12 * size)


@pytest.mark.parametrize(
    ("name", "xla", "sizes"),
    [("dense", False, (2, 7)), ("dense", True, (2,)), ("convolution that is replayed", False, (2,))],
)
def test_a_few_samples_at_a_time(name, xla, sizes, rng):
    """The same parts for chunks that do and do not divide the batch."""
    network = NETWORKS[name]()
    outputs = lambda inputs: through_a_loop(physics(network(inputs)))  # noqa: E731

    @tf.function(autograph=False, jit_compile=xla)
    def compute(inputs):
        return [StackedJacobian.layerwise(network, outputs, inputs, at_once) for at_once in (None, *sizes)]

    whole, *chunked = compute(batch_for(network, rng, 5))
    for found in chunked:
        assert found.n_bytes == whole.n_bytes
        np.testing.assert_allclose(found.to_dense(), whole.to_dense(), rtol=1e-12, atol=1e-13)


def test_the_kernel_kind_with_frozen_weights_and_in_higher_precision(rng):
    network = sequential((3,), layers.Dense(4, "tanh", dtype="float32"), layers.Dense(4, dtype="float32"))
    network.layers[0].bias.trainable = network.layers[1].kernel.trainable = False
    found = StackedJacobian.kernel(network, network, tf.constant(rng.normal(size=(5, 3)), tf.float32))
    dense = found.to_dense(tf.float64).numpy()
    assert dense.shape == (20, 16)
    np.testing.assert_allclose(found.gram(tf.float64), dense @ dense.T, rtol=1e-12, atol=1e-14)
    assert found.gram().dtype == found.to_dense().dtype == tf.float32


def test_auto_tells_what_it_picked(rng):
    x = tf.constant(rng.normal(size=(3, 3)))
    dense = sequential((3,), layers.Dense(4, "tanh"), layers.Dense(2))
    normed = sequential((3,), layers.Dense(1), layers.LayerNormalization(), layers.EinsumDense("bi,io->bo", 9))
    dropped = sequential((3,), layers.Dense(4), layers.Dropout(0.5), layers.Dense(2))
    kinds = [StackedJacobian.auto(network, network, x).kind for network in (dense, normed, dropped)]
    assert kinds == ["kernel", "layerwise", "reverse"]
    many = tf.constant(rng.normal(size=(30, 3)))
    assert StackedJacobian.auto(dense, dense, many).kind == "layerwise"  # 60 rows, 26 weights
    with pytest.raises(TypeError, match="network must be a Keras model or layer"):
        StackedJacobian.auto(len, dense, x)


def test_permuting_the_batch_permutes_blocks_of_rows(rng):
    network = sequential((3,), layers.Dense(4, "tanh"), layers.Dense(2))
    x, order = rng.normal(size=(4, 3)), np.array([2, 0, 3, 1])
    whole, mixed = (
        StackedJacobian.layerwise(network, lambda i: physics(network(i)), tf.constant(points)).to_dense().numpy()
        for points in (x, x[order])
    )
    np.testing.assert_allclose(mixed.reshape(4, 2, -1), whole.reshape(4, 2, -1)[order], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("hidden", [[layers.Dense(4, "tanh"), layers.LayerNormalization()], []], ids=["deep", "linear"])
def test_rows_that_are_not_finite_are_found(hidden, rng):
    """In a linear network all cotangents are finite, whatever comes in; in physics that divides, no input need be."""
    network = sequential((3,), *hidden, layers.Dense(2))
    x = rng.normal(size=(4, 3))
    x[2, 0] = np.nan
    found = StackedJacobian.layerwise(network, network, tf.constant(x))
    np.testing.assert_array_equal(found.finite_rows(), [True] * 4 + [False] * 2 + [True] * 2)
    x[2, 0] = 0.5

    def divided(inputs):
        return network(inputs) / tf.where(inputs[:, :1] == 0.5, tf.zeros([], x.dtype), tf.ones([], x.dtype))

    found = StackedJacobian.layerwise(network, divided, tf.constant(x))
    np.testing.assert_array_equal(found.finite_rows(), [True] * 4 + [False] * 2 + [True] * 2)


@pytest.mark.filterwarnings("ignore:the simulator could not be asked")
def test_the_network_is_untouched_also_after_an_error(rng):
    network = sequential((3,), layers.Dense(4, "tanh"), layers.Dense(2))
    x = tf.constant(rng.normal(size=(4, 3)))
    before = network(x).numpy()
    with pytest.raises(RuntimeError, match="broken"):
        StackedJacobian.layerwise(network, broken_after_the_first(network), x)
    np.testing.assert_array_equal(network(x), before)
    assert all("call" not in vars(layer) and layer.activation is not None for layer in network.layers)


def broken_after_the_first(network):
    calls = []

    def outputs(inputs):
        calls.append(network(inputs))
        if len(calls) > 1:
            raise RuntimeError("broken")
        return calls[0]

    return outputs


def used_twice():
    """A kernel that is used a second time behind the back of its layer."""
    dense = layers.Dense(3, "tanh")
    network = sequential((3,), dense)
    return network, lambda inputs: tf.matmul(network(inputs), dense.kernel.value)


def in_a_loop():
    network = sequential((2,), layers.Dense(2, "tanh"))
    body = lambda i, x: (i + 1, network(x))  # noqa: E731
    return network, lambda x: tf.while_loop(lambda i, x: i < 3, body, (0, x), maximum_iterations=3)[1]


def training_network(*parts):
    network = sequential((2,), *parts, layers.Dense(2))
    return network, lambda inputs: network(inputs, training=True)


def never_called():
    network = sequential((2,), layers.Dense(2))
    return network, lambda inputs: inputs**2


@pytest.mark.parametrize(("number", "error"), [(0, ValueError), (-2, ValueError), (2.0, TypeError)])
def test_portions_of_no_samples_are_refused(number, error, rng):
    network = sequential((3,), layers.Dense(2))
    with pytest.raises(error, match="samples_at_once must be"):
        StackedJacobian.layerwise(network, network, tf.constant(rng.normal(size=(4, 3))), number)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: training_network(layers.BatchNormalization()), ValueError, "mixes the samples of a batch"),
        (lambda: training_network(layers.Dropout(0.5)), ValueError, r"\(Dropout\) draws new random numbers"),
        (lambda: training_network(layers.GaussianNoise(0.5)), ValueError, "GaussianNoise"),
        (in_a_loop, ValueError, "called inside a tf.while_loop"),
        (used_twice, ValueError, "kernel is used outside of the call of its layer"),
        (never_called, ValueError, "does not depend on any of the weights"),
        (lambda: (layers.Flatten(), lambda x: x), ValueError, "network must have trainable weights"),
        (lambda: (len, len), TypeError, "network must be a Keras model or layer"),
        (lambda: (sequential((2,), layers.Dense(2)), 3), TypeError, "outputs must be a function"),
        (
            lambda: (one := sequential((2,), layers.Dense(2)), lambda x: tf.reduce_sum(one(x), axis=1)),
            ValueError,
            r"outputs must have shape \[batch, n\]",
        ),
    ],
)
def test_refusals(build, error, message):
    network, outputs = build()
    size = 3 if getattr(network, "input_shape", (0, 2))[1] == 3 else 2
    compute = tf.function(lambda x: StackedJacobian.layerwise(network, outputs, x), autograph=False)
    with pytest.raises(error, match=message):
        compute(tf.ones([4, size], tf.float64))


def test_frozen_normalisation_is_fine(rng):
    network, outputs = training_network(layers.BatchNormalization())
    network.layers[0].trainable = False
    inputs = tf.constant(rng.normal(size=(3, 2)))
    layerwise, reverse = both_kinds(network, outputs, inputs)
    np.testing.assert_allclose(layerwise.to_dense(), reverse.to_dense(), rtol=1e-10, atol=1e-13)
