"""Signatures on the reference pages: those of named tuples, defaults that a class inherits, shapes in types.

An extension of griffe, which reads the sources without importing them.
"""

from typing import Any

from griffe import Attribute, Class, Expr, ExprSubscript, ExprTuple, Extension, Function, Parameter, Parameters


class Signatures(Extension):
    """Completes what griffe has found in a package."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Give a named tuple the constructor that Python makes of its fields."""
        if any(str(base) == "NamedTuple" for base in cls.bases) and "__init__" not in cls.members:
            fields = [member for member in cls.members.values() if isinstance(member, Attribute) and member.annotation]
            made = [Parameter("self"), *(Parameter(f.name, annotation=f.annotation, default=f.value) for f in fields)]
            cls.set_member("__init__", Function("__init__", parameters=Parameters(*made), parent=cls))

    def on_function(self, *, func: Function, **_: Any) -> None:
        """Write the shapes in a function's types as strings, and the defaults of options that it passes on."""
        for annotation in [func.returns, *(parameter.annotation for parameter in func.parameters)]:
            _write_shapes(annotation)
        if isinstance(func.parent, Class) and func.name == "__init__":
            _write_defaults(func, func.parent)

    def on_attribute(self, *, attr: Attribute, **_: Any) -> None:
        """Write the shapes in an attribute's type as strings."""
        _write_shapes(attr.annotation)


def _write_defaults(init: Function, cls: Class) -> None:
    """Write the defaults of the base class for those that `**options: Unpack[...]` leaves as `...`.

    griffe also adds a docstring with a second list of these options, while the class lists all of its own.
    """
    if init.docstring and not init.docstring.value:
        init.docstring = None
    for parameter in init.parameters:
        for base in cls.mro() if parameter.default == "..." else ():
            inherited = base.members.get("__init__")
            if isinstance(inherited, Function) and parameter.name in inherited.parameters:
                parameter.default = inherited.parameters[parameter.name].default


def _write_shapes(annotation: Any) -> None:
    """Write the shape in each `Float[Tensor, "b c"]` as a string without outer blanks, in place.

    griffe takes a string in an annotation for a type where it can: it reads "1" as the number. The blank in " c" is
    there for linters alone.
    """
    if not isinstance(annotation, Expr):
        return
    of_array = isinstance(annotation, ExprSubscript) and annotation.canonical_path.startswith("jaxtyping.")
    if of_array and isinstance(annotation.slice, ExprTuple):
        array, shape = annotation.slice.elements
        stripped = str(shape).strip("'\" ")
        annotation.slice.elements = [array, f'"{stripped}"']
        return
    for part in annotation.iterate(flat=False):
        if part is not annotation:  # a name has no other parts
            _write_shapes(part)
