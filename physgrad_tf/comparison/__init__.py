"""Compare methods on one problem, and be fair to all of them.

A method looks good beside a rival that was not tuned, on a seed that suits it, or on the data that it was trained on.
`compare` trains every `Method` from the same starting weights on the same data, first on some seeds that choose its
learning rate from a grid, then on others that count. A grid whose best rate lies at its end is extended. What is
compared is measured on data that no method was trained on. What a method costs is stated with what it reached::

    def adam(network):
        model = pg.training.DifferentiablePhysics(network, simulator)
        model.compile(keras.optimizers.Adam(), loss="mse")
        return model

    found = pg.comparison.compare(
        {"Adam": pg.comparison.Method(adam, rates=(1e-3, 1e-2, 1e-1), n_steps=400, batch_size=64), ...},
        new_network,
        data=(inputs, goals),
        held_out=(test_inputs, test_goals),
    )
    print(found)
    found.draw()
"""

from physgrad_tf.comparison.compare import compare
from physgrad_tf.comparison.method import Method
from physgrad_tf.comparison.result import Comparison, Runs

__all__ = ["Comparison", "Method", "Runs", "compare"]
