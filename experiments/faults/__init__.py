"""Campaigns that hurt a run and then judge it: kills, signals, a full disk, a soak."""
