"""
How several workers share the tests (`make test`): a file's stay together, because its module's servers are expensive;
those that start everything themselves go one by one. The longest begin, so that no worker ends alone with one of them.
"""

from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

__all__ = ["ByFile", "longest_first"]

ONE_BY_ONE = ("tests/system/",)
LONGEST_FIRST = ("tests/system/", "tests/core/test_lua_model.py")


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(ONE_BY_ONE) else str(super()._split_scope(nodeid))


def longest_first(nodeid: str) -> int:
    """A key to sort by: the same order in every worker, files as they were within one rank."""
    ranks = (rank for rank, start in enumerate(LONGEST_FIRST) if nodeid.startswith(start))
    return next(ranks, len(LONGEST_FIRST))
