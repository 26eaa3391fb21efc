"""A stack of networks against its networks, trained one by one by Keras itself."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf import simulators, training
from physgrad_tf.training.network_stack import ELEMENTWISE
from tests.package.agreement import assert_close

RATES = (0.1, 0.02, 0.05)
N_STEPS = 5


def mlp(seed, widths=(4, 1), activation="tanh", dtype="float64"):
    network = keras.Sequential([keras.Input((2,), dtype=dtype)])
    for width in widths[:-1]:
        network.add(keras.layers.Dense(width, activation, kernel_initializer=glorot(seed), dtype=dtype))
    network.add(keras.layers.Dense(widths[-1], kernel_initializer=glorot(seed + 100), dtype=dtype))
    return network


def frozen():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="first", trainable=False)])


def bounded():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="first", kernel_constraint="non_neg")])


def glorot(seed):
    return keras.initializers.GlorotUniform(seed=seed)


@pytest.fixture
def networks():
    return [mlp(seed) for seed in range(3)]


# Drawn here, since XLA draws other numbers than TensorFlow from the same seed.
INPUTS = np.random.default_rng(0).uniform(-1.0, 1.0, (N_STEPS + 1, 3, 6, 2))


def data(number):
    """Every network has a batch of its own: [3, 6, 2] inputs and [3, 6, 1] targets."""
    inputs = tf.gather(tf.constant(INPUTS), number)
    return inputs, tf.sin(3.0 * inputs[..., :1])


def train(stack, optimizer, record_at=(N_STEPS,), **options):
    def losses(batch):
        return tf.reduce_mean((stack(batch[0]) - batch[1]) ** 2, axis=[1, 2])

    def measure():
        return losses(data(tf.constant(N_STEPS)))

    return training.train_stack(stack, optimizer, data, losses, measure, record_at, **options)


def train_alone(network, optimizer, position, updates_per_batch=1):
    """Network number `position` by itself, in plain Keras."""
    optimizer.build(network.trainable_variables)
    for number in range(N_STEPS):
        inputs, targets = (part[position] for part in data(tf.constant(number)))
        for _ in range(updates_per_batch):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((network(inputs) - targets) ** 2)
            optimizer.apply(tape.gradient(loss, [v.value for v in network.trainable_variables]))


def decaying(rates):
    return keras.optimizers.schedules.CosineDecay(np.array(rates)[:, np.newaxis, np.newaxis], N_STEPS)


def test_the_stack_computes_what_its_networks_compute(networks):
    inputs = data(tf.constant(0))[0]
    y = training.stack_networks(networks)(inputs)
    for position, network in enumerate(networks):
        np.testing.assert_allclose(y[position], network(inputs[position]), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("cls", ELEMENTWISE)
def test_every_network_trains_as_if_it_were_alone_at_its_own_decaying_rate(cls, networks):
    stack = training.stack_networks(networks)
    train(stack, cls(decaying(RATES)), jit_compile=False)
    trained = mlp(7)
    for position, network in enumerate(networks):
        train_alone(network, cls(keras.optimizers.schedules.CosineDecay(RATES[position], N_STEPS)), position)
        training.take_from_stack(stack, position, trained)
        # Keras keeps the number of the step in float32 where it enters the rate.
        for together, alone in zip(trained.get_weights(), network.get_weights(), strict=True):
            np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_several_updates_per_batch_compiled_or_not(jit_compile, networks):
    stack = training.stack_networks(networks)
    train(stack, keras.optimizers.Adam(0.03), updates_per_batch=3, jit_compile=jit_compile)
    trained = mlp(7)
    for position, network in enumerate(networks):
        train_alone(network, keras.optimizers.Adam(0.03), position, updates_per_batch=3)
        training.take_from_stack(stack, position, trained)
        for together, alone in zip(trained.get_weights(), network.get_weights(), strict=True):
            np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-8)


def test_what_batch_returns_is_held_constant(networks):
    stack = training.stack_networks(networks)
    before = stack.get_weights()

    def losses(batch):
        inputs, wanted = batch
        return tf.reduce_mean((stack(inputs) - wanted) ** 2, axis=[1, 2]) + tf.reduce_mean(wanted, axis=[1, 2])

    def own_answer(number):
        inputs = data(number)[0]
        return inputs, stack(inputs)  # a loss of zero, whose gradient is zero only if this answer does not move

    training.train_stack(
        stack, keras.optimizers.SGD(1.0), own_answer, losses, lambda: tf.zeros(3), [2], jit_compile=False
    )
    for old, new in zip(before, stack.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_scaled_loss_changes_nothing(networks):
    ends = []
    for scale in (None, 1024.0):
        stack = training.stack_networks(networks)
        train(stack, keras.optimizers.SGD(0.1, loss_scale_factor=scale), jit_compile=False)
        ends.append(np.concatenate([weight.ravel() for weight in stack.get_weights()]))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-12)


def test_recording_does_not_change_training(networks):
    often, once = training.stack_networks(networks), training.stack_networks(networks)
    records = train(often, keras.optimizers.Adam(0.01), record_at=[0, 2, N_STEPS], jit_compile=False)
    last = train(once, keras.optimizers.Adam(0.01), jit_compile=False)
    assert records.shape == (3, 3)
    assert_close(records[-1], last[-1], rtol=1e-12)
    inputs, targets = data(tf.constant(N_STEPS))
    untrained = [np.mean((net(x) - y) ** 2) for net, x, y in zip(networks, inputs, targets, strict=True)]
    assert_close(records[0], untrained, rtol=1e-12)


def test_a_network_that_diverges_leaves_the_others_alone(networks):
    calm = train(training.stack_networks(networks), keras.optimizers.SGD(decaying(RATES)))
    wild = train(training.stack_networks(networks), keras.optimizers.SGD(decaying([RATES[0], 1e200, RATES[2]])))
    assert not np.isfinite(wild[-1, 1])
    assert_close(wild.numpy()[:, [0, 2]], calm.numpy()[:, [0, 2]], rtol=1e-10)


def test_scale_invariant_physics_trains_in_a_stack_as_in_its_own_model(networks):
    square = simulators.Square()
    stack = training.stack_networks(networks)

    def batch(number):
        inputs = data(number)[0]
        guess = stack(inputs)
        wanted = square.local_inverse(tf.reshape(inputs[..., :1] ** 2, [-1, 1]), tf.reshape(guess, [-1, 1]))
        return inputs, tf.reshape(wanted, guess.shape)

    def proxy(batch):
        return tf.reduce_mean(tf.reduce_sum((stack(batch[0]) - batch[1]) ** 2 / 2.0, axis=2), axis=1)

    training.train_stack(stack, keras.optimizers.Adam(0.03), batch, proxy, lambda: tf.zeros(3), [2], jit_compile=False)
    model = training.ScaleInvariantPhysics(networks[1], square)
    model.compile(keras.optimizers.Adam(0.03))
    for number in range(2):
        inputs = INPUTS[number, 1]
        model.train_on_batch(inputs, inputs[:, :1] ** 2)
    trained = mlp(7)
    training.take_from_stack(stack, 1, trained)
    for together, alone in zip(trained.get_weights(), networks[1].get_weights(), strict=True):
        np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-8)


def test_layers_without_bias_and_a_network_that_stands_there_twice():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "relu", use_bias=False)])
    inputs = tf.random.stateless_uniform([2, 4, 2], [1, 2])
    y = training.stack_networks([network, network])(inputs)
    np.testing.assert_allclose(y[1], network(inputs[1]), rtol=1e-6, atol=1e-7)
    assert y.dtype == tf.float32


def call(stack, **changes):
    arguments = {
        "optimizer": keras.optimizers.SGD(0.1),
        "batch": data,
        "losses": lambda batch: tf.reduce_mean(stack(batch[0]) ** 2, axis=[1, 2]),
        "measure": lambda: tf.zeros(3),
        "record_at": [1],
        "jit_compile": False,
    } | changes
    return training.train_stack(stack, **arguments)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"optimizer": keras.optimizers.Lamb()}, TypeError, "optimizer must be one of Adadelta.*got Lamb"),
        ({"optimizer": "adam"}, TypeError, "optimizer must be one of Adadelta.*got str"),
        ({"optimizer": keras.optimizers.SGD(clipnorm=1.0)}, ValueError, "optimizer must not clip gradients by norms"),
        ({"record_at": [3, 3]}, ValueError, r"record_at must be increasing numbers of steps, got \[3, 3\]"),
        ({"record_at": []}, ValueError, "record_at must be increasing"),
        ({"record_at": [-1]}, ValueError, "record_at must be at least 0, got -1"),
        ({"record_at": [1.0]}, TypeError, "record_at must be an integer, got float"),
        ({"updates_per_batch": 0}, ValueError, "updates_per_batch must be at least 1, got 0"),
        ({"batch": None}, TypeError, "batch must be a function, got NoneType"),
        ({"losses": lambda batch: tf.zeros([])}, ValueError, r"losses must return one value per network, \[3\]"),
    ],
)
def test_train_stack_refuses(changes, error, message, networks):
    with pytest.raises(error, match=message):
        call(training.stack_networks(networks), **changes)


def test_a_used_optimizer_is_refused(networks):
    stack = training.stack_networks(networks)
    optimizer = keras.optimizers.Adam()
    call(stack, optimizer=optimizer)
    with pytest.raises(ValueError, match="optimizer must be new"):
        call(stack, optimizer=optimizer)


@pytest.mark.parametrize(
    ("others", "error", "message"),
    [
        ([], ValueError, "networks must hold at least one network"),
        ([mlp(0), mlp(0, (5, 1))], ValueError, r"networks must all have the layers .* at position 1"),
        ([mlp(0), mlp(0, activation="relu")], ValueError, "networks must all have the layers"),
        ([frozen()], ValueError, r"networks\[0\] must .* a stack takes over no frozen weights, got them in first"),
        ([bounded()], ValueError, r"networks\[0\] must .* a stack takes over no kernel_constraint, got them in first"),
        ([keras.Sequential([keras.layers.Dense(1)])], ValueError, r"networks\[0\] must be built"),
        (
            [keras.layers.Dense(1)],
            TypeError,
            r"networks\[0\] must be a keras.Sequential of keras.layers.Dense, got Dense",
        ),
        (
            [keras.Sequential([keras.Input((3, 2)), keras.layers.Flatten()])],
            TypeError,
            r"networks\[0\] must be a keras.Sequential of keras.layers.Dense, got a layer Flatten",
        ),
    ],
)
def test_stack_networks_refuses(others, error, message):
    with pytest.raises(error, match=message):
        training.stack_networks(others)


def test_take_from_stack_refuses(networks):
    stack = training.stack_networks(networks)
    with pytest.raises(ValueError, match="index must be from 0 to 2, got 3"):
        training.take_from_stack(stack, 3, networks[0])
    with pytest.raises(ValueError, match="network must have the widths of the stack"):
        training.take_from_stack(stack, 0, mlp(0, (5, 1)))
