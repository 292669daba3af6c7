"""Makes one function raise, in this process and in those that it spawns, as TEST_FAULT says: where|what|call|folder.

``where`` is ``module:Class.method``; ``what`` an exception as Python, or ``exit`` and a code; ``call`` the number of
the call that raises, over all processes, or ``all``. Calls are counted by files in the folder.
"""

import importlib
import importlib.abc
import importlib.util
import os
import sys

WHERE, WHAT, CALL, FOLDER = os.environ["TEST_FAULT"].split("|")
MODULE, _, PLACE = WHERE.partition(":")


def count_call():
    """Number of this call, from 1, over all processes."""
    number = 1
    while True:
        try:
            os.close(os.open(os.path.join(FOLDER, str(number)), os.O_CREAT | os.O_EXCL))
            return number
        except FileExistsError:
            number += 1


def break_it(module):
    *path, name = PLACE.split(".")
    owner = module
    for step in path:
        owner = getattr(owner, step)
    plain = owner.__dict__[name] if path else getattr(owner, name)
    function = plain.__func__ if isinstance(plain, (staticmethod, classmethod)) else plain

    def faulty(*arguments, **options):
        number = count_call()
        if CALL == "all" or number == int(CALL):
            if WHAT.startswith("exit"):
                os._exit(int(WHAT.removeprefix("exit")))
            names = {}
            exec("import av.error, errno, sqlite3, sqlalchemy.exc", names)
            raise eval(WHAT, names)
        return function(*arguments, **options)

    setattr(owner, name, type(plain)(faulty) if isinstance(plain, (staticmethod, classmethod)) else faulty)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            break_it(module)

        spec.loader.exec_module = exec_module
        return spec


if MODULE in sys.modules:
    break_it(sys.modules[MODULE])
elif MODULE in ("shutil", "tempfile", "sqlite3"):
    break_it(importlib.import_module(MODULE))
else:
    sys.meta_path.insert(0, Finder())
