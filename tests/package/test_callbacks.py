"""Every callback of Keras, with every model."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from physgrad_tf import simulators, training
from tests.package.agreement import assert_close
from tests.package.tracing import SIZE_UNASKED

SQUARE = simulators.Square()
MODELS = {
    "gradient": lambda inner: training.DifferentiablePhysics(inner, SQUARE),
    "scale-invariant": lambda inner: training.ScaleInvariantPhysics(inner, SQUARE),
    "half-inverse": lambda inner: training.SpectralModel(inner, SQUARE, rcond=1e-3, **SIZE_UNASKED),
}


def new_model(kind, optimizer=None):
    keras.utils.set_random_seed(1)
    inner = keras.Sequential([keras.Input((2,)), layers.Dense(8, "tanh"), layers.Dense(2, bias_initializer="ones")])
    model = MODELS[kind](inner)
    model.compile(optimizer or keras.optimizers.SGD(0.02, momentum=0.5), training.HalfSquaredError())
    return model


@pytest.fixture(params=MODELS)
def kind(request):
    return request.param


@pytest.fixture
def data(rng):
    return rng.uniform(0.5, 2.0, (12, 2)).astype("float32")


def fit(model, data, callback=None, epochs=3, **options):
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, "validation_data": (data[:4], data[:4])} | options
    return model.fit(data, data, epochs=epochs, callbacks=[callback] if callback else None, **options).history


def test_the_list_is_complete():
    """A callback that Keras adds gets a test here."""
    known = {
        "BackupAndRestore",
        "CSVLogger",
        "EarlyStopping",
        "History",
        "LambdaCallback",
        "LearningRateScheduler",
        "ModelCheckpoint",
        "ProgbarLogger",
        "ReduceLROnPlateau",
        "SwapEMAWeights",
        "TensorBoard",
        "TerminateOnNaN",
    }
    # The bases; what needs a server; what needs a package of another framework.
    others = {"Callback", "CallbackList", "RemoteMonitor", "OrbaxCheckpoint", "MonitorCallback"}
    assert {name for name in dir(keras.callbacks) if name[0].isupper()} - others == known


class Interrupt(keras.callbacks.Callback):
    """Stops the run in the middle, as a machine that is switched off would."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def test_a_run_resumes_to_the_same_weights(kind, data, tmp_path):
    whole = new_model(kind)
    fit(whole, data, epochs=4)
    backup = lambda: keras.callbacks.BackupAndRestore(tmp_path / "backup")  # noqa: E731
    broken = new_model(kind)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(data, data, batch_size=4, epochs=4, shuffle=False, verbose=0, callbacks=[backup(), Interrupt()])
    resumed = new_model(kind)
    fit(resumed, data, backup(), epochs=4)
    for found, expected in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        assert_close(found, expected, rtol=1e-6)


def test_a_log_in_a_file_holds_what_the_history_holds(kind, data, tmp_path):
    path = tmp_path / "log.csv"
    history = fit(new_model(kind), data, keras.callbacks.CSVLogger(path))
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    columns = dict(zip(head.split(","), zip(*(row.split(",") for row in rows), strict=True), strict=True))
    assert set(columns) == {"epoch", *history}
    assert [float(value) for value in columns["loss"]] == pytest.approx(history["loss"])


def test_stopping_early_restores_the_best_weights(kind, data):
    model = new_model(kind)
    before = model.get_weights()
    stop = keras.callbacks.EarlyStopping("val_loss", mode="max", patience=1, restore_best_weights=True)
    fit(model, data, stop, epochs=20)  # of a loss that falls, the first epoch has the largest
    assert stop.stopped_epoch == 1
    assert any(np.any(new != old) for new, old in zip(model.get_weights(), before, strict=True))


def test_schedules_change_the_rate(kind, data):
    model = new_model(kind)
    fit(model, data, keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2.0))
    assert float(model.optimizer.learning_rate) == pytest.approx(0.02 / 8.0)
    model = new_model(kind)
    plateau = keras.callbacks.ReduceLROnPlateau("loss", mode="max", factor=0.1, patience=1)
    fit(model, data, plateau)
    assert float(model.optimizer.learning_rate) < 0.02


def test_checkpoints_load_to_the_same_model(kind, data, tmp_path):
    model = new_model(kind)
    fit(model, data, keras.callbacks.ModelCheckpoint(tmp_path / "model.keras", save_best_only=True))
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(loaded.predict(data, verbose=0), model.predict(data, verbose=0), rtol=1e-6)
    weights = keras.callbacks.ModelCheckpoint(tmp_path / "only.weights.h5", save_weights_only=True)
    fit(model, data, weights)
    other = new_model(kind)
    other.optimizer.build(other.trainable_variables)  # as Keras asks for: the file holds the optimizer's state too
    other.load_weights(tmp_path / "only.weights.h5")
    assert_close(other.predict(data, verbose=0), model.predict(data, verbose=0), rtol=1e-6)


def test_averaged_weights_are_swapped_in(kind, data):
    optimizer = keras.optimizers.SGD(0.02, use_ema=True, ema_momentum=0.5)
    model = new_model(kind, optimizer)
    fit(model, data, keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    for found, expected in zip(
        model.get_weights(), [average.numpy() for average in optimizer._model_variables_moving_average], strict=True
    ):
        assert np.all(np.isfinite(found))
        assert found.shape == expected.shape
    plain = new_model(kind, keras.optimizers.SGD(0.02))
    fit(plain, data)
    assert any(np.any(a != b) for a, b in zip(model.get_weights(), plain.get_weights(), strict=True))


def test_tensorboard_and_progress_and_others(kind, data, tmp_path, capsys):
    seen = []
    model = new_model(kind)
    board = keras.callbacks.TensorBoard(tmp_path, histogram_freq=1, update_freq=1, write_graph=False)
    others = [
        board,
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["loss"])),
    ]
    model.fit(data, data, batch_size=4, epochs=2, callbacks=others, verbose=1)
    assert len(seen) == 6
    assert list(tmp_path.rglob("events.out*"))
    assert "loss" in capsys.readouterr().out  # the bar of Keras
    assert json.loads(json.dumps({key: float(value) for key, value in model.get_metrics_result().items()}))
