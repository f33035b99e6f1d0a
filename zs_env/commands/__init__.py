"""The command line ``zs-env``: one subcommand a file."""
