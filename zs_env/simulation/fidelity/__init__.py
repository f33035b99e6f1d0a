"""Fidelity: how alike simulators are to the real engine, on held-out queries."""
