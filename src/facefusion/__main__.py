"""``python -m facefusion``, and the command ``facefusion``: signals are watched before anything else is loaded."""

from facefusion.apps import stopping


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
