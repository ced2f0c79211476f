import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.principal import AccountId, KeyId, Principal


@given(st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1))
def test_an_entry_of_the_key_directory_reads_back(account: int, key: int) -> None:
    principal = Principal(AccountId(account), KeyId(key))

    assert Principal.parse(bytes(principal)) == principal


@pytest.mark.parametrize("text", [b"", b":", b"1:", b":1", b"1", b"a:b", b"1:2:3", b"\xff:1"])
def test_anything_else_is_no_principal(text: bytes) -> None:
    with pytest.raises(ValueError):
        Principal.parse(text)
