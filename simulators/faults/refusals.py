"""
`Refused` is what a provider says instead of an answer, before it is put into that provider's words and headers.
"""

from dataclasses import dataclass, field


@dataclass
class Refused(Exception):
    """
    An error answer.

    `type` empty: the provider's usual type for the status. `code` is OpenAI's error.code or Anthropic's
    error.details.error_code. `scripted` tells an error that a test asked for from one that the caller deserved.
    """

    status: int
    message: str = ""
    type: str = ""
    code: str | None = None
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    scripted: bool = False
