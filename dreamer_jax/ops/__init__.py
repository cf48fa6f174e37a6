"""The equations of the paper on plain arrays, one idea per file (level L1)."""
