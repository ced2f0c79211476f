from core.connections import open_pool
from core.settings import Secret


async def test_a_pool_opens_while_postgres_is_away_and_works_when_it_is_there(database_url: str) -> None:
    away = await open_pool(Secret("postgresql://nobody@127.0.0.1:1/none"), most=1, application="test")
    there = await open_pool(Secret(database_url), most=1, application="test")

    assert await there.fetchval("SHOW timezone") == "UTC"

    away.terminate()
    await there.close()
