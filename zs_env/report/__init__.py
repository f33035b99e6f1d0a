"""Pages and plots of figures, independent of any trainer."""
