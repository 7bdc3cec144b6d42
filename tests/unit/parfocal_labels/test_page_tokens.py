from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_labels.page_tokens import page_request, page_token
from parfocal_labels.paging import PageRequest, page_of
from parfocal_runtime.errors import InvalidInput

KINDS = (str, int, int)
numbers = st.integers(-(2**63) + 1, 2**63 - 1)
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.tuples(words, numbers, numbers))
def test_a_token_leads_back_to_its_key(key: tuple[str, int, int]) -> None:
    token = page_token(key, scope="list")

    assert page_request(0, token, kinds=KINDS, scope="list") == PageRequest(50, key)


@given(st.text())
def test_text_that_is_no_token_is_refused(token: str) -> None:
    if token:
        with pytest.raises(InvalidInput) as caught:
            page_request(0, token, kinds=KINDS, scope="list")
        assert caught.value.reason == "ERROR_REASON_INVALID_PAGE_TOKEN"


@pytest.mark.parametrize(
    "key",
    [
        ("a", 1),
        ("a", 1, "b"),
        (1, 1, 1),
        ("a", True, 1),
        ("a", 1, 2**63),
        ("\0", 1, 1),
        ("\ud800", 1, 1),
    ],
)
def test_a_token_of_another_key_is_refused(key: tuple[int | str, ...]) -> None:
    token = page_token(key, scope="list")

    with pytest.raises(InvalidInput):
        page_request(0, token, kinds=KINDS, scope="list")


def test_a_token_of_other_arguments_is_refused() -> None:
    token = page_token((1,), scope=("list", "r1"))

    with pytest.raises(InvalidInput):
        page_request(0, token, kinds=(int,), scope=("list", "r2"))


@pytest.mark.parametrize(("asked", "given_"), [(0, 50), (1, 1), (1000, 1000), (10**6, 1000)])
def test_sizes_are_coerced(asked: int, given_: int) -> None:
    assert page_request(asked, "", kinds=(), scope="").size == given_


def test_the_last_page_has_no_token() -> None:
    assert page_token((), scope="list") == ""


@given(st.lists(st.integers(), unique=True), st.integers(1, 5))
def test_pages_put_together_are_the_list(items: list[int], size: int) -> None:
    items = sorted(items)
    seen: list[int] = []
    request: PageRequest | None = PageRequest(size)

    while request:
        after = request.after
        rest = [item for item in items if not after or (item,) > after]
        page = page_of(rest[: size + 1], request, key=lambda item: (item,))
        seen += page.items
        request = PageRequest(size, page.next_key) if page.next_key else None

    assert seen == items
