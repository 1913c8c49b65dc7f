"""The same endpoint as a FastAPI service, for `make bench`. /query connects and counts at each request, like the endpoint
of the incidents. /cached returns what a task counted at most two seconds ago."""
import asyncio
from datetime import datetime, timezone

import asyncpg
from fastapi import FastAPI, HTTPException

TABLES = ("hypotheses", "analyses", "entities", "edges", "debates")
app = FastAPI()
cache = {}


async def count():
    connection = await asyncpg.connect()  # reads PGHOST and the others
    try:
        counts = {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}
    finally:
        await connection.close()
    return {"status": "healthy", "time": datetime.now(timezone.utc), "counts": counts}


async def refresh():
    while True:
        try:
            cache["document"] = await asyncio.wait_for(count(), 2)
        except (OSError, asyncio.TimeoutError, asyncpg.PostgresError):
            cache.pop("document", None)
        await asyncio.sleep(2)


@app.on_event("startup")
async def start():
    cache["task"] = asyncio.create_task(refresh())  # without a reference the task may be collected


@app.get("/query")
async def query():
    return await count()


@app.get("/cached")
async def cached():
    if "document" not in cache:
        raise HTTPException(503, "degraded")
    return cache["document"]
