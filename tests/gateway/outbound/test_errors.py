import re

import pytest

from gateway.outbound import errors

TABLE = re.findall(r"x (\w+) +(not dispatched|dispatched|it depends) ", errors.__doc__ or "")


def test_the_tree_in_the_docstring_names_every_error() -> None:
    leaves = {cls.__name__ for cls in errors.TransportError.__subclasses__()}

    assert {name for name, _ in TABLE} == leaves


@pytest.mark.parametrize(("name", "dispatched"), TABLE)
def test_each_error_says_whether_the_upstream_may_have_the_request(name: str, dispatched: str) -> None:
    cls = getattr(errors, name)

    if dispatched == "it depends":
        assert cls("why", dispatched=False).dispatched is False
        assert cls("why", dispatched=True).dispatched is True
    else:
        assert cls.dispatched is (dispatched == "dispatched")
