from __future__ import annotations

import re

import pytest

from usbredir_mtp.device.identity import Identity, stable_serial


def test_the_default_is_the_one_that_initiators_know() -> None:
    identity = Identity()
    assert (identity.vendor, identity.product) == (0x46F4, 0x0004)
    assert (identity.manufacturer, identity.product_name) == ("usbredir-mtp", "Shared folders")


@pytest.mark.parametrize("value", [1, 0xFFFF])
def test_ids_at_their_limits(value: int) -> None:
    assert Identity(vendor=value, product=value, release=value).vendor == value
    assert Identity(release=0).release == 0


@pytest.mark.parametrize("field", ["vendor", "product"])
@pytest.mark.parametrize("value", [-1, 0, 0x10000])
def test_ids_beyond_them(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=field):
        Identity(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-1, 0x10000])
def test_releases_beyond_them(value: int) -> None:
    with pytest.raises(ValueError, match="release"):
        Identity(release=value)


@pytest.mark.parametrize("field", ["manufacturer", "product_name", "serial"])
def test_texts(field: str) -> None:
    named = re.escape(field.replace("_", " "))
    for good in ("x", "x" * 126, "📁" * 63):
        assert getattr(Identity(**{field: good}), field) == good  # type: ignore[arg-type]
    for bad in ("", "x" * 127, "📁" * 63 + "x", "\udc80"):
        with pytest.raises(ValueError, match=named):
            Identity(**{field: bad})  # type: ignore[arg-type]


def test_a_serial_has_32_digits_and_is_the_same_next_time() -> None:
    serial = stable_serial("machine", "/srv/share")
    assert re.fullmatch("[0-9A-F]{32}", serial)
    assert serial == stable_serial("machine", "/srv/share")
    # Pinned: systems keep what they know of a device under its serial, so a new version must not change it.
    assert serial == "2923731292EC8A94F5E3CF0419B4E815"


def test_serials_differ_with_every_part() -> None:
    inputs = [
        ("m",),
        ("n",),
        ("m", ""),
        ("m", "a"),
        ("m", "b"),
        ("m", "a", "b"),
        ("m", "ab"),
        ("ma", "b"),
        ("m", "\udc80"),
    ]
    assert len({stable_serial(*parts) for parts in inputs}) == len(inputs)
