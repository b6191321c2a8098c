"""Options of models that see images."""

from typing import Annotated, Literal

from pydantic import Field, Strict


class MultimodalOptions:
    """How images are prepared, and which parts see."""

    image_size: int | Annotated[tuple[int, int], Strict(False)] | None = Field(
        None,
        description="Size images are brought to, in pixels: one number for a padded square, or width and height. Default: the processor's own, otherwise images keep theirs.",
    )
    image_resize_algorithm: Literal["bilinear", "bicubic", "lanczos"] | int | None = Field(
        None, description="How pixels are interpolated. Default: bilinear."
    )
    freeze_mm_modules: bool | None = Field(None, description="Do not train the parts that see.")
