"""What all parameter models share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenParams(BaseModel):
    """Immutable settings; an unknown key or a value out of range is an error, not a surprise."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )
