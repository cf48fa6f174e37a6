"""What knows devices: compiled functions, where arrays lie, loops on the device (level L4)."""
