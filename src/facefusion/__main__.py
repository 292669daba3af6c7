"""``python -m facefusion``, and the command ``facefusion``: signals are watched before anything else is loaded."""

import _signal  # type: ignore[import-not-found]  # what `signal` is made of: there from the start, where that one takes a moment to load
import os
import sys


def _stop_early(number: int, frame: object) -> None:
    """Say the one line and end: there is nothing to unwind yet."""
    if "--json" in sys.argv:
        text = '{"event": "error", "code": "stopped", "message": "Stopped.", "hint": "nothing was written"}\n'
        os.write(1, text.encode())
    else:
        os.write(2, b"facefusion: Stopped; nothing was written.\n")
    os._exit(130)


# Processes that this one starts are told by it; a signal to the whole group is one to them, too.
if (
    __name__ != "__mp_main__"
    and "--multiprocessing-fork" not in sys.orig_argv
    and os.path.basename(sys.argv[0]) in ("facefusion", "facefusion.exe", "__main__.py")
):
    for _name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        _number = getattr(_signal, _name, None)
        if _number is not None and _signal.getsignal(_number) != _signal.SIG_IGN:
            _signal.signal(_number, _stop_early)

from facefusion.apps import stopping  # noqa: E402


def main() -> None:
    """Run the command line."""
    with stopping.watched(is_program=True):
        from facefusion.apps import cli

        try:
            cli.main()
        except SystemExit as end:
            stopping.work_is_over(end.code if isinstance(end.code, int) else 0)
            raise
        except KeyboardInterrupt:  # between the last line and the end
            raise SystemExit(stopping.EXIT_STOPPED) from None


if __name__ == "__main__":
    main()
