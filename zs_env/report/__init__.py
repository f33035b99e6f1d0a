"""Pages and plots: they take figures, and know no trainer."""
