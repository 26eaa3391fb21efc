"""Training with the gradient of the loss, through the simulator: the yardstick."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.training.guard import stop_unless_finite
from physgrad_tf.training.physics_model import PhysicsModel
from physgrad_tf.training.replicas import share_of_loss


@keras.saving.register_keras_serializable("physgrad_tf")
class DifferentiablePhysics(PhysicsModel):
    """Δθ from ∂L/∂θ = ∂L/∂y · ∂y/∂x · ∂x/∂θ: the compiled loss of y, differentiated through simulator and network.

    See `PhysicsModel` for arguments, targets and metrics. `model.compile(optimizer, loss)` takes any Keras optimizer
    and loss; `sample_weight`, regularisers and `add_loss` count as in every Keras model.
    """

    def update(self, inputs: Any, target: tf.Tensor, sample_weight: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """One gradient of the loss at `inputs` and `target`, weighted by `sample_weight`, handed to the optimizer."""
        share = share_of_loss(self.loss, target, sample_weight)
        gradients, x, y = self.through_xla(self.differentiate)(inputs, target, sample_weight, share)
        self.hand_over(stop_unless_finite("the gradient of the loss", gradients, self.step_number))
        return x, y

    def differentiate(
        self, inputs: Any, target: tf.Tensor, sample_weight: Any, share: tf.Tensor | None
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """∂L/∂θ, x and y for the `inputs`, the `target` y* and `sample_weight` or None.

        On several devices `share` makes it this one's part of the gradient, see `replicas.share_of_loss`.

        Raises:
            ValueError: if no gradient of the loss arrives at x, or layers add losses and XLA compiles.
        """
        with tf.GradientTape() as tape:
            x = self.network(inputs, training=True)
            self.refuse_added_losses()
            y = self.simulate(x, inputs)
            loss = self.compute_loss(inputs, self.like_output(target, y), y, sample_weight, training=True)
            loss = loss if share is None else loss * tf.cast(share, loss.dtype)
        variables = [variable.value for variable in self.trainable_variables]
        gradients, arriving = tape.gradient(loss, [variables, keras.tree.flatten(x)])
        with self.naming_the_simulator():
            if all(part is None for part in arriving):
                raise validation.NoGradient("the loss does not depend on x")
        pairs = zip(gradients, variables, strict=True)
        return [tf.zeros_like(value) if part is None else tf.convert_to_tensor(part) for part, value in pairs], x, y
