"""What a class of Keras is called with, for `help` and for the pages: they would show `*args, **kwargs`."""

from __future__ import annotations

import inspect


def signature_of(cls: type) -> inspect.Signature:
    """The arguments of `__init__`, without `self`; the `__new__` of Keras takes anything."""
    whole = inspect.signature(cls.__init__)  # type: ignore[misc]
    return whole.replace(parameters=list(whole.parameters.values())[1:], return_annotation=inspect.Signature.empty)
