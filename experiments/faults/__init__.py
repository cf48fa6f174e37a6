"""Campaigns that hurt a run and then judge it: kills, stops, signals, a soak."""
