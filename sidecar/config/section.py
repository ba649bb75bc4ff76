"""What every part of the configuration is: immutable, with no unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration: immutable, no unknown keys, no number that is none."""

    # Whatever is compared with NaN is false, so a bound of NaN would blind a query without a word.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)
