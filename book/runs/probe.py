"""Print numbers whose last digits hang on everything that a setting changes. Run in a kernel, as a cell, by `settings`.

Products and decompositions of matrices are OpenBLAS's, the compiled sum XLA's, the convolutions oneDNN's or Eigen's; a
long inner dimension is summed in as many parts as there are threads; the network and the data depend on the seeds.
"""

import platform

import keras
import numpy as np
import tensorflow as tf


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
def compiled(x: tf.Tensor) -> tf.Tensor:
    """Some multiply-adds and transcendental functions, summed up."""
    return tf.reduce_sum(tf.tanh(x @ x) * tf.exp(-x * x))


keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
matrix = rng.normal(size=(400, 400))
wide = tf.constant(rng.normal(size=(8, 200_000)), tf.float32)
images = tf.constant(rng.normal(size=(64, 16, 16, 4)), tf.float32)
network = keras.Sequential(
    [
        keras.Input((16, 16, 4)),
        keras.layers.Conv2D(8, 3, activation="tanh"),
        keras.layers.Conv2D(8, 3, activation="tanh"),
        keras.layers.Flatten(),
        keras.layers.Dense(5),
    ]
)
with tf.GradientTape() as tape:
    loss = tf.reduce_sum(network(images) ** 2)
numbers = {
    "product": (matrix @ matrix).sum(),
    "eigenvalue": np.linalg.eigvalsh(matrix + matrix.T)[0],
    "singular value": np.linalg.svd(matrix)[1][-1],
    "compiled": compiled(tf.constant(matrix, tf.float32)),
    "threads": tf.reduce_sum(tf.matmul(wide, wide, transpose_b=True)),
    "convolutions": loss,
    "gradient": tf.reduce_sum(tape.gradient(loss, network.trainable_variables)[0]),
}
print({name: float(number) for name, number in numbers.items()})
print(platform.python_version(), tf.__version__, keras.__version__, np.__version__)
