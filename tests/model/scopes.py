"""What is explored: a short scope with every test run, the full one with `make model`."""

from tests.model.explorer import Scope

__all__ = ["FULL", "SHORT"]

TWO_GATEWAYS, ONE_GATEWAY = (0, 1), (0, 0)

SHORT = {
    "one request, up to two faults": Scope(requests=(0,), max_faults=2, deaths_of_redis=2),
    "two requests on two gateways, one fault": Scope(requests=TWO_GATEWAYS, max_faults=1),
    "two requests on one gateway, one fault": Scope(requests=ONE_GATEWAY, max_faults=1),
}
FULL = {
    "one request, up to three faults": Scope(requests=(0,), max_faults=3, deaths_of_redis=3),
    "two requests on one gateway, up to two faults": Scope(requests=ONE_GATEWAY, max_faults=2, deaths_of_redis=2),
    "two requests on two gateways, up to two faults": Scope(requests=TWO_GATEWAYS, max_faults=2, deaths_of_redis=2),
    "two requests on two gateways, up to three faults, one of them a death of Redis": Scope(
        requests=TWO_GATEWAYS, max_faults=3
    ),
}
