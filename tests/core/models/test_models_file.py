from pathlib import Path
from typing import Any

import pytest

import deploy
from core.models.model_prices import TokenPrices
from core.models.models_file import Model, ModelsFile, ModelsFileError

ENVIRONMENT = {"OPENAI_API_KEY": "sk-canary", "ANTHROPIC_API_KEY": "sk-canary-2"}
PROVIDER = """
[providers.openai]
schema = "openai"
base_url = "https://api.openai.com/v1/"
api_key = "${OPENAI_API_KEY}"
"""
MODEL = """
[models."m"]
context_tokens = 400_000
max_output_tokens = 128_000
price = { input = "0.25", output = "2.00" }
targets = [{ provider = "openai", model = "m-1" }]
"""


def parse(text: str, **environment: str) -> ModelsFile:
    return ModelsFile.parse(text, {**ENVIRONMENT, **environment})


def problems(text: str, **environment: str) -> list[str]:
    with pytest.raises(ModelsFileError) as caught:
        parse(text, **environment)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def model(lines: str = "", *, without: str = "") -> str:
    rest = [line for line in MODEL.splitlines() if not (without and line.startswith(without))]
    return PROVIDER + "\n".join([*rest, lines])


def only(text: str) -> Model:
    [found] = parse(text).models.values()
    return found


def test_a_small_file_has_sensible_defaults() -> None:
    found = only(model())

    assert found.price == TokenPrices(250, 250, 250, 250, 2000, 2000)
    assert found.weights == (1000, 100, 1250, 2000, 1000, 1000)
    assert found.default_output_tokens == 16_384
    assert found.capabilities == frozenset()
    assert found.owned_by == "poindexter"
    [target] = found.targets
    assert target.name == "openai/m-1"
    assert (target.weight, target.priority) == (1, 0)
    assert (target.first_byte_seconds, target.idle_seconds, target.total_seconds) == (60, 60, 600)
    assert target.provider.base_url == "https://api.openai.com/v1"
    assert target.provider.api_key.reveal() == "sk-canary"


def test_the_file_that_is_delivered_is_valid() -> None:
    file = Path(deploy.__file__).parent / "models.toml"

    parsed = ModelsFile.read(file, ENVIRONMENT)

    assert "dex-default" in parsed.models
    assert set(parsed.providers) == {"openai", "anthropic"}
    assert all(found.price.input and found.price.output for found in parsed.models.values())


@pytest.mark.parametrize(
    ("text", "nano"),
    [("0", 0), ("0.001", 1), ("0.075", 75), ("1.25", 1250), ("15.00", 15_000), ("999999.999", 999_999_999)],
)
def test_prices_are_exact(text: str, nano: int) -> None:
    price = f'price = {{ input = "{text}", output = "0" }}'

    assert only(model(price, without="price")).price.input == nano


@pytest.mark.parametrize(
    "value", ['"0.0001"', '"-1"', '"1000000"', '"NaN"', '"Infinity"', '"1e99999999"', '"a"', '""', "0.25", "1", "true"]
)
def test_an_inexact_price_is_refused(value: str) -> None:
    [problem, *_] = problems(model(f'price = {{ input = {value}, output = "1" }}', without="price"))

    assert "price: input must be" in problem


def test_token_classes_have_prices_of_their_own() -> None:
    price = (
        'price = { input = "1", cache_read = "0.1", cache_write_5m = "1.25", cache_write_1h = "2", output = "5", '
        'reasoning = "6" }'
    )

    assert only(model(price, without="price")).price == TokenPrices(1000, 100, 1250, 2000, 5000, 6000)


WRONG: list[tuple[str, str, str]] = [
    # what replaces which line, and the problem that names it
    ("context_tokens", "", "context_tokens is missing"),
    ("context_tokens", "context_tokens = 0", "context_tokens must be a whole number from 1 to 2147483647"),
    ("context_tokens", "context_tokens = -1", "context_tokens must be a whole number from 1 to 2147483647"),
    ("context_tokens", "context_tokens = true", "context_tokens must be a whole number from 1 to 2147483647"),
    ("context_tokens", "context_tokens = 3_000_000_000", "context_tokens must be a whole number from 1 to 2147483647"),
    ("context_tokens", 'context_tokens = "many"', "context_tokens must be a whole number"),
    ("max_output_tokens", "", "max_output_tokens is missing"),
    ("price", "", "price: input is missing"),
    ("price", "price = 1", "price must be a table"),
    ("price", 'price = { input = "1" }', "price: output is missing"),
    ("price", 'price = { input = "1", output = "1", surcharge = "1" }', "price: surcharge is not known"),
    ("targets", "", "needs at least one target"),
    ("targets", "targets = []", "needs at least one target"),
    ("targets", "targets = 1", "targets must be a list of tables"),
    ("targets", 'targets = ["openai"]', "targets[0] must be a table"),
    ("targets", 'targets = [{ provider = "x", model = "m" }]', "targets[0]: provider 'x' is not among [providers]"),
    ("targets", 'targets = [{ model = "m" }]', "targets[0]: provider is missing"),
    ("targets", 'targets = [{ provider = "openai" }]', "targets[0]: model is missing"),
    ("targets", 'targets = [{ provider = "openai", model = "m", weight = 0 }]', "targets[0]: weight must be"),
    ("targets", 'targets = [{ provider = "openai", model = "m", priority = -1 }]', "targets[0]: priority must be"),
    ("targets", 'targets = [{ provider = "openai", model = "m", idle_seconds = 0 }]', "targets[0]: idle_seconds must"),
    ("targets", 'targets = [{ provider = "openai", model = "m", idle_seconds = nan }]', "targets[0]: idle_s"),
    ("targets", 'targets = [{ provider = "openai", model = "m", total_seconds = true }]', "targets[0]: total_s"),
    ("targets", 'targets = [{ provider = "openai", model = "m", idle_seconds = "1" }]', "targets[0]: idle_s"),
    ("targets", 'targets = [{ provider = "openai", model = "m", region = "x" }]', "targets[0]: region is not known"),
    ("-", "max_tokens = 1", "max_tokens is not known"),
    ("-", 'tokenizer = "gpt"', "tokenizer must be one of openai, openai-mini, claude, claude-4"),
    ("-", "capabilities = 1", "capabilities must be a list of texts"),
    ("-", "capabilities = [1]", "capabilities must be a list of texts"),
    ("-", "weight = -1", "weight must be a whole number from 0 to 2147483647"),
    ("-", "default_output_tokens = 0", "default_output_tokens must be a whole number from 1 to 2147483647"),
    ("-", "owned_by = 1", "owned_by must be a text"),
    ("-", 'allow_unpriced = ["web"]', "allow_unpriced may hold web_search, server_tools, audio"),
    ("-", "allow_unpriced = 1", "allow_unpriced must be a list of texts"),
    ("-", "tiers = 1", "tiers must be a table"),
    ("-", "tiers = { flex = 1 }", "tiers flex must be a table"),
    ("-", 'tiers = { flex = { input = "1" } }', "tiers flex: output is missing"),
    ("-", 'tiers = { default = { input = "1", output = "1" } }', "tiers: 'default' is no service tier with a price"),
    ("-", 'tiers = { "A B" = { input = "1", output = "1" } }', "tiers: 'A B' is no service tier with a price"),
    ("-", 'long_input = { price = { input = "1", output = "1" } }', "long_input: above_tokens is missing"),
    ("-", "long_input = { above_tokens = 200_000 }", "long_input price: input is missing"),
    ("-", 'long_input = { above_tokens = 400_000, price = { input = "1", output = "1" } }', "less than context_tokens"),
    ("-", 'long_input = { above_tokens = 9, price = { input = "1", output = "1" }, x = 1 }', "long_input: x is not"),
    ("targets", 'targets = [{ provider = "openai", model = "m", fixed_sampling = 1 }]', "fixed_sampling must be true"),
    ("targets", f'targets = [{{ provider = "openai", model = "{"m" * 506}" }}]', "has more than 512 characters"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "instead", "problem"), WRONG)
def test_a_wrong_model_is_refused_with_its_place(line: str, instead: str, problem: str) -> None:
    found = problems(model(instead, without=line))

    assert found[0].startswith('[models."m"]')
    assert problem in found[0]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('schema = "gemini"', "schema must be one of openai, anthropic"),
        ('base_url = "ftp://x"', "base_url must be an http or https address"),
        ('base_url = "https://"', "base_url must be an http or https address"),
        ('base_url = "https://user:pw@x"', "base_url must be an http or https address"),
        ('base_url = "https://x?a=1"', "base_url must be an http or https address"),
        ('base_url = "https://[x"', "base_url must be an http or https address"),
        ('base_url = "https://x:99999"', "base_url must be an http or https address"),
        ('api_key = "${NOT_SET}"', "NOT_SET is not set in the environment"),
        ("api_key = 5", "api_key must be a text"),
        ("headers = 1", "headers must be a table of texts"),
        ("headers = { a = 1 }", "headers must be a table of texts"),
        ("max_concurrency = -1", "max_concurrency must be a whole number from 0 to 2147483647"),
        ('max_tokens_parameter = "n"', "max_tokens_parameter must be one of"),
        ('region = "eu"', "region is not known"),
        ("stream_options = 1", "stream_options must be true or false"),
        ('sends_done = "no"', "sends_done must be true or false"),
        ("input_includes_cache = 0", "input_includes_cache must be true or false"),
        ('foreign_fields = "keep"', "foreign_fields must be one of auto, drop, pass"),
        ('betas = "a"', "betas must be a list of texts"),
        ('betas = ["a,b"]', "betas: 'a,b' is not one value of a beta header"),
    ],
)  # fmt: skip
def test_a_wrong_provider_is_refused_with_its_place(line: str, problem: str) -> None:
    name = line.partition(" ")[0]
    provider = "\n".join([*(one for one in PROVIDER.splitlines() if not one.startswith(name)), line])

    found = problems(provider + MODEL)

    assert len(found) == 1
    assert found[0].startswith('[providers."openai"]')
    assert problem in found[0]


def test_every_problem_is_reported_at_once() -> None:
    text = PROVIDER.replace("https", "gopher") + MODEL.replace("400_000", "0").replace('"2.00"', "2") + "surprise = 1\n"

    found = problems(text + "[unknown]\nx = 1\n")

    assert len(found) == 5, found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file names no model"),
        (PROVIDER, "the file names no model"),
        ("models = 1", "the file models must be a table"),
        ("[models]\nm = 1", '[models."m"] must be a table'),
        ("models = [1]", "the file models must be a table"),
        ("a = ", "not valid TOML"),
        ("a = 1\na = 2", "not valid TOML"),
    ],
)
def test_a_file_without_models_is_refused(text: str, problem: str) -> None:
    assert any(problem in one for one in problems(text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ModelsFileError, match="not encoded in UTF-8"):
        ModelsFile.read(file, ENVIRONMENT)


def test_a_name_with_a_comma_is_refused_because_lists_of_names_are_joined_by_commas() -> None:
    assert any("comma" in one for one in problems(model().replace('"m"]', '"m,n"]')))


def test_a_variable_may_come_from_a_file_and_have_a_default(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-from-a-file\n")
    text = PROVIDER.replace("${OPENAI_API_KEY}", "${OTHER_KEY}").replace("api.openai.com", "${HOST:-x.example}") + MODEL

    [provider] = parse(text, OTHER_KEY_FILE=str(file)).providers.values()

    assert provider.api_key.reveal() == "sk-from-a-file"
    assert provider.base_url == "https://x.example/v1"


def test_a_file_that_cannot_be_read_is_a_problem() -> None:
    text = PROVIDER.replace("${OPENAI_API_KEY}", "${OTHER_KEY}") + MODEL

    assert any("OTHER_KEY_FILE can't be read" in one for one in problems(text, OTHER_KEY_FILE="/no/such/file"))


def test_an_empty_file_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.touch()
    text = PROVIDER.replace("${OPENAI_API_KEY}", "${OTHER_KEY}") + MODEL

    assert any("OTHER_KEY is not set" in one for one in problems(text, OTHER_KEY_FILE=str(file)))


def test_headers_are_substituted_too() -> None:
    text = PROVIDER + 'headers = { "api-key" = "${OPENAI_API_KEY}" }\n' + MODEL

    [provider] = parse(text).providers.values()

    assert provider.headers == (("api-key", "sk-canary"),)


def test_no_upstream_key_shows_in_a_repr_or_in_a_problem() -> None:
    headers = 'headers = { "api-key" = "${OPENAI_API_KEY}" }\n'

    shown = repr(parse(PROVIDER + headers + MODEL))
    refused = problems(PROVIDER.replace("https://api.openai.com/v1/", "${OPENAI_API_KEY}") + MODEL)

    assert "sk-canary" not in shown
    assert "sk-canary" not in "\n".join(refused)


@pytest.mark.parametrize("field", ["price", "weight", "tiers", "long_input"])
def test_the_price_version_changes_with_what_it_stands_for(field: str) -> None:
    changes: dict[str, Any] = {
        "price": model('price = { input = "0.25", output = "2.001" }', without="price"),
        "weight": model("weight = 1001"),
        "tiers": model('tiers = { flex = { input = "0.25", output = "2.00" } }'),
        "long_input": model('long_input = { above_tokens = 9, price = { input = "0.25", output = "2.00" } }'),
    }

    assert only(model()).price_version != only(changes[field]).price_version
    assert only(model()).price_version == only(model('owned_by = "x"')).price_version


def test_a_default_answer_is_never_longer_than_the_model_can_answer() -> None:
    assert only(model().replace("128_000", "100")).default_output_tokens == 100


def test_a_name_that_no_client_may_ask_for_is_refused() -> None:
    assert any("1 to 256 characters" in one for one in problems(model().replace('"m"]', f'"{"m" * 257}"]')))


def test_a_provider_has_the_habits_of_its_schema() -> None:
    anthropic = PROVIDER.replace('"openai"', '"anthropic"')

    [usual] = parse(PROVIDER + MODEL).providers.values()
    [other] = parse(anthropic + MODEL).providers.values()
    [told] = parse(anthropic + "input_includes_cache = true\n" + MODEL).providers.values()

    assert (usual.input_includes_cache, usual.stream_options, usual.sends_done) == (True, True, True)
    assert (other.input_includes_cache, told.input_includes_cache) == (False, True)
    assert usual.betas == frozenset()


CLAUDE = """
[providers.claude]
schema = "anthropic"
base_url = "https://api.anthropic.com"
api_key = "x"
"""
MIXED = 'targets = [{ provider = "claude", model = "c" }, { provider = "openai", model = "m", priority = 1 }]'


@pytest.mark.parametrize(
    ("setting", "alone", "mixed"),
    [("", True, False), ('foreign_fields = "drop"', False, False), ('foreign_fields = "pass"', True, True)],
)
def test_e1_a_fallback_for_claude_is_not_sent_what_only_claude_knows(setting: str, alone: bool, mixed: bool) -> None:
    provider = PROVIDER + setting + "\n" + CLAUDE
    other = MODEL.replace('"m"', '"n"').replace('targets = [{ provider = "openai", model = "m-1" }]', MIXED)

    models = parse(provider + MODEL + other).models

    assert [target.foreign_fields for target in models["m"].targets] == [alone]
    assert models["n"].targets[1].foreign_fields is mixed


def test_the_delivered_fallback_takes_every_request_that_was_written_for_claude() -> None:
    models = ModelsFile.read(Path(deploy.__file__).parent / "models.toml", ENVIRONMENT).models
    claude, fallback = models["dex-default"].targets

    assert (claude.provider.schema, fallback.provider.schema) == ("anthropic", "openai")
    assert (fallback.foreign_fields, fallback.fixed_sampling) == (False, True)


def provider(line: str, *, replacing: str = "") -> str:
    kept = [text for text in PROVIDER.splitlines() if not (replacing and text.startswith(replacing))]
    return "\n".join([*kept, line, MODEL])


UNUSABLE: list[tuple[str, str, str]] = [
    # a line of the provider, which line it replaces, and the problem that names it
    ('headers = { "content-length" = "3" }', "", "the transport itself sets content-length"),
    ('headers = { "Host" = "x" }', "", "the transport itself sets host"),
    ('headers = { "x y" = "x" }', "", "not a header name"),
    ('headers = { "x" = "a\\r\\nb" }', "", "the value of x holds a control character"),
    ('headers = { "x" = "caf\\u00e9" }', "", "headers holds a character outside ASCII"),
    ('headers = { "x" = "\\U0001F600" }', "", "headers holds a character outside ASCII"),
    ('headers = { "x-a" = "1", "X-A" = "2" }', "", "headers names one header twice"),
    ('api_key = "two\\nlines"', "api_key", "the value of authorization holds a control character"),
    ('api_key = "schl\\u00fcssel"', "api_key", "api_key holds a character outside ASCII"),
    ('api_key = "sk-1 "', "api_key", "api_key begins or ends with a space"),
    ('base_url = "http://a b/v1"', "base_url", "base_url must be an http or https address"),
    ('base_url = "http://me@host/v1"', "base_url", "base_url must be an http or https address"),
    ('base_url = "http://@host/v1"', "base_url", "base_url must be an http or https address"),
    ('base_url = "http://host/v1#x"', "base_url", "base_url must be an http or https address"),
    ('base_url = "http://host/v1?"', "base_url", "base_url must be an http or https address"),
    ('base_url = "http://host:99999"', "base_url", "base_url must be an http or https address"),
    ('base_url = "http://[::1"', "base_url", "base_url must be an http or https address"),
    ('base_url = "http:///v1"', "base_url", "base_url must be an http or https address"),
    ('base_url = "http://h\\u00f6st"', "base_url", "base_url must be an http or https address"),
]


@pytest.mark.parametrize(("line", "replaced", "problem"), UNUSABLE)
def test_what_no_request_can_carry_is_refused(line: str, replaced: str, problem: str) -> None:
    """S1: such a file was approved, and ended every gateway that read it."""
    [found] = problems(provider(line, replacing=replaced))

    assert problem in found
    assert "schl" not in found  # Never a value.


@pytest.mark.parametrize("name", ["", "m\\r\\nx: y", "caf\\u00e9", " m", "m" * 600])
def test_the_name_of_an_upstreams_model_must_fit_into_a_header_and_a_usage_event(name: str) -> None:
    """S23"""
    [found] = problems(model(f'targets = [{{ provider = "openai", model = "{name}" }}]', without="targets"))

    assert "targets[0]" in found


@pytest.mark.parametrize(
    "text",
    ["x = " + "[" * 100_000, "x = " + "{a=" * 50_000, "x = " + "9" * 5_000, "x = \x00", "[a.b\n"],
    ids=["deep list", "deep table", "long number", "control character", "broken"],
)
def test_what_the_parser_can_not_take_is_refused_like_any_other_mistake(text: str) -> None:
    """S1"""
    [found] = problems(text)

    assert found.startswith("not valid TOML")


def test_a_file_of_a_secret_that_is_no_text_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")

    [found] = problems(model(), OPENAI_API_KEY_FILE=str(tmp_path / "key"))

    assert "OPENAI_API_KEY_FILE can't be read" in found


def test_a_number_that_is_too_large_is_told_the_whole_range() -> None:
    """S23"""
    [found] = problems(model("max_output_tokens = 3_000_000_000", without="max_output_tokens"))

    assert found.endswith("max_output_tokens must be a whole number from 1 to 2147483647")
