"""Finds out which files write each attribute of a call's state, from the source of relay/call/.

The state of a call is the class `Call`, and all classes of relay/call/ that are reached from its attributes. A write is
an assignment to an attribute, a deletion, or a call of a method that changes a set, a dict, a list or a deque. The
first value from a constructor does not count. A reader can understand an attribute in one file if only that file
writes it. `python -m tests.helpers.state_writers` prints the attributes that two or more files write.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

CALL = Path(__file__).parents[2] / "relay" / "call"
CHANGES = frozenset("add append appendleft clear discard extend insert pop popleft remove setdefault update".split())


class _Classes(ast.NodeVisitor):
    """Collects the attributes and methods of each class, and the classes that they hold or return."""

    def __init__(self) -> None:
        self.holds: dict[str, dict[str, set[str]]] = {}
        self._class = ""

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._class = node.name
        self.holds[node.name] = {}
        self.generic_visit(node)
        self._class = ""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        name = _own(node.target)
        if self._class and name:
            self.holds[self._class].setdefault(name, set()).update(_names(node.annotation))

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            name = _own(target) if isinstance(target, ast.Attribute) else ""
            if self._class and name:
                self.holds[self._class].setdefault(name, set()).update(_names(node.value))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if self._class and node.returns is not None:
            self.holds[self._class].setdefault(node.name, set()).update(_names(node.returns))
        if node.name == "__init__":
            self.generic_visit(node)


def _own(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return node.attr
    return ""


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


class _Writes(ast.NodeVisitor):
    """Collects every write to an attribute of the state in one file."""

    def __init__(self, holds: dict[str, dict[str, set[str]]], file: str, found: dict[str, set[str]]) -> None:
        self._holds, self._file, self._found = holds, file, found
        self._scopes: list[dict[str, str]] = [{}]
        self._class = ""
        self._is_constructor = False

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        before, self._class = self._class, node.name
        self.generic_visit(node)
        self._class = before

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        known = dict(self._scopes[-1])
        if self._class in self._holds:
            known["self"] = self._class
        for argument in (*node.args.args, *node.args.kwonlyargs):
            for name in _names(argument.annotation) if argument.annotation else ():
                if name in self._holds:
                    known[argument.arg] = name
        constructor, self._is_constructor = self._is_constructor, node.name in ("__init__", "__post_init__")
        self._scopes.append(known)
        self.generic_visit(node)
        self._scopes.pop()
        self._is_constructor = constructor

    def _type(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return self._scopes[-1].get(node.id, "")
        if isinstance(node, ast.Call):
            return self._type(node.func)
        if isinstance(node, ast.Attribute):
            holds = self._holds.get(self._type(node.value), {}).get(node.attr, set())
            return next((name for name in sorted(holds) if name in self._holds), "")
        return ""

    def _wrote(self, node: ast.expr) -> None:
        if isinstance(node, ast.Tuple | ast.List):
            for each in node.elts:
                self._wrote(each)
        elif isinstance(node, ast.Subscript | ast.Starred):
            self._wrote(node.value)
        elif isinstance(node, ast.Attribute):
            owner = self._type(node.value)
            if owner and not (self._is_constructor and isinstance(node.value, ast.Name) and node.value.id == "self"):
                self._found[f"{owner}.{node.attr}"].add(self._file)

    def _learn(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._scopes[-1][target.id] = self._type(value)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for each, its in zip(target.elts, value.elts, strict=True):
                self._learn(each, its)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._wrote(target)
            self._learn(target, node.value)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._learn(node.target, node.iter)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._wrote(node.target)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._wrote(node.target)
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._wrote(target)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
            inner = node.func.value
            if isinstance(inner, ast.Attribute) and not self._type(inner):
                self._wrote(inner)
            elif isinstance(inner, ast.Subscript | ast.Call):
                self._wrote(inner.value if isinstance(inner, ast.Subscript) else inner)
        self.generic_visit(node)


def state_writers(folder: Path = CALL, root: str = "Call") -> dict[str, set[str]]:
    """Each written attribute of the state, "Class.attribute", and the files that write it."""
    classes = _Classes()
    trees = {path.name: ast.parse(path.read_text("utf-8")) for path in sorted(folder.glob("*.py"))}
    for tree in trees.values():
        classes.visit(tree)
    reached, ahead = set[str](), [root]
    while ahead:
        name = ahead.pop()
        if name in reached or name not in classes.holds:
            continue
        reached.add(name)
        ahead += [held for names in classes.holds[name].values() for held in names]
    found: dict[str, set[str]] = defaultdict(set)
    for file, tree in trees.items():
        _Writes(classes.holds, file, found).visit(tree)
    return {name: files for name, files in found.items() if name.split(".")[0] in reached}


def shared(folder: Path = CALL) -> dict[str, set[str]]:
    """The attributes that two or more files write."""
    return {name: files for name, files in sorted(state_writers(folder).items()) if len(files) > 1}


if __name__ == "__main__":
    for attribute, files in shared().items():
        print(f"{attribute:32} {' '.join(sorted(files))}")
    print(f"of {len(state_writers())} attributes that are written, {len(shared())} are written by two or more files")
