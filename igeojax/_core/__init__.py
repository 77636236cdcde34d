"""Private foundations: argument checks and small pytree helpers."""
