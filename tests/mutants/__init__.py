"""Faults planted in the package one at a time, to see whether its tests notice: `make mutants`."""
