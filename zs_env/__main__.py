"""``python -m zs_env``: the command line."""

from zs_env.commands.main import main

if __name__ == "__main__":
    main()
