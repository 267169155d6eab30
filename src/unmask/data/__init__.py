"""Face tracks -> windows -> `.pt` files."""
