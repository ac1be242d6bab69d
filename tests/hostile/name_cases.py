"""Code, paths and look-alikes where a spec has names. Words of prose: tests/impls/test_emitters.py."""

from tests.hostile.case import CANARY, Cases, Hostile, edited, file
from tests.spec.networks import SMALL

CODE = f"__import__('os').system('touch {CANARY}')"
NO_NAME = "expected a name of lower-case ASCII letters, digits and '_'"
RESERVED = "expected a name that generated sources can use, found the reserved word"
NO_TEXT = "expected text, found"


def quoted(text: str) -> str:
    """`text` as YAML, with everything escaped that is not plain."""
    plain = (letter if letter.isalnum() and letter.isascii() else f"\\U{ord(letter):08x}" for letter in text)
    return f'"{"".join(plain)}"'


def layer(name: str, says: str = NO_NAME) -> Hostile:
    """A layer of that name, whatever stands in it."""
    return edited("name: relu1", f"name: {quoted(name)}", f"17: layer {says}" if says != NO_NAME else "17: layer ")


def network(name: str) -> Hostile:
    """A network of that name: sources and reports are called by it."""
    return edited("name: small", f"name: {quoted(name)}", f"2: {NO_NAME}")


CASES: Cases = {
    # Code that a generated source might run.
    "call": layer(CODE),
    "call behind a name": layer(f"relu1; {CODE}"),
    "call behind a line": layer(f"relu1\n{CODE}"),
    "call behind a carriage return": layer(f"relu1\r{CODE}"),
    "call behind a form feed": layer(f"relu1\f{CODE}"),
    "call behind a line separator": layer(f"relu1\u2028{CODE}"),
    "end of a string": layer(f'relu1") + {CODE} + ("'),
    "end of a docstring": layer(f'"""\n{CODE}\n"""'),
    "end of a docstring in single quotes": layer(f"'''\n{CODE}\n'''"),
    "backslash": layer("relu1\\"),
    "escaped quote": layer('relu1\\"'),
    "comment": layer("relu1 # type: ignore"),
    "template of jinja": layer("{{ cycler.__init__.__globals__.os.popen('touch canary') }}"),
    "template of a shell": layer(f"$(touch {CANARY})"),
    "template of Java": layer("${jndi:ldap://localhost/a}"),
    "field of a format": layer("{x.__class__.__mro__}"),
    "placeholder of a format": layer("%(name)s"),
    "attribute": layer("relu1.__class__"),
    "dunder": layer("__class__"),
    "private": layer("_modules"),
    "keyword": layer("import", f"'import': {RESERVED} 'import'"),
    "soft keyword": layer("match", f"'match': {RESERVED} 'match'"),
    "method of a module": layer("forward", f"'forward': {RESERVED} 'forward'"),
    "name of a parameter": layer("conv1.weight"),
    "markup": layer("<script>alert(1)</script>"),
    "markup of a terminal": layer("[bold red]passed[/]"),
    "code as network": network(CODE),
    "code as input": edited("name: image", f"name: {quoted(CODE)}", f"6: {NO_NAME}"),
    "code as operator": edited("op: relu", f"op: {quoted(CODE)}", "18: layer 'relu1': op: unknown operator"),
    "code as what is read": edited("op: relu", f"op: relu\n    inputs: [{quoted(CODE)}]", "19: layer 'relu1': "),
    "code as a key": edited("op: relu", f"op: relu\n    {quoted(CODE)}: 1", "19: layer 'relu1': unknown key"),
    "code as a shape's name": edited("    fc2: [5]\n", f"    fc2: [5]\n    {quoted(CODE)}: [5]\n", "39: expect.shapes"),
    "code as a number": edited("out_channels: 6", f"out_channels: {quoted(CODE)}", "11: layer 'conv1': out_channels"),
    "code as a format": edited("lockstep-network/1", CODE, "1: format: expected 'lockstep-network/1'"),
    "title of two lines": edited("A small network", quoted(f'"""\n{CODE}'), "3: expected one line of printable text"),
    "title with a line separator": edited(
        "A small network", quoted(f"A\u2028{CODE}"), "3: expected one line of printable text"
    ),
    "title that is turned around": edited(
        "A small network", quoted("A \u202ekrowten"), "3: expected one line of printable text"
    ),
    "title that ends a comment": edited("these tests", quoted(f"x\r{CODE}"), "4: expected one line of printable text"),
    # Paths.
    "network above": network(f"../../../{CANARY}"),
    "network at a root": network(f"/tmp/{CANARY}"),
    "network of another system": network(f"..\\..\\{CANARY}"),
    "network on a drive": network("c:small"),
    "network of dots": network(".."),
    "network behind NUL": network("small\0.yaml"),
    "network that is hidden": network(".small"),
    "layer above": layer(f"../{CANARY}"),
    # Look-alikes.
    "Cyrillic letters": layer("r\u0435lu1"),
    "wide letters that Python reads as plain ones": layer("\uff52\uff45\uff4c\uff551"),
    "mathematical letters": layer("\U0001d42elu1"),
    "letter with its accent apart": layer("re\u0301lu"),
    "blank without width": layer("relu\u200b1"),
    "joiner without width": layer("relu\u200d1"),
    "text turned around": layer("\u202erelu1\u202c"),
    "byte order mark": layer("\ufeffrelu1"),
    "soft hyphen": layer("re\u00adlu1"),
    "digit of another script": layer("relu\u0661"),
    "capital letter": layer("Relu1"),
    "emoji": layer("relu\N{BRAIN}"),
    "surrogate": edited("name: relu1", 'name: "relu\\ud800"', ""),
    # Names that are none.
    "name without an end": layer("a" * 65),
    "name of a megabyte": layer("a" * 400_000),
    "empty name": layer(""),
    "blank name": layer(" "),
    "name with a blank behind": layer("relu1 "),
    "name with a line break behind": layer("relu1\n"),
    "number as name": edited("name: relu1", "name: 1", f"17: layer 1: name: {NO_TEXT} 1"),
    "truth as name": edited("name: relu1", "name: true", f"17: layer 1: name: {NO_TEXT} True"),
    "nothing as name": edited("name: relu1", "name: ~", f"17: layer 1: name: {NO_TEXT} None"),
    "list as name": edited("name: relu1", "name: [relu1]", f"17: layer 1: name: {NO_TEXT} a list of 1"),
    "name of the input": edited("name: relu1", "name: image", "17: layer 'image': expected a name of its own"),
    "name used twice": file(
        SMALL.replace("name: relu1", "name: conv1"), "17: layer 'conv1': expected a name of its own"
    ),
}
