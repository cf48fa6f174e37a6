"""Whether an environment keeps the contract, said in words (level H1)."""
