"""Several processes of one run: their start, their agreement, the loss of one (level L4)."""
