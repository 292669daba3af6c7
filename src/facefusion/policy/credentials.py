"""The library that writes and reads manifests of C2PA, loaded from its own package and from nowhere else.

c2pa-python looks for its shared library in the working folder first: whoever can put a file beside somebody's clips
would have it run, and a working folder that is gone ends the import.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

_LOADER, _SEARCH = "c2pa.lib", "_get_possible_search_paths"


@cache
def load_c2pa() -> Any:
    """The module ``c2pa``."""
    found = find_spec("c2pa")
    if "c2pa" not in sys.modules and found is not None and found.origin:
        folder = Path(found.origin).parent
        spec = spec_from_file_location(_LOADER, folder / "lib.py")
        assert spec is not None
        assert spec.loader is not None
        loader = module_from_spec(spec)
        spec.loader.exec_module(loader)
        assert hasattr(loader, _SEARCH)  # another version of it: see how that looks
        setattr(loader, _SEARCH, lambda: [folder / "libs", folder])
        sys.modules[_LOADER] = loader
    return import_module("c2pa")
