"""Stands in for `gateway`."""
