"""Names of annotators as resources: any text can be somebody's name, so it is percent-encoded."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from parfocal_labels import fields
from parfocal_runtime.layout import checked_name

_RESOURCE = re.compile(r"projects/([^/]+)/annotators/([^/]+)")
_PLAIN = "@:"
_LONGEST = 200


def annotator_name(project: str, annotator: str) -> str:
    """Return `projects/{project}/annotators/{annotator}`."""
    # What `quote` calls safe has one character more than our names.
    encoded = quote(annotator, safe=_PLAIN).replace("~", "%7E")
    return f"projects/{project}/annotators/{encoded}"


def annotator_of(resource: str, field: str) -> tuple[str, str]:
    """Return project and name of `projects/{project}/annotators/{annotator}`."""
    if not resource:
        raise fields.missing(field)
    match = _RESOURCE.fullmatch(resource)
    if match is None:
        raise fields.invalid(field, "projects/{project}/annotators/{annotator}", resource[:200])
    try:
        name = unquote(match[2], errors="strict")
    except UnicodeDecodeError as error:
        raise fields.invalid(field, "percent-encoded UTF-8", resource[:200]) from error
    project = checked_name(match[1], field=field)
    return project, fields.text(name, field, longest=_LONGEST, required=True)
