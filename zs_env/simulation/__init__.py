"""Tuning a simulation LLM: searches are collected, judged, and made into pairs to tune on."""
