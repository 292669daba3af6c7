"""What belongs to the process that made it."""

from __future__ import annotations

from typing import NoReturn

from facefusion.errors import RecipeError


class Staying:
    """Holds locks or loaded models, so it is neither pickled nor copied; whoever tries is told what to do instead."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise RecipeError(
            f"{type(self).__name__} belongs to the process that made it: it is not pickled or copied.",
            "Threads may share one; in other processes make one each, such as in the initializer of a pool.",
        )
