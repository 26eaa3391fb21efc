"""The pace of the machine is sampled beside what runs, and one chapter's seconds are those of a quiet machine."""

import time

import pytest

from book.runs import pace, timings


def test_a_slow_machine_is_seen(monkeypatch):
    monkeypatch.setattr(pace, "EVERY", 0.01)
    monkeypatch.setattr(pace, "work", iter([pace.QUIET, *[3.0 * pace.QUIET] * 10_000]).__next__)
    with pace.Pace() as found:
        time.sleep(0.3)
    assert len(found.samples) > 2
    assert found.slowness == pytest.approx(3.0 - 2.0 / len(found.samples))


def test_sampling_ends_with_what_runs(monkeypatch):
    monkeypatch.setattr(pace, "EVERY", 0.01)
    with pytest.raises(KeyError), pace.Pace() as found:
        raise KeyError
    n_samples = len(found.samples)
    time.sleep(0.05)
    assert len(found.samples) == n_samples


def test_work_is_measured_in_processor_seconds():
    assert pace.QUIET / 10 < pace.work() < 100 * pace.QUIET


def test_seconds_on_a_quiet_machine():
    environment = timings.Environment({}, {})
    assert timings.Run(150.0, "2026-11-29", environment, "", slowness=1.5).quiet_seconds == 100.0
    assert timings.Run(150.0, "2026-11-29", environment, "").quiet_seconds == 150.0
