from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_labels.annotator_names import annotator_name, annotator_of
from parfocal_runtime.errors import InvalidInput

# What a database keeps and UTF-8 can say.
people = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200
)


@given(people)
def test_anything_can_be_somebodys_name(name: str) -> None:
    resource = annotator_name("vnc", name)

    assert annotator_of(resource, "name") == ("vnc", name)
    assert re.fullmatch(r"projects/vnc/annotators/[A-Za-z0-9._@:%-]+", resource)


def test_plain_names_stay_as_they_are() -> None:
    assert annotator_name("vnc", "ada.l@lab-1:x_y") == "projects/vnc/annotators/ada.l@lab-1:x_y"


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "ada",
        "projects/vnc/annotators/",
        "projects/vnc/annotators/a/b",
        "projects/vnc/annotators/%ff",
        "projects/vnc/annotators/%00",
        "projects/../annotators/ada",
        f"projects/vnc/annotators/{'a' * 201}",
    ],
)
def test_what_names_nobody_is_refused(resource: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        annotator_of(resource, "annotator.name")

    assert caught.value.metadata["field"] == "annotator.name"
