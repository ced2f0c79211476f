"""
What the portal refuses.

* PortalError
  x UnknownPlan
  x UnknownAccount
  x UnknownKey
  x InvalidName      empty, too long, or not printable
"""

__all__ = ["InvalidName", "PortalError", "UnknownAccount", "UnknownKey", "UnknownPlan"]


class PortalError(Exception):
    """The message is for the person who asked: it names what was wrong and what would be right."""


class UnknownPlan(PortalError):
    pass


class UnknownAccount(PortalError):
    pass


class UnknownKey(PortalError):
    pass


class InvalidName(PortalError):
    pass
