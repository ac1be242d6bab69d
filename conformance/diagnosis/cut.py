"""Cuts one operator out of a generated source: its own lines and what they call, without types and documentation."""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence

#: Arguments of the generated functions that a script has no use for.
HOOKS = frozenset({"tap", "masks"})


def cut(source: str, name: str, others: Iterable[str], factors: Mapping[str, int] | None = None) -> str | None:
    """The lines of the operator `name`, as a module with the same functions; None where the source has no such tap.

    `others` are the names of the other operators: constants of theirs are left out. Where it reads several taps, each
    is x times one of `factors`, so that they are told from each other.
    """
    tree = ast.parse(source)
    forward = next((each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and _taps(each, name)), None)
    if forward is None:
        return None
    kept = _of_operator(forward, name, factors or {})
    forward.body = kept
    attributes = {node.attr for own in kept for node in ast.walk(own) if isinstance(node, ast.Attribute)}
    for own in ast.walk(tree):
        if isinstance(own, ast.ClassDef):
            _reduce_class(own, attributes)
    tree = ast.fix_missing_locations(_Bare({f"{other}." for other in others if other != name}).visit(tree))
    tree.body = _needed(tree.body)
    return ast.unparse(ast.fix_missing_locations(tree))


def _taps(node: ast.AST, name: str | None = None) -> bool:
    """Whether there is a call of the tap `name`, or of any."""
    return any(
        isinstance(each, ast.Call)
        and isinstance(each.func, ast.Name)
        and each.func.id == "tap"
        and (name is None or (isinstance(each.args[0], ast.Constant) and each.args[0].value == name))
        for each in ast.walk(node)
    )


def _of_operator(forward: ast.FunctionDef, name: str, factors: Mapping[str, int]) -> list[ast.stmt]:
    """What comes before all operators, and what belongs to this one; what it reads is `x`."""
    lines = [line for line in forward.body if not _is_text(line)]
    place = next(index for index, line in enumerate(lines) if _taps(line, name))
    first = next(index for index, line in enumerate(lines) if _taps(line))
    before = next((index for index in range(place - 1, -1, -1) if _taps(lines[index])), -1)
    own = lines[before + 1 : place + 1]
    read = {node.id for line in own for node in ast.walk(line) if isinstance(node, ast.Name)}
    assigned = {
        target.id: factors.get(_tap(line), 1)
        for line in lines[:place]
        if _taps(line) and isinstance(line, ast.Assign)
        for target in line.targets
        if isinstance(target, ast.Name)
    }
    last = own[-1]
    value = last.value if isinstance(last, ast.Assign | ast.Return) else None
    if value is None:
        raise ValueError(f"{name}: expected an assignment or a return")
    as_nodes = any(own.arg == "node" for own in forward.args.args)
    names = sorted(each for each in read & assigned.keys() if each != "x" or assigned[each] > 1)
    values = ", ".join(_times(each, assigned[each], as_nodes) for each in names)
    given = ast.parse(f"{', '.join(names)} = {values}").body if names else []
    beginning = [line for line in lines[:first] if before >= first and read & set(_defines(line))]
    return [*beginning, *given, *own[:-1], ast.Return(value)]


def _tap(line: ast.stmt) -> str:
    """The name of the last tap of a line."""
    names = [each.args[0] for each in ast.walk(line) if isinstance(each, ast.Call) and _taps(each) and each.args]
    return next((str(each.value) for each in names if isinstance(each, ast.Constant)), "")


def _times(name: str, factor: int, as_nodes: bool) -> str:
    """So many times x, a power of 2: by a product, or in a graph of nodes by doubling, which rounds nothing either."""
    if factor == 1:
        return "x"
    if not as_nodes:
        return f"x * {factor}"
    half = f"{name}.{factor // 2}"
    once, again = ("x", "x") if factor == 2 else (_times(half, factor // 2, as_nodes), repr(half))
    return f"node({name!r}, 'Sum', {once}, {again})"


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


def _reduce_class(own: ast.ClassDef, attributes: set[str]) -> None:
    """Leave the methods that evaluate, and of what the first sets up, what they read."""
    own.body = [
        method
        for method in own.body
        if isinstance(method, ast.FunctionDef) and method.name in ("__init__", "forward", "__call__")
    ] or own.body
    for method in own.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            method.body = [line for line in method.body if not _sets_other(line, attributes)]


def _sets_other(line: ast.stmt, attributes: set[str]) -> bool:
    return (
        isinstance(line, ast.Assign)
        and isinstance(line.targets[0], ast.Attribute)
        and line.targets[0].attr not in attributes
    )


class _Bare(ast.NodeTransformer):
    """Takes away types, documentation and the hooks of a generated source."""

    def __init__(self, other_constants: set[str]) -> None:
        self.other_constants = tuple(other_constants)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        arguments = node.args
        first_default = len(arguments.args) - len(arguments.defaults)
        defaults = {
            own.arg: value for own, value in zip(arguments.args[first_default:], arguments.defaults, strict=True)
        }
        arguments.args = [own for own in arguments.args if own.arg not in HOOKS]
        arguments.defaults = [defaults[own.arg] for own in arguments.args if own.arg in defaults]
        for own in (*arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
            if own is not None:
                own.annotation = None
        node.body = [line for line in node.body if not _is_text(line)] or [ast.Pass()]
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [line for line in node.body if not _is_text(line)]
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        return ast.Assign([node.target], node.value) if node.value is not None else None

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "tap":
            return self.visit(node.args[1])  # type: ignore[no-any-return]
        if isinstance(node.func, ast.Name) and node.func.id == "value_info":
            node.args[2] = ast.Constant(None)  # any shape
        node.args = [own for own in node.args if not (isinstance(own, ast.Name) and own.id in HOOKS)]
        return self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        """Without masks, and not while training."""
        match node.test:
            case ast.Compare(left=ast.Name(id="masks"), ops=[ast.Is()]):
                return self.visit(node.body)  # type: ignore[no-any-return]
            case ast.Attribute(attr="training"):
                return self.visit(node.orelse)  # type: ignore[no-any-return]
        return self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        pairs = [
            (key, value)
            for key, value in zip(node.keys, node.values, strict=True)
            if not (isinstance(key, ast.Constant) and str(key.value).startswith(self.other_constants))
        ]
        node.keys, node.values = [key for key, _ in pairs], [value for _, value in pairs]
        return self.generic_visit(node)


def _needed(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """What `load`, `forward` and `build` need, directly or not; imports of the rest are left out."""
    defined = {name: line for line in body for name in _defines(line)}
    wanted: list[str] = [name for name in ("load", "forward", "build", "LAYOUT") if name in defined]
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in found:
            found.add(name)
            used = {node.id for node in ast.walk(defined[name]) if isinstance(node, ast.Name)}
            wanted += [each for each in used if each in defined and each != name]
    kept: list[ast.stmt] = []
    for line in body:
        if isinstance(line, ast.Import | ast.ImportFrom):
            line.names = [alias for alias in line.names if _bound(alias) in found]
            kept += [line] if line.names else []
        elif found & set(_defines(line)):
            kept.append(line)
    return kept


def _defines(line: ast.stmt) -> Iterator[str]:
    match line:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=[ast.Name(id=name)]):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from map(_bound, names)


def _bound(alias: ast.alias) -> str:
    return (alias.asname or alias.name).partition(".")[0]
