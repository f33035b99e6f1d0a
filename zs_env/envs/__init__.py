"""Drivers: environments that step `zs_env.episode.Episode`.

This file imports nothing, which keeps importing one driver fast and free of circles.
"""
