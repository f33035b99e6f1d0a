"""Studies of the method: chains of this project's own commands, and what they found."""
