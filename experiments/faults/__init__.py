"""Campaigns that hurt a run and judge what is left: kills, signals, a full disk, a soak."""
