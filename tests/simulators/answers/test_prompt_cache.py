"""What the providers' prompt caches read and write."""

from simulators.answers.prompt_cache import Breakpoint, CacheUse, PromptCache

SHORT = Breakpoint(1023, b"short")
FIRST = Breakpoint(2000, b"first")
SECOND = Breakpoint(3000, b"second", "1h")


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_prefix_is_written_once_and_then_read() -> None:
    cache = PromptCache(Clock())

    assert cache.use("key", [FIRST], 2100) == CacheUse(100, written_5m=2000)
    assert cache.use("key", [FIRST], 2200) == CacheUse(200, read=2000)


def test_a_longer_prefix_reads_the_shorter_one_and_writes_the_rest() -> None:
    cache = PromptCache(Clock())
    cache.use("key", [FIRST], 2100)

    assert cache.use("key", [FIRST, SECOND], 3500) == CacheUse(500, read=2000, written_1h=1000)


def test_short_prefixes_are_not_cached() -> None:
    cache = PromptCache(Clock())

    assert [cache.use("key", [SHORT], 1100) for _ in range(2)] == [CacheUse(1100)] * 2


def test_keys_do_not_share_their_prefixes() -> None:
    cache = PromptCache(Clock())
    cache.use("one", [FIRST], 2000)

    assert cache.use("two", [FIRST], 2000).read == 0


def test_a_prefix_expires_and_each_reading_renews_it() -> None:
    clock = Clock()
    cache = PromptCache(clock)
    reads = []

    for pause in (0, 299, 299, 301):
        clock.seconds += pause
        reads.append(cache.use("key", [FIRST], 2000).read)

    assert reads == [0, 2000, 2000, 0]


def test_an_hour_is_an_hour() -> None:
    clock = Clock()
    cache = PromptCache(clock)
    cache.use("key", [SECOND], 3000)
    clock.seconds = 3599

    assert cache.use("key", [SECOND], 3000).read == 3000


def test_a_cleared_cache_knows_nothing() -> None:
    cache = PromptCache(Clock())
    cache.use("key", [FIRST], 2000)

    cache.clear()

    assert cache.use("key", [FIRST], 2000).read == 0
