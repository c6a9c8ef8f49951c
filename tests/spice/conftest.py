"""Tests that are coroutines run on an event loop of their own: the one that their `loop` names."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
import uvloop

PATIENCE = 30.0
FACTORIES: dict[str, Any] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.function):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await pyfuncitem.function(**arguments)

    with asyncio.Runner(loop_factory=FACTORIES[str(pyfuncitem.funcargs.get("loop", "asyncio"))]) as runner:
        runner.run(bounded())
    return True
