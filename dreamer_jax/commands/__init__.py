"""Command lines (level L5): thin entry points, one file each."""
