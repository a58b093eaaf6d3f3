"""The drawn source: whole scenes with cartoon faces and planted faults, each with its truth."""
