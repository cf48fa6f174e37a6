"""Several processes of one run: how they start, agree, and notice a lost one (level L4)."""
