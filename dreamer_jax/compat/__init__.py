"""Names, options and checkpoint files of the maintained code (level L4)."""
