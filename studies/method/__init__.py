"""The method end to end: an LLM tuned to be the search engine trains a policy for the real one."""
