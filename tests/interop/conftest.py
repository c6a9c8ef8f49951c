from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.interop.libusbredirparser import DEFAULT_CAPS, GuestParser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def judge() -> Iterator[Callable[[int], GuestParser]]:
    """Makes parsers; any error or warning that one logs fails the test."""
    with ExitStack() as stack:
        made: list[GuestParser] = []

        def make(caps: int = DEFAULT_CAPS) -> GuestParser:
            made.append(stack.enter_context(GuestParser(caps)))
            return made[-1]

        yield make
        for parser in made:
            parser.assert_clean()
