"""Other values of parts of a spec that offer a choice: of the optimiser, of how images are shifted, of a dropout."""

from collections.abc import Iterator
from typing import Literal, TypeVar, get_args, get_origin

from spec.base import Part

AnyPart = TypeVar("AnyPart", bound=Part)


def other_choices(stated: AnyPart) -> Iterator[tuple[str, AnyPart]]:
    """The part with one of its choices made otherwise, and that in words: `scale_by: root_of_eigenvalue`."""
    for name, field in type(stated).model_fields.items():
        if get_origin(field.annotation) is Literal:
            for value in get_args(field.annotation):
                if value != getattr(stated, name):
                    yield f"{name}: {value}", stated.model_copy(update={name: value})
