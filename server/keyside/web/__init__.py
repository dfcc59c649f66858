"""The doors: each decodes, calls one service method, and encodes."""
