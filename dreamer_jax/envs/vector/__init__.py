"""Several environments as one: in this process, in workers, on other machines (level H1)."""
