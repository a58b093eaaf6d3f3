"""Where pictures come from: one adapter a file."""
