"""Stands in for `metering`."""
