"""vLLM as the sampler: in processes of this program, or behind servers."""
