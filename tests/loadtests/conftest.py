from tests.gateway.conftest import gateway, shared, upstream

__all__ = ["gateway", "shared", "upstream"]
