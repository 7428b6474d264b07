"""The definitions of a script, without the rest of it."""

import ast
import symtable
import sys
import types

# As multiprocessing calls the main module of another process.
_NAME = "__mp_main__"


def run_definitions(source, file, package, names):
    r"""A module with some classes and functions of a script.

    Of its statements those run that define them, and those that define what these use, and so on.
    The others, such as a training, do not. What stands under `if __name__ == "__main__":` counts as
    if it stood outside.

    Args:
        source: Text of the script.
        file: Its path, for messages.
        package: Its package for relative imports, or None.
        names: Names that it defines.

    Example:
        >>> source = "import math\nprint('training')\ndef area(r):\n  return math.pi * r * r"
        >>> round(run_definitions(source, "train.py", None, ["area"]).area(2), 2)
        12.57
    """
    module = types.ModuleType(_NAME)
    module.__file__, module.__package__ = file, package
    sys.modules[_NAME] = module
    statements = _needed(list(_statements(ast.parse(source, file))), names)
    exec(compile(ast.Module(statements, []), file, "exec"), vars(module))
    return module


def _statements(tree):
    for statement in tree.body:
        if isinstance(statement, ast.If) and _is_main_guard(statement.test):
            yield from statement.body
        else:
            yield statement


def _is_main_guard(test):
    return ast.unparse(test) in ("__name__ == '__main__'", "'__main__' == __name__")


def _needed(statements, names):
    """The statements that define names or change them, with those that define what these use."""
    facts = [_Names(statement) for statement in statements]
    imported = set().union(*(fact.bound for fact in facts if fact.is_import))
    wanted, chosen = set(names), set()
    while True:
        more = {
            number
            for number, fact in enumerate(facts)
            if fact.always or fact.bound & wanted or fact.changed & (wanted - imported)
        }
        if more == chosen:
            return [statements[number] for number in sorted(chosen)]
        chosen = more
        wanted = wanted.union(*(facts[number].used for number in chosen))


class _Names:
    """The names of the script that a statement binds, uses and changes."""

    def __init__(self, statement):
        table = symtable.symtable(ast.unparse(statement), "script", "exec")
        symbols = table.get_symbols()
        self.bound = {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}
        self.used = {s.get_name() for s in symbols if s.is_referenced()}
        self.used |= set(_globals_inside(table))
        self.changed = set(_changed(statement))
        self.is_import = isinstance(statement, ast.Import | ast.ImportFrom)
        # Nobody knows what a star brings.
        self.always = isinstance(statement, ast.ImportFrom) and (
            statement.module == "__future__" or statement.names[0].name == "*"
        )


def _globals_inside(table):
    for inner in table.get_children():
        yield from (s.get_name() for s in inner.get_symbols() if s.is_global())
        yield from _globals_inside(inner)


def _changed(statement):
    """Names of which an attribute or an item is set, or a method called."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AugAssign | ast.AnnAssign):
        targets = [statement.target]
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        targets = [statement.value.func]
    else:
        return
    for target in targets:
        inner = target
        while isinstance(inner, ast.Attribute | ast.Subscript):
            inner = inner.value
        if inner is not target and isinstance(inner, ast.Name):
            yield inner.id
