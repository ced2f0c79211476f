"""
The models file: which models a customer may ask for, which upstreams answer, and what a token costs.

    [providers.openai]                              # an account at a provider
    schema = "openai"                               # or "anthropic"
    base_url = "${OPENAI_UPSTREAM_URL:-https://api.openai.com/v1}"
    api_key = "${OPENAI_API_KEY}"                   # NAME or NAME_FILE in the environment; a default after :-

    [models."gpt-5-mini"]
    context_tokens = 400_000
    max_output_tokens = 128_000
    tokenizer = "openai"
    price = { input = "0.25", cache_read = "0.025", output = "2.00" }     # US dollars per 1M tokens
    targets = [{ provider = "openai", model = "gpt-5-mini" }]             # in the order in which they are tried

The file is validated as a whole and every problem is reported at once; an unknown field is a problem, because a limit
that is silently ignored is worse than none. docs/models.md describes each field.
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path

from core.models.model_prices import DEFAULT_WEIGHTS, USUAL_TIERS, PriceList, TokenPrices
from core.models.table_reader import Reader, Table
from core.models.upstream_rules import UPSTREAM_NAME, provider_problems
from core.process.settings import Secret
from core.usage.usage_event import MAX_TEXT_LENGTH

__all__ = ["UNPRICED", "Model", "ModelsFile", "ModelsFileError", "Provider", "Target"]

SCHEMAS = ("openai", "anthropic")
TOKENIZERS = ("openai", "openai-mini", "claude", "claude-4")
MAX_TOKENS_PARAMETERS = ("max_completion_tokens", "max_tokens")
FOREIGN_FIELDS = ("auto", "drop", "pass")
UNPRICED = ("web_search", "server_tools", "audio", "images", "prediction", "routing")
"""What costs more than its tokens, or may: refused unless a model's `allow_unpriced` names it."""
DEFAULT_OUTPUT_TOKENS = 16_384
MAX_MODEL_NAME = 256
"""As the gateway takes it from a client."""
MAX_TARGET_NAME = MAX_TEXT_LENGTH
"""As a usage event holds it: the ledger could not store what a longer one answered."""
BETA = re.compile(r"[A-Za-z0-9._=-]{1,64}")
TIER = re.compile(r"[a-z0-9_-]{1,32}")
FIRST_BYTE_SECONDS, IDLE_SECONDS, TOTAL_SECONDS = 60.0, 60.0, 600.0


class ModelsFileError(Exception):
    """Every problem of the file, one a line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An account at a provider: where it is, how it speaks, and the key it takes."""

    name: str
    schema: str
    base_url: str
    api_key: Secret
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Some servers take their key in one of these."""
    max_concurrency: int = 0
    """Requests at once in one gateway process; 0 = as many as come."""
    max_tokens_parameter: str = "max_completion_tokens"
    """How an OpenAI-compatible server calls the output limit, whichever name the client used."""
    stream_options: bool = True
    """Whether an OpenAI-compatible server takes `stream_options`. Without, the usage of a stream may be an estimate."""
    sends_done: bool = True
    """Whether an OpenAI-compatible server ends a stream with [DONE]; without it, a stream that does not is broken."""
    input_includes_cache: bool = True
    """Whether the input that it reports includes the cached tokens: OpenAI's does, Anthropic's does not."""
    foreign_fields: str = "auto"
    """What becomes of fields that only Anthropic knows at an OpenAI-compatible server: `drop`, `pass`, or, `auto`, drop
    them for models that Anthropic's API answers too."""
    betas: frozenset[str] = frozenset()
    """Values of `anthropic-beta` and `openai-beta` that a client may send on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One way to have a model answered."""

    provider: Provider
    model: str
    """The upstream's own name of the model."""
    weight: int = 1
    """Share of the requests among the targets with the same `priority`."""
    priority: int = 0
    """Targets of the lowest number are tried first."""
    first_byte_seconds: float = FIRST_BYTE_SECONDS
    idle_seconds: float = IDLE_SECONDS
    total_seconds: float = TOTAL_SECONDS
    fixed_sampling: bool = False
    """A reasoning model that takes only the default temperature: `temperature` and the like are left out for it."""
    foreign_fields: bool = True
    """Fields that only Anthropic knows are passed on."""
    name: str = field(init=False, compare=False)
    """`<provider>/<the upstream's own name of the model>`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.provider.name}/{self.model}")  # Made once: each request asks for it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    name: str
    context_tokens: int
    max_output_tokens: int
    default_output_tokens: int
    """What is reserved, and sent to the upstream as the limit, when a client names none."""
    tokenizer: str
    prices: PriceList
    weights: tuple[int, ...]
    """Thousandths by which a token of each class counts, in the order of the token classes."""
    capabilities: frozenset[str]
    targets: tuple[Target, ...]
    price_version: str
    owned_by: str
    allow_unpriced: frozenset[str] = frozenset()
    """What a request may use although nothing says what it costs beside its tokens; names in UNPRICED."""

    @property
    def price(self) -> TokenPrices:
        """The usual prices."""
        return self.prices.usual


@dataclass(frozen=True, slots=True)
class ModelsFile:
    models: Mapping[str, Model]
    providers: Mapping[str, Provider]

    @classmethod
    def read(cls, path: Path, environment: Mapping[str, str]) -> "ModelsFile":
        """Raises ModelsFileError, and OSError for a file that can't be read at all."""
        if path.exists() and not path.is_file():  # Reading a pipe would wait for ever.
            raise ModelsFileError(["it is not a regular file"])
        try:
            return cls.parse(path.read_text(), environment)
        except UnicodeDecodeError:
            raise ModelsFileError(["not valid TOML: the file is not encoded in UTF-8"]) from None

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> "ModelsFile":
        """Validate the whole file. Raises ModelsFileError, which lists every problem."""
        try:
            document = tomllib.loads(text)
        except ValueError as error:  # Not only a TOMLDecodeError: a number may have too many digits for Python.
            raise ModelsFileError([f"not valid TOML: {error}"]) from None
        except RecursionError:
            raise ModelsFileError(["not valid TOML: it is nested too deeply"]) from None
        reader = Reader(environment)
        root = reader.table(document, "the file")
        providers = {name: _provider(table, name) for name, table in root.tables("providers")}
        models = {name: _model(table, name, providers) for name, table in root.tables("models")}
        root.refuse_the_rest()
        if not models and not reader.problems:
            reader.problems.append("the file names no model")
        if reader.problems:
            raise ModelsFileError(reader.problems)
        return cls(models, providers)


def _provider(table: Table, name: str) -> Provider:
    schema = table.choice("schema", SCHEMAS)
    provider = Provider(
        name=name,
        schema=schema,
        base_url=table.url("base_url"),
        api_key=Secret(table.text("api_key")),
        headers=tuple((header, table.substitute(value)) for header, value in table.texts("headers").items()),
        max_concurrency=table.number("max_concurrency", 0),
        max_tokens_parameter=table.choice("max_tokens_parameter", MAX_TOKENS_PARAMETERS, MAX_TOKENS_PARAMETERS[0]),
        stream_options=table.flag("stream_options", default=True),
        sends_done=table.flag("sends_done", default=True),
        input_includes_cache=table.flag("input_includes_cache", default=schema != "anthropic"),
        foreign_fields=table.choice("foreign_fields", FOREIGN_FIELDS, FOREIGN_FIELDS[0]),
        betas=frozenset(table.list_of_texts("betas")),
    )
    for problem in provider_problems(provider.name, provider.api_key.reveal(), provider.headers):
        table.problem(problem)
    for beta in sorted(provider.betas):
        if not BETA.fullmatch(beta):
            table.problem(f"betas: {beta[:80]!r} is not one value of a beta header")
    table.refuse_the_rest()
    return provider


def _model(table: Table, name: str, providers: Mapping[str, Provider]) -> Model:
    maximum = table.number("max_output_tokens", minimum=1)
    context = table.number("context_tokens", minimum=1)
    prices = _price_list(table, context)
    weights = DEFAULT_WEIGHTS.scaled(table.number("weight", 1000))
    model = Model(
        name=name,
        context_tokens=context,
        max_output_tokens=maximum,
        default_output_tokens=min(maximum, table.number("default_output_tokens", DEFAULT_OUTPUT_TOKENS, minimum=1)),
        tokenizer=table.choice("tokenizer", TOKENIZERS, "claude"),
        prices=prices,
        weights=weights,
        capabilities=frozenset(table.list_of_texts("capabilities")),
        targets=_resolved([_target(target, providers) for target in table.list_of_tables("targets")]),
        price_version=_price_version(prices, weights),
        owned_by=table.text("owned_by", "poindexter"),
        allow_unpriced=frozenset(table.choices("allow_unpriced", UNPRICED)),
    )
    if "," in name:
        table.problem("the name of a model must not hold a comma")
    if not 0 < len(name) <= MAX_MODEL_NAME or not name.isprintable():
        table.problem(f"the name of a model has 1 to {MAX_MODEL_NAME} characters, all printable")
    if not model.targets:
        table.problem("needs at least one target")
    table.refuse_the_rest()
    return model


def _price_version(prices: PriceList, weights: tuple[int, ...]) -> str:
    parts: tuple[object, ...] = (prices.usual, weights)
    if prices.tiers or prices.long_input:
        parts += (sorted(prices.tiers.items(), key=itemgetter(0)), prices.long_input, prices.long_input_tokens)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _price_list(table: Table, context_tokens: int) -> PriceList:
    usual, tiers = _price(table.table("price")), table.table("tiers")
    for tier in tiers.names:
        if tier in USUAL_TIERS or not TIER.fullmatch(tier):
            tiers.problem(f"{tier[:40]!r} is no service tier with a price of its own, such as flex or priority")
    prices = PriceList(usual, {tier: _price(tiers.table(tier)) for tier in tiers.names})
    if "long_input" not in table.names:
        return prices
    long_input = table.table("long_input")
    above = long_input.number("above_tokens", minimum=1)
    prices = replace(prices, long_input=_price(long_input.table("price")), long_input_tokens=above)
    if above >= context_tokens:
        long_input.problem("above_tokens must be less than context_tokens")
    long_input.refuse_the_rest()
    return prices


def _price(table: Table) -> TokenPrices:
    fresh, output = table.price("input"), table.price("output")
    prices = TokenPrices(
        input=fresh,
        cache_read=table.price("cache_read", fresh),
        cache_write_5m=table.price("cache_write_5m", fresh),
        cache_write_1h=table.price("cache_write_1h", fresh),
        output=output,
        reasoning=table.price("reasoning", output),
    )
    table.refuse_the_rest()
    return prices


def _target(table: Table, providers: Mapping[str, Provider]) -> Target:
    provider, named = table.text("provider"), "model" in table.names
    if provider and provider not in providers:
        table.problem(f"provider {provider!r} is not among [providers]")
    target = Target(
        provider=providers.get(provider) or NO_PROVIDER,
        model=table.text("model"),
        weight=table.number("weight", 1, minimum=1),
        priority=table.number("priority", 0),
        first_byte_seconds=table.seconds("first_byte_seconds", FIRST_BYTE_SECONDS),
        idle_seconds=table.seconds("idle_seconds", IDLE_SECONDS),
        total_seconds=table.seconds("total_seconds", TOTAL_SECONDS),
        fixed_sampling=table.flag("fixed_sampling", default=False),
    )
    if named and not UPSTREAM_NAME.fullmatch(target.model):
        table.problem("model must be a text of visible ASCII characters")
    if len(target.name) > MAX_TARGET_NAME:
        table.problem(f"the name {target.name[:40]}… (provider/model) has more than {MAX_TARGET_NAME} characters")
    table.refuse_the_rest()
    return target


def _resolved(targets: list[Target]) -> tuple[Target, ...]:
    """What `foreign_fields = "auto"` means for each target of one model."""
    mixed = any(target.provider.schema == "anthropic" for target in targets)
    passed = {"pass": True, "drop": False, "auto": not mixed}
    return tuple(replace(target, foreign_fields=passed.get(target.provider.foreign_fields, True)) for target in targets)


NO_PROVIDER = Provider(name="", schema="openai", base_url="", api_key=Secret(""))
"""Stands in while the rest of a file with a wrong provider is validated; such a file is never used."""
