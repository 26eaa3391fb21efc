"""Products with the Jacobian of a batch against the matrix itself, for the layers of Keras and through loops."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from physgrad_tf.jacobians import StackedJacobian
from tests.package.agreement import assert_close
from tests.package.test_layerwise import NETWORKS, batch_for


def functional(shape, build, **options):
    inputs = keras.Input(shape, **options)
    return keras.Model(inputs, build(inputs))


def sequential(shape, *parts):
    return keras.Sequential([keras.Input(shape), *parts])


def attention(x):
    return layers.Dense(2)(layers.MultiHeadAttention(2, 3)(x, x))


#: Beside those of the layer by layer kind: what mixes samples, has a loop of its own, or is no matrix product.
MORE = {
    "batch normalisation": lambda: sequential((3,), layers.Dense(4), layers.BatchNormalization(), layers.Dense(2)),
    "group normalisation": lambda: sequential((4,), layers.Dense(4), layers.GroupNormalization(2), layers.Dense(2)),
    "attention": lambda: functional((3, 4), attention),
    "embedding": lambda: functional(
        (3,), lambda x: layers.Dense(2)(layers.Flatten()(layers.Embedding(5, 3)(x))), dtype="int32"
    ),
    "long short-term memory": lambda: sequential((3, 2), layers.LSTM(2), layers.Dense(2)),
    "gated recurrent, unrolled": lambda: sequential((3, 2), layers.GRU(2, unroll=True), layers.Dense(2)),
    "bidirectional": lambda: sequential(
        (3, 2), layers.Bidirectional(layers.SimpleRNN(2, unroll=True)), layers.Dense(2)
    ),
    "convolution 3d": lambda: sequential((3, 3, 3, 1), layers.Conv3D(2, 2, activation="softplus"), layers.Flatten()),
    "transposed convolutions": lambda: sequential(
        (4, 4, 2), layers.Conv2DTranspose(2, 3, 2, "same", activation="tanh"), layers.Conv2D(1, 3, 2)
    ),
    "depthwise and separable": lambda: sequential(
        (5, 5, 2), layers.SeparableConv2D(3, 3, activation="elu"), layers.DepthwiseConv2D(2), layers.Flatten()
    ),
    "a small U-Net": lambda: functional((4, 4, 1), u_net),
    "largest of four": lambda: sequential((4, 4, 1), layers.Conv2D(2, 3, padding="same"), layers.MaxPooling2D()),
}


def u_net(x):
    fine = layers.Conv2D(2, 3, padding="same", activation="tanh")(x)
    coarse = layers.Conv2D(3, 3, padding="same", activation="tanh")(layers.AveragePooling2D(2)(fine))
    both = layers.Concatenate()([fine, layers.UpSampling2D(2)(coarse)])
    return layers.Conv2D(1, 3, padding="same")(both)


def through_a_loop(x):
    """A simulator with a loop."""
    steps = lambda i, x: (i + 1, x + 0.1 * tf.sin(x))  # noqa: E731
    return tf.while_loop(lambda i, x: i < 4, steps, (0, x), maximum_iterations=4)[1]


def outputs_of(network, inputs):
    return lambda: tf.reshape(through_a_loop(network(inputs, training=True)), [inputs.shape[0], -1])


def built(name, rng, dtype):
    keras.utils.set_random_seed(2)
    keras.config.set_dtype_policy(dtype)
    keras.config.set_floatx(dtype)
    try:
        network = (NETWORKS | MORE)[name]()
        if not hasattr(network, "input_shape"):
            network.build((None, 3))
        inputs = tf.cast(batch_for(network, rng, size=4), dtype)
        if name == "embedding":
            inputs = tf.constant(rng.integers(0, 5, (4, 3)), tf.int32)
        network(inputs)
    finally:
        keras.config.set_dtype_policy("float32")
        keras.config.set_floatx("float32")
    return network, inputs


@pytest.mark.parametrize(
    ("name", "dtype", "rtol"),
    [
        *((name, "float64", 1e-13) for name in [*NETWORKS, *MORE]),
        *((name, "float32", 2e-5) for name in ("dense", "attention", "batch normalisation", "a small U-Net")),
    ],
)
def test_products_are_those_of_the_matrix(name, dtype, rtol, rng):
    """In both precisions, against one reverse pass per row. The largest errors are 2e-15, and 2e-6 in float32."""
    network, inputs = built(name, rng, dtype)
    outputs, weights = outputs_of(network, inputs), network.trainable_variables
    dense = tf.function(lambda: StackedJacobian.reverse(outputs, weights).to_dense())().numpy()
    v, w = (rng.normal(size=size).astype(dtype) for size in reversed(dense.shape))

    @tf.function(autograph=False)
    def both():
        stacked = StackedJacobian.products(outputs, weights)
        assert (stacked.kind, stacked.shape) == ("products", dense.shape)
        return stacked.matvec(v), stacked.transpose_matvec(w)

    forward, reverse = both()
    assert_close(forward, dense @ v, rtol)
    assert_close(reverse, dense.T @ w, rtol)


@pytest.mark.parametrize("name", ["dense", "long short-term memory", "a small U-Net"])
def test_eager_equals_graph_equals_xla(name, rng):
    network, inputs = built(name, rng, "float64")
    n_weights = sum(np.prod(weight.shape) for weight in network.trainable_variables)
    v = rng.normal(size=n_weights)

    def both():
        stacked = StackedJacobian.products(outputs_of(network, inputs), network.trainable_variables)
        forward = stacked.matvec(v)
        return forward, stacked.transpose_matvec(forward)

    expected = both()
    for xla in (False, True):
        for found, wanted in zip(tf.function(both, jit_compile=xla, autograph=False)(), expected, strict=True):
            assert_close(found, wanted, 1e-13)


def test_every_kind_multiplies_alike(rng):
    network, inputs = built("subclassed, called twice, own weight", rng, "float64")
    outputs = lambda inputs: through_a_loop(network(inputs))  # noqa: E731
    products = StackedJacobian.products(lambda: outputs(inputs), network.trainable_variables)
    dense = products.to_dense().numpy()
    v, w, factors = (rng.normal(size=size) for size in (dense.shape[1], *[dense.shape[0]] * 2))
    for kind in (products, StackedJacobian.kernel(network, outputs, inputs), StackedJacobian.of_matrix(dense)):
        assert_close(kind.matvec(v), dense @ v, 1e-13)
        assert_close(kind.gram(), dense @ dense.T, 1e-13)
        assert_close(kind.weight_gram(), dense.T @ dense, 1e-13)
        scaled = kind.scaled_rows(factors)
        assert_close(scaled.matvec(v), factors * (dense @ v), 1e-13)
        assert_close(scaled.transpose_matvec(w), dense.T @ (factors * w), 1e-13)


def test_a_float32_jacobian_takes_and_gives_what_it_is_asked_in(rng):
    network, inputs = built("dense", rng, "float32")
    stacked = StackedJacobian.products(lambda: network(inputs), network.trainable_variables)
    v, w = rng.normal(size=stacked.n_weights), rng.normal(size=stacked.n_rows)
    assert stacked.dtype == tf.float32
    assert stacked.matvec(v).dtype == stacked.transpose_matvec(w).dtype == tf.float64
    assert stacked.n_bytes == 4 * stacked.n_rows


def test_rows_that_are_not_finite_are_found(rng):
    network, inputs = built("dense", rng, "float64")
    broken = tf.tensor_scatter_nd_update(inputs, [[2, 1]], tf.constant([np.inf], tf.float64))
    stacked = StackedJacobian.products(lambda: network(broken), network.trainable_variables)
    np.testing.assert_array_equal(stacked.finite_rows(), [True] * 4 + [False] * 2 + [True] * 2)


def test_weights_without_influence_and_frozen_ones(rng):
    network, inputs = built("dense", rng, "float64")
    spare = keras.Variable([1.0, 2.0], dtype="float64")
    stacked = StackedJacobian.products(lambda: network(inputs), [spare, *network.trainable_variables])
    w = rng.normal(size=stacked.n_rows)
    np.testing.assert_array_equal(stacked.transpose_matvec(w)[:2], [0.0, 0.0])
    e = np.eye(stacked.n_weights)[0]
    np.testing.assert_array_equal(stacked.matvec(e), np.zeros(stacked.n_rows))


def test_refusals(rng):
    network, inputs = built("dense", rng, "float64")
    stacked = StackedJacobian.products(lambda: network(inputs), network.trainable_variables)
    with pytest.raises(ValueError, match=r"v must have shape \[\d+\], one entry per weight, got \(3,\)"):
        stacked.matvec(np.ones(3))
    with pytest.raises(TypeError, match="v must be float32 or float64, got int64"):
        stacked.matvec(np.ones(stacked.n_weights, int))
    with pytest.raises(ValueError, match="does not depend on any of the weights"):
        StackedJacobian.products(lambda: tf.ones([2, 2], tf.float64), network.trainable_variables)
    with pytest.raises(TypeError, match="outputs must be a function"):
        StackedJacobian.products(3, network.trainable_variables)


def test_a_gradient_that_cannot_be_differentiated_is_named():
    network = sequential((4, 4, 1), layers.Conv2D(1, 1), layers.UpSampling2D(2, interpolation="bicubic"))
    stacked = StackedJacobian.products(
        lambda: tf.reshape(network(tf.ones([2, 4, 4, 1])), [2, 64]), network.trainable_variables
    )
    with pytest.raises(ValueError, match=r"whose gradient TensorFlow cannot differentiate.*ResizeBicubicGrad"):
        stacked.matvec(np.ones(2, "float32"))


def test_a_gradient_that_counts_as_a_constant_is_told():
    network = sequential((4, 4, 1), layers.Conv2D(1, 1), layers.UpSampling2D(2, interpolation="bilinear"))
    stacked = StackedJacobian.products(
        lambda: tf.reshape(network(tf.ones([2, 4, 4, 1])), [2, 64]), network.trainable_variables
    )
    with pytest.raises(ValueError, match="whose gradient TensorFlow takes for a constant, such as bilinear resizing"):
        stacked.matvec(np.ones(2, "float32"))
