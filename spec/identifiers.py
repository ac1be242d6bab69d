"""Which names a spec may give to networks, operators and inputs: names that can stand in any generated source."""

import keyword
import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

PATTERN = r"^[a-z][a-z0-9_]{0,63}$"

#: Names that generated sources use for themselves, or that a layer of that name would hide in them.
RESERVED = frozenset(
    """
    add_module apply bfloat16 bool buffers build call call_super_init children compile cpu cuda double dump_patches
    eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half helper int ipu jax jit
    jnp keras kernel lax len load load_state_dict math modules mtia name name_scope
    named_buffers named_children named_modules named_parameters nn node non_trainable_variables np numpy onnx
    parameters params partial range register_backward_hook register_buffer register_forward_hook
    register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ self set_extra_state set_submodule
    share_memory state_dict str submodules sum super tap tensorflow tf to to_empty torch train trainable_variables
    training tuple type variables weights with_name_scope x xpu zero_grad zip
    """.split()
)


def checked_identifier(name: str) -> str:
    """Return `name`; raise ValueError if it could not stand as a name in a generated source."""
    if not re.fullmatch(PATTERN, name):
        raise ValueError(
            f"expected a name of lower-case ASCII letters, digits and '_', starting with a letter, "
            f"at most 64 characters, found {name[:80]!r}"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in RESERVED:
        raise ValueError(f"expected a name that generated sources can use, found the reserved word {name!r}")
    return name


Identifier = Annotated[str, AfterValidator(checked_identifier), WithJsonSchema({"type": "string", "pattern": PATTERN})]
