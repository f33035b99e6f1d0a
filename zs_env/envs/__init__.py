"""The drivers: environments that step `zs_env.episode.Episode`. Imports nothing, on purpose."""
