"""The HTTP faces, one file each."""
