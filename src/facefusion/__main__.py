"""``python -m facefusion``."""

from facefusion.apps.cli import main

if __name__ == "__main__":
    main()
