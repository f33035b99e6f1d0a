"""Evaluation of search agents: methods, runs, records, scores, statistics, tables."""
