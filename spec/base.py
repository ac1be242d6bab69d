"""The base of every part of a spec, and the field types that several parts share."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

#: No extent of a tensor, window or stride may be larger (2³¹ − 1, what every framework's index type holds).
MAX_EXTENT = 2**31 - 1

#: The sizes of normal float32 numbers. Every implementation rounds what a spec states to these.
SMALLEST_FLOAT32 = 2.0**-126
LARGEST_FLOAT32 = (2.0 - 2.0**-23) * 2.0**127


class Part(BaseModel):
    """A part of a spec: frozen, strict (no "3" for 3), and without room for a key that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class FieldError(ValueError):
    """What is wrong with several fields of a part together; `path` leads to the one whose line is named."""

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


Extent = Annotated[int, Field(ge=1, le=MAX_EXTENT)]
Offset = Annotated[int, Field(ge=0, le=MAX_EXTENT)]
Total = Annotated[int, Field(ge=0, le=2**63 - 1)]


def _in_float32(value: float) -> float:
    if value and not SMALLEST_FLOAT32 <= abs(value) <= LARGEST_FLOAT32:
        raise PydanticCustomError("beyond_float32", "0 or a size from 1.2e-38 to 3.4e+38, which float32 can hold")
    return value


InFloat32 = AfterValidator(_in_float32)

Number = Annotated[float, InFloat32]
Positive = Annotated[float, Field(gt=0), InFloat32]
NotNegative = Annotated[float, Field(ge=0), InFloat32]
Fraction = Annotated[float, Field(ge=0, lt=1), InFloat32]


def _repeated(length: int) -> BeforeValidator:
    """A whole number stands for `length` equal ones; a list becomes a tuple."""

    def repeat(value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return (value,) * length
        return tuple(value) if isinstance(value, list) else value

    return BeforeValidator(repeat)


def _int_or_list(length: int, minimum: int) -> WithJsonSchema:
    item = {"type": "integer", "minimum": minimum, "maximum": MAX_EXTENT}
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item, "minItems": length, "maxItems": length}]})


#: Height and width; one whole number stands for both.
Pair = Annotated[tuple[Extent, Extent], _repeated(2), _int_or_list(2, 1)]

#: Rows and columns added at the top, left, bottom, right; one whole number stands for all four.
Pads = Annotated[tuple[Offset, Offset, Offset, Offset], _repeated(4), _int_or_list(4, 0)]


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


AsTuple = BeforeValidator(_as_tuple)

#: Channels, height, width; or features alone. The batch is never part of a shape in a spec.
Shape = tuple[int, ...]
ShapeField = Annotated[tuple[Extent, ...], Field(min_length=1, max_length=3), AsTuple]


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"expected one line of printable text, found {text[:80]!r}")
    return text


#: One line of prose: shown in reports and in comments of generated sources.
Line = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_one_line)]
