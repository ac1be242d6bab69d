"""The base of every part of a spec, and the field types that several parts share."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

#: No extent of a tensor, window or stride may be larger (2³¹ − 1, what every framework's index type holds).
MAX_EXTENT = 2**31 - 1


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
