"""``python -m online_migrate``."""

from online_migrate.cli.main import main

if __name__ == "__main__":
    main()
