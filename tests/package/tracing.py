"""What takes long to trace and is left out by tests of something else."""

#: Options of a `SpectralModel` that does not ask how much memory its step takes: a third of the time of tracing.
SIZE_UNASKED = {"max_jacobian_bytes": None}
