"""Stands in for `simulators`."""
