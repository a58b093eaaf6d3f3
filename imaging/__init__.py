"""PIXELS: uint8 arrays in, arrays and numbers out."""
